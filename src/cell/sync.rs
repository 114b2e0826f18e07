//! The atomics of the protocol: the standard library's, or loom's when the model is checked.
//!
//! Everything that `protocol` does to shared memory goes through here, so that the code which is checked is the
//! code which runs.

#[cfg(not(handover_model))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(handover_model)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Faults that the model puts in to show that it would find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(handover_model), expect(dead_code, reason = "put in by the model only"))]
pub(super) enum Fault {
    /// The reader does not check the slot again after it pinned it (as in mmap-sync).
    NoCheckAfterPin,
    /// The reader's fence between pin and check is missing.
    NoReaderFence,
    /// The writer's fence between taking a slot and looking at the pins is missing.
    NoWriterFence,
    /// The writer does not look at the pins again after it took a slot.
    NoSecondLook,
    /// The version is stored before its bytes.
    PublishFirst,
    /// The word that publishes is stored with relaxed ordering.
    RelaxedPublish,
    /// The copying reader does not check the slot after it copied.
    NoCheckAfterCopy,
    /// Sleepers are woken before the version is published, and not after.
    WakeFirst,
    /// The fence between publishing and looking for sleepers is missing.
    NoWakeFence,
}

#[cfg(not(handover_model))]
#[inline]
pub(super) const fn is_faulty(_fault: Fault) -> bool {
    false
}

#[cfg(handover_model)]
std::thread_local! {
    /// Loom runs all threads of a model on one thread of the system.
    pub(super) static FAULT: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

#[cfg(handover_model)]
pub(super) fn is_faulty(fault: Fault) -> bool {
    FAULT.get() == Some(fault)
}
