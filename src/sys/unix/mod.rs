//! Linux and macOS: a section is a file descriptor.
//!
//! A named map is a regular file in its scope's directory (`names`, `dirs`, `record`), an anonymous one is a
//! file without a name, and a file-backed one is the user's file. Locks are byte ranges under open file
//! descriptions (`lock`), far beyond any data.

mod dirs;
mod fork;
mod lock;
mod names;
mod record;

#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[cfg_attr(not(target_os = "macos"), path = "linux.rs")]
mod os;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

pub(crate) use self::fork::fork_generation;
#[cfg(feature = "tokio")]
pub(crate) use self::fork::notice_forks;
use self::lock::RangeLocks;
use self::names::NameHold;
pub(crate) use self::names::{collect_garbage, list};
#[cfg(feature = "tokio")]
pub(crate) use self::os::sleep_on_any;
pub(crate) use self::os::{coarse_time, sleep_on, wake_all};
use super::{Disposition, LockId, LockMode, Opened, Place, Request};
use crate::error::{Error, Result, Subject};
use crate::map::{Access, OpenMode};

/// A view's offset in the file is rounded down to a multiple of this.
fn view_alignment() -> u64 {
    rustix::param::page_size() as u64
}

/// Something that can be mapped.
#[derive(Debug)]
pub(crate) struct Section {
    /// The descriptor that is mapped. No lock is taken through it but that of [`open_file`]: a mapping keeps
    /// its open file description alive, and a lock would outlive the handle with it.
    file: File,
    /// Where byte 0 of the map lies in the file.
    data_offset: u64,
    /// Keeps the name, by a lock on a description of its own.
    hold: Option<NameHold>,
    locks: RangeLocks,
}

impl Section {
    pub(crate) fn anonymous(request: Request) -> Result<Self> {
        // Unlike a mounted file system, a file in memory has no limit: reserving more than there is would make
        // the system end processes at random.
        if !request.delay_allocate_pages
            && let Some(available) = os::available_memory()
            && request.capacity > available
            && i64::try_from(request.capacity).is_ok()
        {
            return Err(Error::NoSpace {
                subject: Subject::Anonymous,
                needed: request.capacity,
                reason: format!(
                    "this system has {available} bytes of memory left; ask for less, or delay the allocation of \
                     pages"
                ),
            });
        }
        let (file, for_locks) = os::anonymous_file(request.inheritable)
            .map_err(|e| Error::from_io("create", Subject::Anonymous, e.into()))?;
        size_file(&file, 0, request.capacity, request.delay_allocate_pages, &Subject::Anonymous)?;
        Ok(Self { file, data_offset: 0, hold: None, locks: RangeLocks::with_file(for_locks) })
    }

    pub(crate) fn named(place: Place<'_>, disposition: Disposition, request: Request) -> Result<Opened> {
        names::open(place, disposition, request)
    }

    /// A section on a file that is open and large enough, under a name if `place` gives one.
    pub(crate) fn from_file(file: File, request: Request, place: Option<Place<'_>>) -> Result<Self> {
        let hold = match place {
            Some(place) => Some(names::link(place, &file, request)?),
            None => None,
        };
        set_inheritable(&file, request.inheritable)?;
        Ok(Self { file, data_offset: 0, hold, locks: RangeLocks::default() })
    }

