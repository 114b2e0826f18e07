//! The directories that hold names: where they are, and whether they can be trusted.
//!
//! ```text
//! BASE/handover-UID      scope user:   0700, owned by this user
//! BASE/handover-global   scope global: 1777, owned by its first user (or root, who may create it)
//! ```
//!
//! `BASE` is `HANDOVER_DIR`, or the first directory of the system's list that is safe: owned by this user or
//! root, and writable by others only with the sticky bit.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::fork::LockFile;
use super::inspect::FileId;
use super::os;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::terms::Scope;
use crate::terms::Subject;

/// How long to wait for a directory's lock. Its holders make a handful of system calls, create a small file
/// and, in a sweep, make three calls for each file of the scope (about 1 µs). This limit allows for a million
/// files. Only a stopped holder, or a hostile one in the global scope, takes longer.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// An open, checked directory of a scope.
#[derive(Debug)]
pub(super) struct ScopeDir {
    /// A child that another thread forks meanwhile does not keep the lock.
    file: LockFile,
    id: FileId,
    path: PathBuf,
    scope: Scope,
    /// The expected owner of the directory and the maps in scope `User`: this process's user, asked for once.
    user: u32,
}

/// The right to create and delete names in a directory, until dropped.
#[derive(Debug)]
#[must_use = "dropping it unlocks the directory"]
pub(super) struct DirLock<'a>(&'a ScopeDir);

impl Drop for DirLock<'_> {
    fn drop(&mut self) {
        // Unlocks the file, and does not only close it: a child that another thread forked meanwhile has the
        // description too.
        let _ = rustix::fs::flock(self.0.file.file(), FlockOperation::Unlock);
    }
}

/// A file's owner and protection, in words.
pub(super) fn describe(stat: &Stat) -> String {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    };
    format!("{kind} of user {} with mode {:04o}", stat.st_uid, permissions(stat))
}

/// The permission bits, with those for set-id and sticky.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_lossless,
    reason = "the field has 16 bits on macOS and 32 on Linux"
)]
pub(super) fn permissions(stat: &Stat) -> u32 {
    stat.st_mode as u32 & 0o7777
}

fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The directory that holds the directory of `scope`.
fn base(scope: Scope, given: Option<&Path>, user: u32) -> Result<PathBuf> {
    let asked = given
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("HANDOVER_DIR").filter(|value| !value.is_empty()).map(PathBuf::from));
    if let Some(mut asked) = asked {
        if !asked.is_absolute() {
            asked =
                std::path::absolute(&asked).map_err(|e| Error::from_io("find", Subject::Path(asked), e))?;
        }
        return match unsafe_base(&asked, user)? {
            None => Ok(asked),
            Some(why) => Err(Error::denied(Subject::Path(asked), why)),
        };
    }
    let mut refused = Vec::new();
    for candidate in os::base_directories(scope) {
        match unsafe_base(&candidate, user) {
            Ok(None) => return Ok(candidate),
            Ok(Some(why)) => refused.push(format!("{}: {why}", candidate.display())),
            Err(e) => refused.push(e.to_string()),
        }
    }
    Err(Error::unsupported(format!(
        "no directory for names ({}); set HANDOVER_DIR to a directory of yours",
        refused.join("; ")
    )))
}

/// Why names must not lie in this directory, if there is a reason.
fn unsafe_base(path: &Path, user: u32) -> Result<Option<String>> {
    let stat = rustix::fs::stat(path)
        .map_err(|e| Error::from_io("look at", Subject::Path(path.to_owned()), e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(Some("it is not a directory".to_owned()));
    }
    if ![0, user].contains(&stat.st_uid) {
        return Ok(Some(format!("it belongs to user {}; it must belong to this user or root", stat.st_uid)));
    }
    let mode = permissions(&stat);
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Ok(Some(
            "others can write to it and it has no sticky bit; chmod go-w or chmod +t".to_owned(),
        ));
    }
    Ok(None)
}

/// Where this user creates the directory of the global scope before it gets its name.
fn aside(path: &Path, user: u32) -> PathBuf {
    path.with_file_name(format!(".handover-new-{user}"))
}

/// Renames `from` to `to` within a directory. A `to` that exists belongs to somebody else: then this fails
/// with `EXIST`, where the file system can promise that.
pub(super) fn rename_new(
    directory: BorrowedFd<'_>,
    from: impl Arg + Copy,
    to: impl Arg + Copy,
) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::renameat(directory, from, directory, to)
        }
        other => other,
    }
}

/// Removes what a killed creator of this user left beside the directory of the global scope.
pub(super) fn remove_aside(given: Option<&Path>) -> Result<()> {
    // It is empty, or it is no directory and not ours to remove. A creator that is at work creates it again.
    let user = user_id();
    let _ = rustix::fs::rmdir(aside(&base(Scope::Global, given, user)?.join("handover-global"), user));
    Ok(())
}

fn cannot_create(path: &Path, e: Errno) -> Error {
    match e {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Error::denied(
            Subject::Path(path.to_owned()),
            format!("this user may not create it ({e}); create it beforehand or set HANDOVER_DIR"),
        ),
        _ => Error::from_io("create", Subject::Path(path.to_owned()), e.into()),
    }
}

