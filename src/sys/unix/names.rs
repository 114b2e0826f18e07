//! Named maps on Unix: a name lives exactly as long as somebody holds it, however holders end.
//!
//! The algorithm is that of .NET's named mutexes on Unix (dotnet/coreclr#5030), with two additions:
//!
//! 1. Names appear and disappear only under the lock of the scope's directory.
//! 2. Every holder has a shared lock on the map's file, taken under the directory's lock. The kernel drops it
//!    when the holder ends. So whoever has the directory's lock and finds no lock on a file knows that nobody
//!    lives: the file is a leftover, treated as absent and deleted.
//! 3. The last one to close deletes the file. A holder that was killed leaves it to the next operation.
//! 4. (Added) A file is filled under a name of its own and moved to the map's name whole, so a creator that
//!    dies leaves no half-made map, even if a forked child keeps its lock alive.
//! 5. (Added) After locking a directory, its path must still lead to it; after opening a file, the name must
//!    still lead to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::dirs::{self, ScopeDir, describe, permissions, user_id, with_locked};
use super::lock::{self, LIFE};
use super::record::{DataPlace, Record};
use super::{FileId, RangeLocks, Section, check_size_limit, os, set_inheritable, share_file, size_file};
use crate::error::{Error, Result, Subject};
use crate::map::{MapInfo, MapName, Rights, Scope};
use crate::sys::{Disposition, LockMode, Opened, Place, Request, name_hash};

const SUFFIX: &str = ".map";
const NEW: &str = ".new-";

/// The file name of a map: the hash of its name in lower-case hex. Two names that differ, even only by case, get
/// two files on any file system; the record holds the full name.
fn file_name(name: &str) -> String {
    format!("{:032x}{SUFFIX}", name_hash(name))
}

fn is_map_file(name: &[u8]) -> bool {
    name.len() == 32 + SUFFIX.len()
        && name.ends_with(SUFFIX.as_bytes())
        && name[..32].iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// Keeps a name: while this lives, the name leads to its file.
#[derive(Debug)]
pub(super) struct NameHold {
    /// Carries the shared lock that says that somebody lives. Never mapped.
    lock_file: Option<File>,
    directory: PathBuf,
    scope: Scope,
    file_name: String,
    id: FileId,
}

impl Drop for NameHold {
    fn drop(&mut self) {
        // Without the directory (removed, or no longer ours) only the lock is let go: the name has no holder
        // then, and the next operation on the scope deletes the file.
        let dir = ScopeDir::open_at(self.directory.clone(), self.scope);
        let locked = dir.as_ref().ok().map(ScopeDir::lock);
        self.lock_file = None;
        if let (Ok(dir), Some(Ok(Some(_lock)))) = (&dir, &locked)
            && let Ok(file) = open_file(dir, &self.file_name, false)
            && FileId::of(&file).is_ok_and(|id| id == self.id)
            // A forked child shares the description that was just closed, and with it the lock.
            && lock::is_held(&file, LIFE).is_ok_and(|held| !held)
        {
            let _ = rustix::fs::unlinkat(dir.file(), &self.file_name, AtFlags::empty());
        }
    }
}

fn open_file(dir: &ScopeDir, name: &str, write: bool) -> rustix::io::Result<File> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    // NONBLOCK: a FIFO that was put there must not block.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir.file(), name, flags, Mode::empty()).map(File::from)
}

/// A map that lives under a name.
struct Living {
    record: Record,
    file: File,
    id: FileId,
}

enum Found {
    Living(Living),
    /// Nothing is there, or a leftover that was removed.
    Absent,
    /// A leftover of somebody else, which this user may not remove.
    Stuck(String),
}