    /// Maps `len` bytes from `offset` of the map; both were checked against the capacity. How many of them are
    /// to have memory at once does not matter here: a page gets it when it is touched.
    pub(crate) fn map(
        &self,
        offset: u64,
        len: usize,
        _ready: usize,
        access: Access,
        subject: &Subject,
    ) -> Result<Mapping> {
        if len == 0 {
            return Ok(Mapping { first: std::ptr::dangling_mut(), mapped: 0, skip: 0, len: 0 });
        }
        let start = self.data_offset + offset;
        let skip = (start % view_alignment()) as usize;
        let mut protection = ProtFlags::empty();
        protection.set(ProtFlags::READ, access.can_read());
        protection.set(ProtFlags::WRITE, access.can_write());
        protection.set(ProtFlags::EXEC, access.can_execute());
        let flags = if access == Access::CopyOnWrite { MapFlags::PRIVATE } else { MapFlags::SHARED };
        let mapped = len + skip;
        // SAFETY: the address is the kernel's choice, so no memory of this process is replaced.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                mapped,
                protection,
                flags,
                self.file.as_fd(),
                start - skip as u64,
            )
        };
        let base = base.map_err(|e| match e {
            Errno::NOMEM | Errno::INVAL | Errno::OVERFLOW => Error::NoSpace {
                subject: subject.clone(),
                needed: len as u64,
                reason: format!("the address space has no room for such a view ({e}); map a smaller part"),
            },
            Errno::NODEV => {
                Error::unsupported(format!("{subject} can't be mapped: its file system says {e}"))
            }
            _ => Error::from_io("map", subject.clone(), e.into()),
        })?;
        Ok(Mapping { first: base.cast::<u8>().wrapping_add(skip), mapped, skip, len })
    }

    /// Lets go of the file that [`open_file`] gave: its lock would live on with the views, which keep the open
    /// file description alive.
    pub(crate) fn stop_sharing_file(&self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }

    /// Whether the bytes lie in a file of the user's.
    pub(crate) fn is_on_file(&self) -> bool {
        self.data_offset == 0 && self.hold.is_some()
    }

    /// Tries to take a lock of this section for this handle; released by [`unlock`](Self::unlock), or by the
    /// kernel when this process has ended.
    pub(crate) fn try_lock(&self, id: LockId, mode: LockMode) -> Result<bool> {
        self.locks.try_lock(&self.file, id, mode)
    }

    pub(crate) fn unlock(&self, id: LockId) {
        self.locks.unlock(id);
    }

    /// Whether another handle than this one holds the lock in any way.
    pub(crate) fn is_locked_elsewhere(&self, id: LockId) -> Result<bool> {
        self.locks.is_held_elsewhere(&self.file, id)
    }

    /// Takes memory for `len` bytes from `offset` of the map, so that writing to them can't fail. Where there
    /// was none they are zero after, and may be where there was.
    pub(crate) fn reserve(&self, offset: u64, len: u64, subject: &Subject) -> Result<()> {
        os::reserve_within(&self.file, self.data_offset + offset, len).map_err(|e| match e {
            Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::FBIG => Error::NoSpace {
                subject: subject.clone(),
                needed: len,
                reason: format!("the file system that holds it has no room ({e}); free some"),
            },
            _ => Error::from_io("reserve memory for", subject.clone(), e.into()),
        })
    }

    /// Gives the memory of whole pages within `len` bytes from `offset` back to the system, as far as it takes
    /// it. What they read as after is not defined.
    pub(crate) fn release(&self, offset: u64, len: u64) {
        let _ = os::release(&self.file, self.data_offset + offset, len);
    }

    /// Has the system start writing changed bytes of a part of the map to the file, without waiting. A file
    /// system that can't do it writes when it sees fit.
    pub(crate) fn start_flush(&self, offset: u64, len: u64) {
        os::start_flush(&self.file, self.data_offset + offset, len);
    }

    /// Has the disk write what a flush of a view has handed to it.
    pub(crate) fn flush_device(&self, subject: &Subject) -> Result<()> {
        os::flush_device(&self.file).map_err(|e| Error::from_io("flush", subject.clone(), e.into()))
    }

    /// Has the file's length and the entry in its directory reach the disk: a new file can be lost with the
    /// power although its bytes were flushed.
    pub(crate) fn flush_entry(&self, subject: &Subject) -> Result<()> {
        let failed = |e: io::Error| Error::from_io("flush the directory of", subject.clone(), e);
        self.file.sync_all().map_err(|e| Error::from_io("flush", subject.clone(), e))?;
        // A file without a path is not found after a loss of power anyway.
        let Some(path) = os::path_of(&self.file) else { return Ok(()) };
        match File::open(path.parent().unwrap_or(Path::new("/"))) {
            Ok(directory) => directory.sync_all().map_err(failed),
            // A directory that this user may not list.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                os::flush_file_system(&self.file).map_err(|e| failed(e.into()))
            }
            Err(e) => Err(failed(e)),
        }
    }
}

