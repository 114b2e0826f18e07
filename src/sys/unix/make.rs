//! Making the file of a name: complete before anybody can see it, then linked without replacing anything.
//!
//! Where the system has files without a name, the new file is one until then, and a creator that dies leaves
//! nothing. Elsewhere it is `.new-RANDOM`, which a sweep removes. Relies on `dirs`, `hold` and `lock`; `look`
//! and `names` rely on it.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::dirs::ScopeDir;
use super::hold::{ForLocks, NameFiles, Token};
use super::inspect::FileId;
use super::lock;
use super::os;
use super::size::size_limit;
use crate::steps::{self, Fault, Step};

pub(super) const NEW: &str = ".new-";

/// A number that no other process is likely to have; not 0.
fn random() -> u64 {
    // Each of these has keys of its own, from the system's source of random numbers. A forked child continues
    // its parent's: so nothing here depends on their being different.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish().max(1)
}

/// A name in the directory of a file that is not to stay. Unlinked on drop, which comes before the file's
/// locks go: until then every sweep leaves the file alone.
struct OwnName<'a> {
    dir: &'a ScopeDir,
    name: Option<String>,
}

impl Drop for OwnName<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.dir.unlink(name);
        }
    }
}

/// A file that is being made.
struct NewFile<'a> {
    /// Its name until it gets its own.
    temporary: OwnName<'a>,
    file: File,
}

/// Whether links have been refused to files without a name.
static ONLY_NAMED: AtomicBool = AtomicBool::new(false);

impl<'a> NewFile<'a> {
    /// Makes an empty file and locks its byte 2⁶² by `take`. `None`: it was taken for a leftover before that.
    fn create(
        dir: &'a ScopeDir,
        mode: u32,
        take: impl Fn(&File) -> io::Result<bool>,
    ) -> io::Result<Option<Self>> {
        let unnamed = if ONLY_NAMED.load(Ordering::Relaxed) { None } else { os::unnamed_file(dir.file())? };
        let new = match unnamed {
            Some(file) => Self { temporary: OwnName { dir, name: None }, file },
            None => Self::create_named(dir)?,
        };
        if !take(&new.file)? {
            return Ok(None);
        }
        if let Some(name) = &new.temporary.name
            && dir.id_at(name)? != Some(FileId::of(&new.file)?)
        {
            return Ok(None);
        }
        let set_mode = |mode: u32| rustix::fs::fchmod(&new.file, Mode::from_raw_mode(mode as _));
        match set_mode(mode | os::KEPT) {
            Ok(()) => {}
            // Not every file system has that bit for files.
            Err(_) => set_mode(mode)?,
        }
        Ok(Some(new))
    }

    fn create_named(dir: &'a ScopeDir) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = format!("{NEW}{:016x}", random());
            match retry_on_intr(|| rustix::fs::openat(dir.file(), &name, flags, Mode::RUSR | Mode::WUSR)) {
                Ok(fd) => {
                    return Ok(Self { temporary: OwnName { dir, name: Some(name) }, file: File::from(fd) });
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Gives the file its name.
    fn link(&mut self, name: &str) -> io::Result<Linked> {
        let dir = self.temporary.dir;
        let linked = match &self.temporary.name {
            None => match os::name_file(&self.file, dir.file(), name) {
                Ok(true) => Ok(()),
                Ok(false) => {
                    if dir.is_current()? {
                        ONLY_NAMED.store(true, Ordering::Relaxed);
                    }
                    return Ok(Linked::Not);
                }
                Err(e) => Err(e),
            },
            Some(temporary) => rename_new(dir.file(), temporary, name),
        };
        match linked {
            Ok(()) => {
                self.temporary.name = None;
                Ok(Linked::Yes)
            }
            Err(Errno::EXIST) => Ok(Linked::Taken),
            Err(Errno::NOENT) => Ok(Linked::Not),
            Err(e) => Err(e.into()),
        }
    }
}

enum Linked {
    Yes,
    /// Something has the name.
    Taken,
    /// The directory has gone, or the file was swept, or files without a name can't be linked here: to be
    /// made anew.
    Not,
}

/// Renames `from` to `to`, which nothing may have.
fn rename_new(directory: &File, from: &str, to: &str) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // This file system can't do that; but a link replaces nothing either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(directory, from, directory, to, AtFlags::empty())?;
            rustix::fs::unlinkat(directory, from, AtFlags::empty())
        }
        other => other,
    }
}

