//! Sets the length of files, and takes memory or disk space for it.
//!
//! Relies on the system's own module; `file`, `names` and `section` rely on it.

use std::fs::File;

use rustix::io::{Errno, retry_on_intr};

use super::os;
use crate::error::{Error, Result};
use crate::terms::Subject;

/// The limit of this process for the length of a file that it writes to. Exceeding it would raise SIGXFSZ,
/// which ends the process.
pub(super) fn size_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}

/// Checks that this process may make a file of `length` bytes.
pub(super) fn check_size_limit(length: u64, needed: u64, subject: &Subject) -> Result<()> {
    match size_limit() {
        Some(limit) if length > limit => Err(Error::no_space(
            subject.clone(),
            needed,
            format!(
                "the file size limit of this process is {limit} bytes (RLIMIT_FSIZE); raise it with ulimit -f"
            ),
        )),
        _ => Ok(()),
    }
}

/// Sets the length of `file` to `start + capacity` and, unless `delay`, takes memory for all bytes from
/// `start`.
pub(super) fn size_file(
    file: &File,
    start: u64,
    capacity: u64,
    delay: bool,
    subject: &Subject,
) -> Result<()> {
    if i64::try_from(capacity).is_err() {
        return Err(Error::out_of_range(
            "capacity",
            format!("{capacity} bytes; it must be at most {}", i64::MAX),
        ));
    }
    let no_space = |reason: String| Error::no_space(subject.clone(), capacity, reason);
    let end = start
        .checked_add(capacity)
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| no_space("no file can be that long; ask for less".to_owned()))?;
    check_size_limit(end, capacity, subject)?;
    let sized = if delay {
        retry_on_intr(|| rustix::fs::ftruncate(file, end))
    } else {
        os::reserve(file, start, capacity)
    };
    sized.map_err(|e| match e {
        Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::FBIG | Errno::INVAL => no_space(format!(
            "the file system that holds it has no room ({e}); free some, ask for less, or choose another \
                 directory"
        )),
        _ => Error::from_io("reserve memory for", subject.clone(), e.into()),
    })
}
