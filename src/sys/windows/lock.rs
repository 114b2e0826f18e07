//! Locks that the kernel releases when their holder dies.
//!
//! - A map on a file: byte ranges of the file (`LockFileEx`) at 2⁶² and above, where no data and no other
//!   program's locks are, under a handle that serves nothing else: such locks belong to a handle, and the
//!   kernel lets go of them when it is closed.
//! - A named map in memory: an event per lock, `Local\handover.lock.HASH.ID` (or `Global\`), whose *existence*
//!   is the lock. Who creates it has the lock and lets go by closing it; others are told that they may not
//!   open it, so that nobody keeps it alive by looking. A mutex would belong to a thread, which may end or
//!   hand the lock's guard to another. There is no shared way to hold an event: shared holders of different
//!   handles exclude each other.
//! - An anonymous map has one handle, and the table of locks held is enough.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::ERROR_LOCK_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::{
    LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx,
};
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};

use super::{file, kernel, prefix};
use crate::error::{Error, Result, Subject};
use crate::map::MapName;
use crate::sys::held::HeldTable;
use crate::sys::{LockId, LockMode, name_hash};

const BASE: u64 = 1 << 62;

/// The locks of one section.
#[derive(Debug)]
pub(super) struct SectionLocks {
    held: HeldTable<Taken>,
    means: Means,
}

#[derive(Debug)]
enum Means {
    /// Nobody but this handle.
    Table,
    /// Events with names that start like this.
    Events(String),
    /// Ranges of a file, opened when first needed: from the section's own handle, or by its path where the
    /// section was opened by name.
    Ranges { path: Option<PathBuf>, file: OnceLock<File> },
}

/// What has to be let go of.
#[derive(Debug)]
enum Taken {
    Nothing,
    Event(OwnedHandle),
    Range,
}

impl SectionLocks {
    pub(super) fn of_one_handle() -> Self {
        Self::with(Means::Table)
    }

    /// Hashed, because a name may be as long as the kernel takes. Two names of one hash would share locks,
    /// which costs waiting only.
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
        Self { held: HeldTable::default(), means }
    }

    /// `mapped` is the section's own handle to its file, if it has one.
    pub(super) fn try_lock(&self, mapped: Option<&File>, id: LockId, mode: LockMode) -> Result<bool> {
        self.held.try_lock(id, mode, || match &self.means {
            Means::Table => Ok(Some(Taken::Nothing)),
            Means::Events(prefix) => kernel::create_token(&kernel::wide(&format!("{prefix}.{}", id.0)))
                .map(|event| event.map(Taken::Event))
                .map_err(|e| Error::Io { doing: "lock a map".to_owned(), source: e }),
            Means::Ranges { path, file } => {
                let file = lock_file(file, mapped, path.as_ref())?;
                let got = lock_range(file, id, mode)
                    .map_err(|e| Error::Io { doing: "lock a map's file".to_owned(), source: e })?;
                Ok(got.then_some(Taken::Range))
            }
        })
    }

    pub(super) fn unlock(&self, id: LockId) {
        self.held.unlock(id, |taken| match (taken, &self.means) {
            (Taken::Event(event), _) => drop(event),
            (Taken::Range, Means::Ranges { file, .. }) => {
                if let Some(file) = file.get() {
                    unlock_range(file, id);
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

/// The first byte of a lock's range, in the form that the calls want.
fn range(id: LockId) -> OVERLAPPED {
    let at = BASE + id.0;
    OVERLAPPED {
        Anonymous: OVERLAPPED_0 {
            Anonymous: OVERLAPPED_0_0 { Offset: at as u32, OffsetHigh: (at >> 32) as u32 },
        },
        ..OVERLAPPED::default()
    }
}

fn lock_range(file: &File, id: LockId, mode: LockMode) -> io::Result<bool> {
    let mut range = range(id);
    let flags = LOCKFILE_FAIL_IMMEDIATELY
        | match mode {
            LockMode::Shared => 0,
            LockMode::Exclusive => LOCKFILE_EXCLUSIVE_LOCK,
        };
    // SAFETY: the handle is open as long as `file` is borrowed and was opened for calls that wait, so that
    // the kernel is done with `range` when the call returns.
    if unsafe { LockFileEx(file.as_raw_handle(), flags, 0, 1, 0, &raw mut range) } != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_LOCK_VIOLATION) => Ok(false),
        _ => Err(error),
    }
}

fn unlock_range(file: &File, id: LockId) {
    let mut range = range(id);
    // SAFETY: as for LockFileEx. An unlock of a range that is held can't fail.
    unsafe { UnlockFileEx(file.as_raw_handle(), 0, 1, 0, &raw mut range) };
}
