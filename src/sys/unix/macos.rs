//! What is special to macOS: the per-user temporary directory, `F_PREALLOCATE`, `F_GETPATH`.

use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::inspect::{FileId, UserRange, may_be_regular};
use super::zeroes::write_zeroes;
use crate::sys::poll::poll_any;
use crate::terms::Scope;

pub(super) const OFD_SETLK: libc::c_int = libc::F_OFD_SETLK;
pub(super) const OFD_GETLK: libc::c_int = libc::F_OFD_GETLK;

/// How a directory is opened to find files in it, and do nothing else with it: `O_EXEC`, which makes
/// `O_SEARCH` together with `O_DIRECTORY`.
pub(super) const FIND_ONLY: OFlags = OFlags::from_bits_retain(0x4000_0000);

/// The mode of a name's file beside the rights: macOS keeps the sticky bit from files.
pub(super) const KEPT: u32 = 0;

/// Whether this process has rights that whoever started it did not have.
pub(super) fn is_set_user_id() -> bool {
    // SAFETY: the call takes nothing and only reads the process's own state.
    unsafe { libc::issetugid() != 0 }
}

/// There are no user namespaces.
pub(super) fn user_ranges() -> Option<Vec<UserRange>> {
    None
}

/// Sets the mode of an open directory, which `path` leads to.
pub(super) fn set_mode(_directory: &File, path: &Path, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode as _))
}

/// macOS has no files without a name.
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
pub(super) fn unnamed_file(_directory: &File) -> rustix::io::Result<Option<File>> {
    Ok(None)
}

/// See [`unnamed_file`].
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
pub(super) fn name_file(_file: &File, _directory: &File, _name: &str) -> rustix::io::Result<bool> {
    Ok(false)
}

/// Where scopes' directories may lie; the first one that exists and is safe wins. The global scope lies in
/// `/tmp`: the per-user directory is closed to other users.
pub(super) fn base_directories(scope: Scope) -> Vec<PathBuf> {
    match scope {
        // Without `TMPDIR` this asks the system (`_CS_DARWIN_USER_TEMP_DIR`).
        Scope::User => vec![std::env::temp_dir(), "/tmp".into()],
        Scope::Global => vec!["/tmp".into()],
    }
}

/// A file that has no name: created in the temporary directory and unlinked at once. It can't be opened again
/// after that, so a second description, for locks, is opened first.
pub(super) fn anonymous_file(inheritable: bool) -> rustix::io::Result<(File, Option<File>)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let failed = |e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("handover-{}-{number}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
        match options.clone().create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                let for_locks = options.open(&path);
                fs::remove_file(&path).map_err(failed)?;
                let for_locks = for_locks.map_err(failed)?;
                if FileId::of(&file).map_err(failed)? != FileId::of(&for_locks).map_err(failed)? {
                    // Somebody with write access to the directory put another file there.
                    return Err(Errno::STALE);
                }
                if inheritable {
                    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
                }
                return Ok((file, Some(for_locks)));
            }
            // A process with that id died between the two calls and left it.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

/// Anonymous maps lie on disk here, which has its own limit.
pub(super) fn available_memory() -> Option<u64> {
    None
}

/// Extends a file to `start + len`, which is beyond its end, and takes disk space for it, so that writing
/// can't fail later.
pub(super) fn reserve(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    let end = start + len;
    let length = rustix::fs::fstat(file)?.st_size as u64;
    // The space is taken behind what the file has and becomes part of the file as it grows. So it comes
    // first.
    let mut space = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: end.saturating_sub(length) as libc::off_t,
        fst_bytesalloc: 0,
    };
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `space` is a valid `fstore_t`.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PREALLOCATE, &raw mut space) } == 0 {
        return rustix::fs::ftruncate(file, end);
    }
    match Errno::from_io_error(&io::Error::last_os_error()) {
        // This file system lacks the call; writing zeroes does the same. The bytes are new, so nothing is
        // lost.
        Some(Errno::OPNOTSUPP | Errno::NOTSUP | Errno::INVAL) | None => write_zeroes(file, start, len),
        Some(other) => Err(other),
    }
}

