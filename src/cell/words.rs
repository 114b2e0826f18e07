//! The words and bytes of a cell in memory.
//!
//! The one place of the layer that touches shared memory. Sizes come from the layout, which was checked against
//! the map when the cell was opened; a number read from shared memory is checked before it is used.

use xxhash_rust::xxh3::Xxh3;
use zeroize::Zeroizing;

use super::Meta;
use super::layout::{
    CLAIMED_AT, CURRENT_AT, DURABLE_AT, Field, HEADERS_END, Layout, MARKED_AT, SLEEP_WORD_AT, SLEEPERS_AT,
    TOUCHED_AT, TYPE_NAME_MAX,
};
use super::protocol::{self, Current, Memory};
use super::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::map::bytes;
use crate::sys;

/// How much a reader without a pin copies before it looks again whether it still may; up to this length a value is
/// copied sooner than pinned.
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

    /// Whether it is a value and never expires.
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

// SAFETY: what is at the address is only ever accessed atomically.
unsafe impl Send for Words {}
// SAFETY: as for Send.
unsafe impl Sync for Words {}

impl Memory for Words {
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

    /// The version that reached the disk last stays until a newer one did.
    fn is_kept(&self, slot: usize) -> bool {
        if !self.layout.has_checksums() {
            return false;
        }
        let durable = self.durable();
        durable.version() > 0
            && durable.slot() == slot
            && self.version(slot).load(Ordering::Relaxed) == durable.version()
    }
}

impl Words {
    /// # Safety
    ///
    /// `first` must be where a map of this layout, which was checked against it, is mapped, page-aligned, for as
    /// long as a copy of the result is used; for writing too, where `can_write` says so.
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
        // SAFETY: all words lie before the headers' end, and a map of a checked layout is larger than that; it is
        // mapped page-aligned as long as `self` is used, by the word of who made it, and the offsets are multiples
        // of 8. Such words are only ever accessed atomically.
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

    /// The low half of `current`, on which sleepers sleep.
    pub(super) fn sleep_word(&self) -> &AtomicU32 {
        self.half(SLEEP_WORD_AT)
    }

    /// Whether it is a version, in a slot that is there: the word may have come from shared memory.
    pub(super) fn exists(&self, version: Current) -> bool {
        version.version() > 0 && version.slot() < self.layout.slots
    }

    /// The header of a slot whose version stands (pinned, or to be checked after), if it is possible.
    /// Whether there is memory behind it is another question.
    #[inline]
    pub(super) fn header(&self, slot: usize) -> Option<Header> {
        let load = |field| self.field(slot, field).load(Ordering::Relaxed);
        let codec = load(Field::Codec);
        let length = load(Field::Length);
        let type_name_length = codec >> 32;
        if length > self.layout.value_capacity || type_name_length > TYPE_NAME_MAX as u64 {
            return None;
        }
        // Bytes without memory were never written: nobody is to make room for them, or read their zeroes. On a
        // file the checksum tells: after a loss of power the extent may be older than the bytes.
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
        unsafe { bytes::load(self.slot_ptr(slot).wrapping_add(from), to) }
    }

    pub(super) fn copy_in(&self, slot: usize, at: usize, from: &[u8]) {
        self.check_copy_in(slot, at, from);
        // SAFETY: the range lies within the slot, which lies within the map, which can be written; all
        // accesses are atomic.
        unsafe { bytes::store(self.slot_ptr(slot).wrapping_add(at), from) }
    }

    /// [`copy_in`](Self::copy_in) of a part of a long value; others see it after `bytes::end_past_caches`.
    pub(super) fn copy_in_past_caches(&self, slot: usize, at: usize, from: &[u8]) {
        self.check_copy_in(slot, at, from);
        // SAFETY: as in `copy_in`.
        unsafe { bytes::store_past_caches(self.slot_ptr(slot).wrapping_add(at), from) }
    }

    #[inline]
    fn check_copy_in(&self, slot: usize, at: usize, from: &[u8]) {
        assert!(
            self.can_write && slot < self.layout.slots && at + from.len() <= self.layout.slot_size as usize
        );
    }

    /// Copies the first bytes of a version. Without a pin it stops soon after the slot was taken: to touch memory
    /// that was given back takes it again. The caller finds that too, and starts again.
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

    /// A slot to take together with the publication that has `slot` follow on `replaced`. On a file none: there
    /// an old version stays whole until the next one is written.
    #[inline]
    pub(super) fn find_next(&self, slot: usize, replaced: Current) -> Option<usize> {
        if self.layout.has_checksums() {
            return None;
        }
        // A slot that is to be wiped may be pinned in between, and is then left to that reader as it is.
        protocol::find_next(self, slot, replaced, self.touched()).filter(|next| !self.is_secret(*next))
    }

    #[inline]
    pub(super) fn touched(&self) -> usize {
        (self.word(TOUCHED_AT).load(Ordering::Relaxed) as usize).min(self.layout.slots)
    }

    /// The version that reached the disk last, as far as is known.
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

    /// Whether there may be bytes to be wiped. A word of its own, beside `current`: so others need not look at
    /// each slot's header.
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.half(MARKED_AT).load(Ordering::Relaxed) != 0
    }

    /// Marks a version that is about to be replaced as one to be wiped, if it is secret or `wiped`. Its readers
    /// either see the mark when they let go of their pins, or have let go for the writer to see: the fence of
    /// the publication comes in between.
    pub(super) fn mark_replaced(&self, replaced: Current, wiped: bool) {
        if self.exists(replaced) && (wiped || self.is_secret(replaced.slot())) {
            self.mark_secret(replaced.slot());
        }
    }

    /// Writes the header of a slot whose value is in place, and its type's name.
    #[inline]
    pub(super) fn write_header(&self, slot: usize, version: u64, length: usize, meta: &Meta<'_>, flags: u64) {
        let name = meta.type_name.unwrap_or_default();
        if !name.is_empty() {
            self.copy_in(slot, length, name.as_bytes());
        }
        let store = |field, value| self.field(slot, field).store(value, Ordering::Relaxed);
        store(Field::Length, length as u64);
        store(Field::Codec, u64::from(meta.codec) | (name.len() as u64) << 32);
        store(Field::Written, sys::coarse_time());
        store(Field::Expires, meta.expires);
        store(Field::Flags, flags);
        if self.layout.has_checksums() {
            let checksum = self.header(slot).map_or(0, |header| self.checksum(slot, version, &header));
            store(Field::Checksum, checksum);
        }
    }

    /// The checksum over a slot's value and type name, and what its header says of them.
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
            // The wish to wipe may come later.
            header.flags & !FLAG_SECRET,
        ] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.digest()
    }

    /// Whether the bytes of a slot that is pinned are those of a header that was read while it was.
    pub(super) fn is_still(&self, slot: usize, version: u64, header: &Header) -> bool {
        !self.layout.has_checksums() || header.checksum == self.checksum(slot, version, header)
    }
}