/// Memory mapped into this process, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The first byte of the view, `skip` after the first byte of the pages.
    first: *mut u8,
    mapped: usize,
    skip: usize,
    len: usize,
}

// SAFETY: the mapping is an address range that any thread may use; whoever copies through the pointer does so
// with atomic accesses.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; no method changes the fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The first byte of the view.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.first
    }

    fn base(&self) -> *mut u8 {
        self.first.wrapping_sub(self.skip)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes between the start of the page and the view.
    pub(crate) fn skip(&self) -> usize {
        self.skip
    }

    /// Whether a part of the view can be touched: always, see [`Section::map`].
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn has_memory(&self, _at: usize, _len: usize) -> bool {
        true
    }

    /// Keeps the pages out of swap and, where the system can, out of core dumps: those that have memory, and
    /// where the system can (all but Windows) those that get it later.
    pub(crate) fn keep_secret(&self) -> io::Result<()> {
        if self.mapped == 0 {
            return Ok(());
        }
        Ok(os::keep_secret(self.base().cast(), self.mapped)?)
    }

    /// Has the system write changed bytes of a part of the view to the file, and with `wait` waits for it.
    pub(crate) fn flush(&self, at: usize, len: usize, wait: bool) -> io::Result<()> {
        debug_assert!(at <= self.len && len <= self.len - at);
        if len == 0 {
            return Ok(());
        }
        let start = self.skip + at;
        let page_start = start - start % view_alignment() as usize;
        let flags = if wait { MsyncFlags::SYNC } else { MsyncFlags::ASYNC };
        let first = self.base().wrapping_add(page_start);
        // SAFETY: the pages lie within what mmap gave, which is mapped until drop.
        unsafe { rustix::mm::msync(first.cast(), start + len - page_start, flags) }?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.mapped > 0 {
            // SAFETY: base and mapped are what mmap gave; nothing borrows from the mapping when it is dropped.
            let _ = unsafe { rustix::mm::munmap(self.base().cast(), self.mapped) };
        }
    }
}

/// Whether this process may make a file of `length` bytes. Going over the limit would raise SIGXFSZ, which ends
/// the process.
fn check_size_limit(length: u64, needed: u64, subject: &Subject) -> Result<()> {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) if length > limit => Err(Error::NoSpace {
            subject: subject.clone(),
            needed,
            reason: format!(
                "the file size limit of this process is {limit} bytes (RLIMIT_FSIZE); raise it with ulimit -f"
            ),
        }),
        _ => Ok(()),
    }
}

/// Gives `file` the length `start + capacity` and, unless `delay`, the memory for all bytes from `start`.
fn size_file(file: &File, start: u64, capacity: u64, delay: bool, subject: &Subject) -> Result<()> {
    if i64::try_from(capacity).is_err() {
        return Err(Error::out_of_range(
            "capacity",
            format!("{capacity} bytes; at most {} are possible", i64::MAX),
        ));
    }
    let no_space = |reason: String| Error::NoSpace { subject: subject.clone(), needed: capacity, reason };
    let end = start
        .checked_add(capacity)
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| no_space("no file can be as long; ask for less".to_owned()))?;
    check_size_limit(end, capacity, subject)?;
    let sized = if delay { rustix::fs::ftruncate(file, end) } else { os::reserve(file, start, capacity) };
    sized.map_err(|e| match e {
        Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::FBIG | Errno::INVAL => no_space(format!(
            "the file system that holds it has no room ({e}); free some, ask for less, or choose another \
                 directory"
        )),
        _ => Error::from_io("reserve memory for", subject.clone(), e.into()),
    })
}

/// Whether `file` may be read and written, as it was opened.
pub(crate) fn file_access(file: &File) -> io::Result<(bool, bool)> {
    let flags = rustix::fs::fcntl_getfl(file)? & OFlags::ACCMODE;
    Ok((flags != OFlags::WRONLY, flags != OFlags::RDONLY))
}

/// A character device has no length: size checks don't apply to it.
pub(crate) fn has_no_length(metadata: &std::fs::Metadata) -> bool {
    metadata.file_type().is_char_device()
}