/// Takes disk space for a part of the file that has none: on macOS by writing to it.
pub(super) fn reserve_within(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    write_zeroes(file, start, len)
}

/// Gives back the blocks within a range.
pub(super) fn release(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    // Only whole blocks; the system refuses others.
    const BLOCK: u64 = 4096;
    let first = start.next_multiple_of(BLOCK);
    let end = (start + len) / BLOCK * BLOCK;
    if end <= first {
        return Ok(());
    }
    let hole = libc::fpunchhole_t {
        fp_flags: 0,
        reserved: 0,
        fp_offset: first as libc::off_t,
        fp_length: (end - first) as libc::off_t,
    };
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `hole` is a valid `fpunchhole_t`.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PUNCHHOLE, &raw const hole) } == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Tells the system to start writing; macOS does that only for a whole file.
pub(super) fn start_flush(_file: &File, _start: u64, _len: u64) {}

/// Makes the disk write out its own cache: `msync` and `fsync` only hand the bytes to the disk.
pub(super) fn flush_device(file: &File) -> rustix::io::Result<()> {
    match rustix::fs::fcntl_fullfsync(file) {
        // This file system lacks the call.
        Err(Errno::NOTSUP | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY) => rustix::fs::fsync(file),
        other => other,
    }
}

/// macOS has no call that waits for a whole file system; this is the nearest.
pub(super) fn flush_file_system(file: &File) -> rustix::io::Result<()> {
    flush_device(file)
}

/// Locks a mapped range. macOS has no way to leave it out of core dumps.
pub(super) fn keep_secret(first: *mut c_void, len: usize) -> rustix::io::Result<()> {
    // SAFETY: the caller's range is mapped; locking changes nothing in it.
    unsafe { rustix::mm::mlock(first, len) }
}

/// The system's own wait on an address (`os_sync_wait_on_address`) came with macOS 14.4. This works on all
/// versions.
pub(crate) fn sleep_on(word: &AtomicU64, expected: u64, limit: Duration) {
    poll_any(&[(word, expected)], limit);
}

/// No system call sleeps on several.
#[cfg(feature = "async")]
pub(crate) fn sleep_on_any(words: &[(&AtomicU64, u64)], limit: Duration) -> Option<usize> {
    poll_any(words, limit);
    None
}

/// Does nothing: nobody sleeps in the system. See [`sleep_on`].
pub(crate) fn wake_all(_word: &AtomicU64) {}

/// The same file under a new open file description.
pub(super) fn reopen(file: &File, write: bool) -> io::Result<File> {
    let path = path_of(file).ok_or(io::ErrorKind::NotFound)?;
    fs::OpenOptions::new().read(true).write(write).open(path)
}

/// The path of an open file, if the path still leads to it.
pub(super) fn path_of(file: &File) -> Option<PathBuf> {
    let path = rustix::fs::getpath(file).ok()?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes()));
    FileId::of(file).and_then(|id| id.is_at(&path)).unwrap_or(false).then_some(path)
}

/// macOS offers no way to ask who has a file open without extra rights.
pub(super) fn holders(_files: &[FileId]) -> Option<Vec<Vec<u32>>> {
    None
}

pub(crate) fn coarse_time() -> u64 {
    crate::sys::nanoseconds(SystemTime::now())
}

/// The names of regular files in a directory that are text and `wanted`, which is asked for every name,
/// whatever kind of file has it.
pub(super) fn file_names(
    directory: &File,
    mut wanted: impl FnMut(&str) -> bool,
) -> rustix::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && wanted(name)
            && may_be_regular(entry.file_type())
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// A part of the names that [`file_names`] gives: at most `most`, from the one with the number `from` on, and
/// the number where the next look should start; 0 at the end.
pub(super) fn some_file_names(
    directory: &File,
    from: u64,
    most: usize,
    wanted: impl FnMut(&str) -> bool,
) -> rustix::io::Result<(Vec<String>, u64)> {
    let all = file_names(directory, wanted)?;
    let names: Vec<String> = all.iter().skip(from as usize).take(most).cloned().collect();
    let next = from + names.len() as u64;
    Ok((names, if next < all.len() as u64 { next } else { 0 }))
}
