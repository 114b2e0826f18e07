//! The protocol: how one value is replaced as a whole while others read it, whoever dies at whatever step.
//!
//! Knows no bytes and no system, only a handful of atomic words ([`Memory`]); `loom` explores its interleavings
//! on a scaled-down memory. The sources: hazard pointers (Michael 2004) for pins, and the seqlock as analysed
//! by Boehm (MSPC 2012) for copying readers.
//!
//! **Words.** `current` says which slot holds which version. Each slot has a `version`: the version that its
//! bytes belong to, 0 while they belong to none. Each reader's entry has a `pin`: the slot that must not be
//! written, plus 1, or 0.
//!
//! **Why a pinned slot is never written.** The reader stores its pin, then (fence) loads the slot's version.
//! The writer stores 0 as the slot's version, then (fence) loads the pins. Both fences are sequentially
//! consistent, so at least one sees the other's store: either the reader finds 0 and starts again, or the writer
//! finds the pin and takes another slot. A writer that publishes one version after the other takes the next slot
//! together with a publication, under the one fence that this needs for its sleepers too.
//!
//! **Why the writer always finds a slot.** There are two more slots than entries: the current one, one for each
//! pin, and one to write. A slot that was found pinned on the second look was pinned by a reader that had loaded
//! an old `current`; each entry can do that once while the writer, which alone changes `current`, looks.

use super::sync::{AtomicU32, AtomicU64, Fault, Ordering, fence, is_faulty};
use crate::steps::{self, Step};

/// The words that readers and writers share.
pub(super) trait Memory {
    fn slots(&self) -> usize;
    fn entries(&self) -> usize;
    /// Which slot holds the newest version: see [`Current`].
    fn current(&self) -> &AtomicU64;
    /// Not 0 when somebody may be asleep.
    fn sleepers(&self) -> &AtomicU32;
    /// One more than the highest entry that was ever claimed.
    fn claimed(&self) -> &AtomicU32;
    fn pin(&self, entry: usize) -> &AtomicU64;
    fn version(&self, slot: usize) -> &AtomicU64;
    /// Wakes all who sleep on the low half of `current`.
    fn wake(&self);
    /// Whether a slot that is not current must stay as it is all the same.
    fn is_kept(&self, _slot: usize) -> bool {
        false
    }
}

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

/// How often a reader starts again before it reports that it was overtaken, or tries with an entry taken anew.
///
/// A pinning attempt fails only if the writer took the slot again between two loads of the reader, which takes
/// a preemption of the reader just there and two publications meanwhile; a copying one if the writer published
/// twice during the copy, and a slot is reused only every third time, so that one attempt in two gets through
/// even if writer and reader are equally fast. 64 failures in a row don't happen by chance: something changes
/// the words that is no writer of this protocol.
pub(super) const ATTEMPTS: u32 = 64;

/// Why a reader came back without a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// Nothing was stored yet.
    Empty,
    /// Overtaken [`ATTEMPTS`] times.
    Overtaken,
    /// `current` names a slot that does not exist.
    Broken,
}

/// The newest version, if its slot exists.
#[inline]
pub(super) fn newest(memory: &impl Memory) -> Result<Current, Missed> {
    let current = Current(memory.current().load(Ordering::Acquire));
    if current.version() == 0 {
        return Err(Missed::Empty);
    }
    if current.slot() >= memory.slots() {
        return Err(Missed::Broken);
    }
    Ok(current)
}

/// Pins the newest version with `entry`, which the caller owns; what it pinned before is let go.
#[inline]
pub(super) fn pin(memory: &impl Memory, entry: usize) -> Result<Current, Missed> {
    let pin = memory.pin(entry);
    let mut missed = Missed::Overtaken;
    for _ in 0..ATTEMPTS {
        let current = match newest(memory) {
            Ok(current) => current,
            Err(other) => {
                missed = other;
                break;
            }
        };
        steps::reach(Step::ReaderBeforePin);
        // Release: reads of the slot pinned before come before it is let go.
        pin.store(current.slot() as u64 + 1, Ordering::Release);
        steps::reach(Step::ReaderAfterPin);
        if !is_faulty(Fault::NoReaderFence) {
            fence(Ordering::SeqCst);
        }
        // Acquire: the bytes are at least as new as the version that is found here.
        let version = memory.version(current.slot()).load(Ordering::Acquire);
        if version == current.version() || is_faulty(Fault::NoCheckAfterPin) {
            steps::reach(Step::ReaderPinned);
            return Ok(current);
        }
    }
    pin.store(0, Ordering::Release);
    Err(missed)
}

