//! How a value becomes bytes, and back.
//!
//! | codec | number | values | feature |
//! | --- | --- | --- | --- |
//! | [`Json`] | 1 | every type of serde | |
//! | `MessagePack` | 2 | every type of serde | `messagepack` |
//! | [`Text`] | 3 | `String` | |
//! | [`Bytes`] | 4 | `Vec<u8>` | |
//! | `Rkyv` | 5 | every type of rkyv | `rkyv` |
//! | [`AnyCodec`] | the value's own | [`Untyped`] | |
//!
//! The number is stored with each value, so that nobody reads it with another codec. A codec of your own is a
//! type that implements [`Codec`].
//!
//! This layer knows nothing of maps. `mapper` relies on it.

mod any;
#[cfg(feature = "rkyv")]
mod archive;
mod as_is;
mod contract;
mod explain;
mod fault;
mod json;
#[cfg(feature = "messagepack")]
mod message_pack;
mod numbers;
mod untyped;
mod wiped;

pub use zeroize::Zeroizing;

pub use self::any::AnyCodec;
#[cfg(feature = "rkyv")]
pub(crate) use self::archive::{Aligned, access};
#[cfg(feature = "rkyv")]
pub use self::archive::{ArchiveWriter, Rkyv};
pub(crate) use self::as_is::text_of;
pub use self::as_is::{Bytes, Text};
pub use self::contract::{Codec, Tags};
pub use self::json::Json;
#[cfg(feature = "messagepack")]
pub use self::message_pack::MessagePack;
pub use self::numbers::name_of;
pub use self::untyped::Untyped;
pub(crate) use self::wiped::wipe;
