//! What macOS has of its own: the per-user temporary directory, `F_PREALLOCATE`, `F_GETPATH`.

use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::FileId;
use crate::map::Scope;

pub(super) const OFD_SETLK: libc::c_int = libc::F_OFD_SETLK;
pub(super) const OFD_GETLK: libc::c_int = libc::F_OFD_GETLK;

/// Where scopes' directories may lie; the first that is there and is safe is taken. The global scope lies in
/// `/tmp`: the per-user directory is closed to other users.
pub(super) fn base_directories(scope: Scope) -> Vec<PathBuf> {
    match scope {
        // Without `TMPDIR` this asks the system (`_CS_DARWIN_USER_TEMP_DIR`).
        Scope::User => vec![std::env::temp_dir(), "/tmp".into()],
        Scope::Global => vec!["/tmp".into()],
    }
}

/// A file that has no name: created in the temporary directory and unlinked at once. It can't be opened again
/// then, so a second description, for locks, is opened before.
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
                    // Somebody who may write to the directory put another file there.
                    return Err(Errno::STALE);
                }
                if inheritable {
                    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
                }
                return Ok((file, Some(for_locks)));
            }
            // Left by a process of that id which died between the two calls.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

/// Anonymous maps lie on disk here, which has a limit of its own.
pub(super) fn available_memory() -> Option<u64> {
    None
}

/// Makes a file reach to `start + len`, which is beyond its end, and takes the disk for it, so that writing can't
/// fail later.
pub(super) fn reserve(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    let end = start + len;
    let length = rustix::fs::fstat(file)?.st_size as u64;
    // Space is taken behind what the file has, and becomes part of it as the file grows: so it comes first.
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
        // A file system without it: writing zeroes does the same. The bytes are new, so nothing is lost.
        Some(Errno::OPNOTSUPP | Errno::NOTSUP | Errno::INVAL) | None => {
            super::names::write_zeroes(file, start, len)
        }
        Some(other) => Err(other),
    }
}

/// Takes the disk for a part of the file that has none: on macOS by writing to it.
pub(super) fn reserve_within(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    super::names::write_zeroes(file, start, len)
}

/// Gives the blocks within a range back.
pub(super) fn release(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    // Whole blocks only, or the system refuses.
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

/// Has the system start writing; macOS does that for a whole file only.
pub(super) fn start_flush(_file: &File, _start: u64, _len: u64) {}

/// Has the disk write what lies in its own cache: `msync` and `fsync` only hand it over.
pub(super) fn flush_device(file: &File) -> rustix::io::Result<()> {
    match rustix::fs::fcntl_fullfsync(file) {
        // A file system without it.
        Err(Errno::NOTSUP | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY) => rustix::fs::fsync(file),
        other => other,
    }
}

/// There is no call for a whole file system that waits: this is what there is.
pub(super) fn flush_file_system(file: &File) -> rustix::io::Result<()> {
    flush_device(file)
}

/// Locks a mapped range. macOS has no way to leave it out of core dumps.
pub(super) fn keep_secret(first: *mut c_void, len: usize) -> rustix::io::Result<()> {
    // SAFETY: the caller's range is mapped; locking changes nothing in it.
    unsafe { rustix::mm::mlock(first, len) }
}

/// Sleeps while `word` is `expected`, `limit` at most; may return early.
///
/// The system's own wait on an address (`os_sync_wait_on_address`) came with macOS 14.4. This works on all
/// versions: it looks again after 50 µs, then ever less often, down to every 2 ms.
pub(crate) fn sleep_on(word: &AtomicU32, expected: u32, limit: Duration) {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    while word.load(Ordering::Acquire) == expected && start.elapsed() < limit {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

/// Sleeps while each word is what is expected of it, `limit` at most. No system call sleeps on several.
#[cfg(feature = "tokio")]
pub(crate) fn sleep_on_any(words: &[(&AtomicU32, u32)], limit: Duration) -> Option<usize> {
    crate::sys::poll_any(words, limit);
    None
}

/// Nobody sleeps in the system: see [`sleep_on`].
pub(crate) fn wake_all(_word: &AtomicU32) {}

/// The same file under a new open file description, with the same right to write.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    let (_, write) = super::file_access(file)?;
    let path = path_of(file).ok_or(io::ErrorKind::NotFound)?;
    fs::OpenOptions::new().read(true).write(write).open(path)
}

/// The path of an open file, if it still leads there.
pub(super) fn path_of(file: &File) -> Option<PathBuf> {
    let path = rustix::fs::getpath(file).ok()?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes()));
    let there = fs::symlink_metadata(&path).ok()?;
    let here = FileId::of(file).ok()?;
    (there.dev() == here.device && there.ino() == here.inode).then_some(path)
}

/// macOS offers no way to ask who has a file open that needs no extra rights.
pub(super) fn holders(_files: &[FileId]) -> Option<Vec<Vec<u32>>> {
    None
}

/// Nanoseconds since 1970-01-01 UTC.
pub(crate) fn coarse_time() -> u64 {
    crate::sys::nanoseconds(SystemTime::now())
}

/// The names of regular files in a directory that are text and `wanted`, which is asked for each name, of whatever kind
/// of file.
pub(super) fn file_names(
    directory: &File,
    mut wanted: impl FnMut(&str) -> bool,
) -> rustix::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && wanted(name)
            // Some file systems don't tell.
            && matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
