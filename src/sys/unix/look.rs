//! Looking a name up: whether it has a living holder, and joining it.
//!
//! A name leads to one file, complete from the first moment. Whoever looks asks by claiming it: the exclusive
//! lock is granted where nobody lives, and then keeps everybody out until the leftover is gone. Relies on
//! `dirs`, `hold`, `make` and `record`; `names` and `sweep` rely on it.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::dirs::{ScopeDir, describe, permissions};
use super::hold::{ForLocks, NameFiles, Token};
use super::inspect::FileId;
use super::lock::{self, LIFE};
use super::make;
use super::os;
use super::record::{DataPlace, Found, Record};
use super::refusal::refused;
use crate::error::{Error, Result};
use crate::name::name_hash;
use crate::steps::{self, Fault, Step};
use crate::sys::asked::{Disposition, Named, Request};
use crate::terms::{Scope, Subject};

pub(super) const MAP_SUFFIX: &str = ".map";

/// The file name of a map: the hash of its name in lower-case hex. Two names that differ, even only by case,
/// get two files on any file system; the record holds the full name.
pub(super) fn file_name(name: &str) -> String {
    format!("{:032x}{MAP_SUFFIX}", name_hash(name))
}

/// A name, the request for it, and the file that it leads to.
pub(super) struct Asked<'a> {
    pub(super) place: Named<'a>,
    pub(super) disposition: Disposition,
    pub(super) request: Request,
    pub(super) file_name: String,
}

impl<'a> Asked<'a> {
    pub(super) fn new(place: Named<'a>, disposition: Disposition, request: Request) -> Self {
        let file_name = file_name(place.name.text());
        Self { place, disposition, request, file_name }
    }

    pub(super) fn subject(&self) -> Subject {
        self.place.name.subject()
    }

    pub(super) fn failed(&self, doing: &str, e: impl Into<io::Error>) -> Error {
        let error = e.into();
        match error.kind() {
            _ if Errno::from_io_error(&error) == Some(Errno::NOLCK) => {
                Error::from_io(doing, self.subject(), error).with_advice(
                    "set HANDOVER_DIR to a directory on a file system that has locks, such as /tmp",
                )
            }
            // The name itself was found, or is not there yet.
            io::ErrorKind::NotFound => Error::io(doing, error).about(&self.subject()),
            _ => refused(doing, self.subject(), error),
        }
    }
}

/// A map that this process holds now, or, as a guest of another user's, has seen to be held.
pub(super) struct Joined {
    pub(super) record: Record,
    pub(super) files: NameFiles,
}

pub(super) enum Looked {
    Joined(Joined),
    /// Nothing has the name. If a leftover had it, that is gone, or marked dead.
    Absent,
    /// Something changed meanwhile: look again at once.
    Again,
    /// Somebody is removing a leftover of this name: look again soon.
    Busy,
}

