//! The primitives of the protocol: the words that readers and writers share, and the steps taken on them.
//!
//! The protocol is generic over its [`Memory`]. The cell's memory has the standard library's atomics, the
//! model's has loom's, so the code that is checked is the code that runs. Each step whose memory ordering the
//! protocol depends on is a method of the trait. A memory may do something around a step: the cell's memory
//! names the step, so that a test can stop the process there, and the model's leaves a step out to show that
//! the model would notice. The step itself is in [`plain`]. `protocol` puts the steps in order.

use std::sync::atomic::{self, Ordering};

const SLOT_BITS: u32 = 6;
/// The highest version that a word of `current` can name.
pub(super) const MAX_VERSION: u64 = u64::MAX >> SLOT_BITS;
/// The most slots that a word of `current` can name.
pub(super) const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// The value of `current`: bits 0 to 5 the slot, bits 6 to 63 the version; 0 when nothing was stored yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current(pub(super) u64);

impl Current {
    pub(super) fn new(version: u64, slot: usize) -> Self {
        Self(version << SLOT_BITS | slot as u64)
    }

    pub(super) fn version(self) -> u64 {
        self.0 >> SLOT_BITS
    }

    pub(super) fn slot(self) -> usize {
        self.0 as usize & (MAX_SLOTS - 1)
    }
}

/// An atomic integer, with the operations that the protocol uses.
pub(super) trait Atomic<T> {
    fn load(&self, ordering: Ordering) -> T;
    fn store(&self, value: T, ordering: Ordering);
    fn swap(&self, value: T, ordering: Ordering) -> T;
    fn compare_exchange(&self, old: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T>;
}

/// Implements [`Atomic`] for types that have the methods of the standard library's atomics.
macro_rules! atomic {
    ($($atomic:ty => $value:ty),*) => {$(
        impl $crate::cell::primitives::Atomic<$value> for $atomic {
            #[inline]
            fn load(&self, ordering: Ordering) -> $value {
                <$atomic>::load(self, ordering)
            }

            #[inline]
            fn store(&self, value: $value, ordering: Ordering) {
                <$atomic>::store(self, value, ordering);
            }

            #[inline]
            fn swap(&self, value: $value, ordering: Ordering) -> $value {
                <$atomic>::swap(self, value, ordering)
            }

            #[inline]
            fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                <$atomic>::compare_exchange(self, old, new, success, failure)
            }
        }
    )*};
}

atomic!(atomic::AtomicU64 => u64, atomic::AtomicU32 => u32);

/// The words that readers and writers share, and the steps taken on them.
pub(super) trait Memory: Sized {
    type Word: Atomic<u64>;
    type Half: Atomic<u32>;

    fn fence(ordering: Ordering);
    fn slots(&self) -> usize;
    fn entries(&self) -> usize;
    /// Which slot holds the newest version: see [`Current`].
    fn current(&self) -> &Self::Word;
    /// Not 0 when somebody may be asleep.
    fn sleepers(&self) -> &Self::Half;
    /// One more than the highest entry that was ever claimed.
    fn claimed(&self) -> &Self::Half;
    fn pin(&self, entry: usize) -> &Self::Word;
    fn version(&self, slot: usize) -> &Self::Word;
    /// Wakes everyone who sleeps on `current`.
    fn wake(&self);
    /// Whether a slot must stay as it is although it is not current.
    fn is_kept(&self, _slot: usize) -> bool {
        false
    }

    /// A reader pins a slot, and thereby unpins the one that its entry pinned before.
    #[inline]
    fn store_pin(&self, entry: usize, slot: usize) {
        plain::store_pin(self, entry, slot);
    }

    /// The reader's fence between its pin and its check.
    #[inline]
    fn fence_after_pin(&self) {
        plain::fence(self);
    }

    /// Whether the slot that a reader pinned still holds the version that it wants.
    #[inline]
    fn stands_after_pin(&self, current: Current) -> bool {
        plain::stands(self.version(current.slot()), current)
    }

    /// Whether the slot that a reader is about to copy from holds the version that it wants. `word` is the
    /// slot's.
    #[inline]
    fn stands_before_copy(&self, word: &Self::Word, current: Current) -> bool {
        plain::stands(word, current)
    }

    /// Whether the slot that a reader copied from still holds the version that it wants. `word` is the
    /// slot's.
    #[inline]
    fn stands_after_copy(&self, word: &Self::Word, current: Current) -> bool {
        plain::stands_after_copy::<Self>(word, current)
    }

