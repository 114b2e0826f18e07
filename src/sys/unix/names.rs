//! Named maps on Unix: a name lives exactly as long as somebody holds it, however holders end.
//!
//! The algorithm is that of .NET's named mutexes on Unix (dotnet/coreclr#5030), with two additions:
//!
//! 1. Names appear and disappear only under the lock of the scope's directory.
//! 2. Every holder has a shared lock on the map's file, taken under the directory's lock. The kernel drops it
//!    when the holder ends. So a process that has the directory's lock and finds no lock on a file knows that
//!    no holder lives: the file is a leftover, treated as absent and deleted.
//! 3. The last one to close deletes the file. A holder that was killed leaves it to the next operation.
//! 4. (Added) A file is filled under a temporary name and moved to the map's name complete, so a creator that
//!    dies leaves no half-made map, even if a forked child keeps its lock alive.
//! 5. (Added) After locking a directory, its path must still lead to it; the file that carries a holder's
//!    lock must be the one that was inspected.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::dirs::{self, ScopeDir, describe, permissions, with_locked};
use super::file::{set_inheritable, share_file};
use super::hold::{NameHold, open_file};
use super::inspect::FileId;
use super::lock::{self, LIFE, RangeLocks};
use super::os;
use super::record::{DataPlace, Record};
use super::section::{Opened, Section};
use super::size::{check_size_limit, size_file};
use crate::error::{Error, Result};
use crate::name::name_hash;
use crate::sys::asked::{Disposition, LockMode, Named, Request};
use crate::terms::MapInfo;
use crate::terms::Subject;
use crate::terms::{Rights, Scope};

const SUFFIX: &str = ".map";
const NEW: &str = ".new-";

/// The file name of a map: the hash of its name in lower-case hex. Two names that differ, even only by case,
/// get two files on any file system; the record holds the full name.
fn file_name(name: &str) -> String {
    let digit = |four_bits: u8| char::from(b"0123456789abcdef"[usize::from(four_bits)]);
    let hash = name_hash(name).to_be_bytes();
    let mut file_name = String::with_capacity(32 + SUFFIX.len());
    file_name.extend(hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]));
    file_name.push_str(SUFFIX);
    file_name
}

fn is_map_file(name: &[u8]) -> bool {
    name.len() == 32 + SUFFIX.len()
        && name.ends_with(SUFFIX.as_bytes())
        && name[..32].iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name, the request for it, and the file that it leads to.
struct Asked<'a> {
    place: Named<'a>,
    disposition: Disposition,
    request: Request,
    file_name: String,
}

impl<'a> Asked<'a> {
    fn new(place: Named<'a>, disposition: Disposition, request: Request) -> Self {
        let file_name = file_name(place.name.text());
        Self { place, disposition, request, file_name }
    }

    fn subject(&self) -> Subject {
        self.place.name.subject()
    }

    /// Whether files are opened for writing too.
    fn writes(&self) -> bool {
        self.request.rights.contains(Rights::WRITE)
    }

    fn failed(&self, doing: &str, e: impl Into<io::Error>) -> Error {
        Error::from_io(doing, self.subject(), e.into())
    }

    /// Only a process that does not take the directory's lock can do that.
    fn was_replaced(&self) -> Error {
        Error::wrong_kind(self.subject(), "its file was replaced while it was being opened; try again")
    }
}

/// A map that lives under a name.
struct Living {
    record: Record,
    file: File,
    id: FileId,
}

enum Found {
    Living(Living),
    /// Nothing has the name, or a leftover had it and was removed.
    Absent,
    /// Another user's leftover has the name, and this user may not remove it.
    Stuck(String),
}

