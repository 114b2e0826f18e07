//! Where everything lies in a cell: the byte map.
//!
//! Numbers are in the byte order of the machine that made the cell; the mark tells which. Offsets are from
//! the start of the map.
//!
//! ```text
//!      0   64  head, written once
//!              0  8  magic "HANDCELL"
//!              8  4  version of this layout: 1
//!             12  4  byte order mark 0x0A0B0C0D
//!             16  8  value capacity: the most bytes that a value may have
//!             24  8  slot size: a multiple of 4,096
//!             32  4  slots, 3 to 64
//!             36  4  entries: slots - 2
//!             40  8  flags: bit 0, every version has a checksum (cells on files)
//!             48 16  zero
//!     64   64  what publishing changes
//!             64  8  current: bits 0-5 the slot, bits 6-63 the version; 0: nothing stored yet
//!             72  4  sleepers: not 0 when somebody may sleep on the low half of `current`
//!             76  4  marked: not 0 when a slot that is not current may hold bytes to wipe
//!    128   64  what writers keep, under the writers' lock
//!            128  8  writing: the slot that is being written, plus 1; 0: none
//!            136  8  touched: one more than the highest slot that has memory
//!            144  8  durable: the word of `current` whose version reached the disk last; 0: none
//!            152  8  shrunk: a bit for each slot that ever gave memory back
//!    192   64  what readers change when they come
//!            192  4  claimed: one more than the highest entry that was ever claimed
//!  4,096       entries, 64 bytes each
//!              0  8  pin: the slot that must not be written, plus 1; 0: none
//!  8,192       slot headers, 64 bytes each
//!              0  8  version that the slot's bytes belong to; 0: none
//!              8  8  length of the value
//!             16  4  codec
//!             20  4  length of the type's name, which follows the value; at most 256
//!             24  8  checksum: XXH3-64, seeded with the version, of value, name, and as little-endian 64-bit
//!                     words length, codec and name length as here, time, expiry, flags without bit 1; only
//!                     with bit 0 of the cell's flags
//!             32  8  time of writing, nanoseconds since 1970-01-01 UTC
//!             40  8  expiry, in the same unit; 0: never
//!             48  8  extent: bytes of the slot that have memory, from its start; after a power loss only
//!                     a guess
//!             56  8  flags: bit 0 empty (cleared or taken), bit 1 secret, bit 2 stored with `Sync`
//! 16,384       slots
//! ```
//!
//! Byte-range locks (see `sys`): 16 is the writers' lock, every handle that wrote holds 17 shared, and 64 + i
//! belongs to the owner of entry i.

use super::primitives::MAX_SLOTS;
use crate::error::{Error, Result};
use crate::sys::LockId;
use crate::terms::Subject;

pub(crate) const MAGIC: &[u8; 8] = b"HANDCELL";
const LAYOUT_VERSION: u32 = 1;
const BYTE_ORDER: u32 = 0x0A0B_0C0D;
/// The bytes at the start that tell a cell from a value in the plain layout: magic, version, byte order.
pub(crate) const MARK: usize = 16;
/// Bytes of the head, which never changes.
pub(super) const HEAD: usize = 64;

pub(super) const CURRENT_AT: usize = 64;
pub(super) const SLEEPERS_AT: usize = 72;
pub(super) const MARKED_AT: usize = 76;
pub(super) const WRITING_AT: usize = 128;
pub(super) const TOUCHED_AT: usize = 136;
pub(super) const DURABLE_AT: usize = 144;
pub(super) const SHRUNK_AT: usize = 152;
pub(super) const CLAIMED_AT: usize = 192;
const ENTRIES_AT: usize = 4096;
pub(super) const SLOT_HEADERS_AT: usize = 8192;
const LINE: usize = 64;
/// Where the slots' headers end. Everything before has memory from the beginning; the page after it is
/// unused.
pub(super) const HEADERS_END: usize = SLOT_HEADERS_AT + MAX_SLOTS * LINE;
/// Where the slots start.
pub(super) const SLOTS_AT: usize = 16_384;
/// Slots start and end at multiples of this.
pub(super) const BLOCK: u64 = 4096;

/// The longest name of a type, in bytes.
pub(super) const TYPE_NAME_MAX: usize = 256;

/// The largest slot: a cell is mapped as a whole, and no system here has a larger address space for one
/// process than 2^47 bytes (on 32-bit systems 2^31), which also hold the program.
const VALUE_LIMIT: u64 = (if usize::BITS < 64 { 1 << 31 } else { 1 << 47 }) / 128;

pub(super) const FLAG_CHECKSUMS: u64 = 1;

