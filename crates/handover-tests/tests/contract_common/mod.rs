//! What the contract tests share: a private directory for names, and checks of what an error says.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{File, OpenOptions};
use std::path::Path;

use handover::map::MapOptions;
use handover::{ErrorKind, Result};
use handover_tests::names_in;
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use handover_tests::own_dir;
use tempfile::TempDir;

/// Options whose names lie in `dir`.
pub(crate) fn within(dir: &TempDir) -> MapOptions {
    names_in(dir)
}

/// The system maps views at multiples of this; a map is longer than one of them.
pub(crate) fn page() -> u64 {
    #[cfg(unix)]
    return rustix::param::page_size() as u64;
    #[cfg(not(unix))]
    65_536
}

/// Opens the file exclusively, like .NET's `FileShare.None`, unless somebody else has it open (on Unix:
/// somebody who takes such locks too).
pub(crate) fn take_alone(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 0);
    let file = options.open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

/// The class of the error, which must be one.
#[track_caller]
pub(crate) fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("expected an error").kind()
}

/// The possible names of arguments.
const ARGUMENTS: [&str; 9] =
    ["name", "capacity", "access", "rights", "file mode", "offset", "size", "position", "array"];

/// The class of the error, which must be one, and the argument that it blames (or nothing).
#[track_caller]
pub(crate) fn failure<T>(result: Result<T>) -> (ErrorKind, &'static str) {
    let Err(error) = result else { panic!("expected an error") };
    let text = error.to_string();
    // The map comes first, where the error is about one.
    let map = error.subject().map_or(String::new(), |subject| format!("{subject}: "));
    let text = text.strip_prefix(&map).unwrap_or(&text);
    let blames = |argument: &&&str| match error.kind() {
        ErrorKind::InvalidArgument => text.starts_with(&format!("invalid {argument}: ")),
        ErrorKind::OutOfRange => text.starts_with(&format!("{argument} out of range: ")),
        _ => false,
    };
    let blamed = ARGUMENTS.iter().find(blames);
    let is_about_one = matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::OutOfRange);
    assert_eq!(blamed.is_some(), is_about_one, "which argument? {text}");
    (error.kind(), blamed.unwrap_or(&""))
}
