//! The handle of a map: what it is, the views that it hands out, and its locks.
//!
//! Relies on `sys` for the memory and on the views; `open` and `file` make handles.

use std::sync::Arc;
use std::time::Duration;

use super::accessor::ViewAccessor;
use super::stream::ViewStream;
use super::view::View;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::sys::{self, LockId, LockMode, Section};
use crate::terms::{Access, Rights, Subject};

/// A region of bytes of fixed capacity, shared between processes: named, on a file, or anonymous.
///
/// A name lives exactly as long as a process has a `MemoryMappedFile` for it, however that process ends. A
/// file stays. Views keep the bytes, not the name.
///
/// ```
/// use handover::map::MemoryMappedFile;
/// # let dir = std::env::temp_dir().join(format!("handover-doc-map-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// let producer = MemoryMappedFile::create_new("greeting", 4096)?;
/// producer.create_view_accessor(0, 0)?.write(0, 42u64)?;
///
/// // In another process:
/// let consumer = MemoryMappedFile::open_existing("greeting")?;
/// assert_eq!(consumer.create_view_accessor(0, 0)?.read::<u64>(0)?, 42);
///
/// drop((producer, consumer));
/// assert!(MemoryMappedFile::open_existing("greeting").is_err());
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
    /// or this handle allows.
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

    /// Takes one of the map's locks, waiting up to `limit`.
    pub(crate) fn lock(&self, id: LockId, mode: LockMode, limit: Duration) -> Result<MapLock<'_>> {
        let attempt = || Ok(self.section.try_lock(id, mode)?.then(|| MapLock { map: self, id }));
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
