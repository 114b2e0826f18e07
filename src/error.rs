//! The one error type of the library.
//!
//! An [`Error`] is one word in size. It says what happened and to what, and what to do next; [`Error::kind`]
//! gives the class for programs that branch on it. Relies on `terms`; everything else relies on it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::terms::Subject;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an [`Error`]: what programs branch on.
///
/// ```
/// use handover::ErrorKind;
/// use handover::map::MemoryMappedFile;
///
/// match MemoryMappedFile::open_existing("nobody holds this") {
///     Ok(map) => println!("{} bytes", map.capacity()),
///     Err(error) if error.kind() == ErrorKind::NotFound => println!("not there yet"),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is not acceptable whatever the state of the system.
    InvalidArgument,
    /// A number lies outside its range.
    OutOfRange,
    /// No map of that name has a living holder, or there is no file at that path.
    NotFound,
    /// The name has a living holder already, or the file exists.
    AlreadyExists,
    /// The system, the map's access or the owner's rules forbid it.
    AccessDenied,
    /// The object can't do this, or this system can't.
    Unsupported,
    /// Something else is there: another layout, another kind of file, another object.
    WrongKind,
    /// Somebody else has the file open and does not share it.
    SharingViolation,
    /// The name has been taken from this handle: somebody deleted, moved or replaced its file.
    NameLost,
    /// Memory, disk or address space is used up.
    NoSpace,
    /// The encoded value is larger than the map has room for.
    ValueTooLarge,
    /// The map exists, but holds no value yet, or no longer.
    NoValue,
    /// A writer died during a plain write: the value is lost.
    Incomplete,
    /// It did not happen in time.
    TimedOut,
    /// The value could not be turned into bytes.
    Encode,
    /// The bytes are not a value of the type asked for.
    Decode,
    /// All entries for readers are taken.
    TooManyReaders,
    /// Writers kept overtaking the reader.
    Overtaken,
    /// The cell's words contradict each other.
    Corrupt,
    /// The clock is behind the time at which the value was written, so the value's age is unknown.
    ClockWentBack,
    /// The value was stored with another codec.
    CodecMismatch,
    /// The value was stored as another type.
    TypeMismatch,
    /// The map holds another version than the one to replace.
    Conflict,
    /// It would wait for what the asking thread has itself.
    WouldDeadlock,
    /// The parent made the handle, before a `fork`.
    Forked,
    /// Any other failure of the system.
    Io,
}

/// What went wrong, to what, and what to do next.
///
/// `Display` and `Debug` both print the whole message, so `fn main() -> handover::Result<()>` shows it to
/// whoever runs the program. No message ever quotes a stored value.
///
/// ```
/// use handover::{ErrorKind, MemoryMapper};
///
/// let error = MemoryMapper::<String>::open_existing("nobody holds this").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.subject().unwrap().to_string(), "map 'nobody holds this' in scope user");
/// assert_eq!(error.advice(), Some("start the producer, or wait for it"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    subject: Option<Subject>,
    /// What happened, and to what.
    what: String,
    advice: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

const _: () = assert!(size_of::<Result<()>>() == size_of::<usize>());