/// Looks a name up. Requires the directory's lock. Leaves alone whatever is not a map of an accepted owner.
fn look_up(dir: &ScopeDir, asked: &Asked<'_>) -> Result<Found> {
    let file = match open_file(dir, &asked.file_name, asked.writes()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Found::Absent),
        Err(e) => return Err(cannot_open(dir, asked, e)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| asked.failed("inspect", e))?;
    if stat.st_nlink == 0 {
        return Err(asked.was_replaced());
    }
    check_kind_and_owner(dir, asked, &stat)?;
    let record = Record::read(&file, stat.st_size as u64).map_err(|e| asked.failed("read", e))?;
    let record = record.map_err(|why| {
        let path = dir.path().join(&asked.file_name);
        Error::wrong_kind(
            asked.subject(),
            format!("'{}' is {} but no map: {why}; remove it", path.display(), describe(&stat)),
        )
    })?;
    if record.name != asked.place.name.text() {
        return Err(Error::wrong_kind(
            asked.subject(),
            format!(
                "its file holds the map {:?}, whose name has the same hash; choose another name",
                record.name
            ),
        ));
    }
    if lock::is_held(&file, LIFE).map_err(|e| asked.failed("ask for the lock of", e))? {
        return Ok(Found::Living(Living { record, file, id: FileId::from_stat(&stat) }));
    }
    match rustix::fs::unlinkat(dir.file(), &asked.file_name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Found::Absent),
        Err(e) => Ok(Found::Stuck(format!(
            "a leftover is in the way, {}, and could not be removed ({e}); its owner or root can, with \
             'handover gc'",
            describe(&stat)
        ))),
    }
}

/// The error for a file that could not be opened: the file itself says more than the system's error does.
fn cannot_open(dir: &ScopeDir, asked: &Asked<'_>, e: Errno) -> Error {
    let Ok(stat) = rustix::fs::statat(dir.file(), &asked.file_name, AtFlags::SYMLINK_NOFOLLOW) else {
        return asked.failed("open", e);
    };
    match (check_kind_and_owner(dir, asked, &stat), e) {
        (Err(wrong), _) => wrong,
        (Ok(()), Errno::ACCESS | Errno::PERM) => Error::denied(
            asked.subject(),
            format!("it is {}; its owner can create it with a wider file mode", describe(&stat)),
        ),
        (Ok(()), e) => asked.failed("open", e),
    }
}

fn check_kind_and_owner(dir: &ScopeDir, asked: &Asked<'_>, stat: &Stat) -> Result<()> {
    let path = || dir.path().join(&asked.file_name);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
        return Err(Error::wrong_kind(
            asked.subject(),
            format!("'{}' is {} with {} links; remove it", path().display(), describe(stat), stat.st_nlink),
        ));
    }
    let accepted = match dir.scope() {
        Scope::User => dir.user(),
        Scope::Global => asked.place.owner.unwrap_or(dir.user()),
    };
    if stat.st_uid != accepted {
        return Err(Error::denied(
            asked.subject(),
            format!(
                "'{}' is {}; expected user {accepted}. To trust that user, open it with owned_by({})",
                path().display(),
                describe(stat),
                stat.st_uid
            ),
        ));
    }
    let mode = permissions(stat);
    let allowed = match dir.scope() {
        Scope::User => mode & 0o7177 == 0,
        Scope::Global => GLOBAL_MODES.contains(&mode),
    };
    if !allowed {
        return Err(Error::denied(
            asked.subject(),
            format!("'{}' is {}, which no map has; remove it", path().display(), describe(stat)),
        ));
    }
    Ok(())
}

const GLOBAL_MODES: [u32; 5] = [0o600, 0o640, 0o644, 0o660, 0o666];

fn mode_for(place: &Named<'_>) -> Result<u32> {
    let mode = place.mode.unwrap_or(0o600);
    match place.name.scope() {
        Scope::User if mode != 0o600 => Err(Error::invalid(
            "file mode",
            format!("{mode:#o} in scope user, which nobody else can look into; use scope global or 0o600"),
        )),
        Scope::Global if !GLOBAL_MODES.contains(&mode) => Err(Error::invalid(
            "file mode",
            format!("{mode:#o}; it must be one of 0o600, 0o640, 0o644, 0o660, 0o666"),
        )),
        _ => Ok(mode),
    }
}

