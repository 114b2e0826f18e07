//! The options of a map, in the manner of `std::fs::OpenOptions`. This file declares them; `open` uses them.

use std::path::PathBuf;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::name::MapName;
use crate::sys::{self, Named, Request, Within};
use crate::terms::{Access, Account, Place, Rights, Scope, Subject};

/// Everything about a map beyond its name and capacity.
///
/// ```
/// use handover::map::{Access, MapOptions};
///
/// let map = MapOptions::new().access(Access::ReadWrite).delay_allocate_pages(true).anonymous(1 << 20)?;
/// assert_eq!(map.capacity(), 1 << 20);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a map is created or opened with them"]
pub struct MapOptions {
    pub(crate) access: Access,
    pub(crate) rights: Option<Rights>,
    pub(crate) delay_allocate_pages: bool,
    pub(crate) inheritable: bool,
    pub(crate) scope: Option<Scope>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) file_mode: Option<u32>,
    pub(crate) owner: Option<Account>,
    pub(crate) group: Option<Account>,
    pub(crate) map_name: Option<String>,
    /// The first bytes of a new named map: they are in place before its name appears.
    pub(crate) head: Vec<u8>,
}

impl MapOptions {
    /// The defaults: read-write, pages reserved at creation, not inheritable, scope `User`, readable by this
    /// user alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the map, and each handle made by creating it, may do. Default: [`Access::ReadWrite`].
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

    /// Takes memory when a page is first written, not when the map is created. Default: no.
    ///
    /// If the system runs out of memory then, it ends the process (SIGBUS on Unix). Without this option,
    /// running out is an error at creation.
    pub fn delay_allocate_pages(mut self, delay: bool) -> Self {
        self.delay_allocate_pages = delay;
        self
    }

    /// Whether programs that this process starts inherit the handle, and thereby hold the name. Default: no.
    pub fn inheritable(mut self, inheritable: bool) -> Self {
        self.inheritable = inheritable;
        self
    }

    /// Who can find the name. Default: [`Scope::User`].
    ///
    /// A prefix `Local\` or `Global\` in the name says the same; the two must agree.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// The directory that holds the scopes' directories, in place of the system's (and of `HANDOVER_DIR`).
    ///
    /// It must belong to this user or to root, and others may write to it only if it has the sticky bit. On
    /// Windows names live in the kernel, and a directory is an error.
    ///
    /// ```
    /// use handover::map::{MapOptions, MemoryMappedFile};
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-directory-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    ///
    /// # if cfg!(unix) {
    /// let map = MapOptions::new().directory(&dir).create_new("apart", 64)?;
    /// assert!(MapOptions::new().directory(&dir).open_existing("apart").is_ok());
    /// assert!(MemoryMappedFile::open_existing("apart").is_err());
    /// # }
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Permission bits of a new named map in [`Scope::Global`]: one of `0o600` (default), `0o640` (default
    /// with a [`group`](Self::group)), `0o644`, `0o660`, `0o666`. In [`Scope::User`] only `0o600` is allowed.
    ///
    /// Permission bits of a new file: any that allow no more than reading and writing (`0o666`), whatever the
    /// process's mask is; `0o600` by default. An existing file keeps its own.
    ///
    /// On Windows `0o600` admits this user to a name, and leaves a new file to the rights of its folder; any
    /// other mode is an error.
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = Some(mode);
        self
    }

