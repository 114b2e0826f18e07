//! The contract of this folder: what each system must provide and what that promises. Also a system that can
//! do nothing.
//!
//! `unix` and `windows` have the same items and document only what is special there. On any other system the
//! library builds on this file, and each call that would make something fails with `Unsupported`. The tests
//! build it everywhere, so that it keeps up with the others.
//!
//! Beside these items a system has a module `fork`: [`fork_generation`](fork::fork_generation) and
//! [`notice_forks`](fork::notice_forks).

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub(crate) use self::fork::fork_generation;
use super::asked::{self, Disposition, LockId, LockMode, Named, Request, Within};
use crate::error::{Error, Result};
use crate::terms::{Access, FileMode, MapInfo, Subject};

type Opened = asked::Opened<Section>;

fn unsupported<T>() -> Result<T> {
    Err(Error::unsupported("handover runs on Linux, macOS and Windows"))
}

/// Something that can be mapped. It keeps its name, if it has one, and its locks. Both end with it, and with
/// this process, however the process ends. Mapped views stay.
#[derive(Debug)]
#[must_use = "dropping it releases the name"]
pub(crate) struct Section(Never);

/// No value of this type exists.
#[derive(Debug)]
enum Never {}

impl Section {
    /// A section in memory without a name. Its bytes are zero.
    ///
    /// # Errors
    ///
    /// `NoSpace` where there is too little memory, unless its allocation is delayed.
    pub(crate) fn anonymous(_request: Request) -> Result<Self> {
        unsupported()
    }

    /// Opens or creates the section of a name, in memory or on a file, as `disposition` says. If several
    /// processes try to create it at once, exactly one creates it. Whoever opens it finds the first bytes in
    /// place.
    ///
    /// # Errors
    ///
    /// `NotFound`, `AlreadyExists`; `AccessDenied` where its owner does not grant the access requested;
    /// `WrongKind` where something else has the name; `NoSpace`; `Unsupported` for an option that this system
    /// lacks.
    pub(crate) fn named(_place: Named<'_>, _disposition: Disposition, _request: Request) -> Result<Opened> {
        unsupported()
    }

    /// A section on a file that is open and was found large enough, under a name if `place` gives one. Nobody
    /// can make the file shorter by [`open_file`] as long as the section or, where the system can see to
    /// that, a view is there.
    ///
    /// # Errors
    ///
    /// Those of [`named`](Self::named) with `CreateNew`; `SharingViolation` where somebody has cut the file
    /// since.
    pub(crate) fn from_file(_file: File, _request: Request, _place: Option<Named<'_>>) -> Result<Self> {
        unsupported()
    }

    /// Maps `len` bytes from `offset` of the map; both were checked against the capacity. The first `ready`
    /// of them have memory afterwards; the rest may lack it, where
    /// [`MAY_LACK_MEMORY`](super::MAY_LACK_MEMORY) says so, until [`reserve`](Self::reserve) takes it.
    ///
    /// # Errors
    ///
    /// `AccessDenied` where the map forbids such a view, `NoSpace` where the address space has no room.
    pub(crate) fn map(
        &self,
        _offset: u64,
        _len: usize,
        _ready: usize,
        _access: Access,
        _subject: &Subject,
    ) -> Result<Mapping> {
        match self.0 {}
    }

    /// Releases the lock by which [`open_file`] keeps others from having the file to themselves, even though
    /// views live on.
    pub(crate) fn stop_sharing_file(&self) {
        match self.0 {}
    }

    /// Whether the bytes lie in a file of the user's, for a section made by [`named`](Self::named).
    pub(crate) fn is_on_file(&self) -> bool {
        match self.0 {}
    }

    /// Fails if the name has been taken from this section: somebody deleted, moved or replaced what leads to
    /// it, so that others who open the name don't find this section. Always succeeds without a name, and
    /// where the system lets nobody do that. Once lost, a name stays lost.
    ///
    /// # Errors
    ///
    /// `NameLost`, also where this process may only read another user's map, and so keeps no name, and the
    /// last holder has gone; `Io` where the system can't say whether it has.
    pub(crate) fn check_name(&self, _subject: &Subject) -> Result<()> {
        match self.0 {}
    }

    /// Tries to take a lock of this section for this handle, without waiting. Handles exclude each other,
    /// even within one process; a handle that has the lock shared gets it shared once more. As many calls of
    /// [`unlock`](Self::unlock) release it. So does dropping the handle, and so does the kernel when this
    /// process ends. A forked child has none of its parent's locks.
    pub(crate) fn try_lock(&self, _id: LockId, _mode: LockMode) -> Result<bool> {
        match self.0 {}
    }

