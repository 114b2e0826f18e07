//! The handle of a map: what it is, the views that it hands out, and its locks.
//!
//! Relies on `sys` for the memory and on the views; `open` and `file` make handles.

use std::sync::Arc;
use std::time::Duration;

use super::accessor::ViewAccessor;
use super::looked::Looked;
use super::stream::ViewStream;
use super::view::View;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::sys::{self, LockId, LockMode, Section};
use crate::terms::{Access, Rights, Subject};

/// A region of bytes of fixed capacity, shared between processes: named, on a file, or anonymous.
///
/// A name lives exactly as long as a process has a `MemoryMappedFile` for it, however that process ends. A
/// file stays. Views keep the bytes, not the name. Where somebody takes the name's own file away meanwhile,
/// the handle says so: see [`check_name`](Self::check_name).
///
/// ```
/// use handover::map::MemoryMappedFile;
/// # let dir = std::env::temp_dir().join(format!("handover-doc-map-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// let producer = MemoryMappedFile::create_new("answer", 4096)?;
/// producer.create_view_accessor(0, 0)?.write(0, 42u64)?;
///
/// // In another process:
/// let consumer = MemoryMappedFile::open_existing("answer")?;
/// assert_eq!(consumer.create_view_accessor(0, 0)?.read::<u64>(0)?, 42);
///
/// drop((producer, consumer));
/// assert!(MemoryMappedFile::open_existing("answer").is_err());
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a name is gone as soon as its last map is dropped"]
pub struct MemoryMappedFile {
    pub(super) section: Section,
    pub(super) capacity: u64,
    pub(super) rights: Rights,
    /// The access that the section was created with: a ceiling for every handle.
    pub(super) protection: Access,
    /// Shared with the views, whose errors name it.
    pub(super) subject: Arc<Subject>,
    /// Whether the bytes lie in a file of the user's.
    pub(super) on_file: bool,
    /// The process, by the count of forks, whose handle keeps others from having the file to themselves. A
    /// forked child releases nothing: the lock is its parent's too.
    pub(super) shares_file: Option<u32>,
    pub(super) created: bool,
    pub(super) looked: Looked,
}

impl Drop for MemoryMappedFile {
    fn drop(&mut self) {
        if self.shares_file == Some(sys::fork_generation()) {
            self.section.stop_sharing_file();
        }
    }
}

impl MemoryMappedFile {
    /// Bytes in the map. Windows knows only whole pages of a map that another process created.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether this handle created the map (`true`) or opened an existing one.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// The access that the map was created with: a ceiling for the views of every handle.
    pub fn access(&self) -> Access {
        self.protection
    }

    /// The map's name or file, for messages.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Fails if the name has been lost: its file was deleted, moved or replaced, so that whoever opens the
    /// name does not find this map. Always succeeds for a map without a name, and on Windows, where nobody
    /// can take a name that is held.
    ///
    /// One look, about 2 µs. A program that only holds a name, and waits for something else meanwhile, asks
    /// now and then. Others need not: creating a view, and whatever a cell or a mapper does beyond reading
    /// again what it has read, looks where the last look is 50 ms old, and whoever waits is told within
    /// 100 ms. Once lost, a name stays lost, even if the file is put back; views keep their bytes.
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::map::{MapOptions, MemoryMappedFile};
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-check-name-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    ///
    /// # if cfg!(unix) {
    /// let map = MapOptions::new().directory(&dir).create_new("tidied", 4096)?;
    /// let view = map.create_view_accessor(0, 0)?;
    /// map.check_name()?;
    ///
    /// // Somebody tidies up.
    /// std::fs::remove_dir_all(&dir)?;
    /// assert_eq!(map.check_name().unwrap_err().kind(), ErrorKind::NameLost);
    /// view.write(0, 42u64)?;
    /// # } else {
    /// # std::fs::remove_dir_all(&dir)?;
    /// # }
    ///
    /// MemoryMappedFile::anonymous(4096)?.check_name()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NameLost`. A process that may only read another user's map keeps no name, and is told so when the
    /// last holder has gone, too; `Io` where the system can't say whether it has.
    #[cold]
    pub fn check_name(&self) -> Result<()> {
        let looked = self.section.check_name(&self.subject);
        self.looked.note(looked.is_err());
        looked
    }

