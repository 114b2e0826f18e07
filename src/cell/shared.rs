//! One handle's side of a cell: its locks, its entries, the memory that slots have, and recovery after a
//! crash.

use std::ops::Deref;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::layout::{
    BLOCK, DURABLE_AT, Field, HEAD, HEADERS_END, Layout, MAGIC, MARKED_AT, PRESENCE_LOCK, SHRUNK_AT,
    SLOT_HEADERS_AT, SLOTS_AT, TOUCHED_AT, WRITER_LOCK, WRITING_AT, entry_lock,
};
use super::protocol::{self, Current, MAX_VERSION, Memory, Missed};
use super::terms::Durability;
use super::words::{FLAG_EMPTY, FLAG_SECRET, FLAG_SYNC, Header, Words};
use crate::error::{Error, ErrorKind, Result};
use crate::map::{MemoryMappedFile, ViewAccessor};
use crate::memory;
use crate::steps::{self, Flushed};
use crate::sys::{self, ForkMutex, LockMode};
use crate::terms::Subject;

/// What is wrong with a cell whose newest version has an impossible header.
pub(super) const BAD_LENGTH: &str = "the newest version claims to be longer than a slot";

/// How many entries a handle keeps although it does not need them, while there are plenty.
const IDLE_ENTRIES: usize = 2;

/// How many publications a lease makes between two system calls that clean up what others left.
const SELDOM: u64 = 16_384;

/// Every sleep ends after this, to look again. So a publisher that died between publishing and waking delays
/// a waiter by at most this long, and a waiter notices a killed last writer within this time.
pub(super) const SLEEP_LIMIT: Duration = Duration::from_millis(100);

/// One handle's side of a cell.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) map: MemoryMappedFile,
    view: ViewAccessor,
    pub(super) words: Words,
    pub(super) durability: Durability,
    pub(super) secret: bool,
    /// A forked child does not have its parent's entries and locks.
    idle: ForkMutex<Idle>,
    /// How many bytes of each slot, from its start, are known to have memory in the view. This never shrinks:
    /// memory that was given back can still be touched.
    ready: Box<[AtomicUsize]>,
    /// For cells on files, a bit for each slot whose memory this handle has verified: after a power loss, the
    /// extent in its header may promise memory that is missing.
    sure: AtomicU64,
    /// How many versions this handle has published, and the one that it is about to. Changes under the
    /// writers' lock.
    pub(super) published: AtomicU64,
}

#[derive(Debug, Default)]
struct Idle {
    entries: Vec<usize>,
    /// Whether this handle holds the lock that says that a writer lives.
    present: bool,
}

impl Deref for Shared {
    type Target = Words;

    #[inline]
    fn deref(&self) -> &Words {
        &self.words
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
        // SAFETY: the layout was checked against the map, and this is a view of that map from its start. The
        // view lives as long as the result; whoever keeps a copy of the words keeps the view too.
        let words = unsafe { Words::new(view.as_ptr(), layout, view.can_write()) };
        let ready = (0..layout.slots).map(|_| AtomicUsize::new(0)).collect();
        Self {
            map,
            view,
            words,
            durability,
            secret,
            idle: ForkMutex::default(),
            ready,
            sure: AtomicU64::new(0),
            published: AtomicU64::new(0),
        }
    }

    pub(super) fn subject(&self) -> Subject {
        self.map.subject().clone()
    }

    // ---- reading

    /// The header of a slot whose version is pinned, or checked afterwards; `None` if the header is
    /// impossible.
    #[inline]
    pub(super) fn header(&self, slot: usize) -> Option<Header> {
        self.header_in(self.words, slot)
    }

    /// [`header`](Self::header) with the words at hand.
    #[inline]
    pub(super) fn header_in(&self, words: Words, slot: usize) -> Option<Header> {
        // A writer of this library takes memory before it writes a length.
        words.header(slot).filter(|header| self.is_ready(slot, header.total()))
    }

