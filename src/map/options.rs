//! The options of a map, in the manner of `std::fs::OpenOptions`.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::MemoryMappedFile;
use super::access::{Access, Rights};
use super::name::Scope;
use crate::error::Result;

/// How a file behind a map is opened or created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenMode {
    /// The file must not exist.
    CreateNew,
    /// The file is created, or emptied if it exists.
    Create,
    /// The file must exist.
    #[default]
    Open,
    /// The file is opened, or created if it does not exist.
    OpenOrCreate,
}

/// Everything about a map beyond its name and capacity.
///
/// ```
/// use handover::{Access, MapOptions};
///
/// let map = MapOptions::new().access(Access::ReadWrite).delay_allocate_pages(true).anonymous(1 << 20)?;
/// assert_eq!(map.capacity(), 1 << 20);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MapOptions {
    pub(crate) access: Access,
    pub(crate) rights: Option<Rights>,
    pub(crate) delay_allocate_pages: bool,
    pub(crate) inheritable: bool,
    pub(crate) scope: Option<Scope>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) file_mode: Option<u32>,
    pub(crate) owner: Option<u32>,
    pub(crate) open_mode: OpenMode,
    pub(crate) map_name: Option<String>,
    /// The first bytes of a new named map: there before its name is.
    pub(crate) head: Vec<u8>,
}

impl MapOptions {
    /// The defaults: read-write, pages reserved at creation, not inheritable, scope `User`, readable by this
    /// user alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the map may do, and with it each handle made by creating it. Default: [`Access::ReadWrite`].
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// What a handle from [`open_existing`](Self::open_existing) may do. Default: what
    /// [`access`](Self::access) says.
    pub fn rights(mut self, rights: Rights) -> Self {
        self.rights = Some(rights);
        self
    }

    /// Takes memory when a page is first written, not when the map is created. A system that runs out then
    /// ends the process (SIGBUS on Unix); without this, running out is an error at creation.
    pub fn delay_allocate_pages(mut self, delay: bool) -> Self {
        self.delay_allocate_pages = delay;
        self
    }

    /// Whether programs that this process starts inherit the handle, and so hold the name. Default: no.
    pub fn inheritable(mut self, inheritable: bool) -> Self {
        self.inheritable = inheritable;
        self
    }

    /// Who can find the name. Default: [`Scope::User`]. A prefix `Local\` or `Global\` in the name says the
    /// same; the two must not contradict each other.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// The directory that holds the scopes' directories, in place of the system's (and of `HANDOVER_DIR`).
    /// It must belong to this user or to root, and others may write to it only if it has the sticky bit.
    ///
    /// On Windows names live in the kernel, and giving a directory is an error.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Permission bits of a new named map in [`Scope::Global`]: one of `0o600` (default), `0o640`, `0o644`,
    /// `0o660`, `0o666`. In [`Scope::User`] only `0o600` is allowed.
    ///
    /// Permission bits of a file that [`create_from_file`](Self::create_from_file) creates: any that allow no
    /// more than reading and writing (`0o666`), taken as they are, whatever the process's mask is; `0o600` by
    /// default. A file that is there keeps its own.
    ///
    /// On Windows: `0o600` admits this user to a name, and leaves a new file to the rights of its folder; any
    /// other mode is an error.
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = Some(mode);
        self
    }

    /// Opens a map in [`Scope::Global`] that belongs to the user with this id; without it, a map of anybody
    /// but this process's own user is refused.
    ///
    /// Whoever owns a map can change its bytes at any time and can shrink it, which ends a process that then
    /// touches the missing part (SIGBUS): name only a user whom this process trusts that far.
    ///
    /// On Windows giving an owner is an error.
    pub fn owned_by(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// How [`create_from_file`](Self::create_from_file) opens its file. Default: [`OpenMode::Open`].
    pub fn open_mode(mut self, mode: OpenMode) -> Self {
        self.open_mode = mode;
        self
    }

    /// A name under which others can open a map that lies on a file.
    pub fn map_name(mut self, name: impl Into<String>) -> Self {
        self.map_name = Some(name.into());
        self
    }

    /// See [`MemoryMappedFile::create_new`].
    pub fn create_new(&self, name: &str, capacity: u64) -> Result<MemoryMappedFile> {
        MemoryMappedFile::create_new_with(name, capacity, self)
    }

    /// See [`MemoryMappedFile::create_or_open`].
    pub fn create_or_open(&self, name: &str, capacity: u64) -> Result<MemoryMappedFile> {
        MemoryMappedFile::create_or_open_with(name, capacity, self)
    }

    /// See [`MemoryMappedFile::open_existing`].
    pub fn open_existing(&self, name: &str) -> Result<MemoryMappedFile> {
        MemoryMappedFile::open_existing_with(name, self)
    }

    /// See [`MemoryMappedFile::anonymous`].
    pub fn anonymous(&self, capacity: u64) -> Result<MemoryMappedFile> {
        MemoryMappedFile::anonymous_with(capacity, self)
    }

    /// See [`MemoryMappedFile::create_from_file`].
    pub fn create_from_file(&self, path: impl AsRef<Path>, capacity: u64) -> Result<MemoryMappedFile> {
        MemoryMappedFile::create_from_file_with(path.as_ref(), capacity, self)
    }

    /// See [`MemoryMappedFile::from_file`].
    pub fn from_file(&self, file: File, capacity: u64) -> Result<MemoryMappedFile> {
        MemoryMappedFile::from_file_with(file, capacity, self)
    }
}
