//! The protocol: how one value is replaced as a whole while others read it, whichever process dies at
//! whichever step.
//!
//! It knows neither bytes nor the system, only a handful of atomic words ([`Memory`]); `loom` explores its
//! interleavings on a scaled-down memory. `primitives` says what each step on the words is. The sources:
//! hazard pointers (Michael 2004) for pins, and the seqlock as analysed by Boehm (MSPC 2012) for copying
//! readers.
//!
//! **Words.** `current` says which slot holds which version. Each slot has a `version`: the version that its
//! bytes belong to, 0 while they belong to none. Each reader's entry has a `pin`: the slot that must not be
//! written, plus 1, or 0.
//!
//! **Why a pinned slot is never written.** The reader stores its pin, then (fence) loads the slot's version.
//! The writer stores 0 as the slot's version, then (fence) loads the pins. Both fences are sequentially
//! consistent, so at least one sees the other's store: either the reader finds 0 and starts again, or the
//! writer finds the pin and takes another slot. A writer that publishes one version after the other takes the
//! next slot together with a publication, under the one fence that this needs for its sleepers too.
//!
//! **Why the writer always finds a slot.** There are two more slots than entries: the current one, one for
//! each pin, and one to write. A slot that was found pinned on the second look was pinned by a reader that
//! had loaded an old `current`; each entry can do that once while the writer, which alone changes `current`,
//! looks.

use std::sync::atomic::Ordering;

use super::primitives::{Atomic, plain};
pub(super) use super::primitives::{Current, MAX_SLOTS, MAX_VERSION, Memory};

/// How often a reader starts again before it reports that it was overtaken, or tries a new entry.
///
/// A pinning attempt fails only if the writer took the slot again between two loads of the reader. That takes
/// a preemption of the reader just there and two publications meanwhile. A copying attempt fails if the
/// writer published twice during the copy. A slot is reused only every third time, so one attempt in two gets
/// through even if writer and reader are equally fast. 64 failures in a row don't happen by chance: something
/// other than a writer of this protocol changes the words.
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

/// Pins the newest version with `entry`, which the caller owns, and unpins what the entry pinned before.
#[inline]
pub(super) fn pin(memory: &impl Memory, entry: usize) -> Result<Current, Missed> {
    let mut missed = Missed::Overtaken;
    for _ in 0..ATTEMPTS {
        let current = match newest(memory) {
            Ok(current) => current,
            Err(other) => {
                missed = other;
                break;
            }
        };
        memory.store_pin(entry, current.slot());
        memory.fence_after_pin();
        if memory.stands_after_pin(current) {
            return Ok(current);
        }
    }
    unpin(memory, entry);
    Err(missed)
}

/// Unpins what `entry` pins.
#[inline]
pub(super) fn unpin(memory: &impl Memory, entry: usize) {
    memory.pin(entry).store(0, Ordering::Release);
}

/// Reads the newest version without a pin: `copy` copies from a slot, with atomic loads, and its result
/// counts only if the slot still holds that version afterwards.
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

/// One attempt of [`copy`]; `None` if a writer was faster.
#[inline]
pub(super) fn copy_once<R>(
    memory: &impl Memory,
    current: Current,
    copy: impl FnOnce(Current) -> R,
) -> Option<R> {
    let word = memory.version(current.slot());
    if !memory.stands_before_copy(word, current) {
        return None;
    }
    let copied = copy(current);
    memory.stands_after_copy(word, current).then_some(copied)
}

/// How many entries may hold a pin.
#[inline]
pub(super) fn claimed(memory: &impl Memory) -> usize {
    plain::claimed(memory)
}

