//! Named steps of the protocol, where a test can stop or kill the process. Without the feature `__test-steps`
//! this file has only the names. Relies on nothing; `cell`, `map` and `sys` reach the steps.

/// A place in the protocol.
#[cfg_attr(not(feature = "__test-steps"), allow(unreachable_pub, reason = "public with the feature only"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// The reader knows the newest version and has not pinned it yet.
    ReaderBeforePin = 1,
    /// The pin is stored and not yet checked.
    ReaderAfterPin,
    /// The pin is checked.
    ReaderPinned,
    /// The reader without a pin is about to copy.
    ReaderCopies,
    /// The last reader to unpin a slot is about to wipe it.
    ReaderWipes,
    /// The writer has the lock.
    WriterLocked,
    /// The writer is about to take a slot.
    WriterBeforeTake,
    /// The writer has a slot and has written nothing to it.
    WriterTook,
    /// Half of the bytes are in the slot.
    WriterHalfFilled,
    /// All bytes are in the slot.
    WriterFilled,
    /// The slot has its version.
    WriterBeforePublish,
    /// The version is published and sleepers are not woken yet.
    WriterPublished,
    /// Sleepers are woken.
    WriterWoke,
    /// A name's file and its record were found.
    NameFound,
    /// A claim was refused, since there are other holders. Whoever joins is none yet, whoever closes still
    /// is.
    NameRefused,
    /// The name is claimed: nobody can join.
    NameClaimed,
    /// The name leads to its file no more.
    NameUnlinked,
    /// A closing holder, one of several, has released its lock and not yet claimed the name.
    NameReleased,
    /// The lock of a holder is taken, and the name not yet looked at.
    NameLifeLocked,
    /// The name is joined.
    NameJoined,
    /// A new file is complete, and has no name yet.
    NameMade,
    /// A new file has its name.
    NameLinked,
    /// A holder is about to let go.
    NameLetGo,
}

/// A rule that a test can have a process break, to see that breaking it is noticed.
#[cfg_attr(not(feature = "__test-steps"), allow(unreachable_pub, reason = "public with the feature only"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// A joiner does not look whether it still leads to the file.
    JoinsWithoutLooking = 1,
    /// Whoever removes a name asks whether it has holders, and does not keep new ones off.
    AsksInsteadOfClaiming = 2,
    /// Whoever removes a name does not look whether it still leads to the file.
    UnlinksWithoutLooking = 4,
    /// Whoever creates a name takes the lock of a holder only when the name leads to the file.
    LinksBeforeLocking = 8,
    /// Whoever opens a name and finds a leftover says "not found" and leaves it.
    LeavesLeftovers = 16,
    /// Whoever closes releases the lock that a forked child shares.
    ReleasesBesideChildren = 32,
    /// Whoever closes beside another holder does not claim once more after letting go.
    ClaimsOnce = 64,
}

#[cfg(feature = "__test-steps")]
impl Step {
    /// All steps of names.
    pub const NAMES: [Self; 10] = [
        Self::NameFound,
        Self::NameRefused,
        Self::NameClaimed,
        Self::NameUnlinked,
        Self::NameReleased,
        Self::NameLifeLocked,
        Self::NameJoined,
        Self::NameMade,
        Self::NameLinked,
        Self::NameLetGo,
    ];

    /// All steps of cells, in order.
    pub const ALL: [Self; 13] = [
        Self::ReaderBeforePin,
        Self::ReaderAfterPin,
        Self::ReaderPinned,
        Self::ReaderCopies,
        Self::ReaderWipes,
        Self::WriterLocked,
        Self::WriterBeforeTake,
        Self::WriterTook,
        Self::WriterHalfFilled,
        Self::WriterFilled,
        Self::WriterBeforePublish,
        Self::WriterPublished,
        Self::WriterWoke,
    ];
}

/// What a completed flush covered.
#[cfg_attr(not(feature = "__test-steps"), allow(unreachable_pub, reason = "public with the feature only"))]
#[cfg_attr(not(feature = "__test-steps"), allow(dead_code, reason = "read by tests only"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// `len` bytes from `at` of a view of a file.
    Bytes {
        /// From the start of the view.
        at: usize,
        /// How many.
        len: usize,
        /// Whether they are on the disk; otherwise the system was only told to start.
        wait: bool,
    },
    /// The file's length, and the entry in its directory.
    Entry,
}

#[cfg(not(feature = "__test-steps"))]
#[inline]
pub(crate) fn reach(_step: Step) {}

#[cfg(not(feature = "__test-steps"))]
#[inline]
#[allow(dead_code, reason = "not every system has rules that a test can break")]
pub(crate) fn is_faulty(_fault: Fault) -> bool {
    false
}

#[cfg(not(feature = "__test-steps"))]
#[inline]
pub(crate) fn flushed(_flushed: Flushed) {}

#[cfg(feature = "__test-steps")]
mod hook {
    use super::{Fault, Flushed, Step};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static FAULTS: AtomicU32 = AtomicU32::new(0);

    /// Has this process break a rule from now on. For tests.
    pub fn commit(fault: Fault) {
        FAULTS.fetch_or(fault as u32, Ordering::Relaxed);
    }

    #[allow(dead_code, reason = "not every system has rules that a test can break")]
    pub(crate) fn is_faulty(fault: Fault) -> bool {
        FAULTS.load(Ordering::Relaxed) & fault as u32 != 0
    }

    static HOOK: OnceLock<fn(Step)> = OnceLock::new();
    static FLUSH_HOOK: OnceLock<fn(Flushed)> = OnceLock::new();

    /// Calls `hook` at every step, in every thread of this process. The first hook stays. For tests.
    pub fn on_step(hook: fn(Step)) {
        let _ = HOOK.set(hook);
    }

    pub(crate) fn reach(step: Step) {
        if let Some(hook) = HOOK.get() {
            hook(step);
        }
    }

    /// Calls `hook` when a flush of a view of a file is complete, in the thread that flushed. The first hook
    /// stays. For tests that stand in for a disk.
    pub fn on_flush(hook: fn(Flushed)) {
        let _ = FLUSH_HOOK.set(hook);
    }

    pub(crate) fn flushed(flushed: Flushed) {
        if let Some(hook) = FLUSH_HOOK.get() {
            hook(flushed);
        }
    }
}

#[cfg(feature = "__test-steps")]
pub use hook::{commit, on_flush, on_step};
#[cfg(feature = "__test-steps")]
#[allow(unused_imports, reason = "not every system has rules that a test can break")]
pub(crate) use hook::{flushed, is_faulty, reach};