    /// Whether the first `len` bytes of a slot can be touched.
    #[inline]
    fn is_ready(&self, slot: usize, len: usize) -> bool {
        if !sys::MAY_LACK_MEMORY {
            return true;
        }
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

    /// The value, copied.
    pub(super) fn copy_value(
        &self,
        current: Current,
        header: &Header,
        is_pinned: bool,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let mut value = memory::room_for(header.length, self.map.subject())?;
        self.copy_first(current, is_pinned, &mut value);
        Ok(value)
    }

    pub(super) fn missed(&self, missed: Missed) -> Result<()> {
        match missed {
            Missed::Empty => Ok(()),
            Missed::Overtaken => Err(Error::overtaken(self.subject())),
            Missed::Broken => Err(self.corrupt("the newest version claims a slot that does not exist")),
        }
    }

    pub(super) fn corrupt(&self, reason: &str) -> Error {
        Error::corrupt(self.subject(), reason.to_owned())
    }

    /// Whether a value has expired; an error if the clock can't tell.
    pub(super) fn is_expired(&self, header: &Header) -> Result<bool> {
        self.has_expired(header.written, header.expires)
    }

    /// The same with the times, in nanoseconds since 1970; 0 never expires.
    pub(super) fn has_expired(&self, written: u64, expires: u64) -> Result<bool> {
        if expires == 0 {
            return Ok(false);
        }
        let now = sys::nanoseconds(SystemTime::now());
        if now < written {
            let ahead = Duration::from_nanos(written - now);
            return Err(Error::clock_went_back(self.subject(), ahead));
        }
        Ok(now >= expires)
    }

    // ---- entries

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock()
    }

    /// Makes an entry this handle's own.
    pub(super) fn claim_entry(&self) -> Result<usize> {
        if !self.can_write {
            let reason = "this handle was opened for reading only, and a snapshot needs a pin";
            return Err(Error::denied(self.subject(), reason)
                .with_advice("copy the value, or open the map read-write"));
        }
        if let Some(entry) = self.idle().entries.pop() {
            return Ok(entry);
        }
        for entry in 0..self.layout.entries() {
            if self.map.section().try_lock(entry_lock(entry), LockMode::Exclusive)? {
                // An owner that died may have left its pin.
                self.pin(entry).store(0, Ordering::Release);
                // The fence of the first pin comes after this, so a writer that misses it is seen by the
                // reader.
                self.claimed().fetch_max(entry as u32 + 1, Ordering::Relaxed);
                return Ok(entry);
            }
        }
        Err(Error::too_many_readers(self.subject(), self.layout.entries()))
    }

    /// Releases an entry and its pin.
    pub(super) fn release_entry(&self, entry: usize) {
        protocol::unpin(&self.words, entry);
        // Once half of them have been in use, others may need it.
        let plenty = (self.claimed().load(Ordering::Relaxed) as usize) <= self.layout.entries() / 2;
        let mut idle = self.idle();
        if plenty && idle.entries.len() < IDLE_ENTRIES {
            idle.entries.push(entry);
        } else {
            self.map.section().unlock(entry_lock(entry));
        }
    }

    /// How many entries have a living owner, not counting this handle's idle ones.
    pub(super) fn readers(&self) -> Result<usize> {
        let claimed = protocol::claimed(&self.words);
        let mut living = 0;
        for entry in 0..claimed {
            living += usize::from(self.map.section().is_locked_elsewhere(entry_lock(entry))?);
        }
        Ok(living)
    }

    /// Clears the pins whose owners died. Requires the writers' lock.
    pub(super) fn clear_dead_pins(&self) {
        let claimed = protocol::claimed(&self.words);
        for entry in (0..claimed).filter(|entry| self.pin(*entry).load(Ordering::Relaxed) != 0) {
            // Getting the lock shows that the owner is dead, and keeps a new owner away meanwhile.
            if let Ok(true) = self.map.section().try_lock(entry_lock(entry), LockMode::Exclusive) {
                self.pin(entry).store(0, Ordering::Release);
                self.map.section().unlock(entry_lock(entry));
            }
        }
    }

    // ---- writing, all under the writers' lock