/// Whether an entry pins `slot`.
#[inline]
pub(super) fn is_pinned(memory: &impl Memory, slot: usize) -> bool {
    plain::is_pinned_beside(memory, slot, None)
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

/// Takes a slot from its version, unless the slot is pinned: then it keeps the version. Requires the writers'
/// lock; the slot must not be the current one.
pub(super) fn take(memory: &impl Memory, slot: usize) -> bool {
    if is_pinned(memory, slot) {
        return false;
    }
    let old = memory.take_version(slot);
    memory.fence_after_take();
    if !memory.is_pinned_after_take(slot, None) {
        return true;
    }
    // The bytes are as they were, so the slot may have its version back, and its reader can take it in turn.
    // While the word was 0, no reader took the slot.
    let _ = memory.version(slot).compare_exchange(0, old, Ordering::Release, Ordering::Relaxed);
    false
}

/// The version of a slot that a reader took to wipe it.
const WIPED: u64 = u64::MAX;

/// Takes a slot that is not current from its `version`, without the writers' lock, unless another entry pins
/// it. The caller is a reader that owns `entry` and pins nothing with it. On `true` the entry pins the slot.
pub(super) fn take_with_pin<M: Memory>(memory: &M, entry: usize, slot: usize, version: u64) -> bool {
    plain::store_pin(memory, entry, slot);
    M::fence(Ordering::SeqCst);
    let word = memory.version(slot);
    // As in `pin`: if the slot still has the version, no writer writes to it from here on.
    let taken = word.load(Ordering::Acquire) == version
        && !plain::is_pinned_beside(memory, slot, Some(entry))
        && word.compare_exchange(version, WIPED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        && {
            M::fence(Ordering::SeqCst);
            let taken = !memory.is_pinned_after_take(slot, Some(entry));
            if !taken {
                let _ = word.compare_exchange(WIPED, version, Ordering::Release, Ordering::Relaxed);
            }
            taken
        };
    if !taken {
        unpin(memory, entry);
    }
    taken
}

/// Takes the slot to write next: the lowest free one. It takes the slot that was current before this one only
/// if there is no other, so that readers that copy from that slot without a pin get more time.
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

/// Publishes what was written to `slot` as `version`, and wakes sleepers. Requires the writers' lock, under
/// which the slot was taken.
pub(super) fn publish(memory: &impl Memory, slot: usize, version: u64) {
    publish_and_take(memory, slot, version, None);
}

/// As [`publish`], and takes the slot `next` under the same fence, so that the next publication needs no
/// fence for that. `false` if `next` is pinned.
#[inline]
pub(super) fn publish_and_take(memory: &impl Memory, slot: usize, version: u64, next: Option<usize>) -> bool {
    memory.store_version(slot, version);
    if let Some(next) = next {
        memory.version(next).store(0, Ordering::Relaxed);
    }
    // A waiter that set the mark before this is asleep, or will find that `current` changed when it tries to
    // sleep; it is woken below. A waiter that sets it after this leaves its mark for the next publication.
    let asleep = memory.take_mark();
    memory.store_current(Current::new(version, slot));
    // Either this sees the mark of a waiter that is going to sleep, or the waiter sees the new version. And
    // either this sees the pin of a reader that comes to `next`, or the reader finds that the slot was taken.
    memory.fence_after_publish();
    memory.wake_sleepers(asleep);
    next.is_some_and(|next| !memory.is_pinned_after_take(next, None))
}

/// The slot to take with a publication that makes `slot` follow `replaced`: the lowest of the first `touched`
/// that is not pinned, is not one of those two, and need not be kept. Readers that copy from `replaced`
/// without a pin get more time.
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

/// What a waiter does before it sleeps: leaves its mark and looks once more. `true`: sleep as long as
/// `current` is `seen`; `false`: it is another by now.
pub(super) fn prepare_sleep<M: Memory>(memory: &M, seen: u64) -> bool {
    prepare_sleep_on::<M>(memory.sleepers(), memory.current(), seen)
}

/// [`prepare_sleep`] on the two words that it uses.
pub(super) fn prepare_sleep_on<M: Memory>(sleepers: &M::Half, current: &M::Word, seen: u64) -> bool {
    sleepers.store(1, Ordering::Relaxed);
    M::fence(Ordering::SeqCst);
    current.load(Ordering::Acquire) == seen
}
