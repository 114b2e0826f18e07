//! A cell in memory: the words and bytes that processes share, and what a handle knows of them.
//!
//! The one place of the layer that touches shared memory. Sizes come from the layout, which was checked against
//! the map when the cell was opened; a number read from shared memory is checked before it is used.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::Xxh3;
use zeroize::Zeroizing;

use super::layout::{
    BLOCK, CLAIMED_AT, CURRENT_AT, Field, Layout, PRESENCE_LOCK, SLEEPERS_AT, SLOTS_AT, TOUCHED_AT,
    TYPE_NAME_MAX, WRITER_LOCK, WRITING_AT, entry_lock,
};
use super::protocol::{self, Current, Memory, Missed};
use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::{Durability, Meta};
use crate::error::{Error, Result, Subject};
use crate::map::{MemoryMappedFile, ViewAccessor, bytes};
use crate::sys::{self, LockMode};

pub(super) const FLAG_EMPTY: u64 = 1;
pub(super) const FLAG_SECRET: u64 = 2;

/// How many entries a handle keeps for itself when it does not need them.
const IDLE_ENTRIES: usize = 2;

/// Every sleep ends after this, to look again: so long a publisher that died between publishing and waking
/// delays a waiter, and so long a waiter takes to learn that the last writer was killed.
pub(super) const SLEEP_LIMIT: Duration = Duration::from_millis(100);

/// One handle's side of a cell.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) map: MemoryMappedFile,
    view: ViewAccessor,
    pub(super) layout: Layout,
    /// Whether the view can be written, so that readers can pin.
    pub(super) can_write: bool,
    pub(super) durability: Durability,
    pub(super) secret: bool,
    idle: Mutex<Idle>,
    /// How many bytes of each slot, from its start, are known to have memory in the view. It never gets less:
    /// memory that is given back is there to be touched all the same.
    ready: Box<[AtomicUsize]>,
}

#[derive(Debug, Default)]
struct Idle {
    entries: Vec<usize>,
    generation: u32,
    /// Whether this handle holds the lock that says that a writer lives.
    present: bool,
}

/// What a slot's header says, checked.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) codec: u32,
    type_name_length: usize,
    checksum: u64,
    pub(super) written: u64,
    pub(super) expires: u64,
    pub(super) flags: u64,
}

impl Header {
    pub(super) fn is_empty(&self) -> bool {
        self.flags & FLAG_EMPTY != 0
    }

    fn total(&self) -> usize {
        self.length + self.type_name_length
    }
}

pub(super) fn now() -> u64 {
    nanoseconds(SystemTime::now())
}

pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Memory for Shared {
    fn slots(&self) -> usize {
        self.layout.slots
    }

    fn entries(&self) -> usize {
        self.layout.entries()
    }

    #[inline]
    fn current(&self) -> &AtomicU64 {
        self.word(CURRENT_AT)
    }

    fn sleepers(&self) -> &AtomicU32 {
        self.half(SLEEPERS_AT)
    }

    fn claimed(&self) -> &AtomicU32 {
        self.half(CLAIMED_AT)
    }

    fn pin(&self, entry: usize) -> &AtomicU64 {
        self.word(Layout::pin_at(entry))
    }

    fn version(&self, slot: usize) -> &AtomicU64 {
        self.field(slot, Field::Version)
    }

    fn wake(&self) {
        sys::wake_all(self.sleep_word());
    }
}

impl Shared {
    pub(super) fn new(
        map: MemoryMappedFile,
        view: ViewAccessor,
        layout: Layout,
        durability: Durability,
        secret: bool,
    ) -> Self {
        let can_write = view.can_write();
        let ready = (0..layout.slots).map(|_| AtomicUsize::new(0)).collect();
        Self { map, view, layout, can_write, durability, secret, idle: Mutex::default(), ready }
    }

    pub(super) fn subject(&self) -> Subject {
        self.map.subject().clone()
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.view.as_ptr().wrapping_add(offset)
    }

