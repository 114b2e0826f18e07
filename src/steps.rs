//! Named steps of the protocol, where a test can stop or kill the process. Without the feature `test-steps`
//! there is nothing here but names.

/// A place in the protocol.
#[cfg_attr(not(feature = "test-steps"), allow(unreachable_pub, reason = "public with the feature only"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// The reader knows the newest version and has not pinned it.
    ReaderBeforePin = 1,
    /// The pin is stored and not yet checked.
    ReaderAfterPin,
    /// The pin is checked.
    ReaderPinned,
    /// The reader without a pin is about to copy.
    ReaderCopies,
    /// The writer has the lock.
    WriterLocked,
    /// The writer is about to take a slot.
    WriterBeforeTake,
    /// The writer has a slot and nothing is in it.
    WriterTook,
    /// Half of the bytes are in the slot.
    WriterHalfFilled,
    /// All bytes are in the slot.
    WriterFilled,
    /// The slot has its version.
    WriterBeforePublish,
    /// The version is published and sleepers are not woken.
    WriterPublished,
    /// Sleepers are woken.
    WriterWoke,
}

#[cfg(feature = "test-steps")]
impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 12] = [
        Self::ReaderBeforePin,
        Self::ReaderAfterPin,
        Self::ReaderPinned,
        Self::ReaderCopies,
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

#[cfg(not(feature = "test-steps"))]
#[inline]
pub(crate) fn reach(_step: Step) {}

#[cfg(feature = "test-steps")]
mod hook {
    use super::Step;
    use std::sync::OnceLock;

    static HOOK: OnceLock<fn(Step)> = OnceLock::new();

    /// Has `hook` called at every step, in every thread of this process; the first one stays. For tests.
    pub fn on_step(hook: fn(Step)) {
        let _ = HOOK.set(hook);
    }

    pub(crate) fn reach(step: Step) {
        if let Some(hook) = HOOK.get() {
            hook(step);
        }
    }
}

#[cfg(feature = "test-steps")]
pub use hook::on_step;
#[cfg(feature = "test-steps")]
pub(crate) use hook::reach;