/// Makes the file for locks of a map, its byte 2⁶² locked by `take`. `None`: somebody else has made it.
pub(super) fn lock_file(
    dir: &ScopeDir,
    token: Token,
    map_file_name: &str,
    take: impl Fn(&File) -> io::Result<bool>,
) -> io::Result<Option<File>> {
    if size_limit().is_some_and(|limit| limit < map_file_name.len() as u64) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    loop {
        let Some(mut new) = NewFile::create(dir, 0o600, &take)? else { continue };
        new.file.write_all_at(map_file_name.as_bytes(), 0)?;
        match new.link(&token.file_name())? {
            Linked::Yes => return Ok(Some(new.file)),
            Linked::Taken => return Ok(None),
            Linked::Not if dir.is_current()? => {}
            Linked::Not => return Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A map that is complete and has no name yet. This process holds it already.
pub(super) struct NewMap<'a> {
    new: NewFile<'a>,
    lock_file: Option<LockFileOfNew<'a>>,
}

/// The file for locks of a map that is being made.
struct LockFileOfNew<'a> {
    name: OwnName<'a>,
    file: File,
    token: Token,
}

/// What became of giving a map its name.
pub(super) enum Given<'a> {
    /// It has it.
    Yes(NameFiles),
    /// Something has the name; the map can be used later.
    Taken(NewMap<'a>),
    /// The directory has gone, or its files were swept: make it anew.
    Not,
}

impl<'a> NewMap<'a> {
    /// Makes an empty map for the caller to fill. `None`: it was swept at once; try again.
    pub(super) fn create(
        dir: &'a ScopeDir,
        mode: u32,
        lock_beside: Option<&str>,
    ) -> io::Result<Option<Self>> {
        let take =
            if steps::is_faulty(Fault::LinksBeforeLocking) { |_: &File| Ok(true) } else { lock::try_hold };
        let Some(new) = NewFile::create(dir, mode, take)? else { return Ok(None) };
        let mut map = Self { new, lock_file: None };
        if let Some(map_file_name) = lock_beside {
            loop {
                let token = Token(random());
                if let Some(file) = lock_file(dir, token, map_file_name, lock::try_hold)? {
                    let name = OwnName { dir, name: Some(token.file_name()) };
                    map.lock_file = Some(LockFileOfNew { name, file, token });
                    break;
                }
            }
        }
        Ok(Some(map))
    }

    /// Gives the file to a group.
    pub(super) fn set_group(&self, group: u32) -> io::Result<()> {
        Ok(rustix::fs::fchown(&self.new.file, None, Some(Gid::from_raw(group)))?)
    }

    /// The file to be filled.
    pub(super) fn file(&self) -> &File {
        &self.new.file
    }

    /// The number of its file for locks; 0 where it has none.
    pub(super) fn token(&self) -> u64 {
        self.lock_file.as_ref().map_or(0, |lock_file| lock_file.token.0)
    }

    /// Gives the filled map its name.
    pub(super) fn name(mut self, name: &str) -> io::Result<Given<'a>> {
        let id = FileId::of(&self.new.file)?;
        steps::reach(Step::NameMade);
        match self.new.link(name)? {
            Linked::Yes => {}
            Linked::Taken => return Ok(Given::Taken(self)),
            Linked::Not => return Ok(Given::Not),
        }
        steps::reach(Step::NameLinked);
        if steps::is_faulty(Fault::LinksBeforeLocking) {
            lock::try_hold(&self.new.file)?;
        }
        let for_locks = match self.lock_file {
            Some(LockFileOfNew { mut name, file, token }) => {
                name.name = None;
                ForLocks::Beside(file, token)
            }
            None => ForLocks::Map,
        };
        let map = self.new.file;
        Ok(Given::Yes(NameFiles { id, map, writes: true, for_locks }))
    }
}
