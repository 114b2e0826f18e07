//! What the tests of the library and those of the command share: a place that no other test sees, and one way
//! to start a process.
//!
//! Relies on `tempfile` alone; all tests rely on it.

mod alone;
mod start;

pub use alone::{Alone, OwnDir, memory_dir, own_dir};
pub use start::{Start, under_wine};