/// Looks a name up, and joins its holders. Leaves alone whatever is not a map of the directory's owner.
pub(super) fn look(dir: &ScopeDir, asked: &Asked<'_>) -> Result<Looked> {
    let (map, writes) = match dir.open_widest(&asked.file_name) {
        Ok(opened) => opened,
        // A directory that was moved has names of old.
        Err(Errno::NOENT) => return absent_or_again(dir),
        Err(e) => return Err(cannot_open(dir, asked, e)),
    };
    let stat = rustix::fs::fstat(&map).map_err(|e| asked.failed("inspect", e))?;
    if stat.st_nlink == 0 {
        return Ok(Looked::Again);
    }
    check_kind_and_owner(dir, asked, &stat)?;
    let record = read_record(dir, asked, &map, &stat)?;
    let mut files = NameFiles { map, id: FileId::from_stat(&stat), writes, for_locks: ForLocks::Map };
    match open_for_locks(dir, record.token, writes).map_err(|e| asked.failed("open the lock file of", e))? {
        Some(for_locks) => files.for_locks = for_locks,
        None => return lock_file_lost(dir, asked, files, record.token, &stat),
    }
    steps::reach(Step::NameFound);
    let failed = |e| asked.failed("lock", e);
    // A guest asks the map's own file, of which each holder has a lock too.
    let life = files.life().unwrap_or(&files.map);
    if files.may_claim() {
        if lock::claim(life).map_err(failed)? {
            steps::reach(Step::NameClaimed);
            if asked.disposition == Disposition::OpenExisting && steps::is_faulty(Fault::LeavesLeftovers) {
                files.let_go();
                return Ok(Looked::Absent);
            }
            let condemned = files.condemn(dir, &asked.file_name);
            files.let_go();
            return match condemned {
                Ok(true) => absent_or_again(dir),
                Ok(false) => Ok(Looked::Again),
                Err(e) => stuck(dir, asked, &stat, e),
            };
        }
    } else if !lock::is_held(life, LIFE).map_err(failed)? {
        return match dir.id_at(&asked.file_name).map_err(|e| asked.failed("look at", e))? {
            Some(there) if there == files.id => {
                stuck(dir, asked, &stat, io::ErrorKind::PermissionDenied.into())
            }
            _ => Ok(Looked::Again),
        };
    }
    steps::reach(Step::NameRefused);
    if !files.try_hold().map_err(failed)? {
        return Ok(Looked::Busy);
    }
    steps::reach(Step::NameLifeLocked);
    // Only from here on nobody can take the name from this file. By its whole path: the directory may have
    // gone to another place.
    let may_join = || {
        let leads_here = files.id.is_at(&dir.path_of(&asked.file_name));
        if !leads_here.map_err(|e| asked.failed("look at", e))?
            && !steps::is_faulty(Fault::JoinsWithoutLooking)
        {
            return Ok(false);
        }
        let may_be_dead = dir.scope() == Scope::Global && permissions(&stat) & 0o022 != 0;
        Ok(!may_be_dead || !Record::is_marked_dead(&files.map).map_err(|e| asked.failed("read", e))?)
    };
    let joins = may_join();
    if matches!(joins, Ok(true)) {
        steps::reach(Step::NameJoined);
        return Ok(Looked::Joined(Joined { record, files }));
    }
    files.let_go();
    joins.map(|_| Looked::Again)
}

/// Nothing has the name, if this still is the directory in which others look for it.
fn absent_or_again(dir: &ScopeDir) -> Result<Looked> {
    match dir.is_current() {
        Ok(true) => Ok(Looked::Absent),
        Ok(false) => Ok(Looked::Again),
        Err(e) => Err(dir.failed("look at", e)),
    }
}

/// Nobody holds the name, but what was left of it can't be removed. It bars nobody but creators.
fn stuck(dir: &ScopeDir, asked: &Asked<'_>, stat: &Stat, e: io::Error) -> Result<Looked> {
    let is_forbidden =
        matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
    if !is_forbidden {
        return Err(asked.failed("remove what was left of", e));
    }
    if asked.disposition == Disposition::OpenExisting || !dir.is_own() {
        return Ok(Looked::Absent);
    }
    let path = dir.path_of(&asked.file_name);
    Err(Error::denied(
        asked.subject(),
        format!(
            "a leftover is in the way, '{}', which is {}, and the system refused to remove it ({e})",
            path.display(),
            describe(stat)
        ),
    )
    .with_advice("remove it, or set HANDOVER_DIR to another directory"))
}