/// Lets go of what `entry` pins.
#[inline]
pub(super) fn unpin(memory: &impl Memory, entry: usize) {
    memory.pin(entry).store(0, Ordering::Release);
}

/// Reads the newest version without a pin: `copy` copies from a slot, with atomic loads, and its result counts
/// only if the slot still holds that version afterwards.
pub(super) fn copy<R>(
    memory: &impl Memory,
    mut copy: impl FnMut(Current) -> R,
) -> Result<(Current, R), Missed> {
    for _ in 0..ATTEMPTS {
        let current = newest(memory)?;
        if let Some(copied) = copy_once(memory, current, &mut copy) {
            return Ok((current, copied));
        }
    }
    Err(Missed::Overtaken)
}

/// One attempt of [`copy`]; `None` where a writer was faster.
#[inline]
pub(super) fn copy_once<R>(
    memory: &impl Memory,
    current: Current,
    copy: impl FnOnce(Current) -> R,
) -> Option<R> {
    let version = memory.version(current.slot());
    if version.load(Ordering::Acquire) != current.version() {
        return None;
    }
    steps::reach(Step::ReaderCopies);
    let copied = copy(current);
    // The loads of the copy come before the load below. Where one of them saw a byte of a newer version,
    // that load sees that the slot was taken.
    fence(Ordering::Acquire);
    let stands = version.load(Ordering::Relaxed) == current.version() || is_faulty(Fault::NoCheckAfterCopy);
    stands.then_some(copied)
}

/// How many entries may hold a pin. The word is shared: it may say more than there are.
#[inline]
pub(super) fn claimed(memory: &impl Memory) -> usize {
    (memory.claimed().load(Ordering::Relaxed) as usize).min(memory.entries())
}

/// Whether an entry pins `slot`.
#[inline]
pub(super) fn is_pinned(memory: &impl Memory, slot: usize) -> bool {
    is_pinned_beside(memory, slot, None)
}

/// Whether an entry other than `own` pins `slot`.
#[inline]
fn is_pinned_beside(memory: &impl Memory, slot: usize, own: Option<usize>) -> bool {
    let claimed = claimed(memory);
    let mut entries = (0..claimed).filter(|entry| Some(*entry) != own);
    // Acquire: what a reader read before it let go comes before what is written now.
    entries.any(|entry| memory.pin(entry).load(Ordering::Acquire) == slot as u64 + 1)
}

/// A bit for each slot that an entry pins.
#[inline]
pub(super) fn pinned(memory: &impl Memory) -> u64 {
    let mut slots = 0;
    for entry in 0..claimed(memory) {
        let pin = memory.pin(entry).load(Ordering::Acquire);
        if (1..=MAX_SLOTS as u64).contains(&pin) {
            slots |= 1 << (pin - 1);
        }
    }
    slots
}

/// Takes a slot from its version, unless it is pinned: then it keeps it. Only for who has the writers' lock;
/// never for the current slot.
pub(super) fn take(memory: &impl Memory, slot: usize) -> bool {
    if is_pinned(memory, slot) {
        return false;
    }
    steps::reach(Step::WriterBeforeTake);
    let version = memory.version(slot);
    let old = version.swap(0, Ordering::Acquire);
    if !is_faulty(Fault::NoWriterFence) {
        fence(Ordering::SeqCst);
    }
    if is_faulty(Fault::NoSecondLook) || !is_pinned(memory, slot) {
        return true;
    }
    // The bytes are as they were, so the slot may have its version again, and its reader can take it in its turn.
    // While the word was 0 no reader took the slot.
    let _ = version.compare_exchange(0, old, Ordering::Release, Ordering::Relaxed);
    false
}

/// The version of a slot that a reader took to wipe it.
const WIPED: u64 = u64::MAX;

