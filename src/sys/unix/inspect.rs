//! What the system tells: which file an open one is, what may be done with it, and who its users are.
//!
//! Relies on nothing; the rest of this folder relies on it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

pub(crate) fn file_access(file: &File) -> io::Result<(bool, bool)> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    #[cfg(target_os = "linux")]
    if flags.contains(OFlags::PATH) {
        return Ok((false, false));
    }
    let flags = flags & OFlags::ACCMODE;
    Ok((flags != OFlags::WRONLY, flags != OFlags::RDONLY))
}

/// A character device has none.
pub(crate) fn has_no_length(metadata: &std::fs::Metadata) -> bool {
    metadata.file_type().is_char_device()
}

/// Holes have no blocks.
pub(crate) fn allocated(metadata: &std::fs::Metadata) -> u64 {
    metadata.blocks() * 512
}

/// The identity of a file: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from_stat(&rustix::fs::fstat(file)?))
    }

    #[allow(clippy::unnecessary_cast, reason = "the systems differ in the type of the field")]
    pub(super) fn from_stat(stat: &Stat) -> Self {
        Self { device: stat.st_dev as u64, inode: stat.st_ino }
    }

    /// Whether this file stands at `path`. Fails where that can't be looked at.
    pub(super) fn is_at(self, path: &Path) -> io::Result<bool> {
        match std::fs::symlink_metadata(path) {
            Ok(there) => Ok(there.dev() == self.device && there.ino() == self.inode),
            Err(e) => match Errno::from_io_error(&e) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
                _ => Err(e),
            },
        }
    }
}

/// Whether an entry of a directory may be a regular file; some file systems don't tell.
pub(super) fn may_be_regular(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Unknown)
}

/// Part of a user namespace: so many numbers from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct UserRange {
    pub(super) inside: u32,
    pub(super) outside: u32,
    pub(super) count: u32,
}
