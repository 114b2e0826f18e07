//! Named maps on Unix: a name lives exactly as long as somebody holds it, however holders end.
//!
//! While a map has a holder, its name leads to its file. That rests on four rules:
//!
//! 1. A file gets its name once, by a link that replaces nothing, when it is complete and its creator holds
//!    it (`make`).
//! 2. A name is taken from a file only by a process that has claimed that file and has then seen that the
//!    name leads to it (`hold`, `look`).
//! 3. A joiner takes the lock of a holder first, and then looks whether the name leads to the file (`look`).
//! 4. Nobody who opens or creates says "not found" about a leftover without having taken its name (`look`).
//!
//! Nothing is locked that two names share. `docs/design.md` says why this is right.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{OFlags, StatVfsMountFlags};

use super::dirs::{ScopeDir, describe};
use super::file::{set_inheritable, share_file};
use super::hold::{NameFiles, NameHold};
use super::inspect::FileId;
use super::look::{Asked, GLOBAL_MODES, Joined, Looked, has_readers_only, look};
use super::make::{Given, NewMap};
use super::os;
use super::record::{DataPlace, Record};
use super::refusal::refused;
use super::section::{Opened, Section};
use super::size::{check_size_limit, size_file};
use super::sweep;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::asked::{Disposition, Named, Request};
use crate::terms::{Rights, Scope, Subject};

/// How long to wait for somebody who is removing a leftover of the same name: a handful of system calls. Only
/// a process that is stopped between them takes longer.
const LIMIT: Duration = Duration::from_secs(5);

/// How often to look again at once before pausing.
const TRIES: u32 = 64;

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

pub(super) fn open(place: Named<'_>, disposition: Disposition, request: Request) -> Result<Opened> {
    let offset = Record::data_offset(place.name.text());
    let asked = Asked::new(place, disposition, request);
    let (hold, record, created) = join_or_make(&asked, &DataPlace::Here { offset })?;
    let writes = request.rights.contains(Rights::WRITE);
    let (file, data_offset) = match &record.place {
        DataPlace::Here { .. } if writes && !hold.may_write() => {
            return Err(cannot_write(&asked, hold.file()));
        }
        DataPlace::Here { offset } => (None, *offset),
        DataPlace::File { path, id } => (Some(open_file_of(&asked, path, *id, record.capacity)?), 0),
    };
    let Record { capacity, access: protection, .. } = record;
    Ok(Opened { section: Section::of_name(hold, file, data_offset, writes), capacity, protection, created })
}

/// The error for a map that this user, or this mount, can only read.
fn cannot_write(asked: &Asked<'_>, map: &File) -> Error {
    let is_mounted_read_only =
        rustix::fs::fstatvfs(map).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY));
    let (why, advice) = match rustix::fs::fstat(map) {
        _ if is_mounted_read_only => {
            ("its file system is mounted read-only here".to_owned(), "open it for reading")
        }
        Ok(stat) => (
            format!("it is {}", describe(&stat)),
            "open it for reading, or have its owner create it with a wider file mode, or for a group of yours",
        ),
        Err(e) => (e.to_string(), "open it for reading"),
    };
    Error::denied(asked.subject(), why).with_advice(advice)
}

/// Gives a name to a map that lies on `file`. `AlreadyExists` if the name has a holder.
pub(super) fn link(place: Named<'_>, file: &File, request: Request) -> Result<NameHold> {
    if place.name.scope() == Scope::Global {
        return Err(Error::unsupported(
            "a name in scope global can't lie on a file: nobody opens a path that another user chose",
        )
        .with_advice("use scope user, or share the file itself")
        .about(&place.name.subject()));
    }
    let path = super::file::path_of(file)?;
    let id = FileId::of(file).map_err(|e| Error::from_io("inspect", Subject::Path(path.clone()), e))?;
    let asked = Asked::new(place, Disposition::CreateNew, request);
    Ok(join_or_make(&asked, &DataPlace::File { path, id })?.0)
}

/// The file that a name lies on.
fn open_file_of(asked: &Asked<'_>, path: &Path, id: FileId, capacity: u64) -> Result<File> {
    let at = || Subject::Path(path.to_owned());
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(asked.request.rights.contains(Rights::WRITE))
        // A planted FIFO must not block.
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(|e| refused("open", at(), e))?;
    // Before its length is looked at: from here on nobody cuts it.
    share_file(&file, at)?;
    let stat = rustix::fs::fstat(&file).map_err(|e| Error::from_io("inspect", at(), e.into()))?;
    if FileId::from_stat(&stat) != id || (stat.st_size as u64) < capacity {
        return Err(Error::wrong_kind(
            at(),
            format!("{} lies on it, and it was replaced or cut since; create the map anew", asked.subject()),
        ));
    }
    if asked.request.inheritable {
        set_inheritable(&file, true)?;
    }
    Ok(file)
}

/// Joins the holders of a name, or makes a map whose bytes lie where `data` says. Returns what keeps the
/// name, and whether this call made it.
fn join_or_make(asked: &Asked<'_>, data: &DataPlace) -> Result<(NameHold, Record, bool)> {
    let creates = asked.disposition != Disposition::OpenExisting;
    let mode = if creates { mode_for(&asked.place)? } else { 0 };
    let waiting_for =
        || "a process that is removing what another one left of this name: it seems to be stopped".to_owned();
    let attempt = || {
        for _ in 0..TRIES {
            let Some(dir) = ScopeDir::open(&asked.place.within, creates)? else {
                return Err(if creates { not_ones_own(asked) } else { Error::not_found(asked.subject()) });
            };
            match join_or_make_in(&dir, asked, data, mode)? {
                Tried::Done(done) => return Ok(Some(*done)),
                Tried::Again => {}
                Tried::Busy => return Ok(None),
            }
        }
        Ok(None)
    };
    Backoff::LOCK.poll(LIMIT, waiting_for, attempt).map_err(|error| error.about(&asked.subject()))
}

