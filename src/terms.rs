//! The terms that every layer shares: who can find a name, what a map may do, what an error is about.
//!
//! The numbers of [`Access`] and [`Rights`] are those of .NET's enumerations (and of the Windows kernel's
//! section rights). Relies on nothing; everything relies on it.

use std::fmt;
use std::ops::BitOr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Who can find a name.
///
/// ```
/// use handover::{ErrorKind, Scope};
/// use handover::map::MapOptions;
///
/// let options = MapOptions::new().scope(Scope::Global);
/// // A prefix in the name must say the same.
/// let error = options.open_existing("Local\\example").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// Processes of the same user (on Windows: of the same login session, `Local\`).
    #[default]
    User,
    /// All processes of the machine, which find a name by its owner (on Windows: `Global\`, one space for
    /// all).
    Global,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::User => "user",
            Self::Global => "global",
        })
    }
}

/// Where a map lies: under a name, or in a file.
///
/// Every call that opens or creates takes whatever converts into one: a `&str` is a name, a `&Path` is a
/// file.
///
/// ```
/// use std::path::Path;
///
/// use handover::Place;
///
/// assert_eq!(Place::from("token"), Place::Name("token"));
/// assert_eq!(Place::from(Path::new("token.map")), Place::File(Path::new("token.map")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place<'a> {
    /// A name, which lives as long as a process holds it.
    Name(&'a str),
    /// A file, which stays.
    File(&'a Path),
}

impl<'a> From<&'a str> for Place<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for Place<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a Path> for Place<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Place<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

/// A user or a group of this machine, by number or by name.
///
/// ```
/// use handover::map::Account;
///
/// assert_eq!(Account::from(1000), Account::Number(1000));
/// assert_eq!(Account::from("staff"), Account::Name("staff".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// Its number: a uid or a gid.
    Number(u32),
    /// Its name, which is looked up when a map is opened.
    Name(String),
}

impl Account {
    /// The number; `look_up` finds that of a name.
    pub(crate) fn number<E>(&self, look_up: impl FnOnce(&str) -> Result<u32, E>) -> Result<u32, E> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => look_up(name),
        }
    }
}

impl From<u32> for Account {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Account {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Account {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

/// What a handle or an error is about: which map, or which file.
///
/// ```
/// use handover::map::{MemoryMappedFile, Subject};
///
/// let error = MemoryMappedFile::open_existing("nobody holds this").unwrap_err();
/// match error.subject() {
///     Some(Subject::Map { name, scope }) => {
///         assert_eq!((name.as_str(), scope.to_string().as_str()), ("nobody holds this", "user"));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A named map.
    Map {
        /// The name without its scope prefix.
        name: String,
        /// The scope that was searched.
        scope: Scope,
    },
    /// A file or directory.
    Path(PathBuf),
    /// A map without a name.
    Anonymous,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A name may have 32,767 characters, control characters included: quote it and show its start.
            Self::Map { name, scope } => {
                let shown: String = name.chars().take(80).collect();
                let more = if shown.len() < name.len() { "…" } else { "" };
                let quoted = format!("{shown:?}");
                write!(f, "map '{}{more}' in scope {scope}", &quoted[1..quoted.len() - 1])
            }
            Self::Path(path) => write!(f, "'{}'", path.display()),
            Self::Anonymous => f.write_str("an anonymous map"),
        }
    }
}

/// How .NET opens or creates the file behind a map (`System.IO.FileMode`).
///
/// ```
/// use handover::map::MapOptions;
/// use handover::map::dotnet::{FileMode, create_from_file};
/// # let path = std::env::temp_dir().join(format!("handover-doc-mode-{}", std::process::id()));
///
/// std::fs::write(&path, b"old bytes")?;
/// let map = create_from_file(&path, FileMode::Create, 4, &MapOptions::new())?;
/// drop(map);
/// assert_eq!(std::fs::read(&path)?, [0; 4]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileMode {
    /// The file must not exist.
    CreateNew,
    /// The file is created, or emptied if it exists. An error if another program has it mapped.
    Create,
    /// The file must exist.
    #[default]
    Open,
    /// The file is opened, or created if it does not exist.
    OpenOrCreate,
}

/// A named map that has a living holder: what [`list`](crate::map::list) finds.
///
/// ```
/// use handover::map::{MapInfo, MapOptions, list};
///
/// fn line(map: &MapInfo) -> String {
///     format!("{}: {} of {} bytes are in memory", map.name, map.allocated, map.capacity)
/// }
///
/// # if cfg!(unix) {
/// for map in list(&MapOptions::new())? {
///     println!("{}", line(&map));
/// }
/// # }
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapInfo {
    /// The name, without its scope prefix.
    pub name: String,
    /// The scope it lives in.
    pub scope: Scope,
    /// Bytes in the map.
    pub capacity: u64,
    /// Bytes of memory (or disk) that it occupies now.
    pub allocated: u64,
    /// The file it lies on, for a named map on a file.
    pub path: Option<PathBuf>,
    /// When it was created.
    pub created: SystemTime,
    /// The user who created it, where the system has numbers for users.
    pub owner: Option<u32>,
    /// Its permission bits, where the system has them.
    pub mode: Option<u32>,
    /// The processes that hold it, in ascending order; `None` where the system does not tell. Processes that
    /// this user may not inspect are missing.
    pub holders: Option<Vec<u32>>,
}

