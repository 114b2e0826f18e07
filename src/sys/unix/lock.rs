//! Locks that the kernel releases when their holder dies.
//!
//! Byte ranges under open file descriptions (`F_OFD_SETLK`): they belong to the description, so that they
//! survive the closing of another descriptor of the same file (classic `fcntl` locks don't) and conflict
//! between two handles of one process. They lie at 2⁶² and above, where no data and no other program's locks
//! are. The directory's lock is a `flock`, because exclusive ranges need a descriptor that can write.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use super::os;
use crate::error::{Error, Result, Subject};
use crate::sys::held::HeldTable;
use crate::sys::{LockId, LockMode};

const BASE: u64 = 1 << 62;

// The systems differ in the type of these constants.
const RDLCK: libc::c_short = libc::F_RDLCK as libc::c_short;
const WRLCK: libc::c_short = libc::F_WRLCK as libc::c_short;
const UNLCK: libc::c_short = libc::F_UNLCK as libc::c_short;

/// Held shared by every holder of a name.
pub(super) const LIFE: LockId = LockId(0);

fn range(id: LockId, kind: libc::c_short) -> libc::flock {
    // SAFETY: `flock` is a plain C struct for which all zeroes is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = (BASE + id.0) as libc::off_t;
    range.l_len = 1;
    range
}

fn set(file: &File, id: LockId, kind: libc::c_short) -> io::Result<bool> {
    let range = range(id, kind);
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed, and `range` is a valid `flock`.
        if unsafe { libc::fcntl(file.as_raw_fd(), os::OFD_SETLK, &raw const range) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

/// Takes the lock if nobody holds a conflicting one.
pub(super) fn try_lock(file: &File, id: LockId, mode: LockMode) -> io::Result<bool> {
    set(
        file,
        id,
        match mode {
            LockMode::Shared => RDLCK,
            LockMode::Exclusive => WRLCK,
        },
    )
}

/// Whether anybody but this description holds the lock in any way. Works on a read-only descriptor too.
pub(super) fn is_held(file: &File, id: LockId) -> io::Result<bool> {
    let mut range = range(id, WRLCK);
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `range` is a valid `flock`.
    if unsafe { libc::fcntl(file.as_raw_fd(), os::OFD_GETLK, &raw mut range) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(range.l_type != UNLCK)
}

/// The locks that one handle holds.
#[derive(Debug, Default)]
pub(super) struct RangeLocks {
    held: HeldTable<()>,
    /// For handles without a name: a description of its own, opened when first needed.
    file: OnceLock<File>,
}

impl RangeLocks {
    /// For a handle without a name: `own` is another description of its file, if there is one already.
    pub(super) fn with_file(own: Option<File>) -> Self {
        Self { held: HeldTable::default(), file: own.map_or_else(OnceLock::new, OnceLock::from) }
    }

    pub(super) fn own_file(&self, of: &File) -> Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = os::reopen(of).map_err(|e| Error::Io {
            doing: "open a map's file once more for its locks".to_owned(),
            source: e,
        })?;
        Ok(self.file.get_or_init(|| file))
    }

    pub(super) fn try_lock(&self, file: &File, id: LockId, mode: LockMode) -> Result<bool> {
        self.held.try_lock(id, mode, || {
            let got = try_lock(file, id, mode).map_err(|e| match e.raw_os_error() {
                Some(libc::EBADF) => Error::denied(
                    Subject::Anonymous,
                    "this handle can't write, and the lock of writers needs that; open the map read-write",
                ),
                _ => Error::Io { doing: "lock a map".to_owned(), source: e },
            })?;
            Ok(got.then_some(()))
        })
    }

    pub(super) fn unlock(&self, file: &File, id: LockId) {
        self.held.unlock(id, |()| {
            // An unlock of a range that is held can't fail.
            let _ = set(file, id, UNLCK);
        });
    }
}