impl Error {
    /// An error of a given class, for your own codecs and callbacks.
    ///
    /// `what` says what happened. It must not quote a stored value.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, subject: None, what: what.into(), advice: None, source: None }))
    }

    /// Adds advice on what to do next.
    ///
    /// ```
    /// use handover::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Encode, "the key is missing").with_advice("load it first");
    /// assert_eq!(error.to_string(), "the key is missing; load it first");
    /// ```
    #[must_use]
    pub fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Adds the cause, which [`source`](StdError::source) returns.
    ///
    /// ```
    /// use std::error::Error as _;
    ///
    /// use handover::{Error, ErrorKind};
    ///
    /// let cause = std::io::Error::other("no more ink");
    /// let error = Error::new(ErrorKind::Io, "could not print").with_source(cause);
    /// assert_eq!(error.source().unwrap().to_string(), "no more ink");
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Names the map, in the message too. An error that already names one stays as it is.
    ///
    /// ```
    /// use handover::map::MemoryMappedFile;
    /// use handover::{Error, ErrorKind};
    ///
    /// let map = MemoryMappedFile::anonymous(64)?;
    /// let error = Error::new(ErrorKind::Decode, "a letter is missing").about(map.subject());
    /// assert_eq!(error.to_string(), "an anonymous map: a letter is missing");
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn about(mut self, subject: &Subject) -> Self {
        if self.0.subject.is_none() {
            self.0.what = format!("{subject}: {}", self.0.what);
            self.0.subject = Some(subject.clone());
        }
        self
    }

    /// A codec can't turn a value into bytes. `reason` must not quote the value.
    pub fn encode(codec: &str, reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Encode, format!("the value can't be written as {codec}: {reason}"))
    }

    /// Stored bytes are not what a codec expects. `reason` says where and how they differ; it must not
    /// quote them.
    pub fn decode(codec: &str, reason: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Decode,
            format!("the stored bytes are not {codec} of the type asked for: {reason}"),
        )
        .with_advice("check that producer and consumer agree on type and codec")
    }

    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The map or file that it is about.
    pub fn subject(&self) -> Option<&Subject> {
        self.0.subject.as_ref()
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }

    fn on(kind: ErrorKind, subject: Subject, what: String) -> Self {
        Self(Box::new(Inner { kind, subject: Some(subject), what, advice: None, source: None }))
    }

    pub(crate) fn invalid(argument: &str, reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidArgument, format!("invalid {argument}: {reason}"))
    }

    pub(crate) fn out_of_range(argument: &str, reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::OutOfRange, format!("{argument} out of range: {reason}"))
    }

    pub(crate) fn not_found(subject: Subject) -> Self {
        let (what, advice) = match subject {
            Subject::Path(_) => (
                format!("{subject} does not exist"),
                "check the path and its directory, or create the file (create_or_open)",
            ),
            _ => (
                format!("no {subject}: its last holder has gone, or it was never created"),
                "start the producer, or wait for it",
            ),
        };
        Self::on(ErrorKind::NotFound, subject, what).with_advice(advice)
    }

    pub(crate) fn already_exists(subject: Subject) -> Self {
        let what = format!("{subject} exists already and was left as it is");
        Self::on(ErrorKind::AlreadyExists, subject, what).with_advice("open it, or choose another name")
    }

    pub(crate) fn denied(subject: Subject, reason: impl fmt::Display) -> Self {
        let what = format!("access to {subject} denied: {reason}");
        Self::on(ErrorKind::AccessDenied, subject, what)
    }

    /// A handle that only reads was asked to write.
    pub(crate) fn read_only(subject: Subject) -> Self {
        Self::denied(subject, "this handle was opened for reading only")
            .with_advice("open the map read-write")
    }

    pub(crate) fn unsupported(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, format!("unsupported: {reason}"))
    }

    pub(crate) fn wrong_kind(subject: Subject, reason: impl fmt::Display) -> Self {
        let what = format!("{subject} is of another kind: {reason}");
        Self::on(ErrorKind::WrongKind, subject, what)
    }

    /// Another program has the file to itself.
    pub(crate) fn sharing_violation(subject: Subject) -> Self {
        let what = format!("{subject} is locked by another program that does not share it");
        Self::on(ErrorKind::SharingViolation, subject, what).with_advice("close it there and try again")
    }

    /// A file can't be cut because it is mapped.
    pub(crate) fn still_mapped(subject: Subject) -> Self {
        let what = format!("{subject} can't be emptied: other programs have it mapped");
        Self::on(ErrorKind::SharingViolation, subject, what).with_advice("close it there and try again")
    }

    /// What leads to a map that is held is gone from `place`, or leads to another one.
    #[allow(dead_code, reason = "not every system lets anybody take a name")]
    pub(crate) fn name_lost(subject: Subject, place: impl fmt::Display) -> Self {
        let what = format!(
            "{subject} has lost its name: its file is gone from '{place}' although it is held. A log-out that cleans \
             up, a cleaner of temporary files or an rm took it; whoever opens the name now does not find this map"
        );
        Self::on(ErrorKind::NameLost, subject, what)
            .with_advice("close it and open the name again; keep cleaners off that directory")
    }

    /// Nobody holds any more what another user's guest has.
    #[allow(dead_code, reason = "not every system has guests")]
    pub(crate) fn host_gone(subject: Subject) -> Self {
        let what = format!(
            "{subject} has no holder any more: its owner has let go of it, and a user who may only read it keeps no \
             name"
        );
        Self::on(ErrorKind::NameLost, subject, what)
            .with_advice("open the name again, or wait for it; views that are open keep their bytes")
    }

    /// `needed` is in bytes; 0 where it is not known.
    pub(crate) fn no_space(subject: Subject, needed: u64, reason: impl fmt::Display) -> Self {
        let what = match needed {
            0 => format!("no space for {subject}"),
            _ => format!("no space for {subject}: {needed} bytes requested"),
        };
        Self::on(ErrorKind::NoSpace, subject, what).with_advice(reason.to_string())
    }

    pub(crate) fn value_too_large(subject: Subject, size: u64, capacity: u64) -> Self {
        let what = format!(
            "the value takes {size} bytes and {subject} has room for {capacity}: the old value stays"
        );
        Self::on(ErrorKind::ValueTooLarge, subject, what).with_advice("create the map with a larger capacity")
    }

    pub(crate) fn no_value(subject: Subject) -> Self {
        let what = format!("{subject} holds no value yet, or no longer");
        Self::on(ErrorKind::NoValue, subject, what).with_advice("wait until its producer stores one")
    }

    pub(crate) fn incomplete(subject: Subject) -> Self {
        let what = format!("the value in {subject} is incomplete: its writer died while it wrote");
        Self::on(ErrorKind::Incomplete, subject, what).with_advice("have its producer write it again")
    }

    /// Names no map: a caller that waits for one adds it with [`about`](Self::about).
    pub(crate) fn timed_out(waiting_for: impl fmt::Display, after: Duration) -> Self {
        Self::new(ErrorKind::TimedOut, format!("timed out after {after:?} waiting for {waiting_for}"))
    }

    pub(crate) fn too_many_readers(subject: Subject, entries: usize) -> Self {
        let what = format!("all {entries} reader entries of {subject} are taken");
        Self::on(ErrorKind::TooManyReaders, subject, what)
            .with_advice("drop a snapshot or a reader, or read by copy (get does)")
    }

    pub(crate) fn overtaken(subject: Subject) -> Self {
        let what = format!("writers overtook every attempt to read {subject}");
        Self::on(ErrorKind::Overtaken, subject, what).with_advice(
            "open it with write access, so that the reader can pin; if that fails too, something writes to it \
             without keeping the protocol",
        )
    }

    pub(crate) fn corrupt(subject: Subject, reason: impl fmt::Display) -> Self {
        let what = format!("{subject} is damaged ({reason})");
        Self::on(ErrorKind::Corrupt, subject, what)
            .with_advice("have its producer store the value again, or create it again")
    }

    pub(crate) fn clock_went_back(subject: Subject, ahead: Duration) -> Self {
        let what = format!(
            "the value in {subject} has an expiry, and was written {ahead:?} ahead of this machine's clock"
        );
        Self::on(ErrorKind::ClockWentBack, subject, what)
            .with_advice("set the clock right; the value is kept")
    }

    pub(crate) fn codec_mismatch(stored: impl fmt::Display, wanted: impl fmt::Display) -> Self {
        let what = format!("the value was stored as {stored} and asked for as {wanted}");
        Self::new(ErrorKind::CodecMismatch, what).with_advice("use the codec of its producer")
    }

    pub(crate) fn type_mismatch(stored: &str, wanted: &str) -> Self {
        // Whoever can write to the map chose the stored one.
        let stored = stored.escape_debug();
        let what = format!("the value was stored as type '{stored}' and asked for as '{wanted}'");
        Self::new(ErrorKind::TypeMismatch, what).with_advice("use the type of its producer")
    }

    pub(crate) fn conflict(subject: Subject, expected: u64, found: u64) -> Self {
        let what = format!("{subject} holds version {found}, expected version {expected}");
        Self::on(ErrorKind::Conflict, subject, what).with_advice("read it and try again")
    }

    /// That a thread which has the writers' lock waits for it.
    pub(crate) fn would_deadlock(subject: Subject) -> Self {
        let what = format!(
            "{subject}: it would wait for itself: this thread has the writers' lock, through a lease or an update"
        );
        Self::on(ErrorKind::WouldDeadlock, subject, what)
            .with_advice("set the value through the lease, or end it first")
    }

    pub(crate) fn forked(subject: Subject) -> Self {
        let what = format!("this handle of {subject} was made by the parent, before the fork");
        Self::on(ErrorKind::Forked, subject, what).with_advice("open it again in the child")
    }

    pub(crate) fn io(doing: impl fmt::Display, source: io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("could not {doing}: {source}")).with_source(source)
    }

    /// Sorts a system error, met while `doing` something to `subject`, into its class.
    pub(crate) fn from_io(doing: &str, subject: Subject, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::not_found(subject),
            io::ErrorKind::AlreadyExists => Self::already_exists(subject),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::denied(subject, format!("the system refused to {doing} it ({source})"))
                    .with_source(source)
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
                Self::no_space(subject, 0, format!("could not {doing} it ({source})")).with_source(source)
            }
            io::ErrorKind::Unsupported => Self::on(
                ErrorKind::Unsupported,
                subject.clone(),
                format!("unsupported: {subject} is of a kind that can't be mapped (could not {doing} it)"),
            ),
            _ => {
                let what = format!("could not {doing} {subject}: {source}");
                Self::on(ErrorKind::Io, subject, what).with_source(source)
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        match &self.0.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// For `?` in callbacks that fill a value through [`io::Write`]. An error of this library that was wrapped in
/// a system error comes out as it was.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(foreign) => Self::new(ErrorKind::Io, foreign.to_string()).with_source(foreign),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidArgument | ErrorKind::OutOfRange | ErrorKind::Encode => {
                io::ErrorKind::InvalidInput
            }
            ErrorKind::NotFound | ErrorKind::NameLost => io::ErrorKind::NotFound,
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
            ErrorKind::WouldDeadlock => io::ErrorKind::Deadlock,
            ErrorKind::NoValue | ErrorKind::ClockWentBack | ErrorKind::Forked | ErrorKind::Io => {
                io::ErrorKind::Other
            }
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_the_message() {
        let error = Error::already_exists(Subject::Anonymous);
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(error.to_string().contains("open it, or choose another name"));
    }

    #[test]
    fn an_error_goes_through_the_system_s_and_back_as_it_was() {
        let error = Error::from(io::Error::from(Error::forked(Subject::Anonymous)));
        assert_eq!((error.kind(), error.subject()), (ErrorKind::Forked, Some(&Subject::Anonymous)));
        let foreign = Error::from(io::Error::other("no more ink"));
        assert_eq!((foreign.kind(), foreign.to_string().as_str()), (ErrorKind::Io, "no more ink"));
        assert!(foreign.source().is_some());
    }

    #[test]
    fn a_subject_is_named_once() {
        let error = Error::encode("JSON", "it has no end").about(&Subject::Anonymous);
        assert!(error.to_string().starts_with("an anonymous map: the value can't"), "{error}");
        assert_eq!(error.to_string(), error.about(&Subject::Anonymous).to_string());
    }
}