/// The lock of writers.
pub(super) const WRITER_LOCK: LockId = LockId(16);
/// Every handle that ever wrote holds this shared. So if anybody holds it, a writer is alive.
pub(super) const PRESENCE_LOCK: LockId = LockId(17);

/// The lock whose holder owns an entry.
pub(super) fn entry_lock(entry: usize) -> LockId {
    LockId(64 + entry as u64)
}

/// The words of a slot's header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Version = 0,
    Length = 8,
    /// Codec in the low half, length of the type's name in the high half.
    Codec = 16,
    Checksum = 24,
    Written = 32,
    Expires = 40,
    Extent = 48,
    Flags = 56,
}

/// The sizes of a cell. Read once, checked against the map, and kept, because shared memory may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) value_capacity: u64,
    pub(super) slot_size: u64,
    pub(super) slots: usize,
    pub(super) flags: u64,
}

impl Layout {
    /// The layout for values of up to `value_capacity` bytes.
    pub(super) fn for_values(value_capacity: u64, flags: u64) -> Result<Self> {
        let slot_size = value_capacity
            .checked_add(TYPE_NAME_MAX as u64)
            .and_then(|size| size.checked_next_multiple_of(BLOCK))
            .filter(|size| *size <= VALUE_LIMIT);
        match slot_size {
            Some(slot_size) if value_capacity > 0 => {
                Ok(Self { value_capacity, slot_size, slots: MAX_SLOTS, flags })
            }
            _ => Err(Error::out_of_range(
                "capacity",
                format!(
                    "{value_capacity} bytes for a value; it must be 1 to {}",
                    VALUE_LIMIT - TYPE_NAME_MAX as u64
                ),
            )),
        }
    }

    /// The layout that makes the most of a map of `size` bytes: as many slots of 4,096 bytes as fit, at most
    /// 64.
    pub(super) fn for_map(size: u64, flags: u64) -> Result<Self> {
        let room = size.saturating_sub(SLOTS_AT as u64);
        let slots = (room / BLOCK).min(MAX_SLOTS as u64);
        if slots < 3 {
            return Err(Error::out_of_range(
                "capacity",
                format!(
                    "a map of {size} bytes is too small for a cell; it must have at least {}",
                    SLOTS_AT as u64 + 3 * BLOCK
                ),
            ));
        }
        let slot_size = room / slots / BLOCK * BLOCK;
        let value_capacity = slot_size - TYPE_NAME_MAX as u64;
        Ok(Self { value_capacity, slot_size, slots: slots as usize, flags })
    }

    /// Bytes of the map.
    pub(super) fn map_size(&self) -> u64 {
        SLOTS_AT as u64 + self.slot_size * self.slots as u64
    }

    #[inline]
    pub(super) fn entries(&self) -> usize {
        self.slots - 2
    }

    #[inline]
    pub(super) fn pin_at(entry: usize) -> usize {
        ENTRIES_AT + entry * LINE
    }

    #[inline]
    pub(super) fn field_at(slot: usize, field: Field) -> usize {
        SLOT_HEADERS_AT + slot * LINE + field as usize
    }

    #[inline]
    pub(super) fn slot_at(&self, slot: usize) -> usize {
        SLOTS_AT + slot * self.slot_size as usize
    }

    #[inline]
    pub(super) fn has_checksums(&self) -> bool {
        self.flags & FLAG_CHECKSUMS != 0
    }

    /// Whether `head` can be this layout's head, partly written: each word is in place or still zero. Also
    /// true where it is all zero.
    pub(super) fn is_unfinished(&self, head: &[u8; HEAD]) -> bool {
        let whole = self.head();
        let (words, _) = head.as_chunks::<8>();
        let (expected, _) = whole.as_chunks::<8>();
        *head != whole && words.iter().zip(expected).all(|(word, whole)| *word == [0; 8] || word == whole)
    }

    /// The error of opening a map whose head is unfinished.
    pub(super) fn unfinished(subject: &Subject) -> Error {
        Error::wrong_kind(
            subject.clone(),
            "expected a cell; its head is empty or cut short: nobody has made one yet, or a crash came in \
             between (create_or_open makes one)",
        )
    }

    /// The head's bytes.
    pub(super) fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            head[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(MAGIC);
        put(&LAYOUT_VERSION.to_ne_bytes());
        put(&BYTE_ORDER.to_ne_bytes());
        put(&self.value_capacity.to_ne_bytes());
        put(&self.slot_size.to_ne_bytes());
        put(&(self.slots as u32).to_ne_bytes());
        put(&(self.entries() as u32).to_ne_bytes());
        put(&self.flags.to_ne_bytes());
        head
    }

