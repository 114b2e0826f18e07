//! Memory-mapped files as .NET has them (`System.IO.MemoryMappedFiles`), on every system.
//!
//! A [`MemoryMappedFile`] is a region of bytes of fixed capacity: named, on a file, or anonymous. A view is a
//! window on it: [`ViewStream`] (sequential) or [`ViewAccessor`] (random access, typed). Checks come in .NET's
//! order. Relies on `sys` for memory and names; the layers above rely on it.

mod access;
mod accessor;
pub(crate) mod bytes;
mod listing;
mod name;
mod options;
mod stream;
mod view;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

pub use self::access::{Access, Rights};
pub use self::accessor::{AtomicWord, Decimal, ViewAccessor};
pub use self::listing::{MapInfo, collect_garbage, list};
pub(crate) use self::name::MapName;
pub use self::name::{NAME_MAX, Scope};
pub use self::options::{MapOptions, OpenMode};
pub use self::stream::ViewStream;
use self::view::View;
use crate::error::{Error, Result, Subject};
use crate::sys::{self, Disposition, LockId, LockMode, Opened, Place, Request, Section};

/// A region of bytes of fixed capacity, shared between processes: named, on a file, or anonymous.
///
/// A name without a file behind it lives exactly as long as a process has a `MemoryMappedFile` for it,
/// however that process ends. Views keep the bytes, not the name.
///
/// ```
/// use handover::MemoryMappedFile;
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
pub struct MemoryMappedFile {
    section: Section,
    capacity: u64,
    rights: Rights,
    /// What the section was created with: a ceiling for every handle.
    protection: Access,
    subject: Subject,
    /// Whether the bytes lie in a file of the user's.
    on_file: bool,
    /// Whether this handle keeps off those who want the file alone.
    shares_file: bool,
    created: bool,
}

impl Drop for MemoryMappedFile {
    fn drop(&mut self) {
        if self.shares_file {
            self.section.stop_sharing_file();
        }
    }
}

impl MemoryMappedFile {
    /// Creates a map under `name` with `capacity` bytes, all zero.
    ///
    /// The name may start with `Local\` (the default) or `Global\`; it is at most [`NAME_MAX`] UTF-16 units
    /// of any text without a backslash, and case counts. Memory is reserved here.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a bad name, `OutOfRange` for capacity 0, `AlreadyExists` where the name has a
    /// living holder, `NoSpace`, `AccessDenied`, `WrongKind` where something that is no map is in the way.
    pub fn create_new(name: &str, capacity: u64) -> Result<Self> {
        MapOptions::new().create_new(name, capacity)
    }

    /// Opens the map under `name`, or creates it. An existing map keeps its capacity.
    ///
    /// # Errors
    ///
    /// Those of [`create_new`](Self::create_new) but `AlreadyExists`.
    pub fn create_or_open(name: &str, capacity: u64) -> Result<Self> {
        MapOptions::new().create_or_open(name, capacity)
    }

    /// Opens the map under `name`.
    ///
    /// # Errors
    ///
    /// `NotFound` where the name has no living holder; those of [`create_new`](Self::create_new) about names
    /// and access.
    pub fn open_existing(name: &str) -> Result<Self> {
        MapOptions::new().open_existing(name)
    }

    /// Creates a map without a name: shared with threads, and on Unix with forked children.
    pub fn anonymous(capacity: u64) -> Result<Self> {
        MapOptions::new().anonymous(capacity)
    }

    /// Maps the file at `path`, which must exist; [`MapOptions::open_mode`] can say otherwise.
    ///
    /// Capacity 0 is the file's length; a larger capacity makes the file grow to it, and it keeps that length.
    ///
    /// A file that this call creates is this user's alone (mode 0600) unless
    /// [`MapOptions::file_mode`] says otherwise.
    ///
    /// Programs that shorten the file while it is mapped make an access to the missing part end the process
    /// (SIGBUS on Unix); Windows forbids it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an empty file with capacity 0, or a capacity beyond the length with read access;
    /// `OutOfRange` for a capacity below the file's length; `NotFound`; `AlreadyExists` with
    /// [`OpenMode::CreateNew`]; `SharingViolation` where another program has the file for itself;
    /// `Unsupported` for a pipe. A file that this call created is deleted again when it fails.
    pub fn create_from_file(path: impl AsRef<Path>, capacity: u64) -> Result<Self> {
        MapOptions::new().create_from_file(path, capacity)
    }

