//! What macOS has of its own: the per-user temporary directory, `F_PREALLOCATE`, `F_GETPATH`.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::FileId;

pub(super) const OFD_SETLK: libc::c_int = libc::F_OFD_SETLK;
pub(super) const OFD_GETLK: libc::c_int = libc::F_OFD_GETLK;

/// Where scopes' directories may lie; the first that is there and is safe is taken. The global scope lies in
/// `/tmp`: the per-user directory is closed to other users.
pub(super) fn base_directories() -> Vec<PathBuf> {
    // Without `TMPDIR` this asks the system (`_CS_DARWIN_USER_TEMP_DIR`).
    vec![std::env::temp_dir(), "/tmp".into()]
}

/// A file that has no name: created in the temporary directory and unlinked at once.
pub(super) fn anonymous_file(inheritable: bool) -> rustix::io::Result<File> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("handover-{}-{number}", std::process::id()));
        match fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                fs::remove_file(&path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
                if inheritable {
                    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
                }
                return Ok(file);
            }
            // Left by a process of that id which died between the two calls.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        }
    }
}

/// Anonymous maps lie on disk here, which has a limit of its own.
pub(super) fn available_memory() -> Option<u64> {
    None
}

/// Takes disk for `len` bytes from `start`, so that writing to them can't fail later.
pub(super) fn reserve(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), start, len) {
        // A file system without it: writing zeroes does the same. The bytes are new, so nothing is lost.
        Err(Errno::OPNOTSUPP | Errno::NOTSUP) => super::names::write_zeroes(file, start, len),
        other => other,
    }
}

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
