//! The words and bytes of a cell in memory.
//!
//! The only place in this layer that touches shared memory. Sizes come from the layout, which was checked
//! against the map when the cell was opened; a number read from shared memory is checked before it is used.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use xxhash_rust::xxh3::Xxh3;
use zeroize::Zeroizing;

use super::layout::{
    CLAIMED_AT, CURRENT_AT, DURABLE_AT, Field, HEADERS_END, Layout, MARKED_AT, SLEEPERS_AT, TOUCHED_AT,
    TYPE_NAME_MAX,
};
use super::primitives::{Current, Memory, plain};
use super::protocol;
use super::terms::Meta;
use crate::memory;
use crate::steps::{self, Step};
use crate::sys;

/// How much a reader without a pin copies before it checks again that it still may; up to this length,
/// copying a value is faster than pinning it.
pub(super) const UNPINNED_CHUNK: usize = 16 << 10;

pub(super) const FLAG_EMPTY: u64 = 1;
pub(super) const FLAG_SECRET: u64 = 2;
/// Stored with `Durability::Sync`.
pub(super) const FLAG_SYNC: u64 = 4;

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

    /// Whether there is a value and it never expires.
    #[inline]
    pub(super) fn is_readable_always(&self) -> bool {
        (self.flags & FLAG_EMPTY) | self.expires == 0
    }

    #[inline]
    pub(super) fn total(&self) -> usize {
        self.length + self.type_name_length
    }
}

/// Where a cell lies in this process's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    first: *mut u8,
    pub(super) layout: Layout,
    /// Whether the memory can be written, so that readers can pin.
    pub(super) can_write: bool,
}

// SAFETY: all accesses to what is at the address are atomic.
unsafe impl Send for Words {}
// SAFETY: as for Send.
unsafe impl Sync for Words {}

/// The cell's memory. It names some of the protocol's steps, for tests.
impl Memory for Words {
    type Word = AtomicU64;
    type Half = AtomicU32;

    #[inline]
    fn fence(ordering: Ordering) {
        fence(ordering);
    }

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
        sys::wake_all(self.current());
    }

    /// The version that reached the disk last stays until a newer one does.
    fn is_kept(&self, slot: usize) -> bool {
        if !self.layout.has_checksums() {
            return false;
        }
        let durable = self.durable();
        durable.version() > 0
            && durable.slot() == slot
            && self.version(slot).load(Ordering::Relaxed) == durable.version()
    }

    #[inline]
    fn store_pin(&self, entry: usize, slot: usize) {
        steps::reach(Step::ReaderBeforePin);
        plain::store_pin(self, entry, slot);
        steps::reach(Step::ReaderAfterPin);
    }

    #[inline]
    fn stands_after_pin(&self, current: Current) -> bool {
        let stands = plain::stands(self.version(current.slot()), current);
        if stands {
            steps::reach(Step::ReaderPinned);
        }
        stands
    }

    #[inline]
    fn stands_before_copy(&self, word: &AtomicU64, current: Current) -> bool {
        let stands = plain::stands(word, current);
        if stands {
            steps::reach(Step::ReaderCopies);
        }
        stands
    }

    #[inline]
    fn take_version(&self, slot: usize) -> u64 {
        steps::reach(Step::WriterBeforeTake);
        plain::take_version(self, slot)
    }

    #[inline]
    fn store_version(&self, slot: usize, version: u64) {
        steps::reach(Step::WriterFilled);
        plain::store_version(self, slot, version);
    }

    #[inline]
    fn take_mark(&self) -> bool {
        steps::reach(Step::WriterBeforePublish);
        plain::take_mark(self)
    }

    #[inline]
    fn store_current(&self, current: Current) {
        plain::store_current(self, current);
        steps::reach(Step::WriterPublished);
    }

    #[inline]
    fn wake_sleepers(&self, took_mark: bool) {
        plain::wake_sleepers(self, took_mark);
        steps::reach(Step::WriterWoke);
    }
}

impl Words {
    /// # Safety
    ///
    /// `first` must be the page-aligned address at which a map of this layout, which was checked against it,
    /// stays mapped as long as a copy of the result is used. It must be mapped for writing too, if
    /// `can_write` says so.
    pub(super) unsafe fn new(first: *mut u8, layout: Layout, can_write: bool) -> Self {
        Self { first, layout, can_write }
    }

