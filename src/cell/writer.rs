//! The writing side of a cell.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::protocol::{self, Current, Memory};
use super::reader::Value;
use super::shared::{Kept, Shared};
use super::{Meta, layout};
use crate::error::{Error, Result};
use crate::map::bytes;
use crate::steps::{self, Step};
use crate::sys;

/// A lease: while it lives, nobody else writes. The system lets go of it when its process dies.
///
/// Publishing waits for no reader, and makes no system call unless somebody sleeps or a slot needs memory.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    generation: u32,
    /// Whether it published already: then it is likely to go on.
    published: bool,
    /// The slot that was taken for the next version.
    taken: Option<usize>,
    kept: Kept,
}

impl Writer {
    /// For who has the writers' lock.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            generation: sys::fork_generation(),
            published: false,
            taken: None,
            kept: Kept::unknown(),
        }
    }

    /// Stores `bytes` as the next version, and gives its number.
    ///
    /// # Errors
    ///
    /// `ValueTooLarge` and `NoSpace`: the old version stays. `Io` where the system could not write the file:
    /// the version may be current, and is not sure to survive the loss of power.
    pub fn publish(&mut self, bytes: &[u8]) -> Result<u64> {
        self.publish_as(&Meta::default(), bytes)
    }

    /// Stores `bytes` with what `meta` says of them.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish), and `InvalidArgument` for a type name of more than 256 bytes.
    pub fn publish_as(&mut self, meta: &Meta<'_>, bytes: &[u8]) -> Result<u64> {
        self.store(meta, bytes.len(), false, |buffer| {
            if cfg!(feature = "test-steps") {
                let (first, second) = bytes.split_at(bytes.len() / 2);
                buffer.put(first);
                steps::reach(Step::WriterHalfFilled);
                buffer.put(second);
            } else {
                buffer.put(bytes);
            }
            Ok(())
        })
    }

    /// Has `fill` write the `length` bytes of the next version where readers will find them, without a copy.
    /// What it leaves unwritten is zero. Where it fails or panics, nothing is published.
    ///
    /// ```
    /// use std::io::Write;
    /// # use handover::{Cell, MemoryMappedFile};
    /// # let cell = Cell::create(MemoryMappedFile::anonymous(1 << 20)?)?;
    ///
    /// let mut writer = cell.try_writer()?.expect("nobody else writes");
    /// writer.publish_with(4, |buffer| buffer.write_all(b"made").map_err(|_| unreachable!()))?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish), and what `fill` fails with.
    pub fn publish_with(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut SlotBuffer<'_>) -> Result<()>,
    ) -> Result<u64> {
        self.publish_with_as(&Meta::default(), length, fill)
    }

    /// [`publish_with`](Self::publish_with) with what `meta` says of the bytes.
    ///
    /// # Errors
    ///
    /// As for [`publish_as`](Self::publish_as), and what `fill` fails with.
    pub fn publish_with_as(
        &mut self,
        meta: &Meta<'_>,
        length: usize,
        fill: impl FnOnce(&mut SlotBuffer<'_>) -> Result<()>,
    ) -> Result<u64> {
        self.store(meta, length, false, fill)
    }

    /// Stores that there is no value, as the next version, and wipes the value that was there.
    ///
    /// # Errors
    ///
    /// `NoSpace`.
    pub fn clear(&mut self) -> Result<u64> {
        self.store(&Meta::default(), 0, true, |_| Ok(()))
    }

    /// Takes the value out: gives it, and leaves the cell without one. `None` where there is none.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `ClockWentBack`, `NoSpace`: the value stays.
    pub fn take(&mut self) -> Result<Option<Value>> {
        let Some(value) = self.value()? else { return Ok(None) };
        self.clear()?;
        Ok(Some(value))
    }

    /// The newest value, which can't change while this lease lives; `None` where there is none.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `ClockWentBack`.
    pub fn value(&mut self) -> Result<Option<Value>> {
        self.check_generation()?;
        super::reader::copy(&self.shared)
    }

    /// The newest version; 0: nothing was stored yet.
    pub fn version(&self) -> u64 {
        self.current().version()
    }

    /// Removes the value if it has expired, and says whether it had.
    pub(super) fn remove_expired(&mut self) -> Result<bool> {
        let current = self.current();
        if !self.shared.exists(current) {
            return Ok(false);
        }
        let expired = match self.shared.header(current.slot()) {
            Some(header) if !header.is_empty() => self.shared.is_expired(&header)?,
            _ => false,
        };
        if expired {
            self.clear()?;
        }
        Ok(expired)
    }

    fn current(&self) -> Current {
        Current(self.shared.current().load(Ordering::Relaxed))
    }

    fn check_generation(&self) -> Result<()> {
        if self.generation == sys::fork_generation() {
            return Ok(());
        }
        Err(Error::Forked { subject: self.shared.subject() })
    }

    fn store(
        &mut self,
        meta: &Meta<'_>,
        length: usize,
        empty: bool,
        fill: impl FnOnce(&mut SlotBuffer<'_>) -> Result<()>,
    ) -> Result<u64> {
        self.check_generation()?;
        let shared = &*self.shared;
        let capacity = shared.layout.value_capacity;
        if length as u64 > capacity {
            return Err(Error::ValueTooLarge { size: length as u64, capacity });
        }
        let name = meta.type_name.map_or(0, str::len);
        if name > layout::TYPE_NAME_MAX {
            return Err(Error::invalid(
                "type name",
                format!("it has {name} bytes; at most {} are allowed", layout::TYPE_NAME_MAX),
            ));
        }
        let total = length + name;
        let taken = self.taken.take();
        let (slot, replaced) = shared.prepare_slot(total as u64, length as u64, taken, &mut self.kept)?;
        let version = replaced.version() + 1;
        // Whether the closure returns, fails or panics: the slot is no longer being written after.
        let mut finish = Finish { shared, slot, length, published: false, generation: self.generation };
        let mut buffer = SlotBuffer { shared, slot, at: 0, length };
        fill(&mut buffer)?;
        // It may have forked.
        self.check_generation()?;
        buffer.zero_rest();
        drop(buffer);
        let words = shared.words;
        words.write_header(slot, version, length, meta, shared.flags(empty));
        words.mark_replaced(replaced, empty);
        if shared.map.is_on_file() {
            shared.flush_slot(slot, version, total)?;
        }
        finish.published = true;
        let next = if self.published { words.find_next(slot, replaced) } else { None };
        self.published = true;
        if protocol::publish_and_take(&words, slot, version, next) {
            self.taken = next;
        }
        if shared.map.is_on_file() {
            shared.flush_current(Current::new(version, slot))?;
        }
        shared.tidy_up(total as u64, version, &mut self.kept);
        Ok(version)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.check_generation().is_ok() {
            self.shared.trim_at_last();
            self.shared.unlock_writer();
        }
    }
}

struct Finish<'a> {
    shared: &'a Shared,
    slot: usize,
    length: usize,
    published: bool,
    generation: u32,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if self.generation != sys::fork_generation() {
            // The slot is the parent's.
            return;
        }
        if !self.published {
            self.shared.abandon(self.slot, self.length);
        }
        self.shared.finish();
    }
}