/// Looks a name up, under the directory's lock. Leaves alone whatever is not a map of an accepted owner.
fn look_up(dir: &ScopeDir, place: &Place<'_>, write: bool) -> Result<Found> {
    let file_name = file_name(place.name.text());
    let subject = || place.name.subject();
    let stat = match rustix::fs::statat(dir.file(), &file_name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Found::Absent),
        Err(e) => return Err(Error::from_io("look at", subject(), e.into())),
    };
    check_kind_and_owner(dir, place, &file_name, &stat)?;
    let file = open_file(dir, &file_name, write).map_err(|e| match e {
        Errno::ACCESS | Errno::PERM => Error::denied(
            subject(),
            format!("it is {}; its owner can create it with a wider file mode", describe(&stat)),
        ),
        _ => Error::from_io("open", subject(), e.into()),
    })?;
    let id = FileId::of(&file).map_err(|e| Error::from_io("inspect", subject(), e))?;
    if id != (FileId { device: stat.st_dev as u64, inode: stat.st_ino }) {
        // Only somebody who does not take the directory's lock can do that.
        return Err(Error::wrong_kind(
            subject(),
            "its file was replaced while it was being opened; try again",
        ));
    }
    let record = Record::read(&file).map_err(|e| Error::from_io("read", subject(), e))?.map_err(|why| {
        let path = dir.path().join(&file_name);
        Error::wrong_kind(
            subject(),
            format!("'{}' is {} but no map: {why}; remove it", path.display(), describe(&stat)),
        )
    })?;
    if record.name != place.name.text() {
        return Err(Error::wrong_kind(
            subject(),
            format!(
                "its file holds the map {:?}, whose name has the same hash; choose another name",
                record.name
            ),
        ));
    }
    if lock::is_held(&file, LIFE).map_err(|e| Error::from_io("ask for the lock of", subject(), e))? {
        return Ok(Found::Living(Living { record, file, id }));
    }
    match rustix::fs::unlinkat(dir.file(), &file_name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Found::Absent),
        Err(e) => Ok(Found::Stuck(format!(
            "a leftover is in the way, {}, and could not be removed ({e}); its owner or root can, with \
             'handover gc'",
            describe(&stat)
        ))),
    }
}

fn check_kind_and_owner(dir: &ScopeDir, place: &Place<'_>, file_name: &str, stat: &Stat) -> Result<()> {
    let subject = || place.name.subject();
    let path = dir.path().join(file_name);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
        return Err(Error::wrong_kind(
            subject(),
            format!("'{}' is {} with {} links; remove it", path.display(), describe(stat), stat.st_nlink),
        ));
    }
    let accepted = match dir.scope() {
        Scope::User => user_id(),
        Scope::Global => place.owner.unwrap_or_else(user_id),
    };
    if stat.st_uid != accepted {
        return Err(Error::denied(
            subject(),
            format!(
                "'{}' is {}; expected was user {accepted}. To trust that user, open it with owned_by({})",
                path.display(),
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
            subject(),
            format!("'{}' is {}, which no map has; remove it", path.display(), describe(stat)),
        ));
    }
    Ok(())
}

const GLOBAL_MODES: [u32; 5] = [0o600, 0o640, 0o644, 0o660, 0o666];

fn mode_for(place: &Place<'_>) -> Result<u32> {
    let mode = place.mode.unwrap_or(0o600);
    match place.name.scope() {
        Scope::User if mode != 0o600 => Err(Error::invalid(
            "file mode",
            format!("{mode:#o} in scope user, which nobody else can look into; use scope global or 0o600"),
        )),
        Scope::Global if !GLOBAL_MODES.contains(&mode) => Err(Error::invalid(
            "file mode",
            format!("{mode:#o}; one of 0o600, 0o640, 0o644, 0o660, 0o666 is possible"),
        )),
        _ => Ok(mode),
    }
}

