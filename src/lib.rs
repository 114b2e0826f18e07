//! Hand typed objects from one process to completely different processes on the same machine, through
//! memory-mapped files that have a name.
//!
//! ```
//! use handover::{Auth, MemoryMapper};
//! # let dir = std::env::temp_dir().join(format!("handover-doc-lib-{}", std::process::id()));
//! # std::fs::create_dir(&dir)?;
//! # // SAFETY: the example has one thread.
//! # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
//!
//! // The producer:
//! let producer = MemoryMapper::<Auth>::create("example", 4096)?;
//! producer.write(&Auth::new("eyJhbGciOi…"))?;
//!
//! // A consumer, in another process:
//! let auth = MemoryMapper::<Auth>::open("example")?.read()?;
//! assert_eq!(auth.bearer(), "eyJhbGciOi…");
//! # drop(producer);
//! # std::fs::remove_dir_all(dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A name lives exactly as long as a process holds it, however that process ends; there is no server and
//! nothing to clean up. The layers, each with a face of its own:
//!
//! | layer | what it is |
//! | --- | --- |
//! | [`MemoryMapper`] | a value of a type in a map |
//! | [`codec`] | how a value becomes bytes: JSON, `MessagePack`, text, bytes, rkyv |
//! | [`MemoryMappedFile`] | a region of bytes by name, on a file or anonymous, and its views |
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `messagepack` | yes | the codec `codec::MessagePack` |
//! | `rkyv` | no | the codec `codec::Rkyv`, and its values without decoding: `MemoryMapper::get_archived` and `trust_writers` |
//! | `tokio` | no | `MemoryMapper::changes`: waiting for versions in asynchronous programs, on every runtime |
//!
//! Maps behave as those of .NET (`System.IO.MemoryMappedFiles`), named ones on every system.

#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "only the protocol is built for its model"))]

mod cell;
pub mod codec;
mod error;
mod map;
#[cfg(not(loom))]
mod mapper;
mod steps;
mod sys;

#[cfg(not(loom))]
pub use cell::{
    Cell, CellInfo, CellOptions, Reader, SlotBuffer, Snapshot, TrustedSnapshot, TrustingReader, Value, Writer,
};
pub use cell::{Durability, Meta};
pub use error::{Error, ErrorKind, Result, Subject};
pub use map::{
    Access, AtomicWord, Decimal, MapInfo, MapOptions, MemoryMappedFile, NAME_MAX, OpenMode, Rights, Scope,
    ViewAccessor, ViewStream, collect_garbage, list,
};
#[cfg(all(feature = "tokio", not(loom)))]
pub use mapper::Changes;
#[cfg(all(feature = "rkyv", not(loom)))]
pub use mapper::{ArchivedReader, ArchivedSnapshot, ArchivedValue};
#[cfg(not(loom))]
pub use mapper::{Auth, Change, Lease, MapperOptions, MemoryMapper, TypeName, Watch};
#[cfg(feature = "test-steps")]
#[doc(hidden)]
pub use steps::{Step, on_step};

/// The examples of README.md, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