    /// Maps an open file, which is closed with the map (give it a `try_clone` to keep one).
    ///
    /// # Errors
    ///
    /// Those of [`create_from_file`](Self::create_from_file), and `AccessDenied` where the file was not opened
    /// for what the map wants.
    pub fn from_file(file: File, capacity: u64) -> Result<Self> {
        MapOptions::new().from_file(file, capacity)
    }

    /// Bytes in the map. Windows knows only whole pages of a map that another process created.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether this handle created the map (`true`) or opened an existing one.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// What the map was created with; no view of any handle goes beyond it.
    pub fn access(&self) -> Access {
        self.protection
    }

    /// What this map is called, for messages.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// A stream over `size` bytes from `offset`, read-write; size 0 is all that follows.
    ///
    /// # Errors
    ///
    /// See [`create_view_stream_with`](Self::create_view_stream_with).
    pub fn create_view_stream(&self, offset: u64, size: u64) -> Result<ViewStream> {
        self.create_view_stream_with(offset, size, Access::ReadWrite)
    }

    /// A stream over `size` bytes from `offset`; size 0 is all that follows.
    ///
    /// # Errors
    ///
    /// `OutOfRange` for an offset beyond the capacity; `NoSpace` where the address space is too small;
    /// `AccessDenied` where the view reaches beyond the capacity (as .NET has it) or wants more than the
    /// map allows.
    pub fn create_view_stream_with(&self, offset: u64, size: u64, access: Access) -> Result<ViewStream> {
        Ok(ViewStream::new(self.view(offset, size, access)?))
    }

    /// Random access to `size` bytes from `offset`, read-write; size 0 is all that follows.
    ///
    /// # Errors
    ///
    /// See [`create_view_stream_with`](Self::create_view_stream_with).
    pub fn create_view_accessor(&self, offset: u64, size: u64) -> Result<ViewAccessor> {
        self.create_view_accessor_with(offset, size, Access::ReadWrite)
    }

    /// Random access to `size` bytes from `offset`; size 0 is all that follows.
    ///
    /// # Errors
    ///
    /// See [`create_view_stream_with`](Self::create_view_stream_with).
    pub fn create_view_accessor_with(&self, offset: u64, size: u64, access: Access) -> Result<ViewAccessor> {
        Ok(ViewAccessor::new(self.view(offset, size, access)?))
    }