    /// A word before the slots.
    #[inline]
    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= SLOTS_AT && offset.is_multiple_of(8));
        // SAFETY: all words lie before the slots, and a map of a checked layout is larger than that; it is
        // mapped page-aligned, the offsets are multiples of 8, and the view lives as long as `self`. Such
        // words are only ever accessed atomically.
        unsafe { &*self.at(offset).cast::<AtomicU64>() }
    }

    fn half(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset + 4 <= SLOTS_AT && offset.is_multiple_of(4));
        // SAFETY: as for `word`, with multiples of 4.
        unsafe { &*self.at(offset).cast::<AtomicU32>() }
    }

    fn field(&self, slot: usize, field: Field) -> &AtomicU64 {
        self.word(Layout::field_at(slot, field))
    }

    /// The low half of `current`, on which sleepers sleep.
    pub(super) fn sleep_word(&self) -> &AtomicU32 {
        self.half(if cfg!(target_endian = "little") { CURRENT_AT } else { CURRENT_AT + 4 })
    }

    // ---- reading

    /// The header of a slot whose version stands (pinned, or to be checked after), if it is possible.
    #[inline]
    pub(super) fn header(&self, slot: usize) -> Option<Header> {
        let load = |field| self.field(slot, field).load(Ordering::Relaxed);
        let codec = load(Field::Codec);
        let length = load(Field::Length);
        let type_name_length = codec >> 32;
        if length > self.layout.value_capacity || type_name_length > TYPE_NAME_MAX as u64 {
            return None;
        }
        let header = Header {
            length: length as usize,
            codec: codec as u32,
            type_name_length: type_name_length as usize,
            checksum: load(Field::Checksum),
            written: load(Field::Written),
            expires: load(Field::Expires),
            flags: load(Field::Flags),
        };
        // A writer of this library takes memory before it writes a length.
        self.is_ready(slot, header.total()).then_some(header)
    }

    /// Whether the first `len` bytes of a slot can be touched.
    #[inline]
    fn is_ready(&self, slot: usize, len: usize) -> bool {
        let known = &self.ready[slot];
        if len <= known.load(Ordering::Relaxed) {
            return true;
        }
        let ready = self.view.has_memory(self.layout.slot_at(slot), len);
        if ready {
            known.fetch_max(len, Ordering::Relaxed);
        }
        ready
    }

    /// The first byte of a slot.
    pub(super) fn slot_ptr(&self, slot: usize) -> *mut u8 {
        self.at(self.layout.slot_at(slot))
    }

    /// Copies the first bytes of a slot out; `to` is no longer than a slot.
    pub(super) fn copy_out(&self, slot: usize, from: usize, to: &mut [u8]) {
        assert!(slot < self.layout.slots && from + to.len() <= self.layout.slot_size as usize);
        // SAFETY: the range lies within the slot, which lies within the view; all accesses are atomic.
        unsafe { bytes::load(self.slot_ptr(slot).wrapping_add(from), to) }
    }

    pub(super) fn copy_in(&self, slot: usize, at: usize, from: &[u8]) {
        assert!(
            self.can_write && slot < self.layout.slots && at + from.len() <= self.layout.slot_size as usize
        );
        // SAFETY: the range lies within the slot, which lies within the view, which can be written; all
        // accesses are atomic.
        unsafe { bytes::store(self.slot_ptr(slot).wrapping_add(at), from) }
    }

    /// The value and the name of its type, copied.
    pub(super) fn copy_value(&self, slot: usize, header: &Header) -> (Zeroizing<Vec<u8>>, Vec<u8>) {
        let mut value = Zeroizing::new(vec![0; header.length]);
        self.copy_out(slot, 0, &mut value);
        (value, self.copy_name(slot, header))
    }

    /// The name of the value's type, copied.
    pub(super) fn copy_name(&self, slot: usize, header: &Header) -> Vec<u8> {
        let mut name = vec![0; header.type_name_length];
        self.copy_out(slot, header.length, &mut name);
        name
    }

    pub(super) fn missed(&self, missed: Missed) -> Result<()> {
        match missed {
            Missed::Empty => Ok(()),
            Missed::Overtaken => Err(Error::Overtaken { subject: self.subject() }),
            Missed::Broken => {
                Err(self.corrupt("the newest version is said to be in a slot that does not exist"))
            }
        }
    }

    pub(super) fn corrupt(&self, reason: &str) -> Error {
        Error::Corrupt { subject: self.subject(), reason: reason.to_owned() }
    }

    /// Whether a value has expired; an error where the clock can't tell.
    pub(super) fn is_expired(&self, header: &Header) -> Result<bool> {
        if header.expires == 0 {
            return Ok(false);
        }
        let now = now();
        if now < header.written {
            let ahead = Duration::from_nanos(header.written - now);
            return Err(Error::ClockWentBack { subject: self.subject(), ahead });
        }
        Ok(now >= header.expires)
    }

    // ---- entries

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = sys::fork_generation();
        if idle.generation != generation {
            // The parent's entries and locks are not the child's.
            *idle = Idle { generation, ..Idle::default() };
        }
        idle
    }

    /// Makes an entry this handle's own.
    pub(super) fn claim_entry(&self) -> Result<usize> {
        if let Some(entry) = self.idle().entries.pop() {
            return Ok(entry);
        }
        for entry in 0..self.layout.entries() {
            if self.map.section().try_lock(entry_lock(entry), LockMode::Exclusive)? {
                // An owner that died may have left its pin.
                self.pin(entry).store(0, Ordering::Release);
                // The fence of the first pin comes after this, so a writer that misses it is seen by the reader.
                self.claimed().fetch_max(entry as u32 + 1, Ordering::Relaxed);
                return Ok(entry);
            }
        }
        Err(Error::TooManyReaders { subject: self.subject(), entries: self.layout.entries() })
    }

    /// Lets go of an entry and its pin.
    pub(super) fn release_entry(&self, entry: usize) {
        protocol::unpin(self, entry);
        let mut idle = self.idle();
        if idle.entries.len() < IDLE_ENTRIES {
            idle.entries.push(entry);
        } else {
            self.map.section().unlock(entry_lock(entry));
        }
    }

    /// How many entries have a living owner, this handle's idle ones left out.
    pub(super) fn readers(&self) -> Result<usize> {
        let claimed = (self.claimed().load(Ordering::Relaxed) as usize).min(self.layout.entries());
        let mut living = 0;
        for entry in 0..claimed {
            living += usize::from(self.map.section().is_locked_elsewhere(entry_lock(entry))?);
        }
        Ok(living)
    }

    /// Clears the pins whose owners died. Only for who has the writers' lock.
    pub(super) fn clear_dead_pins(&self) {
        let claimed = (self.claimed().load(Ordering::Relaxed) as usize).min(self.layout.entries());
        for entry in (0..claimed).filter(|entry| self.pin(*entry).load(Ordering::Relaxed) != 0) {
            // Who gets the lock knows that the owner is dead, and keeps a new one off meanwhile.
            if let Ok(true) = self.map.section().try_lock(entry_lock(entry), LockMode::Exclusive) {
                self.pin(entry).store(0, Ordering::Release);
                self.map.section().unlock(entry_lock(entry));
            }
        }
    }

    // ---- writing, all under the writers' lock

    /// Makes this handle one that writes: until it goes, those who wait for the last writer to go wait on.
    pub(super) fn be_present(&self) -> Result<()> {
        let mut idle = self.idle();
        if !idle.present {
            // Nobody ever has this lock exclusively.
            idle.present = self.map.section().try_lock(PRESENCE_LOCK, LockMode::Shared)?;
        }
        Ok(())
    }

    /// Tries to take the writers' lock: to write, or to clear something away.
    pub(super) fn try_lock_writer(&self) -> Result<bool> {
        if !self.can_write {
            return Err(Error::unsupported(format!("{} was opened for reading only", self.subject())));
        }
        if !self.map.section().try_lock(WRITER_LOCK, LockMode::Exclusive)? {
            return Ok(false);
        }
        crate::steps::reach(crate::steps::Step::WriterLocked);
        self.recover();
        if self.word(TOUCHED_AT).load(Ordering::Relaxed) > 3 {
            // More slots in use than without pins: some of their owners may be dead.
            self.clear_dead_pins();
        }
        Ok(true)
    }

    pub(super) fn unlock_writer(&self) {
        self.map.section().unlock(WRITER_LOCK);
    }

    /// Whether a handle that wrote lives, other than this one.
    pub(super) fn has_writer(&self) -> Result<bool> {
        self.map.section().is_locked_elsewhere(PRESENCE_LOCK)
    }

    /// Clears up after a writer that died while it wrote.
    fn recover(&self) {
        let writing = self.word(WRITING_AT).load(Ordering::Relaxed);
        if writing == 0 {
            return;
        }
        self.clear_dead_pins();
        let slot = (writing - 1) as usize;
        let current = Current(self.current().load(Ordering::Relaxed));
        if slot < self.layout.slots
            && (current.version() == 0 || slot != current.slot())
            && protocol::take(self, slot)
        {
            // How much memory it has is not known: it may have died while it changed that.
            self.field(slot, Field::Extent).store(0, Ordering::Release);
            self.map.section().release(self.layout.slot_at(slot) as u64, self.layout.slot_size);
        }
        self.word(WRITING_AT).store(0, Ordering::Release);
    }

    /// Finds a slot for `total` bytes with memory for them. It is marked as being written until
    /// [`finish`](Self::finish).
    pub(super) fn prepare_slot(&self, total: u64, length: u64) -> Result<(usize, u64)> {
        let current = Current(self.current().load(Ordering::Relaxed));
        let touched = self.word(TOUCHED_AT).load(Ordering::Relaxed) as usize;
        let mut slot = protocol::take_next(self, current);
        if slot.is_none_or(|slot| slot >= 3 && (slot >= touched || current.version().is_multiple_of(64))) {
            // Pins are in the way: are their owners alive? Asking costs a system call for each, so under a
            // lease it is done when memory is about to be taken, and now and then.
            self.clear_dead_pins();
            slot = protocol::take_next(self, current);
        }
        // With two slots more than entries this can't be, unless something writes pins that is no reader.
        let slot = slot.ok_or_else(|| self.corrupt("every slot is pinned"))?;
        let version = current.version() + 1;
        self.word(WRITING_AT).store(slot as u64 + 1, Ordering::Release);
        crate::steps::reach(crate::steps::Step::WriterTook);
        let prepared = self.set_extent(slot, total, keep(total));
        if prepared.is_err() {
            self.finish();
            return Err(match prepared {
                Err(Error::NoSpace { subject, reason, .. }) => {
                    Error::NoSpace { subject, needed: length, reason }
                }
                Err(other) => other,
                Ok(()) => unreachable!("checked above"),
            });
        }
        Ok((slot, version))
    }

    /// The slot that was being written no longer is.
    pub(super) fn finish(&self) {
        self.word(WRITING_AT).store(0, Ordering::Release);
    }

    /// Gives a slot that was taken memory for at least `need` and at most `limit` bytes.
    fn set_extent(&self, slot: usize, need: u64, limit: u64) -> Result<()> {
        let word = self.field(slot, Field::Extent);
        let extent = word.load(Ordering::Relaxed).min(self.layout.slot_size) / BLOCK * BLOCK;
        let start = self.layout.slot_at(slot) as u64;
        let need = need.next_multiple_of(BLOCK);
        // The word is shared: what it says may be wrong.
        let ready = self.is_ready(slot, need as usize);
        if extent > limit && ready {
            word.store(limit, Ordering::Release);
            self.map.section().release(start + limit, extent - limit);
        } else if need > extent || !ready {
            let from = if ready { extent } else { 0 };
            self.map.section().reserve(start + from, need - from, self.map.subject())?;
            if self.secret {
                self.view.keep_secret()?;
            }
            word.store(need, Ordering::Release);
            let touched = self.word(TOUCHED_AT);
            touched.fetch_max(slot as u64 + 1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the header of a slot whose value and type name are in place.
    pub(super) fn write_header(
        &self,
        slot: usize,
        version: u64,
        length: usize,
        meta: &Meta<'_>,
        empty: bool,
    ) {
        let name = meta.type_name.unwrap_or_default();
        self.copy_in(slot, length, name.as_bytes());
        let store = |field, value| self.field(slot, field).store(value, Ordering::Relaxed);
        store(Field::Length, length as u64);
        store(Field::Codec, u64::from(meta.codec) | (name.len() as u64) << 32);
        store(Field::Written, now());
        store(Field::Expires, meta.expires);
        let secret = if self.secret { FLAG_SECRET } else { 0 };
        store(Field::Flags, if empty { FLAG_EMPTY } else { 0 } | secret);
        let checksum = if self.layout.has_checksums() {
            self.header(slot).map_or(0, |header| self.checksum(slot, version, &header))
        } else {
            0
        };
        store(Field::Checksum, checksum);
    }

    /// The checksum over a slot's value and type name, and what its header says of them.
    fn checksum(&self, slot: usize, version: u64, header: &Header) -> u64 {
        let mut hasher = Xxh3::with_seed(version);
        let mut chunk = [0; 4096];
        let mut at = 0;
        while at < header.total() {
            let count = (header.total() - at).min(chunk.len());
            self.copy_out(slot, at, &mut chunk[..count]);
            hasher.update(&chunk[..count]);
            at += count;
        }
        for number in [
            header.length as u64,
            u64::from(header.codec) | (header.type_name_length as u64) << 32,
            header.written,
            header.expires,
            header.flags,
        ] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.digest()
    }

    /// Whether the bytes of a slot are those that its header was written for.
    pub(super) fn is_whole(&self, slot: usize, version: u64) -> bool {
        self.version(slot).load(Ordering::Acquire) == version
            && self.header(slot).is_some_and(|header| {
                !self.layout.has_checksums() || header.checksum == self.checksum(slot, version, &header)
            })
    }

    /// Has a written slot reach the disk, as far as the durability asks for it.
    pub(super) fn flush_slot(&self, slot: usize, total: usize) -> Result<()> {
        let wait = match self.durability {
            Durability::None => return Ok(()),
            Durability::Flush => false,
            Durability::Sync => true,
        };
        self.view.flush_range(self.layout.slot_at(slot), total, wait)?;
        self.view.flush_range(Layout::field_at(slot, Field::Version), 64, wait)
    }

    /// Has what publishing changed reach the disk, as far as the durability asks for it.
    pub(super) fn flush_current(&self) -> Result<()> {
        match self.durability {
            Durability::None => Ok(()),
            Durability::Flush => self.view.flush_range(0, SLOTS_AT, false),
            Durability::Sync => self.view.flush_range(0, SLOTS_AT, true),
        }
    }

    /// Gives back memory that slots have beyond what the newest value, of `total` bytes, lets them keep, and
    /// wipes secrets that nobody reads any more.
    pub(super) fn trim(&self, total: u64) {
        let current = Current(self.current().load(Ordering::Relaxed));
        let touched = (self.word(TOUCHED_AT).load(Ordering::Relaxed) as usize).min(self.layout.slots);
        let mut kept = 0;
        for slot in (0..touched).filter(|slot| *slot != current.slot() || current.version() == 0) {
            let extent = self.field(slot, Field::Extent).load(Ordering::Relaxed);
            if extent == 0 {
                continue;
            }
            // One slot to write next, one that readers without a pin may still copy from.
            let limit = if kept < 2 { keep(total) } else { 0 };
            kept += 1;
            let secret = self.field(slot, Field::Flags).load(Ordering::Relaxed) & FLAG_SECRET != 0;
            if (extent > limit || secret) && protocol::take(self, slot) {
                if secret {
                    self.wipe(slot);
                }
                // Only less memory: that can't fail.
                let _ = self.set_extent(slot, 0, limit);
            }
        }
        if touched > 3 {
            let extent = |slot: &usize| self.field(*slot, Field::Extent).load(Ordering::Relaxed);
            let last = (0..touched).rev().find(|slot| extent(slot) > 0);
            self.word(TOUCHED_AT).store(last.map_or(0, |last| last as u64 + 1), Ordering::Relaxed);
        }
    }

    /// Zeroes the bytes of a slot that was taken.
    fn wipe(&self, slot: usize) {
        let length =
            (self.field(slot, Field::Length).load(Ordering::Relaxed)).min(self.layout.value_capacity);
        if self.is_ready(slot, length as usize) {
            // SAFETY: within the slot, which lies within the view, which can be written by who took the slot.
            unsafe { bytes::zero(self.slot_ptr(slot), length as usize) };
        }
        self.field(slot, Field::Length).store(0, Ordering::Relaxed);
        self.field(slot, Field::Flags).store(FLAG_EMPTY, Ordering::Relaxed);
    }

    /// Zeroes the bytes of a value that was taken, cleared or has expired. While a reader has it pinned it is
    /// left for that reader, or the next writer, to wipe.
    pub(super) fn wipe_replaced(&self, slot: usize) {
        let current = Current(self.current().load(Ordering::Relaxed));
        if slot == current.slot() {
            return;
        }
        let flags = self.field(slot, Field::Flags);
        flags.store(flags.load(Ordering::Relaxed) | FLAG_SECRET, Ordering::Relaxed);
        // A reader that unpins it after the look at the pins sees the flag.
        super::sync::fence(Ordering::SeqCst);
        if protocol::take(self, slot) {
            self.wipe(slot);
        }
    }

    /// Zeroes the bytes of a version that this handle had pinned, if they are to be wiped and nobody could
    /// while it did.
    pub(super) fn wipe_left(&self, left: Current) {
        // Either who replaced it sees that the pin is gone, or this sees the flag that it set before it looked.
        super::sync::fence(Ordering::SeqCst);
        let to_wipe = || {
            Current(self.current().load(Ordering::Relaxed)) != left
                && self.version(left.slot()).load(Ordering::Relaxed) == left.version()
                && self.field(left.slot(), Field::Flags).load(Ordering::Relaxed) & FLAG_SECRET != 0
        };
        if to_wipe()
            && let Ok(true) = self.try_lock_writer()
        {
            if to_wipe() && protocol::take(self, left.slot()) {
                self.wipe(left.slot());
            }
            self.unlock_writer();
        }
    }

    /// After a crash of the machine: makes the newest version whose checksum holds the current one. Says which
    /// version was dropped, if one was. Only for who has the writers' lock.
    pub(super) fn choose_newest_whole(&self) -> Result<Option<u64>> {
        let current = Current(self.current().load(Ordering::Relaxed));
        let named = current.version() > 0
            && (current.slot() >= self.layout.slots || !self.is_whole(current.slot(), current.version()));
        if !named {
            return Ok(None);
        }
        let newest = (0..self.layout.slots)
            .filter_map(|slot| {
                let version = self.version(slot).load(Ordering::Relaxed);
                (version > 0 && version <= current.version() && self.is_whole(slot, version))
                    .then_some((version, slot))
            })
            .max();
        let word = newest.map_or(0, |(version, slot)| Current::new(version, slot).0);
        self.current().store(word, Ordering::Release);
        self.flush_current()?;
        Ok(Some(current.version()))
    }

    /// Bytes that have memory: what comes before the slots, and the slots' extents.
    pub(super) fn reserved(&self) -> u64 {
        (0..self.layout.slots)
            .map(|slot| self.field(slot, Field::Extent).load(Ordering::Relaxed).min(self.layout.slot_size))
            .fold(SLOTS_AT as u64, u64::saturating_add)
    }
}

/// How much memory a slot may keep when the newest value has `total` bytes: rounding, and two pages more so
/// that values of about the same size don't give and take memory all the time. Three slots and what comes
/// before them stay under three times the value and 64 KiB.
fn keep(total: u64) -> u64 {
    total.next_multiple_of(BLOCK) + 2 * BLOCK
}

impl Drop for Shared {
    fn drop(&mut self) {
        let idle = self.idle();
        if idle.present {
            self.map.section().unlock(PRESENCE_LOCK);
            // Who waits for the last writer to go learns it at once.
            self.wake();
        }
    }
}