enum Tried {
    Done(Box<(NameHold, Record, bool)>),
    Again,
    Busy,
}

fn not_ones_own(asked: &Asked<'_>) -> Error {
    Error::denied(
        asked.subject(),
        "nobody holds it, and only its owner can create it: global names belong to whoever creates them",
    )
}

/// One try in an open directory, as long as that is the right one.
fn join_or_make_in(dir: &ScopeDir, asked: &Asked<'_>, data: &DataPlace, mode: u32) -> Result<Tried> {
    let mut made: Option<(NewMap<'_>, Record)> = None;
    // Each time, somebody else has created the map and let go of it meanwhile.
    for _ in 0..TRIES {
        match look(dir, asked)? {
            Looked::Again => return Ok(Tried::Again),
            Looked::Busy => return Ok(Tried::Busy),
            Looked::Joined(Joined { record, files }) => {
                let hold = keep(dir, asked, files)?;
                if asked.disposition == Disposition::CreateNew {
                    return Err(Error::already_exists(asked.subject()));
                }
                return Ok(Tried::Done(Box::new((hold, record, false))));
            }
            Looked::Absent if asked.disposition == Disposition::OpenExisting => {
                return Err(Error::not_found(asked.subject()));
            }
            Looked::Absent if !dir.is_own() => return Err(not_ones_own(asked)),
            Looked::Absent => {}
        }
        let (new, record) = match made.take() {
            Some(made) => made,
            None => match make(dir, asked, data, mode)? {
                Some(made) => made,
                None => return Ok(Tried::Again),
            },
        };
        match new.name(&asked.file_name).map_err(|e| dir.failed("give a map its name in", e))? {
            Given::Yes(files) => {
                if !dir.is_current().map_err(|e| dir.failed("look at", e))? {
                    // Nobody finds it here.
                    files.claim_and_condemn(dir, &asked.file_name);
                    return Ok(Tried::Again);
                }
                let hold = keep(dir, asked, files)?;
                sweep::now_and_then(dir, &asked.file_name);
                return Ok(Tried::Done(Box::new((hold, record, true))));
            }
            Given::Taken(new) => made = Some((new, record)),
            Given::Not => return Ok(Tried::Again),
        }
    }
    Ok(Tried::Busy)
}

fn keep(dir: &ScopeDir, asked: &Asked<'_>, files: NameFiles) -> Result<NameHold> {
    let hold = NameHold::new(dir, &asked.file_name, files, asked.request.inheritable);
    if asked.request.inheritable {
        hold.let_inherit()?;
    }
    Ok(hold)
}

/// Makes a map that has no name yet. Where there is no room, leftovers may have it.
fn make<'a>(
    dir: &'a ScopeDir,
    asked: &Asked<'_>,
    data: &DataPlace,
    mode: u32,
) -> Result<Option<(NewMap<'a>, Record)>> {
    match try_make(dir, asked, data, mode) {
        Err(error) if error.kind() == ErrorKind::NoSpace => match sweep::all(dir) {
            Ok(removed) if !removed.is_empty() => try_make(dir, asked, data, mode),
            _ => Err(error),
        },
        other => other,
    }
}

fn try_make<'a>(
    dir: &'a ScopeDir,
    asked: &Asked<'_>,
    data: &DataPlace,
    mode: u32,
) -> Result<Option<(NewMap<'a>, Record)>> {
    let Asked { place, request, .. } = asked;
    let lock_beside = has_readers_only(mode).then_some(asked.file_name.as_str());
    if let Some(text) = lock_beside {
        check_size_limit(text.len() as u64, request.capacity, &asked.subject())?;
    }
    let new = match NewMap::create(dir, mode, lock_beside) {
        Ok(Some(new)) => new,
        Ok(None) => return Ok(None),
        // The directory has gone.
        Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.is_current().unwrap_or(true) => {
            return Ok(None);
        }
        Err(e) => return Err(asked.failed("create", e)),
    };
    if let Some(group) = place.group {
        new.set_group(group).map_err(|e| {
            Error::denied(asked.subject(), format!("it can't be given to group {group} ({e})"))
                .with_advice("name a group that this process belongs to")
        })?;
    }
    let record = Record {
        name: place.name.text().to_owned(),
        capacity: request.capacity,
        access: request.access,
        created: UNIX_EPOCH + Duration::from_nanos(os::coarse_time()),
        token: new.token(),
        is_dead: false,
        place: data.clone(),
    };
    match data {
        DataPlace::Here { offset } => {
            let delay = request.delay_allocate_pages;
            size_file(new.file(), *offset, request.capacity, delay, &asked.subject())?;
            new.file().write_all_at(place.head, *offset).map_err(|e| asked.failed("write the head of", e))?;
        }
        // Such a file has only its record, and nothing has checked the limit yet.
        DataPlace::File { .. } => check_size_limit(record.len(), record.len(), &asked.subject())?,
    }
    record.write(new.file()).map_err(|e| match e.kind() {
        io::ErrorKind::StorageFull => Error::no_space(
            asked.subject(),
            request.capacity,
            "the file system that holds names is full; free some".to_owned(),
        ),
        _ => asked.failed("write the record of", e),
    })?;
    Ok(Some((new, record)))
}
