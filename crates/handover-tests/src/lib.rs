//! Tests of the library with real processes: the harness.
//!
//! A test starts [`Actor`]s: processes that obey one [`Command`] at a time, all with one `HANDOVER_DIR` of
//! the test's own ([`Stage`]). A test can end them in any way at any moment, on Linux also stop them before
//! their n-th system call ([`trace`]). Actors die with the value that stands for them, and the directory goes
//! with its stage, so that tests run beside each other and leave nothing behind.
//!
//! The test's own process opens no maps: while one thread of it starts a process, that child has a copy of
//! every descriptor until it runs its program, and would keep a name that another thread closes.

#![expect(clippy::missing_panics_doc, clippy::missing_errors_doc, reason = "a harness reports by panicking")]

#[cfg(target_os = "linux")]
pub mod calls;
pub mod cell;
pub mod cell_actor;
mod cell_messages;
pub mod fuzz;
#[cfg(windows)]
mod halt;
#[cfg(target_os = "linux")]
pub mod names_race;
mod protocol;
#[cfg(any(target_os = "linux", windows))]
pub mod race;
pub mod role;
mod stage;
#[cfg(target_os = "linux")]
pub mod trace;
pub mod value;

pub use handover_test_support::{Alone, OwnDir, Start, memory_dir, own_dir, under_wine};
pub use protocol::{Command, Failure, How, Map, Open, Reply};
pub use stage::*;
