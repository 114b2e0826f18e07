//! The user's files: opening them, keeping others from cutting them, and growing them.
//!
//! Two locks mark a file as in use. A shared `flock` is what .NET looks at. A shared range lock ([`MAPPED`])
//! says that this library has mapped the file or is about to. It belongs to the open file description, which
//! the mapping keeps alive (on Linux), so it ends with the last view. Whoever empties the file needs both
//! locks exclusively: a process that touches pages beyond the new end is killed (`SIGBUS`).
//!
//! Relies on `lock` and `size`; `names` and `opening` rely on it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::inspect::FileId;
use super::lock::{self, MAPPED};
use super::os;
use super::refusal::refused;
use super::size::{check_size_limit, size_file};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::sys::asked::LockMode;
use crate::sys::find_or_create::find_or_create;
use crate::terms::{FileMode, Subject};

/// How long to wait for a creator that has emptied a file and is growing it again.
const GROWTH_LIMIT: Duration = Duration::from_secs(10);

/// A new file is private to this user, or has `file_mode`.
pub(crate) fn open_file(
    path: &Path,
    mode: FileMode,
    write: bool,
    file_mode: Option<u32>,
) -> Result<(File, bool)> {
    let rights = file_mode.unwrap_or(0o600);
    if rights & !0o666 != 0 {
        return Err(Error::invalid(
            "file mode",
            format!("{rights:#o}; it may allow reading and writing, at most 0o666"),
        ));
    }
    let subject = || Subject::Path(path.to_owned());
    let open = |create_new: bool| {
        std::fs::OpenOptions::new()
            .read(true)
            .write(write || create_new)
            .create_new(create_new)
            .mode(0o600)
            // Opening a FIFO must not block; such a file is refused below.
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(path)
    };
    let refuse = |doing: &str, e: io::Error| match e.kind() {
        io::ErrorKind::IsADirectory => Error::denied(subject(), "it is a directory; give the path of a file"),
        _ => refused(doing, subject(), e),
    };
    let mut attempts = 0;
    loop {
        let (file, created) = find_or_create(path, mode, open, refuse)?;
        let found = file.metadata().map_err(|e| Error::from_io("inspect", subject(), e))?;
        if found.is_dir() {
            return Err(refuse("open", io::ErrorKind::IsADirectory.into()));
        }
        if created && found.mode() & 0o777 != rights {
            // Exactly this mode, whatever the process's mask is.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(rights as _)).map_err(|e| {
                let _ = std::fs::remove_file(path);
                Error::from_io("set the mode of", subject(), e.into())
            })?;
        }
        share_file(&file, subject)?;
        attempts += 1;
        // Who created it may have removed it before it was shared here, because its own map was refused.
        if created || attempts == MOST_ATTEMPTS || is_still_at(&found, path) {
            return Ok((file, created));
        }
    }
}

/// How often a file may be another than the one at its path. On some file systems a file's number changes.
const MOST_ATTEMPTS: u32 = 100;

/// Whether the path leads to a file, also by links.
fn is_still_at(found: &std::fs::Metadata, path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (found.dev(), found.ino()))
}

/// Empties the file. Nobody may map it until [`grow_file`] has grown it again.
pub(crate) fn empty_file(file: &File, subject: &Subject) -> Result<()> {
    let length = file.metadata().map_err(|e| Error::from_io("inspect", subject.clone(), e))?.len();
    // Else it could not be given back what it had.
    check_size_limit(length, length, subject)?;
    let subject = || subject.clone();
    if !have_alone(file) {
        return Err(Error::still_mapped(subject()));
    }
    flock(file, FlockOperation::NonBlockingLockExclusive, &subject)?;
    file.set_len(0).map_err(|e| Error::from_io("empty", subject(), e))?;
    // Not in one step: somebody who wants the file to themselves may come in between, and then gets it empty.
    flock(file, FlockOperation::NonBlockingLockShared, &subject)
}