/// Joins the holders of a living map. Under the directory's lock.
fn join(dir: &ScopeDir, place: &Place<'_>, living: Living, request: Request) -> Result<Opened> {
    let subject = place.name.subject();
    let failed = |e: io::Error| Error::from_io("join the holders of", subject.clone(), e);
    let writes = request.rights.contains(Rights::WRITE);
    let (file, data_offset) = match &living.record.place {
        DataPlace::Here { offset } => (living.file, *offset),
        DataPlace::File { path, id } => {
            let at = || Subject::Path(path.clone());
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(writes)
                // A FIFO that was put there must not block.
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(path)
                .map_err(|e| Error::from_io("open", at(), e))?;
            let length = file.metadata().map_err(|e| Error::from_io("inspect", at(), e))?.len();
            if FileId::of(&file).map_err(|e| Error::from_io("inspect", at(), e))? != *id
                || length < living.record.capacity
            {
                return Err(Error::wrong_kind(
                    at(),
                    format!("{subject} lies on it, and it was replaced or cut since; create the map anew"),
                ));
            }
            share_file(&file, at)?;
            (file, 0)
        }
    };
    let_inherit(&file, request.inheritable)?;
    let file_name = file_name(place.name.text());
    let lock_file = open_file(dir, &file_name, writes).map_err(|e| failed(e.into()))?;
    if FileId::of(&lock_file).map_err(failed)? != living.id {
        return Err(Error::wrong_kind(subject, "its file was replaced while it was being opened; try again"));
    }
    hold_life(&lock_file, request.inheritable, &subject)?;
    // Nothing may fail from here: the drop of a hold waits for the directory's lock, which is held now.
    let hold = NameHold {
        lock_file: Some(lock_file),
        directory: dir.path().to_owned(),
        scope: dir.scope(),
        file_name,
        id: living.id,
    };
    let section = Section { file, data_offset, hold: Some(hold), locks: RangeLocks::default() };
    Ok(Opened { section, capacity: living.record.capacity, protection: living.record.access, created: false })
}

/// For a file that was opened here, which no child inherits unless it is asked for.
fn let_inherit(file: &File, inheritable: bool) -> Result<()> {
    if inheritable { set_inheritable(file, true) } else { Ok(()) }
}

fn hold_life(lock_file: &File, inheritable: bool, subject: &Subject) -> Result<()> {
    let_inherit(lock_file, inheritable)?;
    match lock::try_lock(lock_file, LIFE, LockMode::Shared) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::SharingViolation { subject: subject.clone() }),
        Err(e) => Err(Error::from_io("lock", subject.clone(), e)),
    }
}

/// A file that is being made, deleted on drop unless it got its name.
struct NewFile {
    hold: NameHold,
    file: File,
}

fn create_new_file(dir: &ScopeDir, place: &Place<'_>, request: Request) -> Result<NewFile> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mode = mode_for(place)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let subject = place.name.subject();
    let (file_name, file) = loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NEW}{}-{number}", std::process::id());
        match rustix::fs::openat(dir.file(), &name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => break (name, File::from(fd)),
            // A leftover of another pid namespace or of an earlier process with this id.
            Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::from_io("create", subject, e.into())),
        }
    };
    let prepare = || {
        let id = FileId::of(&file).map_err(|e| dirs::io("inspect a file of", dir, e))?;
        let lock_file = open_file(dir, &file_name, true).map_err(|e| dirs::io("open a file of", dir, e))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode as _))
            .map_err(|e| dirs::io("set the mode of a file of", dir, e))?;
        let_inherit(&file, request.inheritable)?;
        hold_life(&lock_file, request.inheritable, &subject)?;
        Ok((id, lock_file))
    };
    match prepare() {
        Ok((id, lock_file)) => {
            let hold = NameHold {
                lock_file: Some(lock_file),
                directory: dir.path().to_owned(),
                scope: dir.scope(),
                file_name,
                id,
            };
            Ok(NewFile { hold, file })
        }
        Err(error) => {
            let _ = rustix::fs::unlinkat(dir.file(), &file_name, AtFlags::empty());
            Err(error)
        }
    }
}

/// One pass under the directory's lock: what it came to.
enum Step {
    Done(Result<Opened>),
    Fill(NewFile),
}