/// What a map or a view may do with the bytes.
///
/// ```
/// use handover::map::{Access, MapOptions};
///
/// let map = MapOptions::new().access(Access::Read).anonymous(64)?;
/// let view = map.create_view_accessor_with(0, 0, Access::Read)?;
/// assert!(view.can_read() && !view.can_write());
/// assert!(!Access::Read.allows_view(Access::ReadWrite));
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Access {
    /// Read and write.
    #[default]
    ReadWrite = 0,
    /// Read only.
    Read = 1,
    /// Write only, for views. This library enforces it; the hardware can read such pages.
    Write = 2,
    /// Read and write; only this view sees its writes, and they are lost with it.
    CopyOnWrite = 3,
    /// Read and execute.
    ReadExecute = 4,
    /// Read, write and execute.
    ReadWriteExecute = 5,
}

impl Access {
    /// All six.
    pub const ALL: [Self; 6] = [
        Self::ReadWrite,
        Self::Read,
        Self::Write,
        Self::CopyOnWrite,
        Self::ReadExecute,
        Self::ReadWriteExecute,
    ];

    /// Whether bytes can be read through such a view.
    pub const fn can_read(self) -> bool {
        !matches!(self, Self::Write)
    }

    /// Whether bytes can be written through such a view.
    pub const fn can_write(self) -> bool {
        !matches!(self, Self::Read | Self::ReadExecute)
    }

    /// Whether such a view may hold code.
    pub const fn can_execute(self) -> bool {
        matches!(self, Self::ReadExecute | Self::ReadWriteExecute)
    }

    /// Whether a write through such a view reaches the other views.
    pub(crate) const fn writes_shared(self) -> bool {
        self.can_write() && !matches!(self, Self::CopyOnWrite)
    }

    /// Whether a map with this access can have a view with access `view`.
    pub const fn allows_view(self, view: Self) -> bool {
        use Access::{CopyOnWrite, Read, ReadExecute, ReadWrite, ReadWriteExecute, Write};
        match self {
            Write => false,
            Read | CopyOnWrite => matches!(view, Read | CopyOnWrite),
            ReadWrite => matches!(view, Read | Write | ReadWrite | CopyOnWrite),
            ReadExecute => matches!(view, Read | CopyOnWrite | ReadExecute),
            ReadWriteExecute => true,
        }
    }

    /// The rights that a handle to a map made with this access has.
    pub(crate) const fn rights(self) -> Rights {
        match self {
            Self::ReadWrite => Rights::READ_WRITE,
            Self::Read => Rights::READ,
            Self::Write => Rights::WRITE,
            // A copy-on-write map is only read; its views are private.
            Self::CopyOnWrite => Rights(Rights::READ.0 | Rights::COPY_ON_WRITE.0),
            Self::ReadExecute => Rights::READ_EXECUTE,
            Self::ReadWriteExecute => Rights::READ_WRITE_EXECUTE,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReadWrite => "read-write",
            Self::Read => "read",
            Self::Write => "write",
            Self::CopyOnWrite => "copy-on-write",
            Self::ReadExecute => "read-execute",
            Self::ReadWriteExecute => "read-write-execute",
        })
    }
}

/// What a handle to an existing map may do: a set of flags, joined with `|`.
///
/// ```
/// use handover::map::{Access, Rights};
///
/// let rights = Rights::READ | Rights::EXECUTE;
/// assert!(rights.contains(Rights::READ_EXECUTE));
/// assert!(rights.allows_view(Access::Read) && !rights.allows_view(Access::Write));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rights(u32);

impl Rights {
    /// Bare copy-on-write; grants no view by itself, as in .NET.
    pub const COPY_ON_WRITE: Self = Self(1);
    /// Write.
    pub const WRITE: Self = Self(2);
    /// Read.
    pub const READ: Self = Self(4);
    /// Read and write.
    pub const READ_WRITE: Self = Self(6);
    /// Execute; grants no view by itself.
    pub const EXECUTE: Self = Self(8);
    /// Read and execute.
    pub const READ_EXECUTE: Self = Self(12);
    /// Read, write and execute.
    pub const READ_WRITE_EXECUTE: Self = Self(14);
    /// Delete; accepted, grants no view.
    pub const DELETE: Self = Self(0x1_0000);
    /// Read the security descriptor; accepted, grants no view.
    pub const READ_PERMISSIONS: Self = Self(0x2_0000);
    /// Change the security descriptor; accepted, grants no view.
    pub const CHANGE_PERMISSIONS: Self = Self(0x4_0000);
    /// Take ownership; accepted, grants no view.
    pub const TAKE_OWNERSHIP: Self = Self(0x8_0000);
    /// All of the above.
    pub const FULL_CONTROL: Self = Self(0xF_000F);
    /// The audit list. It needs a privilege that programs don't hold, so opening with it is refused.
    pub const ACCESS_SYSTEM_SECURITY: Self = Self(0x100_0000);

    /// The flags as a number (.NET's `MemoryMappedFileRights`).
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other`'s flags are in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a handle with these rights can have a view with access `view`.
    pub const fn allows_view(self, view: Access) -> bool {
        match view {
            Access::Read | Access::CopyOnWrite => self.contains(Self::READ),
            // To the hardware, write implies read; .NET lets a handle with only Write have both.
            Access::Write | Access::ReadWrite => self.contains(Self::WRITE),
            Access::ReadExecute => self.contains(Self::READ_EXECUTE),
            Access::ReadWriteExecute => self.contains(Self::READ_WRITE_EXECUTE),
        }
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
