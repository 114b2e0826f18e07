//! Locks that the kernel releases when their holder dies.
//!
//! - A map on a file: byte ranges of the file (`LockFileEx`) at 2⁶² and above, where no data and no other
//!   program's locks are, under a handle that serves nothing else: such locks belong to a handle, and the
//!   kernel releases them when it is closed. The only way to learn whether a range is held is to try to take
//!   it, and a handle is in its own way. So a shared holder also takes a *seat*, one byte of many for that
//!   lock, and asks for all seats but its own. For a moment, a process that asks holds what it asks for.
//! - A named map in memory: an event per lock, `Local\handover.lock.HASH.ID` (or `Global\`), whose
//!   *existence* is the lock. Its creator has the lock and releases it by closing the event. Others may not
//!   open it, so that nobody keeps it alive by looking. A mutex would belong to a thread, which may end or
//!   hand the lock's guard to another. Shared holders have handles to another event, `HASH.ID.shared`. To
//!   take the lock, a process first makes its own event and then looks for the other one. So of two that
//!   exclude each other, at least one sees the other's event and backs off.
//! - An anonymous map has only one handle, so the table of locks held is enough.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_LOCK_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::{
    LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx,
};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};

use super::naming::prefix;
use super::{file, kernel};
use crate::error::{Error, Result};
use crate::name::MapName;
use crate::name::name_hash;
use crate::sys::asked::{LockId, LockMode};
use crate::sys::held::HeldTable;
use crate::sys::per_process::ForkMutex;
use crate::terms::Subject;

const BASE: u64 = 1 << 62;

/// How many seats the shared holders of a lock have.
const SEATS: u64 = 1 << 40;

/// How often a shared lock is tried, 1 ms apart: a process that asks about it is in the way for a moment.
const TRIES: u32 = 5;

/// The locks of one section.
#[derive(Debug)]
pub(super) struct SectionLocks {
    held: ForkMutex<HeldTable<Taken>>,
    means: Means,
}

#[derive(Debug)]
enum Means {
    /// Excludes only within this handle.
    Table,
    /// Events with names that start like this.
    Events(String),
    /// Ranges of a file. Its handle is opened when first needed: from the section's own handle, or by path
    /// where the section was opened by name.
    Ranges { path: Option<PathBuf>, file: OnceLock<File> },
}

/// What must be released.
#[derive(Debug)]
enum Taken {
    Nothing,
    Event(OwnedHandle),
    /// With the seat of a shared holder.
    Range(Option<u64>),
}

impl SectionLocks {
    pub(super) fn of_one_handle() -> Self {
        Self::with(Means::Table)
    }

    /// Hashed, because a name may be as long as the kernel allows. Two names with one hash would share locks,
    /// which only costs waiting.
    pub(super) fn of_name(name: &MapName) -> Self {
        let prefix = prefix(name.scope());
        Self::with(Means::Events(format!("{prefix}handover.lock.{:032x}", name_hash(name.text()))))
    }

    pub(super) fn of_file() -> Self {
        Self::with(Means::Ranges { path: None, file: OnceLock::new() })
    }

    pub(super) fn of_path(path: PathBuf) -> Self {
        Self::with(Means::Ranges { path: Some(path), file: OnceLock::new() })
    }

    fn with(means: Means) -> Self {
        Self { held: ForkMutex::default(), means }
    }

    /// `mapped` is the section's own handle to its file, if it has one.
    pub(super) fn try_lock(&self, mapped: Option<&File>, id: LockId, mode: LockMode) -> Result<bool> {
        self.held.lock().try_lock(id, mode, || match &self.means {
            Means::Table => Ok(Some(Taken::Nothing)),
            Means::Events(prefix) => take_event(&tokens(prefix, id), mode)
                .map(|event| event.map(Taken::Event))
                .map_err(|e| Error::io("lock a map".to_owned(), e)),
            Means::Ranges { path, file } => take_range(lock_file(file, mapped, path.as_ref())?, id, mode)
                .map_err(|e| Error::io("lock a map's file".to_owned(), e)),
        })
    }

    /// Whether a handle other than this one holds the lock in any way.
    pub(super) fn is_held_elsewhere(&self, mapped: Option<&File>, id: LockId) -> Result<bool> {
        let failed = |e| Error::io("ask who holds a lock".to_owned(), e);
        let held = self.held.lock();
        match (held.get(id), &self.means) {
            (Some((LockMode::Exclusive, _)), _) | (_, Means::Table) => Ok(false),
            (Some((_, Taken::Event(event))), _) => {
                kernel::handle_count(event).map(|count| count > 1).map_err(failed)
            }
            (_, Means::Events(prefix)) => {
                let (exclusive, shared) = tokens(prefix, id);
                let exists = |name| kernel::token_exists(name).map_err(failed);
                Ok(exists(&exclusive)? || exists(&shared)?)
            }
            (own, Means::Ranges { path, file }) => {
                let file = lock_file(file, mapped, path.as_ref())?;
                match own {
                    Some((_, Taken::Range(Some(own)))) => {
                        let first = seat_at(id, 0);
                        let others = [(first, *own), (first + *own + 1, SEATS - *own - 1)];
                        for (at, len) in others.into_iter().filter(|(_, len)| *len > 0) {
                            if is_range_held(file, at, len).map_err(failed)? {
                                return Ok(true);
                            }
                        }
                        Ok(false)
                    }
                    _ => is_range_held(file, BASE + id.0, 1).map_err(failed),
                }
            }
        }
    }