fn set_inheritable(file: &File, inheritable: bool) -> Result<()> {
    let flags = if inheritable { rustix::io::FdFlags::empty() } else { rustix::io::FdFlags::CLOEXEC };
    rustix::io::fcntl_setfd(file, flags)
        .map_err(|e| Error::Io { doing: "set whether a handle is inherited".to_owned(), source: e.into() })
}

/// Opens a file to map and keeps off those who want it alone. A new file is this user's alone, or has
/// `file_mode`. Gives the file and whether it was created.
pub(crate) fn open_file(
    path: &Path,
    mode: OpenMode,
    write: bool,
    file_mode: Option<u32>,
) -> Result<(File, bool)> {
    let rights = file_mode.unwrap_or(0o600);
    if rights & !0o666 != 0 {
        return Err(Error::invalid(
            "file mode",
            format!("{rights:#o}; reading and writing can be allowed, 0o666 at most"),
        ));
    }
    let subject = || Subject::Path(path.to_owned());
    let directory = || Error::denied(subject(), "it is a directory; give the path of a file");
    let open = |create_new: bool| {
        std::fs::OpenOptions::new()
            .read(true)
            .write(write || create_new)
            .create_new(create_new)
            .mode(0o600)
            // A FIFO must not block; such a file is refused below.
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(path)
    };
    let (file, created) = loop {
        let existing = if mode == OpenMode::CreateNew {
            Err(io::Error::from(io::ErrorKind::NotFound))
        } else {
            open(false)
        };
        match existing {
            Ok(file) => break (file, false),
            Err(e) if e.kind() == io::ErrorKind::NotFound && mode != OpenMode::Open => match open(true) {
                Ok(file) => break (file, true),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && mode != OpenMode::CreateNew => {
                    if path.is_symlink() && !path.exists() {
                        return Err(Error::wrong_kind(
                            subject(),
                            "it is a symbolic link that leads nowhere; create what it leads to, or remove it",
                        ));
                    }
                    // Somebody created it between the two calls.
                }
                Err(e) => return Err(Error::from_io("create", subject(), e)),
            },
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Err(directory()),
            Err(e) => return Err(Error::from_io("open", subject(), e)),
        }
    };
    let kind = file.metadata().map_err(|e| Error::from_io("inspect", subject(), e))?.file_type();
    if kind.is_dir() {
        return Err(directory());
    }
    if created && rights != 0o600 {
        // Exactly this mode, whatever the process's mask is.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(rights as _)).map_err(|e| {
            let _ = std::fs::remove_file(path);
            Error::from_io("set the mode of", subject(), e.into())
        })?;
    }
    share_file(&file, subject)?;
    if mode == OpenMode::Create && !created && kind.is_file() {
        file.set_len(0).map_err(|e| Error::from_io("empty", subject(), e))?;
    }
    Ok((file, created))
}

/// Keeps off those who want the file alone, and fails where somebody has it alone.
fn share_file(file: &File, subject: impl FnOnce() -> Subject) -> Result<()> {
    // .NET's FileShare.None is an exclusive flock; this one is shared and conflicts with no other.
    // Other errors: a file system without such locks, where nobody can have it alone.
    if rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) {
        return Err(Error::SharingViolation { subject: subject() });
    }
    Ok(())
}

/// The identity of a file: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from_stat(&rustix::fs::fstat(file)?))
    }

    #[allow(clippy::unnecessary_cast, reason = "the systems differ in the type of the field")]
    fn from_stat(stat: &Stat) -> Self {
        Self { device: stat.st_dev as u64, inode: stat.st_ino }
    }
}

/// Grows a file that is to be mapped to `capacity`, with memory for the new part unless `delay`.
pub(crate) fn grow_file(
    file: &File,
    length: u64,
    capacity: u64,
    delay: bool,
    subject: &Subject,
) -> Result<()> {
    let grown = size_file(file, length, capacity - length, delay, subject);
    if grown.is_err() {
        // What was there stays as it was.
        let _ = file.set_len(length);
    }
    grown
}

/// The path that leads to an open file.
fn path_of(file: &File) -> Result<PathBuf> {
    os::path_of(file).ok_or_else(|| {
        Error::unsupported(
            "a named map needs a file that has a path; this one has none, or was deleted. Map it without a name",
        )
    })
}
