//! Named steps of the protocol, where a test can stop or kill the process. Without the feature `__test-steps`
//! this file has only the names. Relies on nothing; `cell` and `map` reach the steps.

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
}

#[cfg(feature = "__test-steps")]
impl Step {
    /// All steps, in order.
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
pub(crate) fn flushed(_flushed: Flushed) {}

#[cfg(feature = "__test-steps")]
mod hook {
    use super::{Flushed, Step};
    use std::sync::OnceLock;

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
pub(crate) use hook::{flushed, reach};
#[cfg(feature = "__test-steps")]
pub use hook::{on_flush, on_step};