    /// Random access to the whole map, of which only the first `ready` bytes have memory for certain. The
    /// caller touches no others but those for which [`has_memory`](ViewAccessor::has_memory) holds, or after
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
                format!("{offset}, and {} has {} bytes", self.subject, self.capacity),
            ));
        }
        let len = if size == 0 { self.capacity - offset } else { size };
        // No system here has a larger address space for one process: 2^47 bytes.
        let addressable = usize::try_from(len).ok().filter(|_| len <= 1 << 47);
        let Some(addressable) = addressable else {
            return Err(Error::NoSpace {
                subject: self.subject.clone(),
                needed: len,
                reason: "no address space holds such a view; map a smaller part".to_owned(),
            });
        };
        if offset.checked_add(len).is_none_or(|end| end > self.capacity) {
            return Err(Error::denied(
                self.subject.clone(),
                format!("a view of {len} bytes from {offset} reaches beyond its {} bytes", self.capacity),
            ));
        }
        if !self.rights.allows_view(access) || !self.protection.allows_view(access) {
            return Err(Error::denied(
                self.subject.clone(),
                format!(
                    "a {access} view needs more than this handle has (the map was created {}); create or open it \
                     with more, or ask for a view with less",
                    self.protection
                ),
            ));
        }
        let mapping =
            self.section.map(offset, addressable, ready.min(len) as usize, access, &self.subject)?;
        Ok(View::new(mapping, access, self.on_file))
    }

    pub(crate) fn create_new_with(name: &str, capacity: u64, options: &MapOptions) -> Result<Self> {
        let name = MapName::parse(name, options.scope)?;
        check_capacity(capacity)?;
        if options.access == Access::Write {
            return Err(Error::invalid("access", "a map can't be created for writing only; use read-write"));
        }
        Self::named(&name, Disposition::CreateNew, capacity, options.access.rights(), options)
    }

    pub(crate) fn create_or_open_with(name: &str, capacity: u64, options: &MapOptions) -> Result<Self> {
        let name = MapName::parse(name, options.scope)?;
        check_capacity(capacity)?;
        if options.access == Access::Write {
            // A map can't be created write-only, but one that is there can be opened so.
            return Self::named(&name, Disposition::OpenExisting, capacity, Rights::WRITE, options).map_err(
                |e| match e {
                    Error::NotFound { .. } => Error::invalid(
                        "access",
                        "there is no such map, and one can't be created for writing only; use read-write",
                    ),
                    other => other,
                },
            );
        }
        Self::named(&name, Disposition::CreateOrOpen, capacity, options.access.rights(), options)
    }

    pub(crate) fn open_existing_with(name: &str, options: &MapOptions) -> Result<Self> {
        let name = MapName::parse(name, options.scope)?;
        let rights = options.rights.unwrap_or(options.access.rights());
        let known = Rights::FULL_CONTROL | Rights::ACCESS_SYSTEM_SECURITY;
        if !known.contains(rights) {
            return Err(Error::out_of_range("rights", format!("{:#x} has unknown flags", rights.bits())));
        }
        if rights.contains(Rights::ACCESS_SYSTEM_SECURITY) {
            return Err(Error::Io {
                doing: format!("open {} with the right to its audit list", name.subject()),
                source: std::io::Error::other("this process does not hold the privilege"),
            });
        }
        Self::named(&name, Disposition::OpenExisting, 0, rights, options)
    }

    fn named(
        name: &MapName,
        disposition: Disposition,
        capacity: u64,
        rights: Rights,
        options: &MapOptions,
    ) -> Result<Self> {
        let request = Request {
            capacity,
            access: options.access,
            rights,
            delay_allocate_pages: options.delay_allocate_pages,
            inheritable: options.inheritable,
        };
        let Opened { section, capacity, protection, created } =
            Section::named(options.place(name), disposition, request)?;
        let on_file = section.is_on_file();
        Ok(Self {
            section,
            capacity,
            rights,
            protection,
            subject: name.subject(),
            on_file,
            shares_file: on_file,
            created,
        })
    }

    pub(crate) fn anonymous_with(capacity: u64, options: &MapOptions) -> Result<Self> {
        check_capacity(capacity)?;
        let access = options.access;
        if access == Access::Write {
            return Err(Error::invalid("access", "a map can't be created for writing only; use read-write"));
        }
        let request = options.request(capacity);
        Ok(Self {
            section: Section::anonymous(request)?,
            capacity,
            rights: access.rights(),
            protection: access,
            subject: Subject::Anonymous,
            on_file: false,
            shares_file: false,
            created: true,
        })
    }

    pub(crate) fn create_from_file_with(path: &Path, capacity: u64, options: &MapOptions) -> Result<Self> {
        let name = options.parsed_map_name()?;
        check_file_access(options.access)?;
        let write = !matches!(options.access, Access::Read | Access::ReadExecute);
        if !write && matches!(options.open_mode, OpenMode::CreateNew | OpenMode::Create) {
            return Err(Error::invalid(
                "open mode",
                format!("it makes an empty file, and a {} map can't make it grow", options.access),
            ));
        }
        let (file, created) = sys::open_file(path, options.open_mode, write, options.file_mode)?;
        let map = Self::on_file(file, Subject::Path(path.to_owned()), capacity, name.as_ref(), options, true);
        match map {
            Ok(mut map) => {
                map.created = created;
                map.shares_file = true;
                Ok(map)
            }
            Err(error) => {
                if created {
                    let _ = std::fs::remove_file(path);
                }
                Err(error)
            }
        }
    }

    pub(crate) fn from_file_with(file: File, capacity: u64, options: &MapOptions) -> Result<Self> {
        let name = options.parsed_map_name()?;
        check_file_access(options.access)?;
        let subject = Subject::Anonymous;
        let (read, write) =
            sys::file_access(&file).map_err(|e| Error::from_io("inspect", subject.clone(), e))?;
        let enough = match options.access {
            Access::Read | Access::CopyOnWrite => read,
            _ => read && write,
        };
        Self::on_file(file, subject, capacity, name.as_ref(), options, enough)
    }

    /// `may_map`: whether the file was opened for what the map does. It is asked for after the sizes, as the
    /// system would do it.
    fn on_file(
        file: File,
        subject: Subject,
        capacity: u64,
        name: Option<&MapName>,
        options: &MapOptions,
        may_map: bool,
    ) -> Result<Self> {
        let access = options.access;
        let metadata = file.metadata().map_err(|e| Error::from_io("inspect", subject.clone(), e))?;
        let sized = !sys::has_no_length(&metadata);
        if sized && !metadata.is_file() {
            return Err(Error::unsupported(format!(
                "{subject} is no file that can be mapped (a pipe or socket)"
            )));
        }
        let length = metadata.len();
        if capacity == 0 && length == 0 {
            return Err(Error::invalid(
                "capacity",
                format!("0 means the file's length, and {subject} is empty"),
            ));
        }
        let wanted = if capacity == 0 { length } else { capacity };
        if sized {
            if access == Access::Read && wanted > length {
                return Err(Error::invalid(
                    "capacity",
                    format!("{wanted} bytes; {subject} has {length} and a read map can't make it grow"),
                ));
            }
            if length > wanted {
                return Err(Error::out_of_range(
                    "capacity",
                    format!("{wanted} bytes; {subject} has {length}, and a map covers the whole file"),
                ));
            }
        }
        if !may_map {
            return Err(Error::denied(
                subject,
                format!(
                    "the file was not opened for what a {access} map does; open it for reading and writing"
                ),
            ));
        }
        if sized && wanted > length {
            let (_, write) =
                sys::file_access(&file).map_err(|e| Error::from_io("inspect", subject.clone(), e))?;
            if !write {
                return Err(Error::denied(
                    subject,
                    format!("it has {length} bytes and was opened for reading, so it can't grow to {wanted}"),
                ));
            }
            sys::grow_file(&file, length, wanted, options.delay_allocate_pages, &subject)?;
        }
        let place = name.map(|name| options.place(name));
        let section = Section::from_file(file, options.request(wanted), place)?;
        let subject = name.map_or(subject, MapName::subject);
        Ok(Self {
            section,
            capacity: wanted,
            rights: access.rights(),
            protection: access,
            subject,
            on_file: true,
            shares_file: false,
            created: false,
        })
    }

    /// Whether the bytes lie in a file of the user's.
    pub(crate) fn is_on_file(&self) -> bool {
        self.on_file
    }

    /// The system's object, for the locks and the memory of a cell.
    pub(crate) fn section(&self) -> &Section {
        &self.section
    }

    /// Takes one of the map's locks, waiting up to `limit`.
    pub(crate) fn lock(&self, id: LockId, mode: LockMode, limit: Duration) -> Result<MapLock<'_>> {
        sys::poll(
            limit,
            || format!("a lock of {}: the process that holds it seems to be stopped", self.subject),
            || Ok(self.section.try_lock(id, mode)?.then(|| MapLock { map: self, id })),
        )
    }
}

