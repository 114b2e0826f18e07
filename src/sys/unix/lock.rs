//! Locks that the kernel releases when their holder dies.
//!
//! Byte ranges under open file descriptions (`F_OFD_SETLK`): they belong to the description. So they survive
//! the closing of another descriptor of the same file (classic `fcntl` locks don't), and they conflict
//! between two handles of one process. They lie at 2⁶² and above, where no data and no other program's locks
//! are.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::fork::LockFile;
use super::os;
use crate::error::{Error, Result};
use crate::steps::{self, Fault};
use crate::sys::asked::{LockId, LockMode};
use crate::sys::held::HeldTable;
use crate::sys::per_process::ForkMutex;

const BASE: u64 = 1 << 62;

// The systems differ in the type of these constants.
const RDLCK: libc::c_short = libc::F_RDLCK as libc::c_short;
const WRLCK: libc::c_short = libc::F_WRLCK as libc::c_short;
const UNLCK: libc::c_short = libc::F_UNLCK as libc::c_short;

/// Every holder of a name has this shared.
pub(super) const LIFE: LockId = LockId(0);

/// On a user's file: shared by everyone who maps it, exclusive for whoever empties it.
pub(super) const MAPPED: LockId = LockId(2);

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

/// Takes the lock that shows a living holder.
pub(super) fn try_hold(file: &File) -> io::Result<bool> {
    set(file, LIFE, RDLCK)
}

/// Claims a name: takes its lock exclusively, which is granted where no other description has it. In one step
/// where this description is a holder's.
pub(super) fn claim(file: &File) -> io::Result<bool> {
    if steps::is_faulty(Fault::AsksInsteadOfClaiming) {
        return is_held(file, LIFE).map(|is_held| !is_held);
    }
    set(file, LIFE, WRLCK)
}

/// Releases the lock of a holder or a claimant.
pub(super) fn let_go(file: &File) {
    // Unlocking what is held can't fail, and unlocking what is not does nothing.
    let _ = set(file, LIFE, UNLCK);
}

/// Whether a description other than this one holds the lock in any way. Works on a read-only descriptor too.
pub(super) fn is_held(file: &File, id: LockId) -> io::Result<bool> {
    let mut range = range(id, WRLCK);
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed, and `range` is a valid `flock`.
        if unsafe { libc::fcntl(file.as_raw_fd(), os::OFD_GETLK, &raw mut range) } == 0 {
            return Ok(range.l_type != UNLCK);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The locks that one handle holds. They lie on a separate description, opened when first needed. A forked
/// child starts with none, on another description.
#[derive(Debug, Default)]
pub(super) struct RangeLocks(ForkMutex<State>);

#[derive(Debug, Default)]
struct State {
    file: Option<LockFile>,
    held: HeldTable<()>,
}

impl State {
    /// The descriptor for locks, which `open` opens when it is first needed, and the locks held.
    fn opened(&mut self, open: impl FnOnce() -> io::Result<File>) -> Result<(&File, &mut HeldTable<()>)> {
        let file = match self.file.take() {
            Some(file) => file,
            None => LockFile::open(open).map_err(|e| match e.kind() {
                io::ErrorKind::PermissionDenied => Error::unsupported(e),
                _ => Error::io("open a map's file once more for its locks".to_owned(), e),
            })?,
        };
        Ok((self.file.insert(file).file(), &mut self.held))
    }
}

impl RangeLocks {
    /// `own` is another description of the handle's file, if one exists already.
    pub(super) fn with_file(own: Option<File>) -> Self {
        let file = own.and_then(|file| LockFile::open(|| Ok(file)).ok());
        Self(ForkMutex::new(State { file, held: HeldTable::default() }))
    }

    pub(super) fn try_lock(
        &self,
        open: impl FnOnce() -> io::Result<File>,
        id: LockId,
        mode: LockMode,
    ) -> Result<bool> {
        let mut state = self.0.lock();
        let (file, held) = state.opened(open)?;
        held.try_lock(id, mode, || {
            let got = try_lock(file, id, mode).map_err(|e| match e.raw_os_error() {
                Some(libc::EBADF) => {
                    Error::unsupported("this handle was opened for reading only; open the map read-write")
                }
                _ => Error::io("lock a map".to_owned(), e),
            })?;
            Ok(got.then_some(()))
        })
    }

    pub(super) fn unlock(&self, id: LockId) {
        let mut state = self.0.lock();
        let State { file: Some(file), held } = &mut *state else { return };
        held.unlock(id, |()| {
            // Unlocking a range that is held can't fail.
            let _ = set(file.file(), id, UNLCK);
        });
    }

    /// Whether a description other than this handle's holds the lock in any way.
    pub(super) fn is_held_elsewhere(
        &self,
        open: impl FnOnce() -> io::Result<File>,
        id: LockId,
    ) -> Result<bool> {
        is_held(self.0.lock().opened(open)?.0, id)
            .map_err(|e| Error::io("ask who holds a lock".to_owned(), e))
    }
}
