//! `MemoryMapper<T>`: a value of a type, in a map.
//!
//! What most programs use. [`MemoryMapper`] keeps its value in a cell, with versions; [`PlainMapper`] in the
//! plain layout, as .NET programs write it. Relies on `cell` and `map` for the bytes and on `codec` for their
//! form.
//!
//! | to | there is |
//! | --- | --- |
//! | open or create a map, with options | [`MapperOptions`], [`PlainOptions`] |
//! | read again and again in one thread | [`MemoryMapper::reader`] |
//! | see one version after the other | [`MemoryMapper::watch`]; in tasks `MemoryMapper::changes` |
//! | be called for each version | [`MemoryMapper::on_change`] |
//! | learn that the last writer has gone, or one is back | [`Watch::events`] |
//! | wait for a writer | [`MemoryMapper::wait_for_writer`] |
//! | be the only writer for a while | [`MemoryMapper::lease`] |
//! | handle values of any type and codec | [`UntypedMapper`] |
//! | read archives without decoding them | `MemoryMapper::get_archived`, with the feature `rkyv` |

#[cfg(feature = "rkyv")]
mod archived;
mod auth;
mod callback;
#[cfg(feature = "async")]
mod changes;
mod lease;
mod memory_mapper;
mod options;
mod plain;
mod plain_mapper;
mod position;
mod reader;
#[cfg(test)]
mod tests;
mod threads;
mod type_name;
mod versions;
mod wait;
mod watch;
mod watching;

#[cfg(feature = "async")]
pub use futures_core::Stream;

#[cfg(feature = "rkyv")]
pub use self::archived::{ArchivedReader, ArchivedSnapshot, ArchivedValue};
pub use self::auth::Auth;
pub use self::callback::WatchGuard;
#[cfg(feature = "async")]
pub use self::changes::{Changes, EventStream};
pub use self::lease::Lease;
pub use self::memory_mapper::{MemoryMapper, UntypedMapper};
pub use self::options::MapperOptions;
pub use self::plain_mapper::{PlainMapper, PlainOptions};
pub use self::position::{Change, Event};
pub use self::reader::MapperReader;
pub use self::type_name::TypeName;
pub use self::watch::{Events, Watch};