pub(super) fn open(place: Place<'_>, disposition: Disposition, request: Request) -> Result<Opened> {
    if disposition != Disposition::OpenExisting {
        mode_for(&place)?;
    }
    let Some(first) =
        with_locked(place.name.scope(), place.directory, disposition != Disposition::OpenExisting, |dir| {
            sweep(dir, Some(place.name), &mut Vec::new());
            if let Some(done) = settle(dir, &place, disposition, request)? {
                return Ok(Step::Done(done));
            }
            create_new_file(dir, &place, request).map(Step::Fill)
        })?
    else {
        return Err(Error::NotFound { subject: place.name.subject() });
    };
    match first {
        Step::Done(opened) => opened,
        Step::Fill(new) => {
            // Outside the lock: reserving memory for a large map takes a while.
            let offset = Record::data_offset(place.name.text());
            size_file(
                &new.file,
                offset,
                request.capacity,
                request.delay_allocate_pages,
                &place.name.subject(),
            )?;
            new.file
                .write_all_at(place.head, offset)
                .map_err(|e| Error::from_io("write the head of", place.name.subject(), e))?;
            let record = Record {
                name: place.name.text().to_owned(),
                capacity: request.capacity,
                access: request.access,
                created: UNIX_EPOCH + Duration::from_nanos(os::coarse_time()),
                place: DataPlace::Here { offset },
            };
            give_name(new, &place, disposition, request, &record)
        }
    }
}

/// What the directory says of the name: `None` when it is free.
fn settle(
    dir: &ScopeDir,
    place: &Place<'_>,
    disposition: Disposition,
    request: Request,
) -> Result<Option<Result<Opened>>> {
    let subject = || place.name.subject();
    Ok(match look_up(dir, place, request.rights.contains(Rights::WRITE))? {
        Found::Living(_) if disposition == Disposition::CreateNew => {
            Some(Err(Error::AlreadyExists { subject: subject() }))
        }
        Found::Living(living) => Some(join(dir, place, living, request)),
        Found::Absent | Found::Stuck(_) if disposition == Disposition::OpenExisting => {
            Some(Err(Error::NotFound { subject: subject() }))
        }
        Found::Stuck(why) => Some(Err(Error::denied(subject(), why))),
        Found::Absent => None,
    })
}

/// Writes the record and moves a filled file to its name, unless somebody else was faster.
fn give_name(
    new: NewFile,
    place: &Place<'_>,
    disposition: Disposition,
    request: Request,
    record: &Record,
) -> Result<Opened> {
    // A map on a file has nothing but its record here, and nobody has looked at the limit yet.
    check_size_limit(record.len(), record.len(), &place.name.subject())?;
    record.write(&new.file).map_err(|e| match e.kind() {
        io::ErrorKind::StorageFull => Error::NoSpace {
            subject: place.name.subject(),
            needed: request.capacity,
            reason: "the file system that holds names is full; free some".to_owned(),
        },
        _ => Error::from_io("write the record of", place.name.subject(), e),
    })?;
    let mut new = Some(new);
    let done = with_locked(place.name.scope(), place.directory, true, |dir| {
        if let Some(done) = settle(dir, place, disposition, request)? {
            return Ok(done);
        }
        let name = file_name(place.name.text());
        let made = new.as_ref().map_or("", |new| &new.hold.file_name);
        rustix::fs::renameat(dir.file(), made, dir.file(), &name).map_err(|e| Error::Io {
            doing: format!("give its name to {} in '{}'", place.name.subject(), dir.path().display()),
            source: e.into(),
        })?;
        let Some(NewFile { mut hold, file }) = new.take() else { unreachable!("taken here only") };
        hold.file_name = name;
        let data_offset = match record.place {
            DataPlace::Here { offset } => offset,
            DataPlace::File { .. } => 0,
        };
        let section = Section { file, data_offset, hold: Some(hold), locks: RangeLocks::default() };
        Ok(Ok(Opened { section, capacity: request.capacity, protection: request.access, created: true }))
    })?;
    // Deleting what was not needed takes the directory's lock, so it must come after it was let go.
    drop(new);
    done.unwrap_or_else(|| unreachable!("asked to create the directory"))
}

