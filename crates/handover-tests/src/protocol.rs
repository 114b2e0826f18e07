//! What a test and an actor say to each other: one JSON value a line, so that any text can be a name.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a map is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// `create_new`
    #[default]
    CreateNew,
    /// `create_or_open`
    CreateOrOpen,
    /// `open_existing`
    OpenExisting,
    /// `create_from_file`, with the name (unless it is empty) as map name
    FromFile,
}

impl How {
    /// The three ways that go by name.
    pub const BY_NAME: [Self; 3] = [Self::CreateNew, Self::CreateOrOpen, Self::OpenExisting];
}

/// A map to open: `Open { file_mode: Some(0o644), ..Open::create_new("x", 100) }`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Open {
    /// How.
    pub how: How,
    /// The name as passed to the library.
    pub name: String,
    /// Bytes.
    pub capacity: u64,
    /// For reading only.
    pub read_only: bool,
    /// `MapOptions::file_mode`
    pub file_mode: Option<u32>,
    /// `MapOptions::owned_by`
    pub owned_by: Option<u32>,
    /// `MapOptions::delay_allocate_pages`
    pub delay: bool,
    /// `MapOptions::inheritable`
    pub inheritable: bool,
    /// `MapOptions::directory`
    pub directory: Option<PathBuf>,
    /// The file, for [`How::FromFile`]; created where it does not exist.
    pub path: Option<PathBuf>,
}

impl Open {
    /// By name, in the given way.
    pub fn new(how: How, name: &str, capacity: u64) -> Self {
        Self { how, name: name.to_owned(), capacity, ..Self::default() }
    }

    /// `create_new`
    pub fn create_new(name: &str, capacity: u64) -> Self {
        Self::new(How::CreateNew, name, capacity)
    }

    /// `create_or_open`
    pub fn create_or_open(name: &str, capacity: u64) -> Self {
        Self::new(How::CreateOrOpen, name, capacity)
    }

    /// `open_existing`
    pub fn open_existing(name: &str) -> Self {
        Self::new(How::OpenExisting, name, 0)
    }

    /// `create_from_file`, under a name unless it is empty.
    pub fn from_file(path: impl Into<PathBuf>, name: &str, capacity: u64) -> Self {
        Self { path: Some(path.into()), ..Self::new(How::FromFile, name, capacity) }
    }
}

/// What an actor is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Opens a map and keeps it: [`Reply::Map`].
    Open(Open),
    /// Closes a map.
    Close {
        /// Which map.
        map: u32,
    },
    /// Opens a view on the whole of a map and keeps it: [`Reply::Number`].
    View {
        /// Of which map.
        map: u32,
        /// For reading only.
        read_only: bool,
    },
    /// Closes a view.
    CloseView {
        /// Which view.
        view: u32,
    },
    /// Reads through a view: [`Reply::Bytes`].
    Read {
        /// Which view.
        view: u32,
        /// Where.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// Writes through a view.
    Write {
        /// Which view.
        view: u32,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Removes leftovers of the user's or the global scope: [`Reply::Names`].
    CollectGarbage {
        /// Of the global scope.
        global: bool,
    },
    /// The living names: [`Reply::Names`].
    List {
        /// Of the global scope.
        global: bool,
    },
    /// Names in a directory as this process sees it, sorted: [`Reply::Names`].
    ListDirectory(PathBuf),
    /// The length of a file as this process sees it: [`Reply::Number`].
    FileLength(PathBuf),
    /// Writes a file that must not exist.
    WriteFile {
        /// Where.
        path: PathBuf,
        /// What.
        bytes: Vec<u8>,
    },
    /// Sets (or with `None` removes) an environment variable.
    Environment {
        /// Which.
        name: String,
        /// To what.
        value: Option<String>,
    },
    /// Becomes another user, irreversibly.
    Become {
        /// The user.
        uid: u32,
        /// The group; there are no others.
        gid: u32,
    },
    /// Sets the mask: the permissions that new files don't get.
    Umask(u32),
    /// Gets a separate mount namespace.
    PrivateMounts,
    /// Mounts an empty tmpfs.
    MountTmpfs {
        /// Where.
        path: PathBuf,
        /// Such as `size=64k,mode=1777`.
        options: String,
    },
    /// Limits the size of files (`RLIMIT_FSIZE`).
    LimitFileSize(u64),
    /// Splits in two; the child listens and answers on two FIFOs: [`Reply::Number`], its process id.
    Fork {
        /// Where it listens.
        input: PathBuf,
        /// Where it answers.
        output: PathBuf,
    },
    /// Becomes a fresh actor with the same pipes and process id.
    Exec,
    /// Lets threads open and close one name, and checks that those that hold it at one time agree about it.
    Threads {
        /// How many.
        threads: u32,
        /// How often each.
        rounds: u32,
        /// The name.
        name: String,
    },
    /// Takes part in a race: see `race`.
    Race {
        /// The file in which all take notes.
        notes: PathBuf,
        /// Which participant this is.
        slot: usize,
    },
    /// Does something with a cell: see `cell`.
    Cell(crate::cell::CellCommand),
    /// Ends the process without closing anything.
    Exit,
}

/// What an actor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// A number.
    Number(u64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A map was opened.
    Map(Map),
    /// Names.
    Names(Vec<String>),
    /// There is none.
    Nothing,
    /// What can be known of a cell without its value.
    Cell(crate::cell::CellState),
    /// Sums of several participants.
    Sums(crate::cell::Sums),
    /// It failed.
    Failed(Failure),
}

/// An open map of an actor.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Map {
    /// What the actor calls it.
    pub id: u32,
    /// Its capacity as the library reports it.
    pub capacity: u64,
    /// Whether this handle created it.
    pub created: bool,
}

/// An error as the library returned it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name of the `ErrorKind`.
    pub kind: String,
    /// What `Display` says.
    pub message: String,
}
