//! What is special to Linux: memory files, `/proc`, `fallocate`.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
#[cfg(feature = "async")]
use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FallocateFlags, MemfdFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{Advice, MlockFlags};
use rustix::thread::ClockId;
use rustix::thread::{Timespec, futex};

use super::inspect::{FileId, UserRange, may_be_regular};
use super::zeroes::write_zeroes;
#[cfg(feature = "async")]
use crate::backoff::Backoff;
use crate::terms::Scope;

pub(super) const OFD_SETLK: libc::c_int = libc::F_OFD_SETLK;
pub(super) const OFD_GETLK: libc::c_int = libc::F_OFD_GETLK;

/// How a directory is opened to find files in it, and do nothing else with it.
pub(super) const FIND_ONLY: OFlags = OFlags::PATH;

/// The mode of a name's file beside the rights: cleaners of temporary files leave a file with the sticky bit
/// alone (systemd-tmpfiles does).
pub(super) const KEPT: u32 = 0o1000;

/// Where scopes' directories may lie; the first one that exists and is safe wins. The list does not depend on
/// the environment: a service and a shell must arrive at the same place.
pub(super) fn base_directories(_scope: Scope) -> Vec<PathBuf> {
    vec!["/dev/shm".into(), "/tmp".into()]
}

/// Whether this process has rights that whoever started it did not have.
pub(super) fn is_set_user_id() -> bool {
    // SAFETY: the call only reads what the kernel gave this process at its start.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The numbers of users in this process's user namespace; `None` where the system does not tell.
pub(super) fn user_ranges() -> Option<Vec<UserRange>> {
    let table = fs::read_to_string("/proc/self/uid_map").ok()?;
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        Some(UserRange { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? })
    };
    table.lines().map(range).collect()
}

/// Sets the mode of an open directory, which `path` leads to.
pub(super) fn set_mode(directory: &File, path: &Path, mode: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    // A description that only finds files can't be used for this.
    let by_number = format!("/proc/self/fd/{}", directory.as_raw_fd());
    match rustix::fs::chmod(&by_number, mode) {
        Err(Errno::NOENT | Errno::NOTDIR) => rustix::fs::chmod(path, mode),
        other => other,
    }
}

/// Makes a file in a directory that has no name there yet. `None` where the file system has no such files.
pub(super) fn unnamed_file(directory: &File) -> rustix::io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match retry_on_intr(|| rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)) {
        Ok(file) => Ok(Some(File::from(file))),
        // Not this file system, or not this kernel.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Gives an [`unnamed_file`] a name that nothing has. Returns whether the system can do that; fails with
/// `EXIST` where something has the name.
pub(super) fn name_file(file: &File, directory: &File, name: &str) -> rustix::io::Result<bool> {
    // Before Linux 6.10 this needs a capability.
    match rustix::fs::linkat(file, "", directory, name, AtFlags::EMPTY_PATH) {
        Ok(()) => return Ok(true),
        Err(Errno::NOENT | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOSYS) => {}
        Err(e) => return Err(e),
    }
    let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, &by_number, directory, name, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        // There is no /proc, or it is kept from this process; or the directory has gone.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::PERM | Errno::ACCESS | Errno::XDEV | Errno::NOSYS) => {
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// A file in memory that has no name. [`reopen`] works on it, so its second description is left for later.
pub(super) fn anonymous_file(inheritable: bool) -> rustix::io::Result<(File, Option<File>)> {
    let flags = if inheritable { MemfdFlags::empty() } else { MemfdFlags::CLOEXEC };
    rustix::fs::memfd_create("handover", flags).map(|fd| (File::from(fd), None))
}

/// Bytes of memory and swap that are free to take without taking them from another program, if the system
/// tells.
pub(super) fn available_memory() -> Option<u64> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |field: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(bytes("MemAvailable:")? + bytes("SwapFree:").unwrap_or(0))
}

/// Extends a file to `start + len`, which is beyond its end, and takes the memory or disk for the `len`
/// bytes, so that writing to them can't fail later.
pub(super) fn reserve(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), start, len) {
            Err(Errno::INTR) => {}
            // This file system or this kernel lacks the call; writing zeroes does the same. The bytes are
            // new, so nothing is lost.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return write_zeroes(file, start, len),
            other => return other,
        }
    }
}

/// Takes memory for a part of the file that has none.
pub(super) fn reserve_within(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    reserve(file, start, len)
}

/// Gives back the pages within a range.
pub(super) fn release(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, len)
}

/// Tells the system to start writing a range.
pub(super) fn start_flush(file: &File, start: u64, len: u64) {
    // msync(MS_ASYNC) does nothing on Linux. No promise depends on this, so errors don't matter.
    // SAFETY: the descriptor is open as long as `file` is borrowed; no memory is involved.
    let _ = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            start as libc::off64_t,
            len as libc::off64_t,
            libc::SYNC_FILE_RANGE_WRITE,
        )
    };
}

/// Here `msync` and `fsync` flush the disk's own cache too.
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
pub(super) fn flush_device(_file: &File) -> rustix::io::Result<()> {
    Ok(())
}

/// Flushes the whole file system that holds the file to disk.
pub(super) fn flush_file_system(file: &File) -> rustix::io::Result<()> {
    rustix::fs::syncfs(file)
}

/// Locks each page of a mapped range when it gets memory, and leaves the range out of core dumps.
pub(super) fn keep_secret(first: *mut c_void, len: usize) -> rustix::io::Result<()> {
    // SAFETY: the caller's range is mapped; locking changes nothing in it.
    unsafe { rustix::mm::mlock_with(first, len, MlockFlags::ONFAULT) }?;
    // SAFETY: as above; the advice is about core dumps only.
    unsafe { rustix::mm::madvise(first, len, Advice::LinuxDontDump) }
}