    /// The group of a new map in [`Scope::Global`], by number or name: any group of this process's. Without
    /// it a map has the group that the system gives new files.
    ///
    /// Unless [`file_mode`](Self::file_mode) says otherwise, the group may read (`0o640`). `0o660` lets it
    /// write too. Its members then are holders like any other: they can replace and take the value, and
    /// shrink the map under others.
    ///
    /// ```no_run
    /// use handover::map::{MapOptions, Scope};
    ///
    /// let shared = MapOptions::new().scope(Scope::Global).group("staff");
    /// let held = shared.create_new("notice", 4096)?;
    /// // A member of the group, in another process:
    /// let found = MapOptions::new().owned_by("alice").open_existing("Global\\notice")?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// On Windows a group is an error.
    pub fn group(mut self, group: impl Into<Account>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The user whose names in [`Scope::Global`] are meant, by number or name. Without it they are those of
    /// this process's own user.
    ///
    /// Each user has global names of their own: a name belongs to whoever created it, and nobody else can
    /// take it.
    ///
    /// The owner of a map can change its bytes at any time and can shrink it, which ends a process that then
    /// touches the missing part (SIGBUS): name only a user whom this process trusts that far.
    ///
    /// On Windows an owner is an error.
    pub fn owned_by(mut self, user: impl Into<Account>) -> Self {
        self.owner = Some(user.into());
        self
    }

    /// A name under which others can open a map that lies on a file.
    pub fn map_name(mut self, name: impl Into<String>) -> Self {
        self.map_name = Some(name.into());
        self
    }

    /// What lies at `place`, for messages.
    pub(crate) fn subject(&self, place: Place<'_>) -> Result<Subject> {
        match place {
            Place::Name(name) => MapName::parse(name, self.scope).map(|name| name.subject()),
            Place::File(path) => Ok(Subject::Path(path.to_owned())),
        }
    }

    /// Opens what may not exist yet: calls `open` until it returns something, waiting up to `limit` for
    /// `what`.
    pub(crate) fn wait_for<M>(
        &self,
        place: Place<'_>,
        what: &str,
        limit: Duration,
        open: impl FnMut() -> Result<Option<M>>,
    ) -> Result<M> {
        let subject = self.subject(place)?;
        Backoff::NAME.poll(limit, || what.to_owned(), open).map_err(|error| error.about(&subject))
    }

    pub(super) fn request(&self, capacity: u64) -> Request {
        Request {
            capacity,
            access: self.access,
            rights: self.access.rights(),
            delay_allocate_pages: self.delay_allocate_pages,
            inheritable: self.inheritable,
        }
    }

    pub(super) fn named<'a>(&'a self, name: &'a MapName) -> Result<Named<'a>> {
        let group = self.group.as_ref().map(|group| group.number(sys::group_number)).transpose()?;
        if group.is_some() && name.scope() == Scope::User {
            return Err(Error::invalid("group", "nobody else can look into scope user; use scope global"));
        }
        if group == Some(u32::MAX) {
            // To the system it means that the group stays as it is.
            return Err(Error::invalid("group", "no group has this number"));
        }
        let within = self.within(name.scope())?;
        // Who names a group shares with it; that it may write must be said.
        let mode = self.file_mode.or(group.map(|_| 0o640));
        Ok(Named { name, within, mode, group, head: &self.head })
    }

    /// Where names of `scope` are looked for.
    pub(super) fn within(&self, scope: Scope) -> Result<Within<'_>> {
        let owner = self.owner.as_ref().map(|owner| owner.number(sys::user_number)).transpose()?;
        if owner.is_some() && scope == Scope::User {
            return Err(Error::invalid("owner", "scope user has names of this user alone; use scope global"));
        }
        Ok(Within { scope, directory: self.directory.as_deref(), owner })
    }

    pub(super) fn parse(&self, name: &str) -> Result<MapName> {
        MapName::parse(name, self.scope)
    }

    pub(super) fn parsed_map_name(&self) -> Result<Option<MapName>> {
        self.map_name.as_deref().map(|name| self.parse(name)).transpose()
    }

    /// Checks that a map can be created with this access.
    pub(super) fn check_creates(&self, subject: &Subject) -> Result<()> {
        match self.access {
            Access::Write => Err(Error::invalid("access", "a map can't be created for writing only")
                .with_advice("use read-write")
                .about(subject)),
            _ => Ok(()),
        }
    }
}
