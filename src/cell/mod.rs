//! The cell: one value in a map, replaced as a whole, read without waiting, whoever crashes.
//!
//! Knows bytes and versions, but no types and no names. A [`Cell`] is a handle to one; [`CellOptions`] opens
//! it; a [`Reader`] pins versions and a [`Writer`] publishes them. Relies on `map`; `mapper` relies on it.
//!
//! Inside, from the top: `info` and `options`, `handle`, `reader` and `writer`, `holders`, `shared` (what a
//! handle keeps of the memory), `words` (the memory itself), `layout` (where everything lies), `protocol`
//! (how versions change hands) and `primitives` (the steps of the protocol).

mod contents;
mod handle;
mod holders;
mod info;
mod layout;
#[macro_use]
mod primitives;
#[cfg(all(test, handover_model))]
mod model;
mod options;
mod protocol;
mod reader;
mod shared;
mod terms;
mod value;
#[cfg(feature = "async")]
mod waiting;
mod words;
mod writer;

pub(crate) use self::layout::{MARK, is_marked};
#[cfg(feature = "async")]
pub(crate) use self::waiting::Waiter;

pub use self::contents::{Contents, contents};
pub use self::handle::Cell;
pub use self::info::{CellInfo, inspect};
pub use self::options::CellOptions;
pub use self::reader::{Reader, Snapshot, TrustedSnapshot, TrustingReader};
pub use self::terms::{Durability, Meta};
pub use self::value::Value;
pub use self::writer::{SlotBuffer, Writer};