impl ScopeDir {
    /// Opens the directory of `scope`; `None` where it does not exist and `create` does not ask for it.
    pub(super) fn open(scope: Scope, given: Option<&Path>, create: bool) -> Result<Option<Self>> {
        let user = user_id();
        let mut path = base(scope, given, user)?;
        match scope {
            Scope::User => path.push(format!("handover-{user}")),
            Scope::Global => path.push("handover-global"),
        }
        loop {
            match Self::open_at(&path, scope, user) {
                Ok((file, id)) => return Ok(Some(Self { file, id, path, scope, user })),
                Err(error) if error.kind() == ErrorKind::NotFound && !create => return Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => Self::create_at(&path, scope, user)?,
                Err(other) => return Err(other),
            }
        }
    }

    /// Opens a directory that was opened before, to release a name in it.
    pub(super) fn open_again(path: PathBuf, scope: Scope) -> Result<Self> {
        let user = user_id();
        let (file, id) = Self::open_at(&path, scope, user)?;
        Ok(Self { file, id, path, scope, user })
    }

    /// Opens the directory at `path` and checks that it can be trusted.
    fn open_at(path: &Path, scope: Scope, user: u32) -> Result<(LockFile, FileId)> {
        let subject = || Subject::Path(path.to_owned());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(CWD, path, flags, Mode::empty());
        let opened = LockFile::open(|| Ok(File::from(open()?)));
        let file = match opened.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO)) {
            Ok(file) => file,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let found = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or_else(|e| e.to_string(), |stat| describe(&stat));
                return Err(Error::wrong_kind(
                    subject(),
                    format!("expected a directory for names, found {found}; remove it"),
                ));
            }
            Err(Errno::ACCESS) => {
                let found = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or_else(|e| e.to_string(), |stat| describe(&stat));
                return Err(Error::denied(subject(), format!("it is {found}")));
            }
            Err(e) => return Err(Error::from_io("open", subject(), e.into())),
        };
        let stat =
            rustix::fs::fstat(file.file()).map_err(|e| Error::from_io("inspect", subject(), e.into()))?;
        let mode = permissions(&stat);
        let wrong = match scope {
            Scope::User if stat.st_uid != user => {
                Some("this user's names must lie in the user's own directory")
            }
            Scope::User if mode & 0o077 != 0 => Some("others must have no right to it (chmod 0700)"),
            Scope::Global if mode & 0o022 != 0 && mode & 0o1000 == 0 => {
                Some("without the sticky bit others could replace names in it (chmod +t)")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(Error::denied(subject(), format!("it is {}; {wrong}", describe(&stat))));
        }
        Ok((file, FileId::from_stat(&stat)))
    }

    fn create_at(path: &Path, scope: Scope, user: u32) -> Result<()> {
        let failed = |e| cannot_create(path, e);
        match scope {
            Scope::User => match rustix::fs::mkdir(path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(e) => Err(failed(e)),
            },
            Scope::Global => Self::create_global_at(path, user),
        }
    }

    /// The umask takes bits from mkdir's mode. So the directory is created under another name, opened to all,
    /// and moved to its own name complete. Each user has one such other name: the next creator takes up what
    /// a killed one left there.
    fn create_global_at(path: &Path, user: u32) -> Result<()> {
        let failed = |e| cannot_create(path, e);
        let aside = aside(path, user);
        match rustix::fs::mkdir(&aside, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(CWD, &aside, flags, Mode::empty()) {
            Ok(opened) => opened,
            // Another process of this user has moved it meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        let stat = rustix::fs::fstat(&opened).map_err(failed)?;
        if stat.st_uid != user {
            let why = format!("it is {} in the way of making '{}'", describe(&stat), path.display());
            return Err(Error::denied(Subject::Path(aside), why));
        }
        rustix::fs::fchmod(&opened, Mode::from_raw_mode(0o1777)).map_err(failed)?;
        match rename_new(CWD, &aside, path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => {
                let _ = rustix::fs::rmdir(&aside);
                // Somebody else has created it meanwhile.
                if path.symlink_metadata().is_ok() { Ok(()) } else { Err(failed(e)) }
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        self.file.file()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    pub(super) fn user(&self) -> u32 {
        self.user
    }

    /// Waits for the directory's lock. `None`: the path leads elsewhere by now, so the caller must open it
    /// again.
    pub(super) fn lock(&self) -> Result<Option<DirLock<'_>>> {
        let lock = Backoff::LOCK.poll(
            LOCK_LIMIT,
            || {
                format!(
                    "the lock of directory '{}': a process that holds it seems to be stopped",
                    self.path.display()
                )
            },
            || match rustix::fs::flock(self.file.file(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(DirLock(self))),
                Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
                Err(e) => Err(Error::from_io("lock", Subject::Path(self.path.clone()), e.into())),
            },
        )?;
        Ok(self.is_current().then_some(lock))
    }

    /// Whether the path still leads to this directory.
    fn is_current(&self) -> bool {
        let there = rustix::fs::statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW);
        there.is_ok_and(|there| FileId::from_stat(&there) == self.id)
    }
}

/// Opens the directory of a scope, if it exists, and locks it, as often as it takes; then calls `act` under
/// the lock.
pub(super) fn with_locked<T>(
    scope: Scope,
    given: Option<&Path>,
    act: impl FnOnce(&ScopeDir) -> Result<T>,
) -> Result<Option<T>> {
    loop {
        let Some(dir) = ScopeDir::open(scope, given, false)? else { return Ok(None) };
        if let Some(_lock) = dir.lock()? {
            return act(&dir).map(Some);
        }
    }
}

/// The error of a call on a directory.
pub(super) fn io(doing: &str, dir: &ScopeDir, e: impl Into<io::Error>) -> Error {
    Error::from_io(doing, Subject::Path(dir.path.clone()), e.into())
}