/// Keeps others from having the file to themselves or cutting it. Fails where somebody has it to themselves.
pub(super) fn share_file(file: &File, subject: impl Fn() -> Subject) -> Result<()> {
    flock(file, FlockOperation::NonBlockingLockShared, &subject)?;
    let share = || Ok((!matches!(lock::try_lock(file, MAPPED, LockMode::Shared), Ok(false))).then_some(()));
    Backoff::LOCK.poll(GROWTH_LIMIT, String::new, share).map_err(|_| Error::sharing_violation(subject()))
}

/// Marks the file as mapped by this description. If the description had the file to itself, others may map it
/// from here on, and at no moment in between could one of them have it alone.
pub(super) fn share_mapped(file: &File, subject: impl Fn() -> Subject) -> Result<()> {
    match lock::try_lock(file, MAPPED, LockMode::Shared) {
        Ok(false) => Err(Error::sharing_violation(subject())),
        _ => Ok(()),
    }
}

/// .NET's `FileShare.None` is an exclusive flock; a shared one conflicts with no other.
fn flock(file: &File, operation: FlockOperation, subject: &impl Fn() -> Subject) -> Result<()> {
    // Other errors mean a file system without such locks, where nobody can have the file alone.
    if rustix::fs::flock(file, operation) == Err(Errno::WOULDBLOCK) {
        return Err(Error::sharing_violation(subject()));
    }
    Ok(())
}

pub(super) fn set_inheritable(file: &File, inheritable: bool) -> Result<()> {
    let flags = if inheritable { rustix::io::FdFlags::empty() } else { rustix::io::FdFlags::CLOEXEC };
    rustix::io::fcntl_setfd(file, flags)
        .map_err(|e| Error::io("set whether a handle is inherited".to_owned(), e.into()))
}

/// Makes a file that began to grow as short as it was, unless somebody else has it mapped. Nobody can map it
/// after, until [`while_unmapped`] is done.
fn cut(file: &File, length: u64) {
    if have_alone(file) {
        let _ = file.set_len(length);
    }
}

/// Has the file for this description alone, if nobody else has it mapped.
fn have_alone(file: &File) -> bool {
    // Other errors: a file system without such locks, where nobody can tell.
    !matches!(lock::try_lock(file, MAPPED, LockMode::Exclusive), Ok(false))
}

pub(crate) fn while_unmapped(file: &File, act: impl FnOnce()) {
    if have_alone(file) {
        act();
        let _ = lock::try_lock(file, MAPPED, LockMode::Shared);
    }
}

pub(crate) fn is_file_at(file: &File, path: &Path) -> bool {
    FileId::of(file).and_then(|id| id.is_at(path)).unwrap_or(false)
}

/// Ends what [`empty_file`] began: others may map the file from here on.
pub(crate) fn grow_file(
    file: &File,
    length: u64,
    capacity: u64,
    delay: bool,
    subject: &Subject,
) -> Result<()> {
    let grown = size_file(file, length, capacity - length, delay, subject);
    if grown.is_err() {
        // What was there stays as it was. A file that was emptied is still kept from others after.
        cut(file, length);
    }
    grown?;
    share_mapped(file, || subject.clone())
}

/// The path that leads to an open file.
pub(super) fn path_of(file: &File) -> Result<PathBuf> {
    os::path_of(file).ok_or_else(|| {
        Error::unsupported(
            "a named map needs a file that has a path; this one has none, or was deleted. Map it without a name",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_not_grow_is_not_cut_where_another_has_mapped_it() {
        let path = std::env::temp_dir().join(format!("handover-grow-cuts-{}", std::process::id()));
        std::fs::write(&path, [0; 10_000]).unwrap();
        let open = || open_file(&path, FileMode::Open, true, None).unwrap().0;
        let (file, other) = (open(), open());
        // As if it had grown from 5 bytes to 10,000 before the disk was full.
        let grow = || grow_file(&file, 5, i64::MAX as u64, false, &Subject::Anonymous);
        assert!(grow().is_err());
        assert_eq!(file.metadata().unwrap().len(), 10_000);
        drop(other);
        assert!(grow().is_err());
        assert_eq!(file.metadata().unwrap().len(), 5);
        std::fs::remove_file(path).unwrap();
    }
}
