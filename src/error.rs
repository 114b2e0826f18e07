//! The one error type of the library.
//!
//! Every variant says what happened and to what; its `Display` also says what to do next. [`Error::kind`]
//! gives the class for programs that branch on it. Relies on nothing; everything relies on it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::map::Scope;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A named map.
    Map {
        /// The name without its scope prefix.
        name: String,
        /// The scope it was looked for in.
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
            // A name may hold 32,767 characters, control characters among them: quote it and show its start.
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

/// The class of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is not acceptable whatever the state of the system.
    InvalidArgument,
    /// A number lies outside its range.
    OutOfRange,
    /// No map of that name has a living holder, or no file stands at that path.
    NotFound,
    /// The name has a living holder already, or the file exists.
    AlreadyExists,
    /// The system, the map's access or the owner's rules forbid it.
    AccessDenied,
    /// The object can't do this, or this system can't.
    Unsupported,
    /// Something else stands there: another layout, another kind of file, another object.
    WrongKind,
    /// A file is held by somebody who does not share it.
    SharingViolation,
    /// Memory, disk or address space is used up.
    NoSpace,
    /// The encoded value is larger than the map has room for.
    ValueTooLarge,
    /// The map is there and no value was stored in it yet.
    NoValue,
    /// A writer died in the middle of a plain write: the value is lost.
    Incomplete,
    /// It did not happen within the time given.
    TimedOut,
    /// The value could not be turned into bytes.
    Encode,
    /// The bytes are not a value of the type asked for.
    Decode,
    /// All entries for readers are taken.
    TooManyReaders,
    /// Readers were overtaken again and again.
    Overtaken,
    /// The cell's words contradict each other.
    Corrupt,
    /// The clock stands before the time at which the value was written, so that nobody can tell its age.
    ClockWentBack,
    /// The value was stored with another codec.
    CodecMismatch,
    /// The value was stored as another type.
    TypeMismatch,
    /// Another version is there than the one that was to be replaced.
    Conflict,
    /// The handle was made before a `fork`, by the parent.
    Forked,
    /// Any other failure of the system.
    Io,
}