/// Joins the holders of a living map. Requires the directory's lock.
fn join(dir: &ScopeDir, asked: &Asked<'_>, living: Living) -> Result<Opened> {
    let failed = |e: io::Error| asked.failed("join the holders of", e);
    let inheritable = asked.request.inheritable;
    let (file, data_offset) = match &living.record.place {
        DataPlace::Here { offset } => (living.file, *offset),
        DataPlace::File { path, id } => {
            let at = || Subject::Path(path.clone());
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(asked.writes())
                // A planted FIFO must not block.
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(path)
                .map_err(|e| Error::from_io("open", at(), e))?;
            // Before its length is looked at: from here on nobody cuts it.
            share_file(&file, at)?;
            let stat = rustix::fs::fstat(&file).map_err(|e| Error::from_io("inspect", at(), e.into()))?;
            if FileId::from_stat(&stat) != *id || (stat.st_size as u64) < living.record.capacity {
                return Err(Error::wrong_kind(
                    at(),
                    format!(
                        "{} lies on it, and it was replaced or cut since; create the map anew",
                        asked.subject()
                    ),
                ));
            }
            (file, 0)
        }
    };
    let_inherit(&file, inheritable)?;
    let lock_file = open_file(dir, &asked.file_name, asked.writes()).map_err(|e| failed(e.into()))?;
    if FileId::of(&lock_file).map_err(failed)? != living.id {
        return Err(asked.was_replaced());
    }
    hold_life(&lock_file, asked)?;
    // Nothing may fail from here on: dropping a hold waits for the directory's lock, which is held now.
    let hold = NameHold::new(dir, asked.file_name.clone(), lock_file, living.id);
    let section = Section { file, data_offset, hold: Some(hold), locks: RangeLocks::default() };
    Ok(Opened { section, capacity: living.record.capacity, protection: living.record.access, created: false })
}

/// For a file opened here, which no child inherits unless the caller asked for that.
fn let_inherit(file: &File, inheritable: bool) -> Result<()> {
    if inheritable { set_inheritable(file, true) } else { Ok(()) }
}

fn hold_life(lock_file: &File, asked: &Asked<'_>) -> Result<()> {
    let_inherit(lock_file, asked.request.inheritable)?;
    match lock::try_lock(lock_file, LIFE, LockMode::Shared) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::sharing_violation(asked.subject())),
        Err(e) => Err(asked.failed("lock", e)),
    }
}

/// The temporary name of a file that is being made. Dropping this deletes the file unless it got the map's
/// name.
///
/// That does not need the directory's lock: a sweep leaves the file alone while its life lock is held, and no
/// other file gets this name without the directory's lock.
struct OwnName<'a> {
    dir: &'a ScopeDir,
    name: String,
    given_up: bool,
}

impl Drop for OwnName<'_> {
    fn drop(&mut self) {
        if !self.given_up {
            let _ = rustix::fs::unlinkat(self.dir.file(), &self.name, AtFlags::empty());
        }
    }
}

/// A file that is being made. Without the directory's lock, its name must go before its life lock does.
struct NewFile<'a> {
    own_name: OwnName<'a>,
    file: File,
    lock_file: File,
    id: FileId,
}

impl<'a> NewFile<'a> {
    /// Requires the directory's lock: until the life lock is held, a sweep would take the file for a
    /// leftover.
    fn create(dir: &'a ScopeDir, asked: &Asked<'_>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mode = mode_for(&asked.place)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let process = std::process::id();
        let (name, file) = loop {
            let name = format!("{NEW}{process}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
            match rustix::fs::openat(dir.file(), &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => break (name, File::from(fd)),
                // Another pid namespace, or an earlier process with this id, left it.
                Err(Errno::EXIST) => {}
                Err(e) => return Err(asked.failed("create", e)),
            }
        };
        let own_name = OwnName { dir, name, given_up: false };
        let stat = rustix::fs::fstat(&file).map_err(|e| dirs::io("inspect a file of", dir, e))?;
        let lock_file =
            open_file(dir, &own_name.name, true).map_err(|e| dirs::io("open a file of", dir, e))?;
        if permissions(&stat) != mode {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode as _))
                .map_err(|e| dirs::io("set the mode of a file of", dir, e))?;
        }
        let_inherit(&file, asked.request.inheritable)?;
        hold_life(&lock_file, asked)?;
        Ok(Self { own_name, file, lock_file, id: FileId::from_stat(&stat) })
    }

    /// Fills the file: its length, its memory, its first bytes and its record.
    fn fill(&self, asked: &Asked<'_>, data: &DataPlace) -> Result<()> {
        let Asked { place, request, .. } = asked;
        let record = Record {
            name: place.name.text().to_owned(),
            capacity: request.capacity,
            access: request.access,
            created: UNIX_EPOCH + Duration::from_nanos(os::coarse_time()),
            place: data.clone(),
        };
        match data {
            DataPlace::Here { offset } => {
                let delay = request.delay_allocate_pages;
                size_file(&self.file, *offset, request.capacity, delay, &asked.subject())?;
                self.file
                    .write_all_at(place.head, *offset)
                    .map_err(|e| asked.failed("write the head of", e))?;
            }
            // Such a file has only its record, and nothing has checked the limit yet.
            DataPlace::File { .. } => check_size_limit(record.len(), record.len(), &asked.subject())?,
        }
        record.write(&self.file).map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull => Error::no_space(
                asked.subject(),
                request.capacity,
                "the file system that holds names is full; free some".to_owned(),
            ),
            _ => asked.failed("write the record of", e),
        })
    }

    /// Moves the filled file to the map's name. `None`: something has that name. Requires the directory's
    /// lock.
    fn give_name(self, asked: &Asked<'_>, data: &DataPlace) -> Result<Option<Opened>> {
        let Self { mut own_name, file, lock_file, id } = self;
        let dir = own_name.dir;
        match dirs::rename_new(dir.file().as_fd(), own_name.name.as_str(), asked.file_name.as_str()) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None),
            Err(e) => {
                let doing = format!("give it its name in '{}'", dir.path().display());
                return Err(Error::io(doing, e.into()).about(&asked.subject()));
            }
        }
        own_name.given_up = true;
        let hold = NameHold::new(dir, asked.file_name.clone(), lock_file, id);
        let data_offset = match data {
            DataPlace::Here { offset } => *offset,
            DataPlace::File { .. } => 0,
        };
        let section = Section { file, data_offset, hold: Some(hold), locks: RangeLocks::default() };
        let Request { capacity, access, .. } = asked.request;
        Ok(Some(Opened { section, capacity, protection: access, created: true }))
    }
}

