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
use crate::sys::{LockId, LockMode};

const BASE: u64 = 1 << 62;

fn range(id: LockId, kind: libc::c_int) -> libc::flock {
    // SAFETY: `flock` is a plain C struct for which all zeroes is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = (BASE + id.0) as libc::off_t;
    range.l_len = 1;
    range
}

fn set(file: &File, id: LockId, kind: libc::c_int) -> io::Result<bool> {
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
            LockMode::Shared => libc::F_RDLCK,
            LockMode::Exclusive => libc::F_WRLCK,
        },
    )
}

/// Whether anybody but this description holds the lock in any way. Works on a read-only descriptor too.
pub(super) fn is_held(file: &File, id: LockId) -> io::Result<bool> {
    let mut range = range(id, libc::F_WRLCK);
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `range` is a valid `flock`.
    if unsafe { libc::fcntl(file.as_raw_fd(), os::OFD_GETLK, &raw mut range) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::from(range.l_type) != libc::F_UNLCK)
}

/// The locks that one handle holds, on a description of its own, opened when first needed.
///
/// The kernel sees all threads of a handle as one owner; the table keeps them apart.
#[derive(Debug, Default)]
pub(super) struct RangeLocks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    file: Option<LockFile>,
    held: Vec<Held>,
    generation: u32,
}

#[derive(Debug)]
struct Held {
    id: LockId,
    mode: LockMode,
    count: u32,
}

impl State {
    /// The file for locks of the file `of`; after a fork a new one, and an empty table.
    fn file(&mut self, of: &File) -> Result<&File> {
        let generation = fork_generation();
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
        if self.file.is_none() {
            let file = os::reopen(of).map_err(|e| Error::Io {
                doing: "open a map's file once more for its locks".to_owned(),
                source: e,
            })?;
            self.file = Some(LockFile::new(file));
        }
        self.file.as_ref().map(LockFile::file).ok_or_else(|| Error::unsupported("no file for locks"))
    }
}

impl RangeLocks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock(&self, of: &File, id: LockId, mode: LockMode) -> Result<bool> {
        let mut state = self.state();
        state.file(of)?;
        let State { file: Some(file), held, .. } = &mut *state else { return Ok(false) };
        if let Some(entry) = held.iter_mut().find(|entry| entry.id == id) {
            let shared = entry.mode == LockMode::Shared && mode == LockMode::Shared;
            entry.count += u32::from(shared);
            return Ok(shared);
        }
        let got = try_lock(file.file(), id, mode).map_err(|e| match e.raw_os_error() {
            Some(libc::EBADF) => Error::unsupported(
                "writing through a handle that was opened for reading only; open the map read-write",
            ),
            _ => Error::Io { doing: "lock a map".to_owned(), source: e },
        })?;
        if got {
            held.push(Held { id, mode, count: 1 });
        }
        Ok(got)
    }

    pub(super) fn unlock(&self, id: LockId) {
        let mut state = self.state();
        if state.generation != fork_generation() {
            return;
        }
        let State { file: Some(file), held, .. } = &mut *state else { return };
        if let Some(at) = held.iter().position(|entry| entry.id == id) {
            held[at].count -= 1;
            if held[at].count == 0 {
                held.swap_remove(at);
                // An unlock of a range that is held can't fail.
                let _ = set(file.file(), id, libc::F_UNLCK);
            }
        }
    }

    /// Whether another description than this handle's holds the lock in any way.
    pub(super) fn is_held_elsewhere(&self, of: &File, id: LockId) -> Result<bool> {
        is_held(self.state().file(of)?, id)
            .map_err(|e| Error::Io { doing: "ask who holds a lock".to_owned(), source: e })
    }
}