/// Opens the file that tells whether a map has a holder; for writing, which claiming it needs, where the
/// map's file was opened so (`writes`). `None`: it is not there.
///
/// Nobody takes a lock of what the directory's owner has put there instead: it may be a file of this user's.
pub(super) fn open_for_locks(dir: &ScopeDir, token: u64, writes: bool) -> io::Result<Option<ForLocks>> {
    if token == 0 {
        return Ok(Some(ForLocks::Map));
    }
    let token = Token(token);
    let file = match dir.open_widest(&token.file_name()) {
        Ok((_, false)) if writes => return Err(io::ErrorKind::PermissionDenied.into()),
        Ok((file, _)) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ACCESS | Errno::PERM) if !writes => return Ok(Some(ForLocks::Closed)),
        Err(e) => return Err(e.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    if !dir.owns(&stat) {
        let what = format!("'{}' is {}", token.file_name(), describe(&stat));
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(Some(ForLocks::Beside(file, token)))
}

/// A map's file for locks is missing. If the map is still there, somebody deleted that file: nobody can tell
/// any more whether the map has a holder. So it loses its name, which its holders will notice.
fn lock_file_lost(
    dir: &ScopeDir,
    asked: &Asked<'_>,
    files: NameFiles,
    token: u64,
    stat: &Stat,
) -> Result<Looked> {
    if dir.id_at(&asked.file_name).map_err(|e| asked.failed("look at", e))? != Some(files.id) {
        return Ok(Looked::Again);
    }
    if !dir.may_delete() || !files.writes {
        return stuck(dir, asked, stat, io::ErrorKind::PermissionDenied.into());
    }
    condemn_without_lock_file(dir, &asked.file_name, files, token).map_err(|e| asked.failed("lock", e))?;
    Ok(Looked::Again)
}

/// Condemns a map whose file for locks is missing, and says whether it did. Others who find it missing do the
/// same: one of them makes it.
pub(super) fn condemn_without_lock_file(
    dir: &ScopeDir,
    file_name: &str,
    files: NameFiles,
    token: u64,
) -> io::Result<bool> {
    let token = Token(token);
    let Some(file) = make::lock_file(dir, token, file_name, lock::claim)? else { return Ok(false) };
    let files = NameFiles { for_locks: ForLocks::Beside(file, token), ..files };
    let condemned = files.condemn(dir, file_name);
    files.let_go();
    condemned
}

fn read_record(dir: &ScopeDir, asked: &Asked<'_>, map: &File, stat: &Stat) -> Result<Record> {
    let found = Record::read(map, stat.st_size as u64).map_err(|e| asked.failed("read", e))?;
    let path = || dir.path_of(&asked.file_name).display().to_string();
    let wrong = |reason| Err(Error::wrong_kind(asked.subject(), reason));
    let record = match found {
        Found::Record(record) => record,
        Found::OlderVersion => {
            return wrong(format!(
                "'{}' was made by a version before 0.2 and was left alone; end the programs that use it, then \
                 remove it",
                path()
            ));
        }
        Found::None(why) => {
            return wrong(format!("'{}' is {} but no map: {why}; remove it", path(), describe(stat)));
        }
    };
    if record.name != asked.place.name.text() {
        return wrong(format!(
            "its file holds the map {:?}, whose name has the same hash; choose another name",
            record.name
        ));
    }
    if has_readers_only(permissions(stat)) != (record.token != 0) {
        return wrong(format!(
            "'{}' is {}, which does not go with its record; remove it",
            path(),
            describe(stat)
        ));
    }
    if dir.scope() == Scope::Global && matches!(record.place, DataPlace::File { .. }) {
        return wrong(format!(
            "'{}' leads to a file elsewhere, which no name in scope global does; remove it",
            path()
        ));
    }
    Ok(record)
}

/// The error for a file that could not be opened: the file itself says more than the system's error does.
fn cannot_open(dir: &ScopeDir, asked: &Asked<'_>, e: Errno) -> Error {
    let Ok(stat) = rustix::fs::statat(dir.file(), &asked.file_name, AtFlags::SYMLINK_NOFOLLOW) else {
        return match (e, rustix::fs::fstat(dir.file())) {
            (Errno::ACCESS | Errno::PERM, Ok(stat)) => {
                let path = dir.path().display();
                Error::denied(asked.subject(), format!("'{path}' is {}", describe(&stat)))
                    .with_advice("have its owner use a global name, which lets others in again")
            }
            _ => asked.failed("open", e),
        };
    };
    match (check_kind_and_owner(dir, asked, &stat), e) {
        (Err(wrong), _) => wrong,
        (Ok(()), Errno::ACCESS | Errno::PERM) => {
            Error::denied(asked.subject(), format!("it is {}", describe(&stat)))
                .with_advice("have its owner create it with a wider file mode, or for a group of yours")
        }
        (Ok(()), e) => asked.failed("open", e),
    }
}

fn check_kind_and_owner(dir: &ScopeDir, asked: &Asked<'_>, stat: &Stat) -> Result<()> {
    let path = || dir.path_of(&asked.file_name);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let reason = format!("'{}' is {}; remove it", path().display(), describe(stat));
        return Err(Error::wrong_kind(asked.subject(), reason));
    }
    if stat.st_uid != dir.owner() {
        return Err(Error::denied(
            asked.subject(),
            format!("'{}' is {}; expected user {}; remove it", path().display(), describe(stat), dir.owner()),
        ));
    }
    let mode = permissions(stat) & !os::KEPT;
    let is_allowed = match dir.scope() {
        Scope::User => mode == 0o600,
        Scope::Global => GLOBAL_MODES.contains(&mode),
    };
    if !is_allowed {
        return Err(Error::denied(
            asked.subject(),
            format!("'{}' is {}, which no map has; remove it", path().display(), describe(stat)),
        ));
    }
    Ok(())
}

pub(super) const GLOBAL_MODES: [u32; 5] = [0o600, 0o640, 0o644, 0o660, 0o666];

/// Whether somebody may read such a map and not write to it.
pub(super) fn has_readers_only(mode: u32) -> bool {
    mode & 0o044 & !((mode & 0o022) << 1) != 0
}