/// What went wrong, to what, and what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// See [`ErrorKind::InvalidArgument`].
    InvalidArgument {
        /// Which argument.
        argument: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// See [`ErrorKind::OutOfRange`].
    OutOfRange {
        /// Which argument.
        argument: &'static str,
        /// What it was and what the range is.
        reason: String,
    },
    /// See [`ErrorKind::NotFound`].
    NotFound {
        /// What was looked for.
        subject: Subject,
    },
    /// See [`ErrorKind::AlreadyExists`].
    AlreadyExists {
        /// What is there.
        subject: Subject,
    },
    /// See [`ErrorKind::AccessDenied`].
    AccessDenied {
        /// To what.
        subject: Subject,
        /// Who or what forbids it, and what to do.
        reason: String,
    },
    /// See [`ErrorKind::Unsupported`].
    Unsupported {
        /// What can't be done, and what can be done in its place.
        reason: String,
    },
    /// See [`ErrorKind::WrongKind`].
    WrongKind {
        /// Where.
        subject: Subject,
        /// What stands there and what was expected.
        reason: String,
    },
    /// See [`ErrorKind::SharingViolation`].
    SharingViolation {
        /// Which file.
        subject: Subject,
    },
    /// See [`ErrorKind::NoSpace`].
    NoSpace {
        /// For what.
        subject: Subject,
        /// How many bytes were asked for.
        needed: u64,
        /// Where it ran out, and what to do.
        reason: String,
    },
    /// See [`ErrorKind::ValueTooLarge`].
    ValueTooLarge {
        /// Bytes of the encoded value.
        size: u64,
        /// Bytes that the map has room for.
        capacity: u64,
    },
    /// See [`ErrorKind::NoValue`].
    NoValue {
        /// Which map.
        subject: Subject,
    },
    /// See [`ErrorKind::Incomplete`].
    Incomplete {
        /// Which map.
        subject: Subject,
    },
    /// See [`ErrorKind::TimedOut`].
    TimedOut {
        /// What was waited for.
        waiting_for: String,
        /// How long.
        after: Duration,
    },
    /// See [`ErrorKind::Encode`].
    Encode {
        /// The codec's name.
        codec: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// See [`ErrorKind::Decode`].
    Decode {
        /// The codec's name.
        codec: &'static str,
        /// Where and how the bytes differ from what was expected; never the bytes themselves.
        reason: String,
    },
    /// See [`ErrorKind::TooManyReaders`].
    TooManyReaders {
        /// Which map.
        subject: Subject,
        /// How many entries it has.
        entries: usize,
    },
    /// See [`ErrorKind::Overtaken`].
    Overtaken {
        /// Which map.
        subject: Subject,
    },
    /// See [`ErrorKind::Corrupt`].
    Corrupt {
        /// Which map.
        subject: Subject,
        /// What does not fit.
        reason: String,
    },
    /// See [`ErrorKind::ClockWentBack`].
    ClockWentBack {
        /// Which map.
        subject: Subject,
        /// By how much the time of writing lies ahead of the clock.
        ahead: Duration,
    },
    /// See [`ErrorKind::CodecMismatch`].
    CodecMismatch {
        /// What the value was stored with.
        stored: String,
        /// What it was read with.
        wanted: String,
    },
    /// See [`ErrorKind::TypeMismatch`].
    TypeMismatch {
        /// The type's name as stored.
        stored: String,
        /// The type's name as asked for.
        wanted: String,
    },
    /// See [`ErrorKind::Conflict`].
    Conflict {
        /// The version that was expected.
        expected: u64,
        /// The version that is there.
        found: u64,
    },
    /// See [`ErrorKind::Forked`].
    Forked {
        /// Which map.
        subject: Subject,
    },
    /// See [`ErrorKind::Io`].
    Io {
        /// What was being done, and to what.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Self::OutOfRange { .. } => ErrorKind::OutOfRange,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::AccessDenied { .. } => ErrorKind::AccessDenied,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::WrongKind { .. } => ErrorKind::WrongKind,
            Self::SharingViolation { .. } => ErrorKind::SharingViolation,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::ValueTooLarge { .. } => ErrorKind::ValueTooLarge,
            Self::NoValue { .. } => ErrorKind::NoValue,
            Self::Incomplete { .. } => ErrorKind::Incomplete,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Encode { .. } => ErrorKind::Encode,
            Self::Decode { .. } => ErrorKind::Decode,
            Self::TooManyReaders { .. } => ErrorKind::TooManyReaders,
            Self::Overtaken { .. } => ErrorKind::Overtaken,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::ClockWentBack { .. } => ErrorKind::ClockWentBack,
            Self::CodecMismatch { .. } => ErrorKind::CodecMismatch,
            Self::TypeMismatch { .. } => ErrorKind::TypeMismatch,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Forked { .. } => ErrorKind::Forked,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    pub(crate) fn invalid(argument: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { argument, reason: reason.into() }
    }

    pub(crate) fn out_of_range(argument: &'static str, reason: impl Into<String>) -> Self {
        Self::OutOfRange { argument, reason: reason.into() }
    }

    pub(crate) fn denied(subject: Subject, reason: impl Into<String>) -> Self {
        Self::AccessDenied { subject, reason: reason.into() }
    }

    pub(crate) fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported { reason: reason.into() }
    }

    pub(crate) fn wrong_kind(subject: Subject, reason: impl Into<String>) -> Self {
        Self::WrongKind { subject, reason: reason.into() }
    }

    /// Sorts an error of the system, met while `doing` something to `subject`, into its class.
    pub(crate) fn from_io(doing: &str, subject: Subject, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { subject },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { subject },
            io::ErrorKind::PermissionDenied => {
                Self::denied(subject, format!("the system refused to {doing} it ({source})"))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
                Self::NoSpace { subject, needed: 0, reason: format!("could not {doing} it ({source})") }
            }
            io::ErrorKind::Unsupported => Self::unsupported(format!(
                "{subject} is of a kind that can't be mapped (could not {doing} it)"
            )),
            _ => Self::Io { doing: format!("{doing} {subject}"), source },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument { argument, reason } => write!(f, "invalid {argument}: {reason}"),
            Self::OutOfRange { argument, reason } => write!(f, "{argument} out of range: {reason}"),
            Self::NotFound { subject: subject @ Subject::Map { .. } } => write!(
                f,
                "no {subject}: its last holder has gone, or it was never created; start the producer, or wait \
                 for it (on the command line: --wait 10s)"
            ),
            Self::NotFound { subject } => {
                write!(f, "{subject} does not exist: check the path, or open it with a mode that creates it")
            }
            Self::AlreadyExists { subject } => {
                write!(f, "{subject} exists already and was left as it is: open it, or choose another name")
            }
            Self::AccessDenied { subject, reason } => write!(f, "access to {subject} denied: {reason}"),
            Self::Unsupported { reason } => write!(f, "unsupported: {reason}"),
            Self::WrongKind { subject, reason } => write!(f, "{subject} is of another kind: {reason}"),
            Self::SharingViolation { subject } => write!(
                f,
                "{subject} is locked by another program that does not share it: close it there and try again"
            ),
            Self::NoSpace { subject, needed: 0, reason } => write!(f, "no space for {subject}: {reason}"),
            Self::NoSpace { subject, needed, reason } => {
                write!(f, "no space for {subject}: {needed} bytes were asked for; {reason}")
            }
            Self::ValueTooLarge { size, capacity } => write!(
                f,
                "the value takes {size} bytes and the map has room for {capacity}: the old value stays; create \
                 the map with a larger capacity"
            ),
            Self::NoValue { subject } => {
                write!(f, "{subject} holds no value yet, or no longer: wait until its producer stores one")
            }
            Self::Incomplete { subject } => write!(
                f,
                "the value in {subject} is incomplete: its writer died while it wrote; have the producer write \
                 it again"
            ),
            Self::TimedOut { waiting_for, after } => {
                write!(f, "timed out after {after:?} waiting for {waiting_for}")
            }
            Self::Encode { codec, reason } => write!(f, "the value can't be written as {codec}: {reason}"),
            Self::Decode { codec, reason } => write!(
                f,
                "the stored bytes are not {codec} of the type asked for: {reason}; check that producer and \
                 consumer agree on type and codec"
            ),
            Self::TooManyReaders { subject, entries } => write!(
                f,
                "all {entries} reader entries of {subject} are taken: drop a snapshot or a reader, or read by \
                 copy (get does)"
            ),
            Self::Overtaken { subject } => write!(
                f,
                "reading {subject} was overtaken again and again: open it with write access, so that the reader \
                 can pin; if that fails too, something writes to it that keeps no protocol"
            ),
            Self::Corrupt { subject, reason } => write!(
                f,
                "{subject} is damaged ({reason}): have its producer store the value again, or create it anew"
            ),
            Self::ClockWentBack { subject, ahead } => write!(
                f,
                "the value in {subject} has an expiry, and was written {ahead:?} ahead of this machine's clock: \
                 set the clock right; the value is kept"
            ),
            Self::CodecMismatch { stored, wanted } => write!(
                f,
                "the value was stored as {stored} and asked for as {wanted}: use the codec of its producer"
            ),
            Self::TypeMismatch { stored, wanted } => write!(
                f,
                "the value was stored as type '{stored}' and asked for as '{wanted}': use the type of its \
                 producer"
            ),
            Self::Conflict { expected, found } => write!(
                f,
                "version {expected} was to be replaced and version {found} is there: read it and try again"
            ),
            Self::Forked { subject } => write!(
                f,
                "this handle of {subject} was made by the parent, before the fork: open it again in the child"
            ),
            Self::Io { doing, source } => write!(f, "could not {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidArgument | ErrorKind::OutOfRange | ErrorKind::Encode => {
                io::ErrorKind::InvalidInput
            }
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::AccessDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::SharingViolation => io::ErrorKind::ResourceBusy,
            ErrorKind::NoSpace | ErrorKind::ValueTooLarge => io::ErrorKind::StorageFull,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::WrongKind | ErrorKind::Decode | ErrorKind::Incomplete => io::ErrorKind::InvalidData,
            ErrorKind::TooManyReaders | ErrorKind::Overtaken | ErrorKind::Conflict => {
                io::ErrorKind::ResourceBusy
            }
            ErrorKind::Corrupt | ErrorKind::CodecMismatch | ErrorKind::TypeMismatch => {
                io::ErrorKind::InvalidData
            }
            ErrorKind::NoValue | ErrorKind::ClockWentBack | ErrorKind::Forked | ErrorKind::Io => {
                io::ErrorKind::Other
            }
        };
        Self::new(kind, error)
    }
}
