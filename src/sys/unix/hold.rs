//! What keeps a name: a lock on its file for locks, which the kernel drops when the holder ends.
//!
//! Relies on `dirs`, `fork`, `lock` and `record`; `look` and `make` open a name's files, `names` makes holds
//! of them, `section` keeps those.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::dirs::{ScopeDir, open_any};
use super::file::set_inheritable;
use super::fork;
use super::inspect::FileId;
use super::lock::{self, LIFE};
use super::os;
use super::record::Record;
use crate::error::{Error, Result};
use crate::steps::{self, Fault, Step};
use crate::terms::{Scope, Subject};

/// The file whose byte 2⁶² tells whether a name has a holder.
#[derive(Debug)]
pub(super) enum ForLocks {
    /// The map's file itself: everybody who may open it may also write to it, so nobody is locked out by who
    /// may only read.
    Map,
    /// A file beside it that only the owner may open.
    Beside(File, Token),
    /// A file beside it that this user may not open: whoever may only read another user's map takes no lock,
    /// and keeps no name.
    Closed,
}

/// The number in the name of a file for locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(pub(super) u64);

impl Token {
    pub(super) const SUFFIX: &str = ".lock";

    pub(super) fn file_name(self) -> String {
        format!("{:016x}{}", self.0, Self::SUFFIX)
    }
}

/// The files of a name.
#[derive(Debug)]
pub(super) struct NameFiles {
    /// The map's file. Never mapped: a mapping would keep the description, and with it the lock.
    pub(super) map: File,
    pub(super) id: FileId,
    /// Whether `map` was opened for writing too.
    pub(super) writes: bool,
    pub(super) for_locks: ForLocks,
}

impl NameFiles {
    /// The file whose byte 2⁶² is asked.
    pub(super) fn life(&self) -> Option<&File> {
        match &self.for_locks {
            ForLocks::Map => Some(&self.map),
            ForLocks::Beside(file, _) => Some(file),
            ForLocks::Closed => None,
        }
    }

    /// Whether this process can take the exclusive lock. Whoever may not write to a map's file may not write
    /// to the file for locks beside it either: it is a guest, or the mount is read-only.
    pub(super) fn may_claim(&self) -> bool {
        self.writes && !matches!(self.for_locks, ForLocks::Closed)
    }

    /// Takes the lock that shows a living holder, if nobody has claimed the name.
    pub(super) fn try_hold(&self) -> io::Result<bool> {
        let Some(life) = self.life() else { return Ok(true) };
        if !lock::try_hold(life)? {
            return Ok(false);
        }
        if matches!(self.for_locks, ForLocks::Beside(..)) {
            // For those who can't ask the file for locks. Nobody has this one exclusively who keeps the
            // rules; and it changes nothing for those who can.
            let _ = lock::try_hold(&self.map);
        }
        Ok(true)
    }

    /// Releases the locks. Does not leave that to closing: a program that another thread is about to start
    /// has the descriptions too, until its `exec`.
    pub(super) fn let_go(&self) {
        if let Some(life) = self.life() {
            lock::let_go(life);
        }
        if matches!(self.for_locks, ForLocks::Beside(..)) {
            lock::let_go(&self.map);
        }
    }

    /// Claims the file and takes the name from it. Returns whether the file had the name.
    pub(super) fn claim_and_condemn(&self, dir: &ScopeDir, file_name: &str) -> bool {
        let is_claimed =
            self.may_claim() && self.life().is_some_and(|life| lock::claim(life).unwrap_or(false));
        if !is_claimed {
            return false;
        }
        let condemned = self.condemn(dir, file_name);
        self.let_go();
        condemned.unwrap_or(false)
    }

