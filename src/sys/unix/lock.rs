//! Locks that the kernel releases when their holder dies.
//!
//! Byte ranges under open file descriptions (`F_OFD_SETLK`): they belong to the description, so that they
//! survive the closing of another descriptor of the same file (classic `fcntl` locks don't) and conflict
//! between two handles of one process. They lie at 2⁶² and above, where no data and no other program's locks
//! are. The directory's lock is a `flock`, because exclusive ranges need a descriptor that can write.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fork::{LockFile, fork_generation};
use super::os;
use crate::error::{Error, Result};
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

/// The locks that one handle holds, on a description of its own, opened when first needed.
#[derive(Debug, Default)]
pub(super) struct RangeLocks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    file: Option<LockFile>,
    held: HeldTable<()>,
    generation: u32,
}

impl State {
    /// The file for locks of the file `of`, and what is held; after a fork a new file, and nothing.
    fn of(&mut self, of: &File) -> Result<(&File, &HeldTable<()>)> {
        let generation = fork_generation();
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => LockFile::open(|| os::reopen(of)).map_err(|e| Error::Io {
                doing: "open a map's file once more for its locks".to_owned(),
                source: e,
            })?,
        };
        Ok((self.file.insert(file).file(), &self.held))
    }
}

impl RangeLocks {
    /// `own` is another description of the handle's file, if there is one already.
    pub(super) fn with_file(own: Option<File>) -> Self {
        let generation = fork_generation();
        Self(Mutex::new(State {
            file: own.and_then(|file| LockFile::open(|| Ok(file)).ok()),
            held: HeldTable::default(),
            generation,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock(&self, of: &File, id: LockId, mode: LockMode) -> Result<bool> {
        let mut state = self.state();
        let (file, held) = state.of(of)?;
        held.try_lock(id, mode, || {
            let got = try_lock(file, id, mode).map_err(|e| match e.raw_os_error() {
                Some(libc::EBADF) => Error::unsupported(
                    "writing through a handle that was opened for reading only; open the map read-write",
                ),
                _ => Error::Io { doing: "lock a map".to_owned(), source: e },
            })?;
            Ok(got.then_some(()))
        })
    }

    pub(super) fn unlock(&self, id: LockId) {
        let state = self.state();
        if state.generation != fork_generation() {
            return;
        }
        if let Some(file) = &state.file {
            state.held.unlock(id, |()| {
                // An unlock of a range that is held can't fail.
                let _ = set(file.file(), id, UNLCK);
            });
        }
    }

    /// Whether another description than this handle's holds the lock in any way.
    pub(super) fn is_held_elsewhere(&self, of: &File, id: LockId) -> Result<bool> {
        is_held(self.state().of(of)?.0, id)
            .map_err(|e| Error::Io { doing: "ask who holds a lock".to_owned(), source: e })
    }
}
