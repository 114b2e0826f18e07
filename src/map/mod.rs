//! Memory-mapped files as in .NET (`System.IO.MemoryMappedFiles`), on every system.
//!
//! A [`MemoryMappedFile`] is a region of bytes of fixed capacity: named, on a file, or anonymous. A view is a
//! window on it: [`ViewStream`] (sequential) or [`ViewAccessor`] (random access, typed). Checks come in
//! .NET's order.
//!
//! ```
//! use handover::map::MemoryMappedFile;
//!
//! let map = MemoryMappedFile::anonymous(4096)?;
//! let view = map.create_view_accessor(0, 0)?;
//! view.write(0, 42u64)?;
//! assert_eq!(view.read::<u64>(0)?, 42);
//! # Ok::<(), handover::Error>(())
//! ```
//!
//! Relies on `sys` for memory and names; the layers above rely on it.

mod accessor;
pub mod dotnet;
mod file;
mod handle;
mod listing;
mod looked;
mod open;
mod options;
mod stream;
mod view;

#[doc(no_inline)]
pub use bytemuck;

pub use self::accessor::{AtomicWord, ViewAccessor};
pub use self::handle::MemoryMappedFile;
pub use self::listing::{collect_garbage, list};
pub use self::options::MapOptions;
pub use self::stream::ViewStream;
pub use crate::name::NAME_MAX;
pub use crate::terms::{Access, Account, MapInfo, Rights, Scope, Subject};

/// What threads may do with the public types: changing it breaks programs.
const _: () = {
    const fn sends_and_shares<T: Send + Sync>() {}
    sends_and_shares::<MemoryMappedFile>();
    sends_and_shares::<MapOptions>();
    sends_and_shares::<ViewAccessor>();
    sends_and_shares::<ViewStream>();
    sends_and_shares::<MapInfo>();
    sends_and_shares::<Subject>();
    sends_and_shares::<Access>();
    sends_and_shares::<Account>();
    sends_and_shares::<Rights>();
    sends_and_shares::<Scope>();
    sends_and_shares::<dotnet::Decimal>();
    sends_and_shares::<dotnet::FileMode>();
};
