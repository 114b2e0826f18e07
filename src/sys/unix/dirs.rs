//! The directories that hold names: where they are, and whether they can be trusted.
//!
//! ```text
//! BASE/handover-UID         scope user:   0700
//! BASE/handover-UID-global  scope global: 0711, so that others open names that they know, and nothing more
//! ```
//!
//! Both belong to the user UID. `BASE` is `HANDOVER_DIR`, or the first directory of the system's list that is
//! safe: owned by this user or root, and writable by others only with the sticky bit. Nothing here is locked.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

use super::inspect::FileId;
use super::os;
use super::refusal::refused;
use super::users::{self, Outside};
use crate::error::{Error, Result};
use crate::sys::asked::Within;
use crate::terms::{Scope, Subject};

/// An open, checked directory of a scope.
#[derive(Debug)]
pub(super) struct ScopeDir {
    /// For finding what is in it, and nothing else.
    file: File,
    id: FileId,
    path: PathBuf,
    scope: Scope,
    /// Whose names these are.
    owner: u32,
    /// The effective user of this process.
    user: u32,
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

/// The directory that holds the scopes' directories, for names of `owner`.
fn base(within: &Within<'_>, user: u32, owner: u32) -> Result<PathBuf> {
    let asked = within.directory.map(Path::to_owned).or_else(|| {
        // Whoever starts a set-user-id program chooses its environment.
        if os::is_set_user_id() {
            return None;
        }
        std::env::var_os("HANDOVER_DIR").filter(|value| !value.is_empty()).map(PathBuf::from)
    });
    if let Some(mut asked) = asked {
        if !asked.is_absolute() {
            asked =
                std::path::absolute(&asked).map_err(|e| Error::from_io("find", Subject::Path(asked), e))?;
        }
        return match unsafe_base(&asked, user, owner)? {
            None => Ok(asked),
            Some(why) => Err(Error::denied(Subject::Path(asked), why)),
        };
    }
    let mut refused = Vec::new();
    for candidate in os::base_directories(within.scope) {
        match unsafe_base(&candidate, user, owner) {
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

/// Why names of `owner` must not lie in this directory, if there is a reason.
fn unsafe_base(path: &Path, user: u32, owner: u32) -> Result<Option<String>> {
    let stat = rustix::fs::stat(path)
        .map_err(|e| Error::from_io("look at", Subject::Path(path.to_owned()), e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(Some("it is not a directory".to_owned()));
    }
    let mode = permissions(&stat);
    let is_sticky = mode & 0o1000 != 0;
    // In a user namespace that lacks root, /dev/shm belongs to nobody. Its owner can take names away, but not
    // read them or put others there: the directories in it and the files must be this user's.
    // Whoever looks for another user's names trusts that user, who could do no more to them here.
    let is_trusted = [0, user, owner].contains(&stat.st_uid) || is_sticky && users::is_unmapped(stat.st_uid);
    if !is_trusted {
        return Ok(Some(format!("it belongs to user {}; it must belong to this user or root", stat.st_uid)));
    }
    if mode & 0o022 != 0 && !is_sticky {
        return Ok(Some(
            "others can write to it and it has no sticky bit; chmod go-w or chmod +t".to_owned(),
        ));
    }
    Ok(None)
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

/// The mode of the directories of a scope.
fn mode_of(scope: Scope) -> u32 {
    match scope {
        Scope::User => 0o700,
        Scope::Global => 0o711,
    }
}

/// Opens a file, whatever it is: no link is followed, and a planted FIFO does not block.
pub(super) fn open_any(directory: impl AsFd, path: impl Arg + Copy, write: bool) -> rustix::io::Result<File> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(&directory, path, flags, Mode::empty())).map(File::from)
}

impl ScopeDir {
    /// Opens the directory of a scope; `None` where it does not exist and `create` does not ask for it, or it
    /// is another user's.
    pub(super) fn open(within: &Within<'_>, create: bool) -> Result<Option<Self>> {
        let user = users::current();
        let owner = within.owner.unwrap_or(user);
        let outside = match users::outside(owner) {
            Outside::Is(outside) => outside,
            Outside::Nobody => {
                let error = Error::unsupported(format!(
                    "user {owner} has no number of its own in this user namespace, so its files can't be told \
                     from those of others"
                ));
                return Err(error.with_advice("map the user into the namespace (unshare --map-current-user)"));
            }
        };
        let base = base(within, user, owner)?;
        let path_of = |number: u32| {
            base.join(match within.scope {
                Scope::User => format!("handover-{number}"),
                Scope::Global => format!("handover-{number}-global"),
            })
        };
        let path = path_of(outside);
        let mut found = Self::open_at(path, within.scope, owner, user);
        if outside != owner && !matches!(found, Ok(Some(_))) {
            // A namespace within a namespace: what is outside for this one has no number for everybody.
            let inside = Self::open_at(path_of(owner), within.scope, owner, user);
            if matches!(inside, Ok(Some(_))) {
                found = inside;
            }
        }
        if let Some(found) = found? {
            return Ok(Some(found));
        }
        if !create || owner != user {
            return Ok(None);
        }
        loop {
            let path = path_of(outside);
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(mode_of(within.scope) as _)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(cannot_create(&path, e)),
            }
            if let Some(made) = Self::open_at(path, within.scope, owner, user)? {
                return Ok(Some(made));
            }
        }
    }

    /// Opens a directory that was opened before, to release a name in it.
    pub(super) fn open_again(path: &Path, scope: Scope, owner: u32) -> Result<Option<Self>> {
        Self::open_at(path.to_owned(), scope, owner, users::current())
    }

    /// Opens the directory at `path` and checks that it can be trusted. `None`: there is none.
    fn open_at(path: PathBuf, scope: Scope, owner: u32, user: u32) -> Result<Option<Self>> {
        let subject = || Subject::Path(path.clone());
        let flags = os::FIND_ONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| rustix::fs::openat(CWD, &path, flags, Mode::empty())) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(e @ (Errno::NOTDIR | Errno::LOOP | Errno::ACCESS)) => {
                let found = match rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => describe(&stat),
                    Err(_) => return Err(Error::from_io("open", subject(), e.into())),
                };
                return Err(match e {
                    Errno::ACCESS => Error::denied(subject(), format!("it is {found}")),
                    _ => Error::wrong_kind(
                        subject(),
                        format!(
                            "expected a directory for names, found {found}; remove it, or set HANDOVER_DIR to use \
                             another"
                        ),
                    ),
                });
            }
            Err(e) => return Err(refused("open", subject(), e)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| Error::from_io("inspect", subject(), e.into()))?;
        let wrong = |stat: &Stat, why: &str| {
            Err(Error::denied(subject(), format!("it is {}; {why}", describe(stat))))
        };
        if stat.st_uid != owner {
            return wrong(
                &stat,
                &format!(
                    "names of user {owner} must lie in that user's own directory; set HANDOVER_DIR to use another"
                ),
            );
        }
        // Before its mode is set: whatever others could put there may be there.
        match scope {
            Scope::User if permissions(&stat) & 0o077 != 0 => {
                return wrong(&stat, "others must have no right to it (chmod 0700)");
            }
            Scope::Global if permissions(&stat) & 0o022 != 0 => {
                return wrong(&stat, "others must not write to it (chmod 0711)");
            }
            _ => {}
        }
        let mode = mode_of(scope);
        if user == owner && permissions(&stat) & mode != mode {
            // Whoever made it had a mask that took rights away, or was killed before it could give them back.
            os::set_mode(&file, &path, mode)
                .map_err(|e| Error::from_io("set the mode of", subject(), e.into()))?;
        }
        let id = FileId::from_stat(&stat);
        Ok(Some(Self { file, id, path, scope, owner, user }))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether the names are this process's user's, so that it may create some.
    pub(super) fn is_own(&self) -> bool {
        self.owner == self.user
    }

    /// Whether this process may delete any file in it.
    pub(super) fn may_delete(&self) -> bool {
        self.is_own() || self.user == 0
    }

    /// Whether the path still leads to this directory.
    pub(super) fn is_current(&self) -> io::Result<bool> {
        self.id.is_at(&self.path)
    }

    /// Which file a name in this directory leads to, if to any. Fails where that can't be looked at.
    pub(super) fn id_at(&self, name: &str) -> rustix::io::Result<Option<FileId>> {
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok(Some(FileId::from_stat(&there))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The whole path of a file in it.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether this is a regular file of the user whose names these are.
    pub(super) fn owns(&self, stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_uid == self.owner
    }

    /// Opens a file of the directory, whatever it is.
    pub(super) fn open_file(&self, name: &str, write: bool) -> rustix::io::Result<File> {
        open_any(&self.file, name, write)
    }

    /// Opens a file of the directory for writing too, where this user may, and says so.
    pub(super) fn open_widest(&self, name: &str) -> rustix::io::Result<(File, bool)> {
        match self.open_file(name, true) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                self.open_file(name, false).map(|file| (file, false))
            }
            other => other.map(|file| (file, true)),
        }
    }

    pub(super) fn unlink(&self, name: &str) -> rustix::io::Result<()> {
        rustix::fs::unlinkat(&self.file, name, AtFlags::empty())
    }

    /// Opens the directory so that its names can be read.
    ///
    /// # Errors
    ///
    /// `AccessDenied` for a directory of another user's.
    pub(super) fn open_list(&self) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::openat(&self.file, ".", flags, Mode::empty())) {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::ACCESS | Errno::PERM) => Err(Error::denied(
                Subject::Path(self.path.clone()),
                format!("only user {} and root can list these names", self.owner),
            )),
            Err(e) => Err(self.failed("open", e)),
        }
    }

    /// The error of a call on this directory.
    pub(super) fn failed(&self, doing: &str, e: impl Into<io::Error>) -> Error {
        let error = e.into();
        match error.kind() {
            // Whoever gets the error asked for a name, and not for this.
            io::ErrorKind::NotFound => Error::io(format!("{doing} '{}'", self.path.display()), error),
            _ => refused(doing, Subject::Path(self.path.clone()), error),
        }
    }
}
