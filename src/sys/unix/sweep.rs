//! Removing what killed holders left, and listing what lives.
//!
//! No name leads to a leftover. Whoever asks for the same name removes it (`look`); the rest goes here: a
//! creation now and then looks at a few files, and [`collect_garbage`] at all. Relies on `look`; `names`
//! relies on it.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dirs::{ScopeDir, permissions};
use super::hold::{ForLocks, NameFiles, Token};
use super::inspect::FileId;
use super::lock::{self, LIFE};
use super::look::{MAP_SUFFIX, condemn_without_lock_file, file_name, has_readers_only, open_for_locks};
use super::make::NEW;
use super::os;
use super::record::{DataPlace, Found, Record};
use crate::error::Result;
use crate::sys::asked::Within;
use crate::terms::{MapInfo, Scope};

/// One creation in so many sweeps, and the first of a process.
const EVERY: u32 = 16;

/// How many files a sweep looks at: with one sweep in as many creations, each creation pays for one file.
const MOST: usize = 16;

/// Where the last sweep stopped, if it did not see everything. A hint, and nothing more.
const PLACE: &str = ".sweep";

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_map_file(name: &str) -> bool {
    name.strip_suffix(MAP_SUFFIX).is_some_and(|hash| is_hex(hash, 32))
}

fn token_of(name: &str) -> Option<Token> {
    let token = name.strip_suffix(Token::SUFFIX).filter(|token| is_hex(token, 16))?;
    u64::from_str_radix(token, 16).ok().map(Token)
}

/// Whether a file may be a leftover.
fn may_go(name: &str) -> bool {
    name.starts_with(NEW) || is_map_file(name) || token_of(name).is_some()
}

/// Sweeps a little, if it is time to. `own` has just been made.
pub(super) fn now_and_then(dir: &ScopeDir, own: &str) {
    static CREATIONS: AtomicU32 = AtomicU32::new(0);
    if CREATIONS.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY) {
        // Whoever created does not care whether this works.
        let _ = a_little(dir, own);
    }
}

fn a_little(dir: &ScopeDir, own: &str) -> Result<()> {
    let list = dir.open_list()?;
    let start = last_place(dir);
    let wanted = |name: &str| name != own && may_go(name);
    // A place of old may mean nothing any more.
    let (mut names, mut next) = os::some_file_names(&list, start, MOST, wanted).unwrap_or_default();
    if names.is_empty() && start > 0 {
        let list = dir.open_list()?;
        (names, next) = os::some_file_names(&list, 0, MOST, wanted).unwrap_or_default();
    }
    for name in names {
        let _ = remove_leftover(dir, &name);
    }
    if next != start {
        remember_place(dir, next);
    }
    Ok(())
}

fn last_place(dir: &ScopeDir) -> u64 {
    let mut place = [0; 8];
    let read = dir.open_file(PLACE, false).ok().and_then(|file| file.read_exact_at(&mut place, 0).ok());
    read.map_or(0, |()| u64::from_le_bytes(place))
}

fn remember_place(dir: &ScopeDir, place: u64) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(file) = rustix::fs::openat(dir.file(), PLACE, flags, mode) {
        // The process's mask may have taken rights away.
        let _ = rustix::fs::fchmod(&file, mode);
        let _ = File::from(file).write_all_at(&place.to_le_bytes(), 0);
    }
}

/// The names of the wanted files in a directory; none where it has been deleted since it was opened.
fn names_in(dir: &ScopeDir, wanted: fn(&str) -> bool) -> Result<Vec<String>> {
    match os::file_names(&dir.open_list()?, wanted) {
        Err(Errno::NOENT) => Ok(Vec::new()),
        other => other.map_err(|e| dir.failed("list", e)),
    }
}

/// Removes all leftovers and returns their names.
pub(super) fn all(dir: &ScopeDir) -> Result<Vec<String>> {
    let names = names_in(dir, may_go)?;
    let removed = names.iter().filter_map(|name| remove_leftover(dir, name)).collect();
    let _ = dir.unlink(PLACE);
    Ok(removed)
}

/// Removes a file that nobody holds, and says whose it was. Leaves alone what can't be inspected, what is no
/// file of a name, and what is not the owner's.
fn remove_leftover(dir: &ScopeDir, name: &str) -> Option<String> {
    match token_of(name) {
        Some(token) => remove_lock_file(dir, name, token),
        None => remove_map(dir, name),
    }
}

fn remove_map(dir: &ScopeDir, name: &str) -> Option<String> {
    let map = dir.open_file(name, true).ok()?;
    let stat = rustix::fs::fstat(&map).ok()?;
    if !dir.owns(&stat) {
        return None;
    }
    let mut files = NameFiles { map, id: FileId::from_stat(&stat), writes: true, for_locks: ForLocks::Map };
    if name.starts_with(NEW) {
        return files.claim_and_condemn(dir, name).then(|| name.to_owned());
    }
    if !has_readers_only(permissions(&stat)) {
        return remove_without_lock_file(dir, name, &files, stat.st_size as u64);
    }
    let Found::Record(record) = Record::read(&files.map, stat.st_size as u64).ok()? else { return None };
    match open_for_locks(dir, record.token, true).ok()? {
        Some(for_locks) => files.for_locks = for_locks,
        // Somebody deleted it. Who holds the map has a lock of its own file too: without one it is a
        // leftover.
        None if lock::is_held(&files.map, LIFE).ok()? => return None,
        None => {
            return condemn_without_lock_file(dir, name, files, record.token).ok()?.then_some(record.name);
        }
    }
    files.claim_and_condemn(dir, name).then_some(record.name)
}