    /// Whether this user may only read a map of another user's. Such a handle takes no lock: a shared one is
    /// granted and does nothing, an exclusive one is `Unsupported`. And it can't ask who has one: to it
    /// whoever holds the map may.
    pub(crate) fn is_guest(&self) -> bool {
        match self.0 {}
    }

    /// Releases a lock once. Does nothing where this handle does not have it.
    pub(crate) fn unlock(&self, _id: LockId) {
        match self.0 {}
    }

    /// Whether a handle other than this one holds the lock in any way. Where this process may not ask for one
    /// lock, since it may only read another user's map: whether anybody holds the map.
    pub(crate) fn is_locked_elsewhere(&self, _id: LockId) -> Result<bool> {
        match self.0 {}
    }

    /// Whether both are handles of the same bytes, as far as the system tells. Maps of one name in two
    /// directories are not.
    pub(crate) fn is_same_as(&self, _other: &Self) -> bool {
        match self.0 {}
    }

    /// Takes memory for `len` bytes from `offset` of the map, in all its views, so that writing to them can't
    /// fail. Bytes that had no memory are zero afterwards; bytes that had some may be.
    ///
    /// # Errors
    ///
    /// `NoSpace`.
    pub(crate) fn reserve(&self, _offset: u64, _len: u64, _subject: &Subject) -> Result<()> {
        match self.0 {}
    }

    /// Gives the memory of whole pages within `len` bytes from `offset` back to the system, as far as the
    /// system takes it. What those bytes read as afterwards is undefined; touching them is allowed.
    pub(crate) fn release(&self, _offset: u64, _len: u64) {
        match self.0 {}
    }

    /// Asks the system to start writing the changed bytes of a part of the map to the file, without waiting.
    /// A system that can't do this writes them when it sees fit.
    pub(crate) fn start_flush(&self, _offset: u64, _len: u64) {
        match self.0 {}
    }

    /// Flushes to disk what a flush of a view handed to the system.
    pub(crate) fn flush_device(&self, _subject: &Subject) -> Result<()> {
        match self.0 {}
    }

    /// Flushes the file's length and its entry in its directory to disk: a power loss can take a new file
    /// although its bytes were flushed.
    pub(crate) fn flush_entry(&self, _subject: &Subject) -> Result<()> {
        match self.0 {}
    }
}

/// Memory mapped into this process, unmapped on drop. A mapping of no bytes is allowed.
#[derive(Debug)]
#[must_use = "dropping it unmaps the memory"]
pub(crate) struct Mapping(Never);

impl Mapping {
    /// The first byte of the view.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        match self.0 {}
    }

    /// Bytes in the view.
    pub(crate) fn len(&self) -> usize {
        match self.0 {}
    }

    /// Bytes between the place where the system let the view start and the view itself.
    pub(crate) fn skip(&self) -> usize {
        match self.0 {}
    }

    /// Whether a part of the view, which must lie within it, can be touched. If it can, that holds until the
    /// view is dropped.
    pub(crate) fn has_memory(&self, _at: usize, _len: usize) -> bool {
        match self.0 {}
    }

    /// Keeps the pages that have memory out of swap. Where the system can, also keeps pages that get memory
    /// later out of swap, and all of them out of core dumps.
    pub(crate) fn keep_secret(&self) -> io::Result<()> {
        match self.0 {}
    }

    /// Hands the changed bytes of a part of the view, which must lie within it, to the system to write to the
    /// file; with `wait`, waits until they are written.
    pub(crate) fn flush(&self, _at: usize, _len: usize, _wait: bool) -> io::Result<()> {
        match self.0 {}
    }
}

/// Opens or creates the user's file at `path` to map it, as `mode` says; with `write`, for writing too. Keeps
/// others from having the file to themselves. `file_mode` is the permission bits of a new file, 0o600 if not
/// given. Returns the file and whether this call created it.
///
/// With `Create` too a file that is there keeps its bytes: [`empty_file`] empties it.
///
/// # Errors
///
/// `SharingViolation` where somebody has the file alone. `WrongKind`, `AccessDenied` or `Unsupported` for
/// what is no file to be mapped; `Unsupported` for a mode that the system does not have.
pub(crate) fn open_file(
    _path: &Path,
    _mode: FileMode,
    _write: bool,
    _file_mode: Option<u32>,
) -> Result<(File, bool)> {
    unsupported()
}