/// Gives a name to a map that lies on `file`: `AlreadyExists` if it has a holder.
pub(super) fn link(place: Place<'_>, file: &File, request: Request) -> Result<NameHold> {
    let path = super::path_of(file)?;
    let id = FileId::of(file).map_err(|e| Error::from_io("inspect", Subject::Path(path.clone()), e))?;
    let first = with_locked(place.name.scope(), place.directory, true, |dir| {
        sweep(dir, Some(place.name), &mut Vec::new());
        if let Some(done) = settle(dir, &place, Disposition::CreateNew, request)? {
            return Ok(Step::Done(done));
        }
        create_new_file(dir, &place, request).map(Step::Fill)
    })?;
    let new = match first {
        Some(Step::Fill(new)) => new,
        Some(Step::Done(Err(error))) => return Err(error),
        Some(Step::Done(Ok(_))) | None => unreachable!("CreateNew on a name that was settled"),
    };
    let record = Record {
        name: place.name.text().to_owned(),
        capacity: request.capacity,
        access: request.access,
        created: UNIX_EPOCH + Duration::from_nanos(os::coarse_time()),
        place: DataPlace::File { path, id },
    };
    let opened = give_name(new, &place, Disposition::CreateNew, request, &record)?;
    Ok(opened.section.hold.unwrap_or_else(|| unreachable!("made with a name")))
}

/// Deletes leftovers of this user (for root in the global scope: of all users) and adds their names to `removed`. Under the
/// directory's lock. What can't be looked at is left alone, and so is `other`, which is looked up anyway.
fn sweep(dir: &ScopeDir, other: Option<&MapName>, removed: &mut Vec<String>) {
    let other = other.map(|other| file_name(other.text()));
    for name in os::file_names(dir.file()).unwrap_or_default() {
        let name = name.as_str();
        let is_new = name.starts_with(NEW);
        if !is_new && !is_map_file(name.as_bytes()) || other.as_deref() == Some(name) {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(dir.file(), name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let ours = stat.st_uid == user_id() || user_id() == 0 && dir.scope() == Scope::Global;
        if !ours || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            continue;
        }
        let Ok(file) = open_file(dir, name, false) else { continue };
        if lock::is_held(&file, LIFE).unwrap_or(true) {
            continue;
        }
        let map_name = match Record::read(&file) {
            Ok(Ok(record)) => record.name,
            // A file that was being filled.
            _ if is_new => name.to_owned(),
            _ => continue,
        };
        if rustix::fs::unlinkat(dir.file(), name, AtFlags::empty()).is_ok() {
            removed.push(map_name);
        }
    }
}

/// Deletes what holders that were killed left in a scope; gives the names.
pub(crate) fn collect_garbage(scope: Scope, directory: Option<&Path>) -> Result<Vec<String>> {
    if scope == Scope::Global {
        dirs::remove_aside(directory)?;
    }
    let removed = with_locked(scope, directory, false, |dir| {
        let mut removed = Vec::new();
        sweep(dir, None, &mut removed);
        Ok(removed)
    })?;
    Ok(removed.unwrap_or_default())
}

/// The living maps of a scope that this user may look at.
pub(crate) fn list(scope: Scope, directory: Option<&Path>) -> Result<Vec<MapInfo>> {
    let found = with_locked(scope, directory, false, |dir| {
        let mut found = Vec::new();
        for name in os::file_names(dir.file()).map_err(|e| dirs::io("list", dir, e))? {
            if !is_map_file(name.as_bytes()) {
                continue;
            }
            let Ok(file) = open_file(dir, &name, false) else { continue };
            let (Ok(metadata), Ok(Ok(record))) = (file.metadata(), Record::read(&file)) else { continue };
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

/// Writes `len` zeroes from `start`, where a file system can't reserve space otherwise.
pub(super) fn write_zeroes(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    const CHUNK: usize = 1 << 16;
    let zeroes = vec![0; CHUNK];
    let end = start + len;
    let mut at = start;
    while at < end {
        let count = (end - at).min(CHUNK as u64) as usize;
        file.write_all_at(&zeroes[..count], at).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        at += count as u64;
    }
    Ok(())
}