/// Pieces of a long value go past the caches from here on: where a cache line belongs to two pieces it is written
/// twice, which costs little beside this many whole ones.
const LONG_PIECE: usize = 4096;

/// Where the next version is built: `io::Write`, from the first byte to the last.
///
/// Of values of 4 MiB and more, pieces of 4 KiB and more are written past the processor's caches: a producer that
/// computes such a value piece by piece, each as large as fits in a cache, is the fastest.
#[derive(Debug)]
pub struct SlotBuffer<'a> {
    shared: &'a Shared,
    slot: usize,
    at: usize,
    length: usize,
}

impl SlotBuffer<'_> {
    /// Bytes that can still be written.
    pub fn remaining(&self) -> usize {
        self.length - self.at
    }

    /// The bytes themselves, for those who build in place. What an earlier version left is in them.
    ///
    /// # Safety
    ///
    /// The memory is shared: every process that can write to the cell must keep its protocol, so that none
    /// writes to this slot while the slice lives. And no other thread of this process may read the cell without
    /// a pin meanwhile ([`Cell::copy`](crate::Cell::copy), [`Reader::read`](crate::Reader::read), or what a mapper reads): one
    /// that was overtaken may still be loading from this slot.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        self.at = self.length;
        // What was put before must not come after what the caller has others see.
        self.end_past_caches();
        // SAFETY: the slot lies in the view and has memory for `length` bytes; by the caller's word nobody
        // else uses it, and `self` is borrowed mutably as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(self.shared.slot_ptr(self.slot), self.length) }
    }

    /// Whether the value is one that goes past the caches.
    fn is_long(&self) -> bool {
        self.length >= bytes::PAST_CACHES
    }

    fn end_past_caches(&self) {
        if self.is_long() {
            bytes::end_past_caches();
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.remaining());
        if self.is_long() && bytes.len() >= LONG_PIECE {
            self.shared.copy_in_past_caches(self.slot, self.at, bytes);
        } else {
            self.shared.copy_in(self.slot, self.at, bytes);
        }
        self.at += bytes.len();
    }

    fn zero_rest(&mut self) {
        const ZEROES: [u8; 4096] = [0; 4096];
        while self.remaining() > 0 {
            self.put(&ZEROES[..self.remaining().min(ZEROES.len())]);
        }
    }
}

impl Drop for SlotBuffer<'_> {
    fn drop(&mut self) {
        self.end_past_caches();
    }
}

impl io::Write for SlotBuffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.remaining());
        self.put(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