    /// Makes this handle one that writes. Until it goes, whoever waits for the last writer to go keeps
    /// waiting.
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
            return Err(Error::read_only(self.subject()));
        }
        if !self.try_lock_alone()? {
            return Ok(false);
        }
        steps::reach(steps::Step::WriterLocked);
        self.recover();
        Ok(true)
    }

    /// Takes the writers' lock and nothing else, to clean up the cell without becoming a writer.
    pub(super) fn try_lock_alone(&self) -> Result<bool> {
        self.map.section().try_lock(WRITER_LOCK, LockMode::Exclusive)
    }

    /// Releases the writers' lock, and leaves behind no bytes that must be wiped and that nobody has pinned.
    pub(super) fn unlock_writer(&self) {
        for _ in 0..protocol::ATTEMPTS {
            self.wipe_leftovers();
            self.unlock_alone();
            // A reader that unpinned in between could not get the lock.
            let missed =
                self.leftovers().any(|slot| !self.is_kept(slot) && !protocol::is_pinned(&self.words, slot));
            if !missed || !matches!(self.try_lock_writer(), Ok(true)) {
                return;
            }
        }
        self.unlock_alone();
    }

    /// Releases the writers' lock and does nothing else, for a caller that found no cell or has not recovered
    /// it.
    pub(super) fn unlock_alone(&self) {
        self.map.section().unlock(WRITER_LOCK);
    }

    /// Whether another handle that wrote is alive.
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
        let is_current = current.version() > 0 && slot == current.slot();
        if slot < self.layout.slots && !is_current && !self.is_kept(slot) {
            // The dead writer had taken the slot, and its version was never current. So no pin on it holds,
            // and a reader that set one finds another version there.
            self.version(slot).store(0, Ordering::SeqCst);
            self.field(slot, Field::Length).store(0, Ordering::Relaxed);
            self.field(slot, Field::Flags).store(FLAG_EMPTY, Ordering::Relaxed);
            self.discard(slot);
        }
        // It may have died between a change of an extent and the change of the memory.
        self.release_beyond_extents(u64::MAX);
        self.word(WRITING_AT).store(0, Ordering::Release);
    }

    /// Zeroes a taken slot, as far as it has memory, and gives the memory back. Its words may be wrong: their
    /// writer may have died while it wrote them.
    fn discard(&self, slot: usize) {
        let extent = self.extent(slot);
        if self.is_ready(slot, extent as usize) {
            // Not every system gives memory back.
            // SAFETY: within the slot, which lies within the view; whoever took the slot may write to it.
            unsafe { memory::zero(self.slot_ptr(slot), extent as usize) };
        }
        self.field(slot, Field::Extent).store(0, Ordering::Release);
        self.map.section().release(self.layout.slot_at(slot) as u64, self.layout.slot_size);
    }

    /// Gives back memory that no extent counts, from the slots whose bits are set.
    fn release_beyond_extents(&self, slots: u64) {
        for slot in (0..self.layout.slots).filter(|slot| slots >> slot & 1 != 0) {
            // After a loss of power a whole version may reach beyond its extent.
            let total = self.header(slot).map_or(0, |header| header.total() as u64);
            let extent = self.extent(slot).max(total.next_multiple_of(BLOCK)).min(self.layout.slot_size);
            let start = self.layout.slot_at(slot) as u64;
            self.map.section().release(start + extent, self.layout.slot_size - extent);
        }
    }

    /// Returns a slot with memory for `total` bytes, the one that was `taken` before or a free one, and the
    /// version that it will follow. The slot is marked as being written until [`finish`](Self::finish).
    #[inline]
    pub(super) fn prepare_slot(
        &self,
        total: u64,
        length: u64,
        taken: Option<usize>,
        kept: &mut Kept,
    ) -> Result<(usize, Current)> {
        let current = Current(self.current().load(Ordering::Relaxed));
        match taken {
            Some(slot) if self.is_at_hand(slot, total, current) => {
                self.word(WRITING_AT).store(slot as u64 + 1, Ordering::Release);
                steps::reach(steps::Step::WriterTook);
                Ok((slot, current))
            }
            _ => self.find_slot(current, total, length, taken, kept),
        }
    }

    /// Whether `total` bytes can be written to a taken slot as it is.
    #[inline]
    fn is_at_hand(&self, slot: usize, total: u64, current: Current) -> bool {
        let extent = self.field(slot, Field::Extent).load(Ordering::Relaxed);
        total > 0
            && extent >= total.next_multiple_of(BLOCK)
            && extent <= keep(total)
            && self.is_ready(slot, total as usize)
            && !self.layout.has_checksums()
            && !self.is_secret(slot)
            && !current.version().is_multiple_of(SELDOM)
            && current.version() < MAX_VERSION
    }

    fn find_slot(
        &self,
        current: Current,
        total: u64,
        length: u64,
        taken: Option<usize>,
        kept: &mut Kept,
    ) -> Result<(usize, Current)> {
        let touched = self.touched();
        let mut slot = taken.or_else(|| protocol::take_next(&self.words, current));
        let seldom = current.version().is_multiple_of(SELDOM);
        if slot.is_none_or(|slot| slot >= 3 && (slot >= touched || seldom)) {
            // Pins are in the way: are their owners alive? Asking costs a system call for each. So a lease
            // asks only when it is about to take memory, and now and then.
            self.clear_dead_pins();
            slot = protocol::take_next(&self.words, current);
        }
        if slot.is_none() && current != self.durable() && current.slot() < self.layout.slots {
            // The remaining slot holds the version that reached the disk last. Now this version does.
            self.make_durable(current)?;
            slot = protocol::take_next(&self.words, current);
        }
        // With two slots more than entries this can't happen, unless something other than a reader writes
        // pins.
        let slot = slot.ok_or_else(|| self.corrupt("every slot is pinned"))?;
        if current.version() >= MAX_VERSION {
            // At a million versions a second the numbers last for 9,000 years.
            return Err(self.corrupt("it holds the highest possible version"));
        }
        if self.is_secret(slot) {
            // A shorter value would leave the rest of it.
            self.wipe(slot);
        }
        self.word(WRITING_AT).store(slot as u64 + 1, Ordering::Release);
        steps::reach(steps::Step::WriterTook);
        let grew = self.set_extent(slot, total, keep(total)).map_err(|error| {
            self.finish();
            match error.kind() {
                ErrorKind::NoSpace => {
                    Error::no_space(self.subject(), length, error.advice().unwrap_or_default())
                }
                _ => error,
            }
        })?;
        if grew {
            *kept = Kept::unknown();
        }
        Ok((slot, current))
    }

    /// Cleans up a slot that was taken for a value that is not published: wipes its bytes, if they may be a
    /// secret, and gives back the memory that it got for them.
    pub(super) fn abandon(&self, slot: usize, length: usize) {
        if self.secret {
            self.field(slot, Field::Length).store(length as u64, Ordering::Relaxed);
            self.wipe(slot);
        }
        self.trim(self.newest_total());
    }

    /// What a departing writer does: [`tidy_up`](Self::tidy_up) may have left some excess memory to the next
    /// publication.
    pub(super) fn trim_at_last(&self) {
        if self.touched() > 3 {
            self.clear_dead_pins();
            self.trim(self.newest_total());
        }
    }

    /// Bytes of the newest value with its type's name.
    fn newest_total(&self) -> u64 {
        let current = Current(self.current().load(Ordering::Relaxed));
        let newest = if self.exists(current) { self.header(current.slot()) } else { None };
        newest.map_or(0, |header| header.total() as u64)
    }

    /// The flags of a version that this handle writes.
    #[inline]
    pub(super) fn flags(&self, empty: bool) -> u64 {
        let empty = if empty { FLAG_EMPTY } else { 0 };
        let secret = if self.secret { FLAG_SECRET } else { 0 };
        let sync = if self.durability == Durability::Sync { FLAG_SYNC } else { 0 };
        empty | secret | sync
    }

    /// No slot is being written any longer.
    #[inline]
    pub(super) fn finish(&self) {
        self.word(WRITING_AT).store(0, Ordering::Release);
    }

    /// Gives a taken slot memory for at least `need` and at most `limit` bytes. Returns whether it got more
    /// than it had.
    fn set_extent(&self, slot: usize, need: u64, limit: u64) -> Result<bool> {
        let word = self.field(slot, Field::Extent);
        let extent = self.extent(slot) / BLOCK * BLOCK;
        let start = self.layout.slot_at(slot) as u64;
        let need = need.next_multiple_of(BLOCK);
        let bit = 1 << slot;
        let unsure = need > 0 && self.layout.has_checksums() && self.sure.load(Ordering::Relaxed) & bit == 0;
        if unsure {
            self.map.section().release(start + need, self.layout.slot_size - need);
            word.store(0, Ordering::Release);
        }
        // The word is shared: what it says may be wrong.
        let extent = if unsure || !self.is_ready(slot, need as usize) { 0 } else { extent };
        if extent > limit {
            // This comes before the extent: a process that dies in between leaves memory that cleaning up
            // will find.
            self.word(SHRUNK_AT).fetch_or(bit, Ordering::Relaxed);
            word.store(limit, Ordering::Release);
            self.map.section().release(start + limit, self.layout.slot_size - limit);
        } else if need > extent {
            self.map.section().reserve(start + extent, need - extent, self.map.subject())?;
            if self.secret {
                self.view.keep_secret()?;
            }
            word.store(need, Ordering::Release);
            self.word(TOUCHED_AT).fetch_max(slot as u64 + 1, Ordering::Relaxed);
        }
        if unsure {
            self.sure.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(need > extent)
    }

    /// Whether the bytes of a slot are the ones that its header describes.
    pub(super) fn is_whole(&self, slot: usize, version: u64) -> bool {
        self.version(slot).load(Ordering::Acquire) == version
            && self.header(slot).is_some_and(|header| self.is_still(slot, version, &header))
    }

    /// Flushes bytes to disk and waits.
    fn flush(&self, at: usize, len: usize) -> Result<()> {
        self.view.flush_range(at, len, true)?;
        self.map.section().flush_device(self.map.subject())
    }

    /// Makes the system start writing bytes.
    fn start_flush(&self, at: usize, len: usize) {
        self.map.section().start_flush(at as u64, len as u64);
        steps::flushed(Flushed::Bytes { at, len, wait: false });
    }

    /// Flushes a filled slot of a cell on a file to disk, as far as the durability asks for it. The slot's
    /// version goes with it, so after a power loss the slot speaks for itself, whatever `current` says on the
    /// disk.
    pub(super) fn flush_slot(&self, slot: usize, version: u64, total: usize) -> Result<()> {
        let at = self.layout.slot_at(slot);
        match self.durability {
            Durability::None => Ok(()),
            Durability::Flush => {
                self.start_flush(at, total);
                Ok(())
            }
            Durability::Sync => {
                self.version(slot).store(version, Ordering::Release);
                let flushed = self.flush(at, total).and_then(|()| self.flush_headers());
                if flushed.is_err() {
                    // The version is not published, and its number goes to the next one.
                    self.version(slot).store(0, Ordering::Release);
                }
                flushed
            }
        }
    }

    /// Flushes all headers: that a slot was taken must reach the disk no later than its version number does
    /// in another slot.
    fn flush_headers(&self) -> Result<()> {
        self.flush(SLOT_HEADERS_AT, SLOTS_AT - SLOT_HEADERS_AT)
    }

    /// Flushes what publishing changed in a cell on a file to disk, as far as the durability asks for it. The
    /// slot is already there.
    pub(super) fn flush_current(&self, published: Current) -> Result<()> {
        match self.durability {
            Durability::None => Ok(()),
            Durability::Flush => {
                self.start_flush(0, SLOTS_AT);
                Ok(())
            }
            Durability::Sync => {
                self.word(DURABLE_AT).store(published.0, Ordering::Release);
                self.flush(0, SLOTS_AT)
            }
        }
    }

    /// Flushes the current version to disk, whatever the durability is.
    fn make_durable(&self, current: Current) -> Result<()> {
        if current.version() > 0 {
            if current.slot() >= self.layout.slots {
                return self.missed(Missed::Broken);
            }
            let total = self.header(current.slot()).map_or(0, |header| header.total());
            self.flush(self.layout.slot_at(current.slot()), total)?;
            self.flush_headers()?;
        }
        self.word(DURABLE_AT).store(current.0, Ordering::Release);
        self.flush(0, SLOTS_AT)
    }

    /// After a publication of `total` bytes: gives back memory in excess, if any, and wipes secrets that
    /// nobody reads any more.
    #[inline]
    pub(super) fn tidy_up(&self, total: u64, version: u64, kept: &mut Kept) {
        if total < kept.least || version.is_multiple_of(64) || self.is_marked() {
            *kept = self.trim(total);
        }
    }

    /// Gives back the memory that slots have beyond what the newest value, of `total` bytes, lets them keep.
    /// Wipes secrets that nobody reads any more.
    pub(super) fn trim(&self, total: u64) -> Kept {
        self.wipe_leftovers();
        let current = Current(self.current().load(Ordering::Relaxed));
        let touched = self.touched();
        let pinned = protocol::pinned(&self.words);
        // Asking whether the owners of pins are alive costs a system call for each.
        let mut may_ask = current.version().is_multiple_of(16);
        let mut room = spare(total);
        let mut counted = 0;
        let mut least_for_pinned = 0;
        for slot in 0..touched {
            let extent = self.extent(slot);
            let is_pinned = pinned >> slot & 1 != 0;
            let limit = keep(total).min(room) / BLOCK * BLOCK;
            if current.version() > 0 && slot == current.slot() {
                counted += extent;
            } else if extent <= limit && !is_pinned {
                room -= extent;
                counted += extent;
            } else if extent > limit && !self.is_kept(slot) && self.take_from_dead(slot, &mut may_ask) {
                // This only shrinks memory, which can't fail.
                let _ = self.set_extent(slot, 0, limit);
                room -= limit;
                counted += limit;
            } else if is_pinned && extent <= keep(total) {
                least_for_pinned = least_to_keep(total);
            } else {
                // The slot is in use, or kept until a newer version has reached the disk.
                counted += extent;
            }
        }
        if touched > 3 {
            let last = (0..touched).rev().find(|slot| self.extent(*slot) > 0);
            self.word(TOUCHED_AT).store(last.map_or(0, |last| last as u64 + 1), Ordering::Relaxed);
        }
        if current.version().is_multiple_of(SELDOM) {
            // Readers without a pin may have touched memory that was given back.
            self.release_beyond_extents(self.word(SHRUNK_AT).load(Ordering::Relaxed));
        }
        Kept { least: least(counted).max(least_for_pinned) }
    }

    /// Zeroes the bytes of a taken slot.
    fn wipe(&self, slot: usize) {
        let word = |field| self.field(slot, field).load(Ordering::Relaxed);
        // Beyond the extent there is nothing to wipe: wiping would only take memory.
        let length = word(Field::Length).min(word(Field::Extent)).min(self.layout.value_capacity);
        if self.is_ready(slot, length as usize) {
            // SAFETY: within the slot, which lies within the view; whoever took the slot may write to it.
            unsafe { memory::zero(self.slot_ptr(slot), length as usize) };
        }
        self.field(slot, Field::Length).store(0, Ordering::Relaxed);
        self.field(slot, Field::Flags).store(FLAG_EMPTY, Ordering::Relaxed);
        if self.durability == Durability::Sync {
            // Best effort: the version is gone in any case; this is about its bytes on the disk.
            let _ = self.flush(self.layout.slot_at(slot), length as usize);
            let _ = self.flush_headers();
        }
    }

    /// Takes a slot; if it is pinned, asks once whether the owners of pins are alive.
    fn take_from_dead(&self, slot: usize, may_ask: &mut bool) -> bool {
        protocol::take(&self.words, slot)
            || std::mem::take(may_ask) && {
                self.clear_dead_pins();
                protocol::take(&self.words, slot)
            }
    }

    /// The slots with bytes to wipe once nobody has them pinned.
    fn leftovers(&self) -> impl Iterator<Item = usize> {
        let current = Current(self.current().load(Ordering::Relaxed));
        let slots = if self.is_marked() { self.touched() } else { 0 };
        (0..slots)
            .filter(move |slot| (current.version() == 0 || *slot != current.slot()) && self.is_secret(*slot))
    }

    /// Wipes what must be wiped, except what a living reader has pinned: that reader wipes it when it unpins.
    /// Requires the writers' lock.
    fn wipe_leftovers(&self) {
        if !self.is_marked() {
            return;
        }
        let mut may_ask = true;
        let mut all = true;
        let current = Current(self.current().load(Ordering::Relaxed));
        for slot in self.leftovers() {
            if self.is_kept(slot) && self.make_durable(current).is_err() {
                // If this were wiped now, a power loss would bring back the value before this one.
                all = false;
            } else if self.take_from_dead(slot, &mut may_ask) {
                self.wipe(slot);
            } else {
                all = false;
            }
        }
        if all {
            self.half(MARKED_AT).store(0, Ordering::Relaxed);
        }
    }

    /// What a reader does after it unpinned a version (and a fence followed) while there may be bytes to
    /// wipe: it wipes that version, if the version is marked and nobody has it pinned any more. The writer
    /// could not. It does so under a pin, which keeps the writer from the slot: holding the writer's lock
    /// would keep the writer from publishing.
    #[cold]
    pub(super) fn wipe_what_was_let_go(&self, old: Current) {
        let slot = old.slot();
        for _ in 0..protocol::ATTEMPTS {
            let version = self.version(slot).load(Ordering::Relaxed);
            let is_left = self.current().load(Ordering::Relaxed) != old.0
                // The word is 0 while a writer tries to take the slot for the same purpose.
                && (version == old.version() || version == 0)
                && self.is_secret(slot)
                && !self.is_kept(slot)
                && !protocol::is_pinned(&self.words, slot);
            if !is_left {
                return;
            }
            let Ok(entry) = self.claim_entry() else { return };
            if protocol::take_with_pin(&self.words, entry, slot, old.version()) {
                steps::reach(steps::Step::ReaderWipes);
                self.wipe(slot);
            }
            self.release_entry(entry);
            // Either a reader that unpinned the slot meanwhile found this pin, or this finds that it
            // unpinned.
            fence(Ordering::SeqCst);
        }
    }

    // ---- after a crash of the machine

    /// Whether there is no version, or the current one is whole. Needs no lock.
    pub(super) fn is_current_whole(&self) -> Result<bool> {
        let before = self.current().load(Ordering::Acquire);
        match protocol::copy(&self.words, |current| self.is_whole(current.slot(), current.version())) {
            Ok((_, whole)) => Ok(whole),
            // Either somebody publishes one version after another, or the current slot belongs to another
            // version.
            Err(Missed::Overtaken) => Ok(self.current().load(Ordering::Acquire) != before),
            Err(missed) => self.missed(missed).map(|()| true),
        }
    }

    /// Makes a cell in a map whose head is unfinished, because the map is new or a crash left it so. Does
    /// nothing if somebody else has made one since. Requires the writers' lock.
    pub(super) fn make(&mut self) -> Result<()> {
        let head = self.read_head();
        if !self.layout.is_unfinished(&head) {
            self.words.layout = Layout::read(&head, self.map.capacity(), self.map.subject())?;
            return Ok(());
        }
        let mut chunk = [0; 4096];
        let mut rest = (HEAD..SLOTS_AT).step_by(chunk.len());
        let is_new = rest.all(|at| {
            let chunk = &mut chunk[..(SLOTS_AT - at).min(4096)];
            // SAFETY: the range lies before the slots; all accesses are atomic.
            unsafe { memory::load(self.at(at), chunk) };
            chunk.iter().all(|byte| *byte == 0)
        });
        // The head may be all that a crash kept from the disk; a checksum that holds says that this is a
        // cell.
        let is_cell = || {
            self.layout.has_checksums()
                && (0..self.layout.slots).any(|slot| self.whole_version(slot).is_some())
        };
        if !is_new && !is_cell() {
            return Err(Error::wrong_kind(
                self.subject(),
                "its head is empty or cut short, and what follows is not zero: it is something other than a cell, or \
                 one that a crash of the machine cut short while it was made; move it away or remove it",
            ));
        }
        self.map.section().reserve(0, SLOTS_AT as u64, self.map.subject())?;
        self.write_head();
        Ok(())
    }

    fn read_head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        // SAFETY: the range lies before the slots, and the map is larger than that; all accesses are atomic.
        unsafe { memory::load(self.at(0), &mut head) };
        head
    }

    fn write_head(&self) {
        let head = self.layout.head();
        let (magic, rest) = head.split_at(MAGIC.len());
        assert!(self.can_write);
        // The magic comes last: without it there is no cell.
        // SAFETY: the range lies before the slots of a view that can be written; all accesses are atomic.
        unsafe { memory::store(self.at(MAGIC.len()), rest) };
        std::sync::atomic::fence(Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { memory::store(self.at(0), magic) };
    }

    /// Flushes a new cell, its file's length and its directory entry to disk.
    pub(super) fn flush_file(&self) -> Result<()> {
        self.flush(0, SLOTS_AT)?;
        self.map.section().flush_entry(self.map.subject())?;
        steps::flushed(Flushed::Entry);
        Ok(())
    }

    /// The version in a slot, if it is one and whole.
    fn whole_version(&self, slot: usize) -> Option<u64> {
        let version = self.version(slot).load(Ordering::Relaxed);
        ((1..=MAX_VERSION).contains(&version) && self.is_whole(slot, version)).then_some(version)
    }

    /// Makes the newest version whose checksum holds the current one. Returns the newest version that was
    /// lost, if any. Requires the writers' lock, and must run before anything is taken.
    pub(super) fn recover_newest_whole(&self) -> Result<Option<u64>> {
        self.clear_dead_pins();
        for slot in (0..self.layout.slots).filter(|slot| self.version(*slot).load(Ordering::Relaxed) != 0) {
            // What the disk says about memory may be older than the bytes.
            let total = self.header(slot).map_or(0, |header| header.total() as u64);
            if total > 0 {
                self.field(slot, Field::Extent).fetch_max(total.next_multiple_of(BLOCK), Ordering::Relaxed);
                self.word(TOUCHED_AT).fetch_max(slot as u64 + 1, Ordering::Relaxed);
            }
        }
        let current = Current(self.current().load(Ordering::Relaxed));
        let exists = self.exists(current);
        let named = exists && self.is_whole(current.slot(), current.version());
        let version = |slot: usize| self.version(slot).load(Ordering::Relaxed);
        let is_newer =
            |slot: &usize| (1..=MAX_VERSION).contains(&version(*slot)) && version(*slot) > current.version();
        let mut newer = (0..self.layout.slots).filter(is_newer).peekable();
        if (named || current.0 == 0) && newer.peek().is_none() {
            // The crash may have come before `durable` was stored.
            let is_sync = || {
                exists && self.field(current.slot(), Field::Flags).load(Ordering::Relaxed) & FLAG_SYNC != 0
            };
            if self.durable() != current && (self.durability == Durability::Sync || is_sync()) {
                self.make_durable(current)?;
            }
            return Ok(None);
        }
        // The version that `current` names wins over another one with the same number.
        let whole = |slot: usize| {
            self.whole_version(slot).map(|found| (found, named && slot == current.slot(), slot))
        };
        let newest = (0..self.layout.slots).filter_map(whole).max();
        let chosen = newest.map_or(Current(0), |(version, _, slot)| Current::new(version, slot));
        let seen = (0..self.layout.slots).map(version).filter(|version| *version <= MAX_VERSION).max();
        let lost = seen.max(Some(current.version())).filter(|seen| *seen > chosen.version());
        for slot in (0..self.layout.slots).filter(|slot| chosen.version() == 0 || *slot != chosen.slot()) {
            // Remains of other versions must not reappear under a number that is assigned again.
            if version(slot) >= chosen.version().max(1) && protocol::take(&self.words, slot) {
                self.discard(slot);
            }
        }
        if chosen.version() > 0 {
            protocol::publish(&self.words, chosen.slot(), chosen.version());
        } else {
            self.current().store(0, Ordering::Release);
        }
        self.make_durable(chosen)?;
        Ok(lost)
    }

    /// Cleans up after a writer that died. Requires the writers' lock.
    pub(super) fn tidy(&self) {
        self.recover();
        // After a loss of power this word may be older than the headers.
        self.half(MARKED_AT).store(1, Ordering::Relaxed);
    }

    /// Bytes that have memory: everything before the slots, except one unused page, and the slots' extents.
    pub(super) fn reserved(&self) -> u64 {
        (0..self.layout.slots).map(|slot| self.extent(slot)).fold(HEADERS_END as u64, u64::saturating_add)
    }

    /// Bytes of a slot that have memory.
    fn extent(&self, slot: usize) -> u64 {
        self.field(slot, Field::Extent).load(Ordering::Relaxed).min(self.layout.slot_size)
    }
}

