//! A section is a file descriptor: of a file in memory, of a name's file, or of the user's.
//!
//! Relies on `hold`, `inspect`, `lock`, `mapping` and `size`; `names` and `opening` make sections of names
//! and files.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::hold::NameHold;
use super::inspect::{FileId, file_access};
use super::lock::RangeLocks;
use super::mapping::{Mapping, view_alignment};
use super::os;
use super::refusal::refused;
use super::size::size_file;
use crate::error::{Error, Result};
use crate::sys::asked::{self, LockId, LockMode, Request};
use crate::terms::{Access, Subject};

/// What opening a name returns here.
pub(super) type Opened = asked::Opened<Section>;

/// `stub` says what this and its methods promise; the comments here say what is special.
#[derive(Debug)]
#[must_use = "dropping it releases the name"]
pub(crate) struct Section {
    bytes: Bytes,
    /// Where byte 0 of the map lies in the file.
    data_offset: u64,
    /// Whether this handle may write.
    writes: bool,
    locks: RangeLocks,
}

/// Where the bytes of a section lie.
#[derive(Debug)]
enum Bytes {
    /// In the file of a name. Each view is of a description of its own, which is closed at once: a mapping
    /// keeps its description alive, and a lock on it would outlive the handle.
    OfName(NameHold),
    /// In a file of the user's or in memory. The description that is mapped carries only the locks that are
    /// the file's.
    InFile(File, Option<NameHold>),
}

impl Section {
    pub(crate) fn anonymous(request: Request) -> Result<Self> {
        // Unlike a mounted file system, a file in memory has no limit: reserving more than the system has
        // would make it kill processes at random.
        if !request.delay_allocate_pages
            && let Some(available) = os::available_memory()
            && request.capacity > available
            && i64::try_from(request.capacity).is_ok()
        {
            return Err(Error::no_space(
                Subject::Anonymous,
                request.capacity,
                format!(
                    "this system has {available} bytes of memory left; ask for less, or delay the allocation of \
                     pages"
                ),
            ));
        }
        let (file, for_locks) =
            os::anonymous_file(request.inheritable).map_err(|e| refused("create", Subject::Anonymous, e))?;
        size_file(&file, 0, request.capacity, request.delay_allocate_pages, &Subject::Anonymous)?;
        let locks = RangeLocks::with_file(for_locks);
        Ok(Self { bytes: Bytes::InFile(file, None), data_offset: 0, writes: true, locks })
    }

    /// The section of a name, whose bytes lie from `data_offset` in the name's file, or in `file`.
    pub(super) fn of_name(hold: NameHold, file: Option<File>, data_offset: u64, writes: bool) -> Self {
        let bytes = match file {
            None => Bytes::OfName(hold),
            Some(file) => Bytes::InFile(file, Some(hold)),
        };
        Self { bytes, data_offset, writes, locks: RangeLocks::default() }
    }

    /// The section on a file, which may have a name.
    pub(super) fn on_file(file: File, hold: Option<NameHold>) -> Self {
        let writes = file_access(&file).is_ok_and(|(_, writes)| writes);
        Self { bytes: Bytes::InFile(file, hold), data_offset: 0, writes, locks: RangeLocks::default() }
    }

    /// The file, for everything but mapping it.
    fn file(&self) -> &File {
        match &self.bytes {
            Bytes::OfName(hold) => hold.file(),
            Bytes::InFile(file, _) => file,
        }
    }

    fn hold(&self) -> Option<&NameHold> {
        match &self.bytes {
            Bytes::OfName(hold) => Some(hold),
            Bytes::InFile(_, hold) => hold.as_ref(),
        }
    }

    /// Another description of the file that has the locks of values.
    fn open_for_locks(&self) -> io::Result<File> {
        match &self.bytes {
            Bytes::OfName(hold) => hold.open_for_locks(self.writes),
            Bytes::InFile(file, _) => os::reopen(file, self.writes),
        }
    }