    /// A writer takes a slot from its version, which this returns.
    #[inline]
    fn take_version(&self, slot: usize) -> u64 {
        plain::take_version(self, slot)
    }

    /// The writer's fence between taking a slot and its second look at the pins.
    #[inline]
    fn fence_after_take(&self) {
        plain::fence(self);
    }

    /// The second look at the pins: whether an entry other than `own` pins a slot that was taken.
    #[inline]
    fn is_pinned_after_take(&self, slot: usize, own: Option<usize>) -> bool {
        plain::is_pinned_beside(self, slot, own)
    }

    /// A writer gives a filled slot its version.
    #[inline]
    fn store_version(&self, slot: usize, version: u64) {
        plain::store_version(self, slot, version);
    }

    /// A publisher takes the sleepers' mark. Returns whether there was one.
    #[inline]
    fn take_mark(&self) -> bool {
        plain::take_mark(self)
    }

    /// A publisher makes a version the newest.
    #[inline]
    fn store_current(&self, current: Current) {
        plain::store_current(self, current);
    }

    /// The publisher's fence between the new version and its look at the sleepers' mark, and at the pins of
    /// the slot that it took for the next one.
    #[inline]
    fn fence_after_publish(&self) {
        plain::fence(self);
    }

    /// A publisher wakes the sleepers, if it took their mark or finds one now.
    #[inline]
    fn wake_sleepers(&self, took_mark: bool) {
        plain::wake_sleepers(self, took_mark);
    }
}

/// The steps, without anything around them.
pub(super) mod plain {
    use super::{Atomic, Current, Memory, Ordering};

    #[inline]
    pub(in super::super) fn store_pin<M: Memory>(memory: &M, entry: usize, slot: usize) {
        // Release: reads of the slot pinned before come before it is unpinned.
        memory.pin(entry).store(slot as u64 + 1, Ordering::Release);
    }

    #[inline]
    pub(in super::super) fn fence<M: Memory>(_memory: &M) {
        M::fence(Ordering::SeqCst);
    }

    #[inline]
    pub(in super::super) fn stands(word: &impl Atomic<u64>, current: Current) -> bool {
        // Acquire: the bytes are at least as new as the version that is found here.
        word.load(Ordering::Acquire) == current.version()
    }

    #[inline]
    pub(in super::super) fn stands_after_copy<M: Memory>(word: &M::Word, current: Current) -> bool {
        // The loads of the copy come before the load below. If one of them saw a byte of a newer version,
        // that load sees that the slot was taken.
        M::fence(Ordering::Acquire);
        word.load(Ordering::Relaxed) == current.version()
    }

    #[inline]
    pub(in super::super) fn take_version<M: Memory>(memory: &M, slot: usize) -> u64 {
        memory.version(slot).swap(0, Ordering::Acquire)
    }

    /// How many entries may hold a pin. The word is shared: it may say more than there are.
    #[inline]
    pub(in super::super) fn claimed<M: Memory>(memory: &M) -> usize {
        (memory.claimed().load(Ordering::Relaxed) as usize).min(memory.entries())
    }

    /// Whether an entry other than `own` pins `slot`.
    #[inline]
    pub(in super::super) fn is_pinned_beside<M: Memory>(memory: &M, slot: usize, own: Option<usize>) -> bool {
        let claimed = claimed(memory);
        let mut entries = (0..claimed).filter(|entry| Some(*entry) != own);
        // Acquire: what a reader read before it unpinned comes before what is written now.
        entries.any(|entry| memory.pin(entry).load(Ordering::Acquire) == slot as u64 + 1)
    }

    #[inline]
    pub(in super::super) fn store_version<M: Memory>(memory: &M, slot: usize, version: u64) {
        memory.version(slot).store(version, Ordering::Release);
    }

    #[inline]
    pub(in super::super) fn take_mark<M: Memory>(memory: &M) -> bool {
        let sleepers = memory.sleepers();
        sleepers.load(Ordering::Relaxed) != 0 && sleepers.swap(0, Ordering::Relaxed) != 0
    }

    #[inline]
    pub(in super::super) fn store_current<M: Memory>(memory: &M, current: Current) {
        memory.current().store(current.0, Ordering::Release);
    }

    #[inline]
    pub(in super::super) fn wake_sleepers<M: Memory>(memory: &M, took_mark: bool) {
        if took_mark || memory.sleepers().load(Ordering::Relaxed) != 0 {
            memory.wake();
        }
    }
}
