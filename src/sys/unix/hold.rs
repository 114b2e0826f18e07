//! What keeps a name: a lock on its file, which the kernel drops when the holder ends.
//!
//! Relies on `dirs` and `lock`; `names` makes holds, `section` keeps them.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::dirs::ScopeDir;
use super::inspect::FileId;
use super::lock::{self, LIFE};
use crate::terms::Scope;

/// Keeps a name: as long as this lives, the name leads to its file.
#[derive(Debug)]
#[must_use = "the name goes with it"]
pub(super) struct NameHold {
    /// Carries the shared lock that shows a living holder. Never mapped.
    lock_file: Option<File>,
    directory: PathBuf,
    scope: Scope,
    file_name: String,
    id: FileId,
}

impl NameHold {
    pub(super) fn new(dir: &ScopeDir, file_name: String, lock_file: File, id: FileId) -> Self {
        Self {
            lock_file: Some(lock_file),
            directory: dir.path().to_owned(),
            scope: dir.scope(),
            file_name,
            id,
        }
    }
}

impl Drop for NameHold {
    fn drop(&mut self) {
        // Without the directory (removed, or no longer ours) this only releases the lock: the name has no
        // holder then, and the next operation on the scope deletes the file.
        let dir = ScopeDir::open_again(self.directory.clone(), self.scope);
        let locked = dir.as_ref().ok().map(ScopeDir::lock);
        self.lock_file = None;
        if let (Ok(dir), Some(Ok(Some(_lock)))) = (&dir, &locked)
            && let Ok(file) = open_file(dir, &self.file_name, false)
            && FileId::of(&file).is_ok_and(|id| id == self.id)
            // A forked child shares the description just closed, and with it the lock.
            && lock::is_held(&file, LIFE).is_ok_and(|held| !held)
        {
            let _ = rustix::fs::unlinkat(dir.file(), &self.file_name, AtFlags::empty());
        }
    }
}

/// Opens a file of the directory, whatever it is.
pub(super) fn open_file(dir: &ScopeDir, name: &str, write: bool) -> rustix::io::Result<File> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    // NONBLOCK: a planted FIFO must not block.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir.file(), name, flags, Mode::empty()).map(File::from)
}