    /// Reads a head, from a map of `size` bytes; the error says what was found.
    pub(super) fn read(head: &[u8; HEAD], size: u64, subject: &Subject) -> Result<Self> {
        let u32_at = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_ne_bytes(bytes)
        };
        let wrong = |reason: String| Error::wrong_kind(subject.clone(), reason);
        if head[..8] == [0; 8] {
            return Err(Self::unfinished(subject));
        }
        if &head[..8] != MAGIC {
            let found = if head[0] == 0xFF
                || matches!(head[0], b'{' | b'[' | b'"' | b'0'..=b'9' | b'a'..=b'z')
            {
                "it looks like a map in the plain layout (open it with PlainMapper)"
            } else {
                "its first bytes are not those of a cell: open it with the program that made it, or choose \
                     another name"
            };
            return Err(wrong(format!("expected a cell; {found}")));
        }
        if u32_at(12) == BYTE_ORDER.swap_bytes() {
            return Err(wrong(
                "a cell made on a machine of the other byte order: read it there, and store the value here again"
                    .to_owned(),
            ));
        }
        if u32_at(8) != LAYOUT_VERSION {
            return Err(wrong(format!(
                "a cell of layout version {}; this library knows version {LAYOUT_VERSION}: use the version of \
                 handover that made it, or a newer one",
                u32_at(8)
            )));
        }
        let layout = Self {
            value_capacity: u64_at(16),
            slot_size: u64_at(24),
            slots: u32_at(32) as usize,
            flags: u64_at(40),
        };
        let fits = u32_at(12) == BYTE_ORDER
            && (3..=MAX_SLOTS).contains(&layout.slots)
            && u32_at(36) as usize == layout.slots - 2
            && layout.value_capacity > 0
            && layout.slot_size.is_multiple_of(BLOCK)
            && layout
                .value_capacity
                .checked_add(TYPE_NAME_MAX as u64)
                .is_some_and(|need| need <= layout.slot_size)
            && layout
                .slot_size
                .checked_mul(layout.slots as u64)
                .and_then(|slots| slots.checked_add(SLOTS_AT as u64))
                .is_some_and(|need| need <= size && usize::try_from(need).is_ok());
        if fits {
            Ok(layout)
        } else {
            Err(wrong(
                "the head of a cell, whose numbers don't fit together or don't fit the map: create it again"
                    .to_owned(),
            ))
        }
    }
}

/// Whether a map that starts with these bytes is a cell, of whatever version and byte order.
pub(crate) fn is_marked(start: &[u8; MARK]) -> bool {
    version_and_order(start).is_some()
}

/// The layout version of a cell that starts with these bytes, and whether its byte order is the other one;
/// `None` if they don't start a cell.
pub(super) fn version_and_order(start: &[u8]) -> Option<(u32, bool)> {
    let (magic, rest) = start.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let order = rest.first_chunk::<4>()?;
    let version = u32::from_ne_bytes(*version);
    match u32::from_ne_bytes(*order) {
        _ if magic != MAGIC => None,
        BYTE_ORDER => Some((version, false)),
        order if order == BYTE_ORDER.swap_bytes() => Some((version.swap_bytes(), true)),
        _ => None,
    }
}

/// Whether there is no cell yet, nor anything else. Making a cell writes the magic last.
pub(super) fn has_no_magic_yet(head: &[u8; HEAD]) -> bool {
    head.starts_with(&[0; MAGIC.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_as_it_was_written() {
        for capacity in [1, 3840, 3841, 65_536, 1 << 30] {
            let layout = Layout::for_values(capacity, FLAG_CHECKSUMS).unwrap();
            let size = layout.map_size();
            assert_eq!(Layout::read(&layout.head(), size, &Subject::Anonymous).unwrap(), layout);
            assert!(Layout::read(&layout.head(), size - 1, &Subject::Anonymous).is_err());
        }
    }

    #[test]
    fn a_map_of_any_size_is_used_as_far_as_it_goes() {
        assert!(Layout::for_map(SLOTS_AT as u64 + 3 * BLOCK - 1, 0).is_err());
        for size in [SLOTS_AT as u64 + 3 * BLOCK, 100_000, 278_528, 1 << 20, 1 << 33] {
            let layout = Layout::for_map(size, 0).unwrap();
            assert!(layout.map_size() <= size);
            assert_eq!(Layout::read(&layout.head(), size, &Subject::Anonymous).unwrap(), layout);
        }
    }

    #[test]
    fn impossible_capacities_are_refused() {
        for capacity in [0, u64::MAX, i64::MAX as u64, i64::MAX as u64 / 64] {
            assert!(Layout::for_values(capacity, 0).is_err(), "{capacity}");
        }
    }
}