/// A lock of a map, held until dropped; the system lets go of it when the process dies.
#[derive(Debug)]
#[must_use]
pub(crate) struct MapLock<'a> {
    map: &'a MemoryMappedFile,
    id: LockId,
}

impl Drop for MapLock<'_> {
    fn drop(&mut self) {
        self.map.section.unlock(self.id);
    }
}

impl MapOptions {
    fn request(&self, capacity: u64) -> Request {
        Request {
            capacity,
            access: self.access,
            rights: self.access.rights(),
            delay_allocate_pages: self.delay_allocate_pages,
            inheritable: self.inheritable,
        }
    }

    fn place<'a>(&'a self, name: &'a MapName) -> Place<'a> {
        Place {
            name,
            directory: self.directory.as_deref(),
            mode: self.file_mode,
            owner: self.owner,
            head: &self.head,
        }
    }

    fn parsed_map_name(&self) -> Result<Option<MapName>> {
        self.map_name.as_deref().map(|name| MapName::parse(name, self.scope)).transpose()
    }
}

fn check_capacity(capacity: u64) -> Result<()> {
    if capacity == 0 {
        return Err(Error::out_of_range("capacity", "0 bytes; give at least 1"));
    }
    if usize::BITS < 64 && capacity > u64::from(u32::MAX) {
        return Err(Error::out_of_range("capacity", "more than 4 GiB on a 32-bit system"));
    }
    Ok(())
}

fn check_file_access(access: Access) -> Result<()> {
    if access == Access::Write {
        return Err(Error::invalid("access", "a map can't be created for writing only; use read-write"));
    }
    Ok(())
}
