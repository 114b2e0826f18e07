//! What the contract tests share: a directory of their own for names, and what an error says.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{File, OpenOptions};
use std::path::Path;

use handover::{Error, ErrorKind, MapOptions, Result};
use handover_tests::names_in;
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use handover_tests::own_dir;
use tempfile::TempDir;

/// Options whose names lie in `dir`.
pub(crate) fn within(dir: &TempDir) -> MapOptions {
    names_in(dir)
}

/// A unit that the offsets of views are multiples of inside the system; a map is longer than one.
pub(crate) fn page() -> u64 {
    #[cfg(unix)]
    return rustix::param::page_size() as u64;
    #[cfg(not(unix))]
    65_536
}

/// The file for this program alone, as .NET's `FileShare.None` has it, unless somebody else has it open (on
/// Unix: somebody who takes such locks too).
pub(crate) fn take_alone(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 0);
    let file = options.open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
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