    /// Whether this is another user's map, which this user may only read, and the last holder has gone. Fails
    /// if the name has been lost.
    #[cold]
    pub(crate) fn has_ended(&self) -> Result<bool> {
        match self.check_name() {
            Ok(()) => Ok(false),
            // A guest is told of holders, whichever lock it asks for.
            Err(_) if self.is_guest() && !self.section.is_locked_elsewhere(LockId::VALUE)? => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// [`has_ended`](Self::has_ended), if the last look is 50 ms old or told so.
    pub(crate) fn has_ended_if_due(&self) -> Result<bool> {
        if self.looked.is_due() { self.has_ended() } else { Ok(false) }
    }

    /// [`check_name`](Self::check_name), if the last look is 50 ms old.
    #[inline]
    pub(crate) fn check_name_if_due(&self) -> Result<()> {
        if self.looked.is_due() { self.check_name() } else { Ok(()) }
    }

    /// The same for a caller that has the time, in nanoseconds since 1970.
    #[inline]
    pub(crate) fn check_name_if_due_at(&self, now: u64) -> Result<()> {
        if self.looked.is_due_at(now) { self.check_name() } else { Ok(()) }
    }

    /// How long a waiter may sleep before it asks [`check_name_if_due`](Self::check_name_if_due) again;
    /// `None` without a name.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        self.looked.left()
    }

    /// A stream over `size` bytes from `offset`, read-write; size 0 means all that follow.
    ///
    /// ```
    /// use std::io::{Read, Write};
    ///
    /// use handover::map::MemoryMappedFile;
    ///
    /// let map = MemoryMappedFile::anonymous(64)?;
    /// map.create_view_stream(16, 5)?.write_all(b"hello")?;
    /// let mut text = String::new();
    /// map.create_view_stream(16, 5)?.read_to_string(&mut text)?;
    /// assert_eq!(text, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`create_view_stream_with`](Self::create_view_stream_with).
    pub fn create_view_stream(&self, offset: u64, size: u64) -> Result<ViewStream> {
        self.create_view_stream_with(offset, size, Access::ReadWrite)
    }

    /// A stream over `size` bytes from `offset`; size 0 means all that follow.
    ///
    /// # Errors
    ///
    /// `OutOfRange` for an offset beyond the capacity; `NoSpace` where the address space is too small;
    /// `AccessDenied` where the view reaches beyond the capacity (as in .NET) or asks for more than the map
    /// or this handle allows; `NameLost` where the map's file was taken from its name.
    pub fn create_view_stream_with(&self, offset: u64, size: u64, access: Access) -> Result<ViewStream> {
        Ok(ViewStream::new(self.view(offset, size, access)?))
    }

    /// Random access to `size` bytes from `offset`, read-write; size 0 means all that follow.
    ///
    /// ```
    /// use handover::map::MemoryMappedFile;
    ///
    /// let map = MemoryMappedFile::anonymous(64)?;
    /// map.create_view_accessor(0, 0)?.write(20, 7u32)?;
    /// assert_eq!(map.create_view_accessor(16, 8)?.read::<u32>(4)?, 7);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`create_view_stream_with`](Self::create_view_stream_with).
    pub fn create_view_accessor(&self, offset: u64, size: u64) -> Result<ViewAccessor> {
        self.create_view_accessor_with(offset, size, Access::ReadWrite)
    }

    /// Random access to `size` bytes from `offset`; size 0 means all that follow.
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::map::{Access, MemoryMappedFile};
    ///
    /// let map = MemoryMappedFile::anonymous(64)?;
    /// let view = map.create_view_accessor_with(0, 0, Access::Read)?;
    /// assert_eq!(view.write(0, 7u32).unwrap_err().kind(), ErrorKind::AccessDenied);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`create_view_stream_with`](Self::create_view_stream_with).
    pub fn create_view_accessor_with(&self, offset: u64, size: u64, access: Access) -> Result<ViewAccessor> {
        Ok(ViewAccessor::new(self.view(offset, size, access)?))
    }

    /// Random access to the whole map. Only the first `ready` bytes certainly have memory. The caller may
    /// touch other bytes only where [`has_memory`](ViewAccessor::has_memory) holds, or after
    /// `Section::reserve`.
    pub(crate) fn create_sparse_accessor(&self, ready: u64, access: Access) -> Result<ViewAccessor> {
        Ok(ViewAccessor::new(self.view_with_memory(0, 0, access, ready)?))
    }

    fn view(&self, offset: u64, size: u64, access: Access) -> Result<View> {
        self.view_with_memory(offset, size, access, u64::MAX)
    }

    /// `ready`: how many bytes of the view must have memory.
    fn view_with_memory(&self, offset: u64, size: u64, access: Access, ready: u64) -> Result<View> {
        if offset > self.capacity {
            return Err(Error::out_of_range(
                "offset",
                format!("{offset}, and the map has {} bytes", self.capacity),
            )
            .about(&self.subject));
        }
        let len = if size == 0 { self.capacity - offset } else { size };
        // No system here has a larger address space for one process: 2^47 bytes.
        let addressable = usize::try_from(len).ok().filter(|_| len <= 1 << 47);
        let Some(addressable) = addressable else {
            return Err(Error::no_space(
                self.subject().clone(),
                len,
                "no address space holds such a view; map a smaller part".to_owned(),
            ));
        };
        if offset.checked_add(len).is_none_or(|end| end > self.capacity) {
            return Err(Error::denied(
                self.subject().clone(),
                format!("a view of {len} bytes from {offset} reaches beyond its {} bytes", self.capacity),
            ));
        }
        if !self.rights.allows_view(access) || !self.protection.allows_view(access) {
            return Err(Error::denied(
                self.subject().clone(),
                format!(
                    "a {access} view needs more than this handle has (the map was created {})",
                    self.protection
                ),
            )
            .with_advice("create or open it with more access, or ask for a view with less"));
        }
        self.check_name_if_due()?;
        let mapping = self
            .section
            .map(offset, addressable, ready.min(len) as usize, access, &self.subject)
            .map_err(|e| e.about(&self.subject))?;
        Ok(View::new(mapping, access, self.on_file, Arc::clone(&self.subject)))
    }

    /// Whether the bytes lie in a file of the user's.
    pub(crate) fn is_on_file(&self) -> bool {
        self.on_file
    }

    /// The system's object, which has a cell's locks and memory.
    pub(crate) fn section(&self) -> &Section {
        &self.section
    }

    /// Whether this is another user's map, which this user may only read: see `Section::is_guest`.
    pub(crate) fn is_guest(&self) -> bool {
        self.section.is_guest()
    }

    /// Takes one of the map's locks, waiting up to `limit`.
    pub(crate) fn lock(&self, id: LockId, mode: LockMode, limit: Duration) -> Result<MapLock<'_>> {
        let attempt = || {
            self.check_name_if_due()?;
            Ok(self.section.try_lock(id, mode)?.then(|| MapLock { map: self, id }))
        };
        Backoff::LOCK
            .poll(limit, || "a lock: the process that holds it seems to be stopped".to_owned(), attempt)
            .map_err(|e| e.about(&self.subject))
    }
}

/// A lock of a map, held until dropped; the system releases it when the process dies.
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock"]
pub(crate) struct MapLock<'a> {
    map: &'a MemoryMappedFile,
    id: LockId,
}

impl Drop for MapLock<'_> {
    fn drop(&mut self) {
        self.map.section.unlock(self.id);
    }
}
