//! What the contract tests share: a directory of their own for names, and what an error says.
#![allow(dead_code, reason = "each test file uses its part")]

use handover::{Error, ErrorKind, MapOptions, Result};
use tempfile::TempDir;

/// A place for names and files that no other test sees and that goes with the value.
pub(crate) fn own_dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Options whose names lie in `dir`.
pub(crate) fn within(dir: &TempDir) -> MapOptions {
    MapOptions::new().directory(dir.path())
}

/// The class of the error that must be there.
#[track_caller]
pub(crate) fn kind<T>(result: Result<T>) -> ErrorKind {
    failure(result).0
}

/// The class of the error that must be there, and the argument that it blames (or nothing).
#[track_caller]
pub(crate) fn failure<T>(result: Result<T>) -> (ErrorKind, &'static str) {
    let Err(error) = result else { panic!("an error was expected") };
    let argument = match &error {
        Error::InvalidArgument { argument, .. } | Error::OutOfRange { argument, .. } => argument,
        _ => "",
    };
    (error.kind(), argument)
}