    /// Takes the name from this file, if it leads here, and says whether it did. Requires the claim, so that
    /// nothing changes what the name leads to.
    ///
    /// Where the name can't be taken, its files stay.
    pub(super) fn condemn(&self, dir: &ScopeDir, file_name: &str) -> io::Result<bool> {
        let lock_file = match &self.for_locks {
            ForLocks::Beside(file, token) => Some((FileId::of(file)?, token.file_name())),
            ForLocks::Map | ForLocks::Closed => None,
        };
        // A claim counts only of the file that others ask. A program that closes all descriptors has another
        // one under the number; and a file for locks that somebody deleted may have been made anew.
        let is_claimed = match &lock_file {
            Some((id, name)) => dir.id_at(name)? == Some(*id),
            None => FileId::of(&self.map)? == self.id,
        };
        if !is_claimed && !steps::is_faulty(Fault::UnlinksWithoutLooking) {
            return Ok(false);
        }
        let is_here = dir.id_at(file_name)? == Some(self.id);
        if is_here || steps::is_faulty(Fault::UnlinksWithoutLooking) {
            match dir.unlink(file_name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => {
                    // Only the owner of the directory may do that. Joiners look at the mark.
                    if matches!(e, Errno::ACCESS | Errno::PERM | Errno::ROFS) && self.writes {
                        let _ = Record::mark_dead(&self.map);
                    }
                    return Err(e.into());
                }
            }
        }
        steps::reach(Step::NameUnlinked);
        if let Some((_, name)) = lock_file {
            let _ = dir.unlink(&name);
        }
        Ok(is_here)
    }
}

/// Keeps a name: as long as this lives, the name leads to its file.
#[derive(Debug)]
#[must_use = "the name goes with it"]
pub(super) struct NameHold(ManuallyDrop<Holding>);

/// What a [`NameHold`] has, until it ends.
#[derive(Debug)]
struct Holding {
    files: NameFiles,
    directory: PathBuf,
    scope: Scope,
    owner: u32,
    file_name: String,
    /// Forks until it was made, if no child had its descriptors then.
    forks: Option<u32>,
    lost: AtomicBool,
}

impl NameHold {
    /// With `inherited` programs that this process starts have the descriptors too.
    pub(super) fn new(dir: &ScopeDir, file_name: &str, files: NameFiles, inherited: bool) -> Self {
        fork::notice_forks();
        // While the process forks, nobody can tell whether the child has it already.
        let forks = (!inherited).then(fork::forks).filter(|forks| forks.is_multiple_of(2));
        Self(ManuallyDrop::new(Holding {
            files,
            directory: dir.path().to_owned(),
            scope: dir.scope(),
            owner: dir.owner(),
            file_name: file_name.to_owned(),
            forks,
            lost: AtomicBool::new(false),
        }))
    }

    /// Lets programs that this process starts have the descriptors too.
    pub(super) fn let_inherit(&self) -> Result<()> {
        set_inheritable(&self.0.files.map, true)?;
        match &self.0.files.for_locks {
            ForLocks::Beside(file, _) => set_inheritable(file, true),
            ForLocks::Map | ForLocks::Closed => Ok(()),
        }
    }

    /// The map's file, for everything but mapping it.
    pub(super) fn file(&self) -> &File {
        &self.0.files.map
    }

    /// Whether this user may write to the map's file.
    pub(super) fn may_write(&self) -> bool {
        self.0.files.writes
    }

    /// The map's file under a description of its own, to be mapped.
    pub(super) fn open_map(&self, write: bool) -> io::Result<File> {
        let files = &self.0.files;
        open_same(&self.0.path(), &files.map, files.id, write)
    }

    /// The file for locks under a description of its own, for the locks of values.
    pub(super) fn open_for_locks(&self, write: bool) -> io::Result<File> {
        match &self.0.files.for_locks {
            ForLocks::Map => self.open_map(write),
            ForLocks::Beside(file, token) => {
                open_same(&self.0.directory.join(token.file_name()), file, FileId::of(file)?, write)
            }
            ForLocks::Closed => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "whoever may only read another user's map takes no locks",
            )),
        }
    }

    /// Whether this is another user's map, of which this user may take no lock.
    pub(super) fn is_guest(&self) -> bool {
        matches!(self.0.files.for_locks, ForLocks::Closed)
    }

    /// Whether the map of a guest has a holder.
    pub(super) fn has_holder(&self) -> Result<bool> {
        lock::is_held(&self.0.files.map, LIFE).map_err(|e| Error::io("ask who holds a map".to_owned(), e))
    }

    /// Fails once the path leads to another file, or to none. A guest is told apart whether the last holder
    /// has gone, which is no loss.
    pub(super) fn check(&self, subject: &Subject) -> Result<()> {
        if self.0.lost.load(Ordering::Relaxed) || self.0.is_lost() {
            // Asked second: who ends a name lets go of this lock before the path.
            if self.is_guest() && !self.has_holder()? {
                return Err(Error::host_gone(subject.clone()));
            }
            // It stays lost, even if somebody moves the file back.
            self.0.lost.store(true, Ordering::Relaxed);
            return Err(Error::name_lost(subject.clone(), self.0.directory.display()));
        }
        Ok(())
    }
}