/// Takes a slot that is not current from its `version` without the writers' lock, unless another entry pins it.
/// For a reader that owns `entry` and pins nothing with it; on `true` the entry pins the slot.
pub(super) fn take_with_pin(memory: &impl Memory, entry: usize, slot: usize, version: u64) -> bool {
    let pin = memory.pin(entry);
    pin.store(slot as u64 + 1, Ordering::Release);
    fence(Ordering::SeqCst);
    let word = memory.version(slot);
    let is_alone = || !is_pinned_beside(memory, slot, Some(entry));
    // As in `pin`: from here on no writer writes to the slot, if it still has the version.
    let taken = word.load(Ordering::Acquire) == version
        && is_alone()
        && word.compare_exchange(version, WIPED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        && {
            fence(Ordering::SeqCst);
            let taken = is_faulty(Fault::NoSecondLook) || is_alone();
            if !taken {
                let _ = word.compare_exchange(WIPED, version, Ordering::Release, Ordering::Relaxed);
            }
            taken
        };
    if !taken {
        pin.store(0, Ordering::Release);
    }
    taken
}

/// Takes the slot to write next: the lowest that is free. The slot that was current before this one is taken
/// only if there is no other: who copies from it without a pin gets more time.
pub(super) fn take_next(memory: &impl Memory, current: Current) -> Option<usize> {
    let is_current = |slot: usize| current.version() > 0 && slot == current.slot();
    let was_current =
        |slot: usize| memory.version(slot).load(Ordering::Relaxed) == current.version().wrapping_sub(1);
    let mut previous = None;
    for slot in (0..memory.slots()).filter(|slot| !is_current(*slot) && !memory.is_kept(*slot)) {
        if current.version() > 1 && was_current(slot) {
            previous = Some(slot);
        } else if take(memory, slot) {
            return Some(slot);
        }
    }
    previous.filter(|slot| take(memory, *slot))
}

/// Publishes what was written to `slot` as `version`, and wakes sleepers. Only for who has the writers' lock
/// and took the slot.
pub(super) fn publish(memory: &impl Memory, slot: usize, version: u64) {
    publish_and_take(memory, slot, version, None);
}

/// [`publish`], and takes the slot `next` under the same fence, so that the next publication needs none of its
/// own. `false` where it is pinned.
#[inline]
pub(super) fn publish_and_take(memory: &impl Memory, slot: usize, version: u64, next: Option<usize>) -> bool {
    let word = Current::new(version, slot).0;
    steps::reach(Step::WriterFilled);
    memory.version(slot).store(version, Ordering::Release);
    if let Some(next) = next {
        memory.version(next).store(0, Ordering::Relaxed);
    }
    steps::reach(Step::WriterBeforePublish);
    // Who set the mark before this is asleep, or will find that `current` changed when it tries to sleep: it is
    // woken below. Who sets it after this finds its mark in place for the next publication.
    let sleepers = memory.sleepers();
    let mut asleep = sleepers.load(Ordering::Relaxed) != 0 && sleepers.swap(0, Ordering::Relaxed) != 0;
    if is_faulty(Fault::WakeFirst) {
        memory.wake();
        asleep = false;
    }
    let ordering = if is_faulty(Fault::RelaxedPublish) { Ordering::Relaxed } else { Ordering::Release };
    memory.current().store(word, ordering);
    steps::reach(Step::WriterPublished);
    if !is_faulty(Fault::NoWakeFence) {
        // Either this sees the mark of one who is going to sleep, or that one sees the new version. And either
        // this sees the pin of one who comes to `next`, or that one finds that it was taken.
        fence(Ordering::SeqCst);
    }
    if asleep || (sleepers.load(Ordering::Relaxed) != 0 && !is_faulty(Fault::WakeFirst)) {
        memory.wake();
    }
    steps::reach(Step::WriterWoke);
    next.is_some_and(|next| is_faulty(Fault::NoSecondLook) || !is_pinned(memory, next))
}

/// The slot to take with a publication that has `slot` follow on `replaced`: the lowest of the first `touched`
/// that is neither pinned nor one of those two, unless it is to be kept. Who copies from `replaced` without a pin gets
/// more time.
#[inline]
pub(super) fn find_next(
    memory: &impl Memory,
    slot: usize,
    replaced: Current,
    touched: usize,
) -> Option<usize> {
    let newest = 1_u64 << slot | u64::from(replaced.version() > 0) << replaced.slot();
    let in_use = newest | pinned(memory);
    let lowest = (!in_use).trailing_zeros() as usize;
    (lowest < touched.min(memory.slots()) && !memory.is_kept(lowest)).then_some(lowest)
}

/// What a waiter does before it sleeps: leaves its mark and looks once more. `true` to sleep for as long as
/// `current` is `seen`; `false` when it is another by now.
pub(super) fn prepare_sleep(memory: &impl Memory, seen: u64) -> bool {
    prepare_sleep_on(memory.sleepers(), memory.current(), seen)
}

/// [`prepare_sleep`] with the two words that it is about.
pub(super) fn prepare_sleep_on(sleepers: &AtomicU32, current: &AtomicU64, seen: u64) -> bool {
    sleepers.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    current.load(Ordering::Acquire) == seen
}