/// Empties a file of [`open_file`] that nobody else has mapped; nobody can map it by this library until
/// [`grow_file`] has made it grow again.
///
/// # Errors
///
/// `SharingViolation` where somebody has it mapped or alone, `NoSpace` where this process could not make it
/// as long again: it stays as it was.
pub(crate) fn empty_file(_file: &File, _subject: &Subject) -> Result<()> {
    unsupported()
}

/// Makes a file that is to be mapped grow from `length` to `capacity`, with disk space for the new part
/// unless `delay`. On failure it has the old length.
///
/// # Errors
///
/// `NoSpace`, `OutOfRange`.
pub(crate) fn grow_file(
    _file: &File,
    _length: u64,
    _capacity: u64,
    _delay: bool,
    _subject: &Subject,
) -> Result<()> {
    unsupported()
}

/// Calls `act`, which may cut a file of this process's, unless somebody else has it mapped; nobody can map it
/// by this library meanwhile. Where the system cuts no file that is mapped, it need not ask.
pub(crate) fn while_unmapped(_file: &File, _act: impl FnOnce()) {}

/// Whether a file that was opened by this path still is what stands there itself, and no link to it.
pub(crate) fn is_file_at(_file: &File, _path: &Path) -> bool {
    false
}

/// Whether `file` may be read and written, as it was opened.
pub(crate) fn file_access(_file: &File) -> io::Result<(bool, bool)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a file can be mapped although it has no length: size checks don't apply to it.
pub(crate) fn has_no_length(_metadata: &Metadata) -> bool {
    false
}

/// How many bytes of disk space a file has, which are free when it was emptied; no more than that.
pub(crate) fn allocated(_metadata: &Metadata) -> u64 {
    0
}

/// The living maps of a scope, of this user or of the owner given.
///
/// # Errors
///
/// `Unsupported` where the system can't tell; `AccessDenied` or `Io` where the scope's names can't be read.
pub(crate) fn list(_within: Within<'_>) -> Result<Vec<MapInfo>> {
    unsupported()
}

/// Deletes what killed holders left in a scope, and returns the names.
///
/// # Errors
///
/// `AccessDenied` or `Io` where the scope's names can't be read.
pub(crate) fn collect_garbage(_within: Within<'_>) -> Result<Vec<String>> {
    unsupported()
}

/// The number of a user of this machine.
///
/// # Errors
///
/// `InvalidArgument` where there is no such user, `Unsupported` where users have no numbers.
pub(crate) fn user_number(_name: &str) -> Result<u32> {
    unsupported()
}

/// The number of a group of this machine.
///
/// # Errors
///
/// As for [`user_number`].
pub(crate) fn group_number(_name: &str) -> Result<u32> {
    unsupported()
}

/// Sleeps while `word` is `expected`, for at most `limit`; may return early. Ends at once after a
/// [`wake_all`] in any process that has the word mapped, or soon after the word has changed.
///
/// The system may look only at the low half of the word, so whoever changes the word must change that half.
/// Nothing in this library accesses a half by itself: accesses of two sizes must not race.
pub(crate) fn sleep_on(word: &AtomicU64, expected: u64, limit: Duration) {
    super::poll::poll_any(&[(word, expected)], limit);
}

/// Sleeps while each word has its expected value, for at most `limit`; may return early. Returns the index of
/// the word that was woken, if the system tells. See [`sleep_on`].
#[cfg(feature = "async")]
pub(crate) fn sleep_on_any(words: &[(&AtomicU64, u64)], limit: Duration) -> Option<usize> {
    super::poll::poll_any(words, limit);
    None
}

/// Wakes everyone who sleeps on `word`, in all processes. The caller has changed the word before.
pub(crate) fn wake_all(_word: &AtomicU64) {}

/// Nanoseconds since 1970-01-01 UTC, at most a few milliseconds late, from the cheapest clock that the system
/// has.
pub(crate) fn coarse_time() -> u64 {
    super::time::nanoseconds(std::time::SystemTime::now())
}

/// How forks are detected; [`PerProcess`](super::PerProcess) relies on it.
pub(super) mod fork {
    /// A number that differs from the parent's in a forked child, if forks are noticed. Constant where
    /// processes don't fork.
    pub(crate) const fn fork_generation() -> u32 {
        0
    }

    /// Makes [`fork_generation`] tell a child from its parent from now on. Waits for no thread.
    pub(crate) const fn notice_forks() {}
}