    /// A page gets its memory when it is touched, so `ready` does not matter.
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
        let own;
        let file = match &self.bytes {
            Bytes::OfName(hold) => {
                own = hold.open_map(self.writes).or_else(|e| {
                    hold.check(subject)?;
                    Err(match e.kind() {
                        io::ErrorKind::NotFound => Error::unsupported(
                            "neither its path nor /proc leads to its file any more: this process has another root",
                        )
                        .with_advice("create the views before the change of root")
                        .about(subject),
                        _ => refused("open", subject.clone(), e),
                    })
                })?;
                &own
            }
            Bytes::InFile(file, _) => file,
        };
        // SAFETY: the address is the kernel's choice, so no memory of this process is replaced.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                mapped,
                protection,
                flags,
                file.as_fd(),
                start - skip as u64,
            )
        };
        let base = base.map_err(|e| match e {
            Errno::NOMEM | Errno::INVAL | Errno::OVERFLOW => Error::no_space(
                subject.clone(),
                len as u64,
                format!("the address space has no room for such a view ({e}); map a smaller part"),
            ),
            Errno::NODEV => {
                Error::unsupported(format!("it can't be mapped: its file system says {e}")).about(subject)
            }
            _ => Error::from_io("map", subject.clone(), e.into()),
        })?;
        Ok(Mapping { first: base.cast::<u8>().wrapping_add(skip), mapped, skip, len })
    }

    /// Otherwise the lock would live on with the views, which keep the open file description alive.
    pub(crate) fn stop_sharing_file(&self) {
        if let Bytes::InFile(file, _) = &self.bytes {
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
        }
    }

    pub(crate) fn is_on_file(&self) -> bool {
        matches!(self.bytes, Bytes::InFile(_, Some(_)))
    }

    pub(crate) fn check_name(&self, subject: &Subject) -> Result<()> {
        self.hold().map_or(Ok(()), |hold| hold.check(subject))
    }

    pub(crate) fn try_lock(&self, id: LockId, mode: LockMode) -> Result<bool> {
        if self.is_guest() {
            return match mode {
                LockMode::Shared => Ok(true),
                LockMode::Exclusive => Err(Error::unsupported(
                    "whoever may only read another user's map takes no lock of it; open it for reading",
                )),
            };
        }
        self.locks.try_lock(|| self.open_for_locks(), id, mode)
    }

    pub(crate) fn unlock(&self, id: LockId) {
        self.locks.unlock(id);
    }

    /// A guest can't ask for one lock: to it whoever holds the map may have it.
    pub(crate) fn is_locked_elsewhere(&self, id: LockId) -> Result<bool> {
        if let Some(guest) = self.hold().filter(|hold| hold.is_guest()) {
            return guest.has_holder();
        }
        self.locks.is_held_elsewhere(|| self.open_for_locks(), id)
    }

    pub(crate) fn is_guest(&self) -> bool {
        self.hold().is_some_and(NameHold::is_guest)
    }

    /// Whether both are handles of the same bytes. Those of one name in two directories are not.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        match (FileId::of(self.file()), FileId::of(other.file())) {
            (Ok(one), Ok(two)) => one == two,
            _ => false,
        }
    }

    /// Takes memory for `len` bytes from `offset` of the map, so that writing to them can't fail. Where there
    /// was none they are zero after, and may be where there was.
    pub(crate) fn reserve(&self, offset: u64, len: u64, subject: &Subject) -> Result<()> {
        os::reserve_within(self.file(), self.data_offset + offset, len).map_err(|e| match e {
            Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::FBIG => Error::no_space(
                subject.clone(),
                len,
                format!("the file system that holds it has no room ({e}); free some"),
            ),
            _ => Error::from_io("reserve memory for", subject.clone(), e.into()),
        })
    }

    pub(crate) fn release(&self, offset: u64, len: u64) {
        let _ = os::release(self.file(), self.data_offset + offset, len);
    }

    pub(crate) fn start_flush(&self, offset: u64, len: u64) {
        os::start_flush(self.file(), self.data_offset + offset, len);
    }

    pub(crate) fn flush_device(&self, subject: &Subject) -> Result<()> {
        os::flush_device(self.file()).map_err(|e| Error::from_io("flush", subject.clone(), e.into()))
    }

    pub(crate) fn flush_entry(&self, subject: &Subject) -> Result<()> {
        let failed = |e: io::Error| refused("flush the directory of", subject.clone(), e);
        self.file().sync_all().map_err(|e| Error::from_io("flush", subject.clone(), e))?;
        // A file without a path can't be found after a power loss anyway.
        let Some(path) = os::path_of(self.file()) else { return Ok(()) };
        match File::open(path.parent().unwrap_or(Path::new("/"))) {
            Ok(directory) => directory.sync_all().map_err(failed),
            // This user may not list the directory.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                os::flush_file_system(self.file()).map_err(|e| failed(e.into()))
            }
            Err(e) => Err(failed(e)),
        }
    }
}