/// The directory's lock is not held while more memory than this is reserved. Reserving this much takes about
/// as long as taking the lock once more.
const QUICK: u64 = 64 << 10;

pub(super) fn open(place: Named<'_>, disposition: Disposition, request: Request) -> Result<Opened> {
    if disposition != Disposition::OpenExisting {
        mode_for(&place)?;
    }
    let offset = Record::data_offset(place.name.text());
    join_or_make(&Asked::new(place, disposition, request), &DataPlace::Here { offset })
}

/// Joins the holders of a name, or makes a map whose bytes lie where `data` says.
fn join_or_make(asked: &Asked<'_>, data: &DataPlace) -> Result<Opened> {
    let Asked { place, disposition, request, .. } = asked;
    let scope = place.name.scope();
    let is_quick = match data {
        DataPlace::Here { .. } => request.delay_allocate_pages || request.capacity <= QUICK,
        DataPlace::File { .. } => true,
    };
    // On some file systems a listing may lack a name that exists. So an opener asks for the name itself, and
    // so does a creator that was refused it.
    let mut ask = *disposition == Disposition::OpenExisting;
    loop {
        let Some(dir) = ScopeDir::open(scope, place.directory, *disposition != Disposition::OpenExisting)?
        else {
            return Err(Error::not_found(asked.subject()));
        };
        let Some(mut lock) = dir.lock()? else { continue };
        let is_there = sweep(&dir, Some(&asked.file_name), &mut Vec::new());
        if let Some(joined) = settle(&dir, asked, is_there || ask)? {
            return Ok(joined);
        }
        let new = NewFile::create(&dir, asked)?;
        if is_quick {
            new.fill(asked, data)?;
        } else {
            // No process waits for it.
            drop(lock);
            new.fill(asked, data)?;
            lock = match dir.lock()? {
                Some(lock) => lock,
                None => continue,
            };
            if let Some(joined) = settle(&dir, asked, true)? {
                return Ok(joined);
            }
        }
        if let Some(made) = new.give_name(asked, data)? {
            drop(lock);
            return Ok(made);
        }
        ask = true;
    }
}

/// Joins the living map of a name. `None`: the name is free, and `asked` allows creating it. `is_there` says
/// whether a file of the name may exist.
fn settle(dir: &ScopeDir, asked: &Asked<'_>, is_there: bool) -> Result<Option<Opened>> {
    match if is_there { look_up(dir, asked)? } else { Found::Absent } {
        Found::Living(_) if asked.disposition == Disposition::CreateNew => {
            Err(Error::already_exists(asked.subject()))
        }
        Found::Living(living) => join(dir, asked, living).map(Some),
        Found::Absent | Found::Stuck(_) if asked.disposition == Disposition::OpenExisting => {
            Err(Error::not_found(asked.subject()))
        }
        Found::Stuck(why) => Err(Error::denied(asked.subject(), why)),
        Found::Absent => Ok(None),
    }
}