    #[inline]
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        self.first.wrapping_add(offset)
    }

    /// A word before the slots' headers end.
    #[inline]
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= HEADERS_END && offset.is_multiple_of(8));
        // SAFETY: all words lie before the headers' end, and a map of a checked layout is larger than that.
        // It is mapped page-aligned as long as `self` is used, guaranteed by the caller of `new`, and the
        // offsets are multiples of 8. All accesses to such words are atomic.
        unsafe { &*self.at(offset).cast::<AtomicU64>() }
    }

    #[inline]
    pub(super) fn half(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset + 4 <= HEADERS_END && offset.is_multiple_of(4));
        // SAFETY: as for `word`, with multiples of 4.
        unsafe { &*self.at(offset).cast::<AtomicU32>() }
    }

    #[inline]
    pub(super) fn field(&self, slot: usize, field: Field) -> &AtomicU64 {
        self.word(Layout::field_at(slot, field))
    }

    /// Whether it names a version, in a slot that exists: the word may have come from shared memory.
    pub(super) fn exists(&self, version: Current) -> bool {
        version.version() > 0 && version.slot() < self.layout.slots
    }

    /// The header of a slot whose version is pinned, or checked afterwards; `None` if the header is
    /// impossible. Whether there is memory behind it is another question.
    #[inline]
    pub(super) fn header(&self, slot: usize) -> Option<Header> {
        let load = |field| self.field(slot, field).load(Ordering::Relaxed);
        let codec = load(Field::Codec);
        let length = load(Field::Length);
        let type_name_length = codec >> 32;
        if length > self.layout.value_capacity || type_name_length > TYPE_NAME_MAX as u64 {
            return None;
        }
        // Bytes without memory were never written: making room for them, or reading their zeroes, is useless.
        // On a file the checksum tells: after a power loss the extent may be older than the bytes.
        if !self.layout.has_checksums() && length + type_name_length > load(Field::Extent) {
            return None;
        }
        Some(Header {
            length: length as usize,
            codec: codec as u32,
            type_name_length: type_name_length as usize,
            checksum: load(Field::Checksum),
            written: load(Field::Written),
            expires: load(Field::Expires),
            flags: load(Field::Flags),
        })
    }

    /// The first byte of a slot.
    #[inline]
    pub(super) fn slot_ptr(&self, slot: usize) -> *mut u8 {
        self.at(self.layout.slot_at(slot))
    }

    /// Copies the first bytes of a slot out; `to` is no longer than a slot.
    #[inline]
    pub(super) fn copy_out(&self, slot: usize, from: usize, to: &mut [u8]) {
        assert!(slot < self.layout.slots && from + to.len() <= self.layout.slot_size as usize);
        // SAFETY: the range lies within the slot, which lies within the map; all accesses are atomic.
        unsafe { memory::load(self.slot_ptr(slot).wrapping_add(from), to) }
    }

    pub(super) fn copy_in(&self, slot: usize, at: usize, from: &[u8]) {
        self.check_copy_in(slot, at, from);
        // SAFETY: the range lies within the slot, which lies within the map, which is writable; all accesses
        // are atomic.
        unsafe { memory::store(self.slot_ptr(slot).wrapping_add(at), from) }
    }

    /// [`copy_in`](Self::copy_in) of a part of a long value; others see it after `memory::end_past_caches`.
    pub(super) fn copy_in_past_caches(&self, slot: usize, at: usize, from: &[u8]) {
        self.check_copy_in(slot, at, from);
        // SAFETY: as in `copy_in`.
        unsafe { memory::store_past_caches(self.slot_ptr(slot).wrapping_add(at), from) }
    }

    #[inline]
    fn check_copy_in(&self, slot: usize, at: usize, from: &[u8]) {
        assert!(
            self.can_write && slot < self.layout.slots && at + from.len() <= self.layout.slot_size as usize
        );
    }

    /// Copies the first bytes of a version. Without a pin it stops soon after the slot is taken: touching
    /// memory that was given back takes it again. The caller notices that too, and starts again.
    #[inline]
    pub(super) fn copy_first(&self, current: Current, is_pinned: bool, to: &mut [u8]) {
        let slot = current.slot();
        if is_pinned || to.len() <= UNPINNED_CHUNK {
            return self.copy_out(slot, 0, to);
        }
        for (index, chunk) in to.chunks_mut(UNPINNED_CHUNK).enumerate() {
            self.copy_out(slot, index * UNPINNED_CHUNK, chunk);
            fence(Ordering::Acquire);
            if self.version(slot).load(Ordering::Relaxed) != current.version() {
                break;
            }
        }
    }

    /// The bytes of the type's name, copied.
    pub(super) fn copy_name(&self, slot: usize, header: &Header) -> Vec<u8> {
        let mut name = vec![0; header.type_name_length];
        self.copy_out(slot, header.length, &mut name);
        name
    }

    /// A slot to take together with the publication that makes `slot` follow `replaced`. `None` on a file:
    /// there an old version stays whole until the next one is written.
    #[inline]
    pub(super) fn find_next(&self, slot: usize, replaced: Current) -> Option<usize> {
        if self.layout.has_checksums() {
            return None;
        }
        // A slot that must be wiped may get pinned in between. Then it is left to that reader as it is.
        protocol::find_next(self, slot, replaced, self.touched()).filter(|next| !self.is_secret(*next))
    }

    #[inline]
    pub(super) fn touched(&self) -> usize {
        (self.word(TOUCHED_AT).load(Ordering::Relaxed) as usize).min(self.layout.slots)
    }

    /// The version that reached the disk last, as far as known.
    pub(super) fn durable(&self) -> Current {
        Current(self.word(DURABLE_AT).load(Ordering::Relaxed))
    }

    pub(super) fn is_secret(&self, slot: usize) -> bool {
        self.field(slot, Field::Flags).load(Ordering::Relaxed) & FLAG_SECRET != 0
    }

    pub(super) fn mark_secret(&self, slot: usize) {
        let flags = self.field(slot, Field::Flags);
        flags.store(flags.load(Ordering::Relaxed) | FLAG_SECRET, Ordering::Relaxed);
        self.half(MARKED_AT).store(1, Ordering::Relaxed);
    }

    /// Whether there may be bytes to wipe. This is a separate word, beside `current`, so that nobody has to
    /// look at each slot's header.
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.half(MARKED_AT).load(Ordering::Relaxed) != 0
    }

    /// Marks a version that is about to be replaced for wiping, if it is secret or `wiped`. Its readers
    /// either see the mark when they unpin, or have unpinned so that the writer sees it: the fence of the
    /// publication comes in between.
    pub(super) fn mark_replaced(&self, replaced: Current, wiped: bool) {
        if self.exists(replaced) && (wiped || self.is_secret(replaced.slot())) {
            self.mark_secret(replaced.slot());
        }
    }

    /// Writes the header of a slot whose value is in place, and its type's name. Returns the time that it
    /// wrote.
    #[expect(clippy::inline_always, reason = "one caller, and the compiler takes it for too long")]
    #[inline(always)]
    pub(super) fn write_header(
        &self,
        slot: usize,
        version: u64,
        length: usize,
        meta: &Meta<'_>,
        flags: u64,
    ) -> u64 {
        let name = meta.type_name.unwrap_or_default();
        if !name.is_empty() {
            self.copy_in(slot, length, name.as_bytes());
        }
        let store = |field, value| self.field(slot, field).store(value, Ordering::Relaxed);
        store(Field::Length, length as u64);
        store(Field::Codec, u64::from(meta.codec) | (name.len() as u64) << 32);
        let now = sys::coarse_time();
        store(Field::Written, now);
        store(Field::Expires, meta.expires);
        store(Field::Flags, flags);
        if self.layout.has_checksums() {
            let checksum = self.header(slot).map_or(0, |header| self.checksum(slot, version, &header));
            store(Field::Checksum, checksum);
        }
        now
    }

    /// The checksum over a slot's value and type name, and over what its header says about them.
    pub(super) fn checksum(&self, slot: usize, version: u64, header: &Header) -> u64 {
        let mut hasher = Xxh3::with_seed(version);
        let mut chunk = Zeroizing::new([0; 4096]);
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
            // The mark for wiping may come later.
            header.flags & !FLAG_SECRET,
        ] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.digest()
    }

    /// Whether the bytes of a pinned slot belong to a header that was read under the same pin.
    pub(super) fn is_still(&self, slot: usize, version: u64, header: &Header) -> bool {
        !self.layout.has_checksums() || header.checksum == self.checksum(slot, version, header)
    }
}