impl Drop for NameHold {
    /// No fork comes in between: a child would have a lock that is about to go.
    fn drop(&mut self) {
        // SAFETY: it is not used after this.
        let holding = unsafe { ManuallyDrop::take(&mut self.0) };
        steps::reach(Step::NameLetGo);
        fork::without_forks(|| {
            let is_shared = holding.forks != Some(fork::forks());
            if !is_shared || steps::is_faulty(Fault::ReleasesBesideChildren) {
                holding.end();
            } else {
                holding.end_beside_children();
            }
        });
    }
}

impl Holding {
    /// The whole path of the map's file.
    fn path(&self) -> PathBuf {
        self.directory.join(&self.file_name)
    }

    fn is_lost(&self) -> bool {
        match rustix::fs::lstat(self.path()) {
            Ok(there) => FileId::from_stat(&there) != self.files.id,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                // This process may have another root by now, in which the path says nothing. The file still
                // has a name then.
                let is_reachable = self.directory.parent().is_some_and(Path::exists);
                let links = rustix::fs::fstat(&self.files.map).map_or(1, |stat| stat.st_nlink);
                links == 0 || is_reachable
            }
            // It can't be looked at.
            Err(_) => false,
        }
    }

    /// Turns the lock of a holder into the claim, and condemns the file if there is no other holder.
    fn end(&self) {
        let Some(life) = self.files.life() else { return };
        // Two that close at once both see each other the first time.
        let is_claimed = self.files.may_claim()
            && (lock::claim(life).unwrap_or(false) || {
                steps::reach(Step::NameRefused);
                self.files.let_go();
                steps::reach(Step::NameReleased);
                !steps::is_faulty(Fault::ClaimsOnce) && lock::claim(life).unwrap_or(false)
            });
        if is_claimed {
            steps::reach(Step::NameClaimed);
            if matches!(self.files.for_locks, ForLocks::Beside(..)) {
                // Guests see no holder before they see no path.
                lock::let_go(&self.files.map);
            }
            match ScopeDir::open_again(&self.directory, self.scope, self.owner) {
                // What can't be removed now is a leftover.
                Ok(Some(dir)) => drop(self.files.condemn(&dir, &self.file_name)),
                Ok(None) => {}
                Err(_) => self.condemn_by_path(),
            }
        }
        self.files.let_go();
    }

    /// Takes the name where the directory can't be opened: this process may have no descriptor left.
    fn condemn_by_path(&self) {
        let unlink = |path: &Path, id: FileId| {
            if id.is_at(path).unwrap_or(false) {
                let _ = rustix::fs::unlink(path);
            }
        };
        if FileId::of(&self.files.map).ok() != Some(self.files.id) {
            return;
        }
        unlink(&self.path(), self.files.id);
        if let ForLocks::Beside(file, token) = &self.files.for_locks
            && let Ok(id) = FileId::of(file)
        {
            unlink(&self.directory.join(token.file_name()), id);
        }
    }

    /// The same without touching the lock, which children of this process may have too: they are holders.
    fn end_beside_children(self) {
        let Self { files, directory, scope, owner, file_name, .. } = self;
        let id = files.id;
        let token = match &files.for_locks {
            ForLocks::Map => None,
            ForLocks::Beside(_, token) => Some(*token),
            ForLocks::Closed => return,
        };
        drop(files);
        let Ok(Some(dir)) = ScopeDir::open_again(&directory, scope, owner) else { return };
        let Ok(map) = dir.open_file(&file_name, true) else { return };
        if FileId::of(&map).ok() != Some(id) {
            return;
        }
        let for_locks = match token {
            None => ForLocks::Map,
            Some(token) => match dir.open_file(&token.file_name(), true) {
                Ok(file) => ForLocks::Beside(file, token),
                Err(_) => return,
            },
        };
        NameFiles { map, id, writes: true, for_locks }.claim_and_condemn(&dir, &file_name);
    }
}

/// The file `same` under a description of its own: by its path, or, where that leads elsewhere by now, by its
/// descriptor.
fn open_same(path: &Path, same: &File, id: FileId, write: bool) -> io::Result<File> {
    match open_any(CWD, path, write) {
        Ok(file) if FileId::of(&file)? == id => Ok(file),
        Err(e @ (Errno::MFILE | Errno::NFILE)) => Err(e.into()),
        _ => os::reopen(same, write),
    }
}
