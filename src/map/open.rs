//! Making and opening maps: the three verbs, on options and, with default options, on the handle.
//!
//! Relies on `file` for maps on files and on `sys` for names.

use std::fs::File;
use std::sync::Arc;

use super::file::{self, Length};
use super::handle::MemoryMappedFile;
use super::looked::Looked;
use super::options::MapOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::name::MapName;
use crate::sys::{self, Disposition, Opened, Request, Section};
use crate::terms::{FileMode, Place, Rights, Subject};

impl MemoryMappedFile {
    /// Creates a map with `capacity` bytes, all zero: under a name (`&str`), or on a file (`&Path`). It must
    /// not exist.
    ///
    /// A name may start with `Local\` (the default) or `Global\`; it is at most [`NAME_MAX`](super::NAME_MAX)
    /// UTF-16 units of any text without a backslash, and case counts. Memory is reserved here.
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::map::MemoryMappedFile;
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-create-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    /// # let path = dir.join("state");
    ///
    /// let map = MemoryMappedFile::create_new("state", 4096)?;
    /// let error = MemoryMappedFile::create_new("state", 4096).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    ///
    /// let on_file = MemoryMappedFile::create_new(&path, 4096)?;
    /// assert_eq!(path.metadata()?.len(), 4096);
    /// # drop((map, on_file));
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a bad name, or for capacity 0 on a file; `OutOfRange` for capacity 0 under a
    /// name; `AlreadyExists` where the name has a living holder or the file exists; `NoSpace`;
    /// `AccessDenied`; `WrongKind` where something other than a map is in the way. Any refusal leaves names
    /// and files as they were.
    pub fn create_new<'a>(place: impl Into<Place<'a>>, capacity: u64) -> Result<Self> {
        MapOptions::new().create_new(place, capacity)
    }

    /// Opens the map under a name or on a file, or creates it.
    ///
    /// An existing map keeps its capacity. A file that is shorter than `capacity` grows to it; a longer one
    /// keeps its length, and all of it is mapped.
    ///
    /// ```
    /// use handover::map::MemoryMappedFile;
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-either-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # let path = dir.join("state");
    ///
    /// assert!(MemoryMappedFile::create_or_open(&path, 4096)?.was_created());
    /// let again = MemoryMappedFile::create_or_open(&path, 100)?;
    /// assert_eq!((again.was_created(), again.capacity()), (false, 4096));
    /// # drop(again);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`create_new`](Self::create_new) except `AlreadyExists`; `SharingViolation` where another
    /// program has the file to itself.
    pub fn create_or_open<'a>(place: impl Into<Place<'a>>, capacity: u64) -> Result<Self> {
        MapOptions::new().create_or_open(place, capacity)
    }

    /// Opens the map under a name, or maps the whole of a file.
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::map::MemoryMappedFile;
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-open-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    ///
    /// let producer = MemoryMappedFile::create_new("settings", 4096)?;
    /// assert_eq!(MemoryMappedFile::open_existing("settings")?.capacity(), 4096);
    /// drop(producer);
    /// assert_eq!(MemoryMappedFile::open_existing("settings").unwrap_err().kind(), ErrorKind::NotFound);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound` where the name has no living holder or the file does not exist; `InvalidArgument` for an
    /// empty file; those of [`create_or_open`](Self::create_or_open) about names and access.
    pub fn open_existing<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        MapOptions::new().open_existing(place)
    }

    /// Creates a map without a name: shared with threads, and on Unix with forked children.
    ///
    /// ```
    /// let map = handover::map::MemoryMappedFile::anonymous(1 << 20)?;
    /// assert_eq!(map.capacity(), 1 << 20);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `OutOfRange` for capacity 0; `NoSpace`.
    pub fn anonymous(capacity: u64) -> Result<Self> {
        MapOptions::new().anonymous(capacity)
    }

    /// Maps an open file, which is closed with the map: pass a `try_clone` to keep a handle.
    ///
    /// Capacity 0 means the file's length. A shorter file grows to `capacity`.
    ///
    /// ```
    /// use handover::map::MemoryMappedFile;
    /// # let path = std::env::temp_dir().join(format!("handover-doc-from-{}", std::process::id()));
    ///
    /// let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    /// let map = MemoryMappedFile::from_file(file.try_clone()?, 4096)?;
    /// assert_eq!(file.metadata()?.len(), 4096);
    /// # drop((map, file));
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open_existing`](Self::open_existing) about files; `AccessDenied` where the file was not
    /// opened for what the map needs; `OutOfRange` for a capacity below the file's length.
    pub fn from_file(file: File, capacity: u64) -> Result<Self> {
        MapOptions::new().from_file(file, capacity)
    }
}

impl MapOptions {
    /// Creates a map that must not exist: see [`MemoryMappedFile::create_new`].
    ///
    /// ```
    /// use handover::map::{MapOptions, MemoryMappedFile};
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-new-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    /// # let path = dir.join("state.map");
    ///
    /// // On a file, and under a name as well.
    /// let map = MapOptions::new().map_name("counters").create_new(&path, 4096)?;
    /// assert_eq!(MemoryMappedFile::open_existing("counters")?.capacity(), 4096);
    /// # drop(map);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_new`], and `InvalidArgument` for an access that can't create:
    /// write, and on a file also read and read-execute.
    pub fn create_new<'a>(&self, place: impl Into<Place<'a>>, capacity: u64) -> Result<MemoryMappedFile> {
        match place.into() {
            Place::Name(name) => {
                let name = self.parse(name)?;
                check_capacity(capacity).map_err(|e| e.about(&name.subject()))?;
                self.check_creates(&name.subject())?;
                self.open_name(&name, Disposition::CreateNew, capacity, self.access.rights())
            }
            Place::File(path) => file::by_path(path, FileMode::CreateNew, Length::of(capacity), self),
        }
    }

    /// Opens a map, or creates it: see [`MemoryMappedFile::create_or_open`].
    ///
    /// ```
    /// use handover::map::{Access, MapOptions};
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-or-open-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    ///
    /// let options = MapOptions::new().access(Access::ReadWrite).delay_allocate_pages(true);
    /// let large = options.create_or_open("large", 1 << 30)?;
    /// assert_eq!(large.capacity(), 1 << 30);
    /// # drop(large);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_or_open`], and `InvalidArgument` where the map does not exist, or
    /// is a shorter file, and the access can't create or grow it.
    pub fn create_or_open<'a>(&self, place: impl Into<Place<'a>>, capacity: u64) -> Result<MemoryMappedFile> {
        match place.into() {
            Place::Name(name) => {
                let name = self.parse(name)?;
                check_capacity(capacity).map_err(|e| e.about(&name.subject()))?;
                let Err(cannot_create) = self.check_creates(&name.subject()) else {
                    return self.open_name(&name, Disposition::CreateOrOpen, capacity, self.access.rights());
                };
                // A map that exists can be opened for writing only.
                self.open_name(&name, Disposition::OpenExisting, capacity, Rights::WRITE).map_err(|e| match e
                    .kind()
                {
                    ErrorKind::NotFound => cannot_create,
                    _ => e,
                })
            }
            Place::File(path) => file::by_path(path, FileMode::OpenOrCreate, Length::AtLeast(capacity), self),
        }
    }

    /// Opens a map that exists: see [`MemoryMappedFile::open_existing`].
    ///
    /// ```
    /// use handover::map::{Access, MapOptions, MemoryMappedFile, Rights};
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-existing-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    ///
    /// let producer = MemoryMappedFile::create_new("weather", 4096)?;
    /// let reader = MapOptions::new().rights(Rights::READ).open_existing("weather")?;
    /// assert!(reader.create_view_accessor_with(0, 0, Access::Read).is_ok());
    /// assert!(reader.create_view_accessor(0, 0).is_err()); // it would write
    /// # drop((producer, reader));
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::open_existing`], and `OutOfRange` for unknown flags in the rights.
    pub fn open_existing<'a>(&self, place: impl Into<Place<'a>>) -> Result<MemoryMappedFile> {
        match place.into() {
            Place::Name(name) => {
                let name = self.parse(name)?;
                let rights = self.rights.unwrap_or(self.access.rights());
                check_rights(rights, &name)?;
                self.open_name(&name, Disposition::OpenExisting, 0, rights)
            }
            Place::File(path) => file::by_path(path, FileMode::Open, Length::Whole, self),
        }
    }

    /// Creates a map without a name: see [`MemoryMappedFile::anonymous`].
    ///
    /// ```
    /// use handover::map::MapOptions;
    ///
    /// let map = MapOptions::new().delay_allocate_pages(true).anonymous(1 << 30)?;
    /// assert!(map.was_created());
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::anonymous`], and `InvalidArgument` for write access.
    pub fn anonymous(&self, capacity: u64) -> Result<MemoryMappedFile> {
        let subject = Subject::Anonymous;
        check_capacity(capacity).map_err(|e| e.about(&subject))?;
        self.check_creates(&subject)?;
        Ok(MemoryMappedFile {
            section: Section::anonymous(self.request(capacity)).map_err(|e| e.about(&subject))?,
            capacity,
            rights: self.access.rights(),
            protection: self.access,
            subject: Arc::new(subject),
            on_file: false,
            shares_file: None,
            created: true,
            looked: Looked::now(false),
        })
    }

    /// Maps an open file: see [`MemoryMappedFile::from_file`].
    ///
    /// ```
    /// use handover::map::{Access, MapOptions};
    /// # let path = std::env::temp_dir().join(format!("handover-doc-open-file-{}", std::process::id()));
    /// # std::fs::write(&path, b"some bytes")?;
    ///
    /// let file = std::fs::File::open(&path)?;
    /// let map = MapOptions::new().access(Access::Read).from_file(file, 0)?;
    /// let view = map.create_view_accessor_with(0, 0, Access::Read)?;
    /// assert_eq!(&view.read::<[u8; 4]>(0)?, b"some");
    /// # drop((view, map));
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::from_file`], and `InvalidArgument` for write access or a file that read
    /// access can't grow.
    pub fn from_file(&self, file: File, capacity: u64) -> Result<MemoryMappedFile> {
        file::from_open(file, Length::of(capacity), self)
    }

    fn open_name(
        &self,
        name: &MapName,
        disposition: Disposition,
        capacity: u64,
        rights: Rights,
    ) -> Result<MemoryMappedFile> {
        let request = Request { rights, ..self.request(capacity) };
        let Opened { section, capacity, protection, created } = self
            .named(name)
            .and_then(|place| Section::named(place, disposition, request))
            .map_err(|e| e.about(&name.subject()))?;
        let on_file = section.is_on_file();
        Ok(MemoryMappedFile {
            section,
            capacity,
            rights,
            protection,
            subject: Arc::new(name.subject()),
            on_file,
            shares_file: on_file.then(sys::fork_generation),
            created,
            looked: Looked::now(true),
        })
    }
}

fn check_capacity(capacity: u64) -> Result<()> {
    if capacity == 0 {
        return Err(Error::out_of_range("capacity", "0 bytes").with_advice("give at least 1"));
    }
    if usize::BITS < 64 && capacity > u64::from(u32::MAX) {
        return Err(Error::out_of_range("capacity", "more than 4 GiB on a 32-bit system"));
    }
    Ok(())
}

fn check_rights(rights: Rights, name: &MapName) -> Result<()> {
    let known = Rights::FULL_CONTROL | Rights::ACCESS_SYSTEM_SECURITY;
    if !known.contains(rights) {
        let error = Error::out_of_range("rights", format!("{:#x} has unknown flags", rights.bits()));
        return Err(error.about(&name.subject()));
    }
    if rights.contains(Rights::ACCESS_SYSTEM_SECURITY) {
        let error = Error::io(
            "open a map with the right to its audit list",
            std::io::Error::other("this process does not hold the privilege"),
        );
        return Err(error.about(&name.subject()));
    }
    Ok(())
}