    pub(super) fn unlock(&self, id: LockId) {
        self.held.lock().unlock(id, |taken| match (taken, &self.means) {
            (Taken::Event(event), _) => drop(event),
            (Taken::Range(seat), Means::Ranges { file, .. }) => {
                if let Some(file) = file.get() {
                    if let Some(seat) = seat {
                        unlock_range(file, seat_at(id, seat), 1);
                    }
                    unlock_range(file, BASE + id.0, 1);
                }
            }
            _ => {}
        });
    }
}

fn lock_file<'a>(
    cell: &'a OnceLock<File>,
    mapped: Option<&File>,
    path: Option<&PathBuf>,
) -> Result<&'a File> {
    if let Some(file) = cell.get() {
        return Ok(file);
    }
    let opened = match (mapped, path) {
        (Some(mapped), _) => file::reopen(mapped),
        (None, Some(path)) => file::open_for_locks(path),
        (None, None) => Err(io::ErrorKind::NotFound.into()),
    };
    let file = opened.map_err(|e| {
        let subject = path.map_or(Subject::Anonymous, |path| Subject::Path(path.clone()));
        Error::from_io("open once more, for its locks,", subject, e)
    })?;
    Ok(cell.get_or_init(|| file))
}

/// The names of the events that mark a lock as held exclusively, and shared.
fn tokens(prefix: &str, id: LockId) -> (Vec<u16>, Vec<u16>) {
    let name = format!("{prefix}.{}", id.0);
    (kernel::wide(&name), kernel::wide(&format!("{name}.shared")))
}

fn take_event((exclusive, shared): &(Vec<u16>, Vec<u16>), mode: LockMode) -> io::Result<Option<OwnedHandle>> {
    let (own, other) = match mode {
        LockMode::Shared => (Some(kernel::share_token(shared)?), exclusive),
        LockMode::Exclusive => (kernel::create_token(exclusive)?, shared),
    };
    match own {
        Some(own) if !kernel::token_exists(other)? => Ok(Some(own)),
        _ => Ok(None),
    }
}

fn take_range(file: &File, id: LockId, mode: LockMode) -> io::Result<Option<Taken>> {
    let at = BASE + id.0;
    if mode == LockMode::Exclusive {
        return Ok(lock_range(file, at, 1, mode)?.then_some(Taken::Range(None)));
    }
    for again in 0..TRIES {
        if again > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if lock_range(file, at, 1, mode)? {
            let seat = any_seat();
            match lock_range(file, seat_at(id, seat), 1, LockMode::Exclusive) {
                Ok(true) => return Ok(Some(Taken::Range(Some(seat)))),
                other => {
                    unlock_range(file, at, 1);
                    other?;
                }
            }
        }
    }
    Ok(None)
}

/// The byte of a seat. The seats of different locks lie apart: there are fewer than 2²⁰ locks.
fn seat_at(id: LockId, seat: u64) -> u64 {
    BASE + (id.0 + 1) * SEATS + seat
}

/// A seat that hardly anybody else has: derived from this process's id and a count within the process.
fn any_seat() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    (u64::from(std::process::id()) << 8 | count & 0xFF) % SEATS
}

/// A range's first byte, in the form that the calls take.
fn range(at: u64) -> OVERLAPPED {
    OVERLAPPED {
        Anonymous: OVERLAPPED_0 {
            Anonymous: OVERLAPPED_0_0 { Offset: at as u32, OffsetHigh: (at >> 32) as u32 },
        },
        ..OVERLAPPED::default()
    }
}

fn lock_range(file: &File, at: u64, len: u64, mode: LockMode) -> io::Result<bool> {
    let mut range = range(at);
    let flags = LOCKFILE_FAIL_IMMEDIATELY
        | match mode {
            LockMode::Shared => 0,
            LockMode::Exclusive => LOCKFILE_EXCLUSIVE_LOCK,
        };
    // SAFETY: the handle is open as long as `file` is borrowed. It was opened for synchronous calls, so the
    // kernel is done with `range` when the call returns.
    let got =
        unsafe { LockFileEx(file.as_raw_handle(), flags, 0, len as u32, (len >> 32) as u32, &raw mut range) };
    if got != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_LOCK_VIOLATION) => Ok(false),
        _ => Err(error),
    }
}

fn unlock_range(file: &File, at: u64, len: u64) {
    let mut range = range(at);
    // SAFETY: as for LockFileEx. Unlocking a range that is held can't fail.
    unsafe { UnlockFileEx(file.as_raw_handle(), 0, len as u32, (len >> 32) as u32, &raw mut range) };
}

/// Whether a lock lies in a range, which must not be this handle's.
fn is_range_held(file: &File, at: u64, len: u64) -> io::Result<bool> {
    let free = lock_range(file, at, len, LockMode::Exclusive)?;
    if free {
        unlock_range(file, at, len);
    }
    Ok(!free)
}