/// What a writer knows about the memory of slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// The least size of the newest value at which slots have no more memory than they may. Pinned slots that
    /// have no more than a slot may keep don't count: otherwise a reader that moves from one version to the
    /// next would cause memory to be given back, and taken again soon, each time.
    least: u64,
}

impl Kept {
    /// For a writer that does not know.
    pub(super) fn unknown() -> Self {
        Self { least: u64::MAX }
    }
}

/// What a cell has besides its slots: a page of the map's own, and everything before the slots.
const BESIDE_SLOTS: u64 = BLOCK + SLOTS_AT as u64;

/// How much memory the slots other than the current one may have together, when the newest value has `total`
/// bytes and the current slot has the most that it may [`keep`]: the rest of three times the value plus 64
/// KiB. This lets two slots keep what a slot may: one to write next, and one that readers without a pin may
/// still copy from. Pinned slots don't count.
fn spare(total: u64) -> u64 {
    3 * total + (64 << 10) - BESIDE_SLOTS - keep(total)
}

/// The smallest newest value with which slots may have `extents` bytes: three times that value plus 64 KiB
/// covers them.
fn least(extents: u64) -> u64 {
    extents.saturating_add(BESIDE_SLOTS).saturating_sub(64 << 10).div_ceil(3)
}

/// How much memory a slot may keep when the newest value has `total` bytes: that size rounded up, and two
/// pages more, so that values of about the same size don't give and take memory all the time. Three slots and
/// what comes before them stay under three times the value plus 64 KiB.
fn keep(total: u64) -> u64 {
    total.next_multiple_of(BLOCK) + 2 * BLOCK
}

/// The smallest newest value with which a slot may [`keep`] as much as with one of `total` bytes.
fn least_to_keep(total: u64) -> u64 {
    total.next_multiple_of(BLOCK).saturating_sub(BLOCK - 1)
}

impl Drop for Shared {
    fn drop(&mut self) {
        let idle = self.idle();
        if idle.present {
            self.map.section().unlock(PRESENCE_LOCK);
            // Whoever waits for the last writer to go learns it at once.
            self.wake();
        }
    }
}
