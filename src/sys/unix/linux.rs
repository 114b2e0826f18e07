//! What Linux has of its own: memory files, `/proc`, `fallocate`.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;

use super::FileId;

pub(super) const OFD_SETLK: libc::c_int = libc::F_OFD_SETLK;
pub(super) const OFD_GETLK: libc::c_int = libc::F_OFD_GETLK;

/// Where scopes' directories may lie; the first that is there and is safe is taken. The list does not depend
/// on the environment: a service and a shell must come to the same place.
pub(super) fn base_directories() -> Vec<PathBuf> {
    vec!["/dev/shm".into(), "/tmp".into()]
}

/// A file in memory that has no name.
pub(super) fn anonymous_file(inheritable: bool) -> rustix::io::Result<File> {
    let flags = if inheritable { MemfdFlags::empty() } else { MemfdFlags::CLOEXEC };
    rustix::fs::memfd_create("handover", flags).map(File::from)
}

/// Bytes of memory and swap that can be had without taking them from another program, if the system tells.
pub(super) fn available_memory() -> Option<u64> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |field: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(bytes("MemAvailable:")? + bytes("SwapFree:").unwrap_or(0))
}

/// Takes memory or disk for `len` bytes from `start`, so that writing to them can't fail later.
pub(super) fn reserve(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), start, len) {
            Err(Errno::INTR) => {}
            // A file system without it: writing zeroes does the same. The bytes are new, so nothing is lost.
            Err(Errno::OPNOTSUPP) => return super::names::write_zeroes(file, start, len),
            other => return other,
        }
    }
}

/// The same file under a new open file description, with the same right to write.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    let (_, write) = super::file_access(file)?;
    fs::OpenOptions::new().read(true).write(write).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The path of an open file, if it still leads there.
pub(super) fn path_of(file: &File) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let there = fs::symlink_metadata(&path).ok()?;
    let here = FileId::of(file).ok()?;
    (there.dev() == here.device && there.ino() == here.inode).then_some(path)
}

/// The processes that have one of `files` open: for each file its process ids, ascending. What `/proc` does
/// not show (other users' processes, other pid namespaces) is missing.
pub(super) fn holders(files: &[FileId]) -> Option<Vec<Vec<u32>>> {
    let mut found = vec![Vec::new(); files.len()];
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(metadata) = fs::metadata(descriptor.path()) else { continue };
            let id = FileId { device: metadata.dev(), inode: metadata.ino() };
            if let Some(at) = files.iter().position(|file| *file == id)
                && found[at].last() != Some(&pid)
            {
                found[at].push(pid);
            }
        }
    }
    for pids in &mut found {
        pids.sort_unstable();
    }
    Some(found)
}