/// Gives a name to a map that lies on `file`. `AlreadyExists` if the name has a holder.
pub(super) fn link(place: Named<'_>, file: &File, request: Request) -> Result<NameHold> {
    let path = super::file::path_of(file)?;
    let id = FileId::of(file).map_err(|e| Error::from_io("inspect", Subject::Path(path.clone()), e))?;
    let asked = Asked::new(place, Disposition::CreateNew, request);
    let opened = join_or_make(&asked, &DataPlace::File { path, id })?;
    Ok(opened.section.hold.unwrap_or_else(|| unreachable!("made with a name")))
}

/// Deletes this user's leftovers (for root in the global scope: all users') and adds their names to
/// `removed`. Requires the directory's lock. Leaves alone what can't be inspected, and the file `other`,
/// which the caller looks up anyway. Returns whether `other` was listed, as a file of any kind.
fn sweep(dir: &ScopeDir, other: Option<&str>, removed: &mut Vec<String>) -> bool {
    let mut is_other_there = false;
    // This comes before the check of the kind: `other` may be no regular file.
    let listed = os::file_names(dir.file(), |name| {
        let is_other = other == Some(name);
        is_other_there |= is_other;
        !is_other && (name.starts_with(NEW) || is_map_file(name.as_bytes()))
    });
    let Ok(names) = listed else { return true };
    for name in names {
        let Ok(file) = open_file(dir, &name, false) else { continue };
        if lock::is_held(&file, LIFE).unwrap_or(true) {
            continue;
        }
        let Ok(stat) = rustix::fs::fstat(&file) else { continue };
        let ours = stat.st_uid == dir.user() || dir.user() == 0 && dir.scope() == Scope::Global;
        if !ours || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            continue;
        }
        let map_name = match Record::read(&file, stat.st_size as u64) {
            Ok(Ok(record)) => record.name,
            // A file that somebody was filling.
            _ if name.starts_with(NEW) => name.clone(),
            _ => continue,
        };
        if rustix::fs::unlinkat(dir.file(), &name, AtFlags::empty()).is_ok() {
            removed.push(map_name);
        }
    }
    is_other_there
}

pub(crate) fn collect_garbage(scope: Scope, directory: Option<&Path>) -> Result<Vec<String>> {
    if scope == Scope::Global {
        dirs::remove_aside(directory)?;
    }
    let removed = with_locked(scope, directory, |dir| {
        let mut removed = Vec::new();
        sweep(dir, None, &mut removed);
        Ok(removed)
    })?;
    Ok(removed.unwrap_or_default())
}

pub(crate) fn list(scope: Scope, directory: Option<&Path>) -> Result<Vec<MapInfo>> {
    let found = with_locked(scope, directory, |dir| {
        let mut found = Vec::new();
        let names = os::file_names(dir.file(), |name| is_map_file(name.as_bytes()));
        for name in names.map_err(|e| dirs::io("list", dir, e))? {
            let Ok(file) = open_file(dir, &name, false) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            let Ok(Ok(record)) = Record::read(&file, metadata.len()) else { continue };
            if !metadata.is_file() || !lock::is_held(&file, LIFE).unwrap_or(false) {
                continue;
            }
            found.push((metadata, record));
        }
        Ok(found)
    })?
    .unwrap_or_default();
    let files: Vec<FileId> =
        found.iter().map(|(metadata, _)| FileId { device: metadata.dev(), inode: metadata.ino() }).collect();
    let mut holders = os::holders(&files);
    Ok(found
        .into_iter()
        .enumerate()
        .map(|(at, (metadata, record))| {
            let (path, allocated) = match record.place {
                DataPlace::Here { .. } => (None, metadata.blocks() * 512),
                DataPlace::File { path, .. } => {
                    let allocated = std::fs::metadata(&path).map_or(0, |file| file.blocks() * 512);
                    (Some(path), allocated)
                }
            };
            MapInfo {
                name: record.name,
                scope,
                capacity: record.capacity,
                allocated,
                path,
                created: record.created,
                owner: Some(metadata.uid()),
                mode: Some(metadata.mode() & 0o7777),
                holders: holders.as_mut().map(|holders| std::mem::take(&mut holders[at])),
            }
        })
        .collect())
}