/// Removes a map that is its own file for locks. The claim asks whether it lives, too: most do, and their
/// records need not be read.
fn remove_without_lock_file(dir: &ScopeDir, name: &str, files: &NameFiles, size: u64) -> Option<String> {
    if !lock::claim(&files.map).ok()? {
        return None;
    }
    let removed = match Record::read(&files.map, size) {
        Ok(Found::Record(record)) if files.condemn(dir, name).unwrap_or(false) => Some(record.name),
        _ => None,
    };
    files.let_go();
    removed
}

/// Removes a file for locks whose map has gone, or both.
fn remove_lock_file(dir: &ScopeDir, name: &str, token: Token) -> Option<String> {
    let file = dir.open_file(name, true).ok()?;
    if !dir.owns(&rustix::fs::fstat(&file).ok()?) || !lock::claim(&file).ok()? {
        return None;
    }
    // From here on nobody can join a map of this token, and none can appear: its creator would have the lock.
    let id = FileId::of(&file).ok()?;
    match map_of(dir, &file, token) {
        Ok(Some((map_file_name, name, map))) => {
            let id = FileId::of(&map).ok()?;
            let files = NameFiles { map, id, writes: true, for_locks: ForLocks::Beside(file, token) };
            let condemned = files.condemn(dir, &map_file_name);
            files.let_go();
            return condemned.unwrap_or(false).then_some(name);
        }
        Ok(None) if dir.id_at(name) == Ok(Some(id)) => {
            let _ = dir.unlink(name);
        }
        // Whether it has one can't be seen.
        _ => {}
    }
    lock::let_go(&file);
    // Nobody gave it a name.
    None
}

/// The map that a file for locks is for, if it is there: the name of its file, its name, and the file.
fn map_of(dir: &ScopeDir, lock_file: &File, token: Token) -> std::io::Result<Option<(String, String, File)>> {
    let mut text = [0; 32 + MAP_SUFFIX.len()];
    // A creator that was killed early has not said whose it is.
    let length = lock_file.read_at(&mut text, 0)?;
    let Some(file_name) = std::str::from_utf8(&text[..length]).ok().filter(|name| is_map_file(name)) else {
        return Ok(None);
    };
    let map = match dir.open_file(file_name, true) {
        Ok(map) => map,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = rustix::fs::fstat(&map)?;
    match Record::read(&map, stat.st_size as u64)? {
        Found::Record(record) if record.token == token.0 && dir.owns(&stat) => {
            Ok(Some((file_name.to_owned(), record.name, map)))
        }
        _ => Ok(None),
    }
}

pub(crate) fn collect_garbage(within: Within<'_>) -> Result<Vec<String>> {
    match ScopeDir::open(&within, false)? {
        Some(dir) => all(&dir),
        None => Ok(Vec::new()),
    }
}

/// Whether an error says that there are no descriptors left.
fn has_run_out(e: Option<Errno>) -> bool {
    matches!(e, Some(Errno::MFILE | Errno::NFILE))
}

pub(crate) fn list(within: Within<'_>) -> Result<Vec<MapInfo>> {
    let Some(dir) = ScopeDir::open(&within, false)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in names_in(&dir, is_map_file)? {
        let file = match dir.open_file(&name, false) {
            Ok(file) => file,
            Err(e) if has_run_out(Some(e)) => return Err(dir.failed("list", e)),
            Err(_) => continue,
        };
        let Ok(metadata) = file.metadata() else { continue };
        let Ok(Found::Record(record)) = Record::read(&file, metadata.len()) else { continue };
        let is_on_file = matches!(record.place, DataPlace::File { .. });
        if !metadata.is_file()
            || metadata.uid() != dir.owner()
            || record.is_dead
            // Others may have written to it.
            || name != file_name(&record.name)
            || is_on_file && within.scope == Scope::Global
        {
            continue;
        }
        // Others may have written to the record of a map that has no file for locks.
        let token = if has_readers_only(metadata.mode()) { record.token } else { 0 };
        let for_locks = match open_for_locks(&dir, token, false) {
            Ok(Some(ForLocks::Beside(for_locks, _))) => for_locks,
            Ok(Some(ForLocks::Map)) => file,
            Err(e) if has_run_out(Errno::from_io_error(&e)) => return Err(dir.failed("list", e)),
            _ => continue,
        };
        if lock::is_held(&for_locks, LIFE).unwrap_or(false) {
            found.push((metadata, record));
        }
    }
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
                scope: within.scope,
                capacity: record.capacity,
                allocated,
                path,
                created: record.created,
                owner: Some(metadata.uid()),
                mode: Some(metadata.mode() & 0o777),
                holders: holders.as_mut().map(|holders| std::mem::take(&mut holders[at])),
            }
        })
        .collect())
}