/// The part of a word that the kernel looks at, which is 32 bits: the low half, which every change of a
/// version changes.
///
/// This process itself loads and stores only the whole word: accesses of two sizes must not race.
fn low_half(word: &AtomicU64) -> *mut u32 {
    let halves = word.as_ptr().cast::<u32>();
    if cfg!(target_endian = "little") { halves } else { halves.wrapping_add(1) }
}

/// The same, for calls that want a reference; only its address may be used.
fn for_kernel(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: the half lies within the word, is aligned for its size, and lives as long. Only the kernel
    // accesses it, and the rule against two sizes does not apply to the kernel.
    unsafe { AtomicU32::from_ptr(low_half(word)) }
}

pub(crate) fn sleep_on(word: &AtomicU64, expected: u64, limit: Duration) {
    let limit = Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos().into() };
    // Not private: the sleepers are in other processes. An error counts as an early return.
    let _ = futex::wait(for_kernel(word), futex::Flags::empty(), expected as u32, Some(&limit));
}

/// The system watches up to 128 words; any further words are polled every 1 to 5 ms. Linux before 5.16 can't
/// watch several words: then all are polled.
#[cfg(feature = "async")]
pub(crate) fn sleep_on_any(words: &[(&AtomicU64, u64)], limit: Duration) -> Option<usize> {
    /// `FUTEX_WAITV_MAX`
    const MOST: usize = 128;
    /// The pause between two looks at the further words: each look ends the sleep on all others.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
    let (watched, beyond) = words.split_at(words.len().min(MOST));
    let waits: Vec<futex::Wait> = watched
        .iter()
        .map(|(word, expected)| {
            // Not private, as in `sleep_on`.
            let mut wait = futex::Wait::new();
            wait.val = u64::from(*expected as u32);
            wait.uaddr = futex::WaitPtr::new(low_half(word).cast());
            wait.flags = futex::WaitFlags::SIZE_U32;
            wait
        })
        .collect();
    let start = std::time::Instant::now();
    let mut backoff = PAUSES;
    while beyond.iter().all(|(word, expected)| word.load(Ordering::Acquire) == *expected) {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return None;
        }
        let pause = if beyond.is_empty() { left } else { backoff.next(left) };
        match futex::waitv(&waits, futex::WaitvFlags::empty(), Some(&after(pause)), ClockId::Monotonic) {
            Err(Errno::TIMEDOUT) => {}
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Ok(woken) => return Some(woken),
            // This kernel does not know the call, or a sandbox forbids it.
            Err(_) => {
                crate::sys::poll::poll_any(words, left);
                return None;
            }
        }
    }
    None
}

/// The time on the monotonic clock that is `pause` from now.
#[cfg(feature = "async")]
fn after(pause: Duration) -> Timespec {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    let nanoseconds = now.tv_nsec as u64 + u64::from(pause.subsec_nanos());
    Timespec {
        tv_sec: now.tv_sec + pause.as_secs() as i64 + (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
    }
}

pub(crate) fn wake_all(word: &AtomicU64) {
    let _ = futex::wake(for_kernel(word), futex::Flags::empty(), i32::MAX as u32);
}

/// The same file under a new open file description.
pub(super) fn reopen(file: &File, write: bool) -> io::Result<File> {
    fs::OpenOptions::new().read(true).write(write).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The path of an open file, if the path still leads to it.
pub(super) fn path_of(file: &File) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    FileId::of(file).and_then(|id| id.is_at(&path)).unwrap_or(false).then_some(path)
}

/// The processes that have one of `files` open: for each file, their process ids in ascending order.
/// Processes that `/proc` does not show (other users', other pid namespaces') are missing.
pub(super) fn holders(files: &[FileId]) -> Option<Vec<Vec<u32>>> {
    let places: HashMap<(u64, u64), usize> =
        files.iter().enumerate().map(|(at, file)| ((file.device, file.inode), at)).collect();
    let mut found = vec![Vec::new(); files.len()];
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(metadata) = fs::metadata(descriptor.path()) else { continue };
            if let Some(at) = places.get(&(metadata.dev(), metadata.ino()))
                && found[*at].last() != Some(&pid)
            {
                found[*at].push(pid);
            }
        }
    }
    for pids in &mut found {
        pids.sort_unstable();
    }
    Some(found)
}

/// Costs a fifth of the exact time.
pub(crate) fn coarse_time() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The names of regular files in a directory that are text and `wanted`, which is asked for every name,
/// whatever kind of file has it. Nobody may have read from the description of `directory`.
pub(super) fn file_names(
    directory: &File,
    wanted: impl FnMut(&str) -> bool,
) -> rustix::io::Result<Vec<String>> {
    some_file_names(directory, 0, usize::MAX, wanted).map(|(names, _)| names)
}

/// A part of the names that [`file_names`] gives: at most `most` that are `wanted`, from the place `from` in
/// the directory on, and the place where the next look should start. From 0 on, it starts at the beginning;
/// 0 comes back at the end. Any other number that did not come from here may give names, none, or an error.
pub(super) fn some_file_names(
    directory: &File,
    from: u64,
    most: usize,
    mut wanted: impl FnMut(&str) -> bool,
) -> rustix::io::Result<(Vec<String>, u64)> {
    if from > 0 {
        rustix::fs::seek(directory, SeekFrom::Start(from))?;
    }
    // A sweep needs no more than one reading.
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && wanted(name)
            && may_be_regular(entry.file_type())
        {
            names.push(name.to_owned());
            if names.len() == most {
                return Ok((names, entry.next_entry_cookie()));
            }
        }
    }
    Ok((names, 0))
}
