//! The writing side of a cell.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::holders::{self, ThreadId};
use super::protocol::{self, Current, Memory};
use super::shared::{Kept, Shared};
use super::terms::{Meta, is_send_and_sync};
use super::value::Value;
use super::{layout, reader};
use crate::error::{Error, Result};
use crate::memory;
use crate::steps::{self, Step};
use crate::sys;

/// A lease: while it lives, nobody else writes. The system releases it when its process dies.
///
/// Publishing waits for no reader. It makes no system call unless somebody sleeps or a slot needs memory.
///
/// ```
/// # use handover::cell::Cell;
/// # use handover::map::MemoryMappedFile;
/// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
/// let mut writer = cell.try_writer()?.expect("nobody else writes");
/// writer.publish(b"one")?;
/// writer.publish(b"two")?;
/// assert_eq!(writer.take()?.expect("there is a value").bytes.as_slice(), b"two");
/// assert!(cell.copy()?.is_none());
/// # Ok::<(), handover::Error>(())
/// ```
#[must_use = "the lease ends when the writer is dropped"]
pub struct Writer {
    shared: Arc<Shared>,
    generation: u32,
    /// Whether it has published: if so, it is likely to publish again.
    published: bool,
    /// The slot that was taken for the next version.
    taken: Option<usize>,
    kept: Kept,
    /// Whose it is: that of the thread that took it, or that published with it last.
    thread: ThreadId,
}

const _: () = is_send_and_sync::<(Writer, SlotBuffer<'_>)>();

impl Writer {
    /// Requires the writers' lock, which the result releases when dropped.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        holders::enter(&shared);
        Self {
            shared,
            generation: sys::fork_generation(),
            published: false,
            taken: None,
            kept: Kept::unknown(),
            thread: ThreadId::current(),
        }
    }

    /// Makes it this thread's, which would wait for itself if it waited for the writers' lock.
    #[inline]
    pub(crate) fn move_here(&mut self) {
        if self.thread != ThreadId::current() {
            self.thread = ThreadId::current();
            holders::move_here(&self.shared);
        }
    }

    /// Stores `bytes` as the next version, and returns its number.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// let mut writer = cell.try_writer()?.expect("nobody else writes");
    /// assert_eq!(writer.publish(b"hello")?, 1);
    /// assert_eq!(writer.publish(b"hello again")?, 2);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`, `NoSpace`, and `NameLost` where the map's file was taken from its name: the old
    /// version stays. `Io` where the system could not write the file: the version may be current, and may not
    /// survive a power loss.
    pub fn publish(&mut self, bytes: &[u8]) -> Result<u64> {
        self.publish_as(&Meta::default(), bytes)
    }

    /// Stores `bytes` with what `meta` says about them.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish), and `InvalidArgument` for a type name of more than 256 bytes.
    pub fn publish_as(&mut self, meta: &Meta<'_>, bytes: &[u8]) -> Result<u64> {
        self.store(meta, bytes.len(), false, |buffer| {
            if cfg!(feature = "__test-steps") {
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

    /// Lets `fill` write the `length` bytes of the next version where readers will find them, without a copy.
    /// Bytes that `fill` leaves unwritten are zero. If `fill` fails or panics, nothing is published.
    ///
    /// ```
    /// use std::io::Write;
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    ///
    /// let mut writer = cell.try_writer()?.expect("nobody else writes");
    /// writer.publish_with(4, |buffer| {
    ///     buffer.write_all(b"made")?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(cell.copy()?.expect("it was just stored").bytes.as_slice(), b"made");
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish), and the error of `fill`, which then names the map.
    pub fn publish_with(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut SlotBuffer<'_>) -> Result<()>,
    ) -> Result<u64> {
        self.publish_with_as(&Meta::default(), length, fill)
    }

    /// [`publish_with`](Self::publish_with) with what `meta` says about the bytes.
    ///
    /// # Errors
    ///
    /// As for [`publish_as`](Self::publish_as), and the error of `fill`.
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
    /// `NoSpace`, `NameLost`.
    pub fn clear(&mut self) -> Result<u64> {
        self.store(&Meta::default(), 0, true, |_| Ok(()))
    }

    /// Takes the value out: returns it, and leaves the cell without one. `None` where there is none.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `ClockWentBack`, `NoSpace`, `NameLost`: the value stays.
    pub fn take(&mut self) -> Result<Option<Value>> {
        let Some(value) = self.value()? else { return Ok(None) };
        self.clear()?;
        Ok(Some(value))
    }

    /// The newest value, which can't change while this lease lives; `None` where there is none.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `ClockWentBack`, `NameLost`.
    pub fn value(&mut self) -> Result<Option<Value>> {
        self.check_generation()?;
        reader::copy(&self.shared)
    }

    /// The newest version; 0: nothing was stored yet.
    pub fn version(&self) -> u64 {
        self.current().version()
    }

    /// Removes the value if it has expired. Returns whether it had.
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

    #[inline]
    fn check_generation(&self) -> Result<()> {
        if self.generation == sys::fork_generation() {
            return Ok(());
        }
        Err(Error::forked(self.shared.subject()))
    }

    #[inline]
    fn store(
        &mut self,
        meta: &Meta<'_>,
        length: usize,
        empty: bool,
        fill: impl FnOnce(&mut SlotBuffer<'_>) -> Result<()>,
    ) -> Result<u64> {
        self.check_generation()?;
        self.move_here();
        let shared = &*self.shared;
        let about = |error: Error| error.about(shared.map.subject());
        let capacity = shared.layout.value_capacity;
        if length as u64 > capacity {
            return Err(Error::value_too_large(shared.subject(), length as u64, capacity));
        }
        let name = meta.type_name.map_or(0, str::len);
        if name > layout::TYPE_NAME_MAX {
            let reason = format!("it has {name} bytes; at most {} are allowed", layout::TYPE_NAME_MAX);
            return Err(about(Error::invalid("type name", reason)));
        }
        let total = length + name;
        let taken = self.taken.take();
        let (slot, replaced) =
            shared.prepare_slot(total as u64, length as u64, taken, &mut self.kept).map_err(about)?;
        let version = replaced.version() + 1;
        // Whether the closure returns, fails or panics, the slot is no longer being written afterwards.
        let mut finish = Finish { shared, slot, length, published: false, generation: self.generation };
        let mut buffer = SlotBuffer { shared, slot, at: 0, length, generation: self.generation };
        fill(&mut buffer).map_err(about)?;
        // The closure may have forked.
        self.check_generation()?;
        if buffer.remaining() > 0 {
            buffer.zero_rest();
        }
        drop(buffer);
        let words = shared.words;
        let now = words.write_header(slot, version, length, meta, shared.flags(empty));
        shared.map.check_name_if_due_at(now)?;
        words.mark_replaced(replaced, empty);
        if shared.map.is_on_file() {
            shared.flush_slot(slot, version, total).map_err(about)?;
        }
        finish.published = true;
        shared.published.store(shared.published.load(Ordering::Relaxed) + 1, Ordering::Release);
        let next = if self.published { words.find_next(slot, replaced) } else { None };
        self.published = true;
        if protocol::publish_and_take(&words, slot, version, next) {
            self.taken = next;
        }
        if shared.map.is_on_file() {
            shared.flush_current(Current::new(version, slot)).map_err(about)?;
        }
        shared.tidy_up(total as u64, version, &mut self.kept);
        Ok(version)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("subject", self.shared.map.subject())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.check_generation().is_ok() {
            self.shared.trim_at_last();
            holders::leave(&self.shared);
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

/// Pieces of a long value bypass the caches from this length on: a cache line that belongs to two pieces is
/// written twice, which costs little beside this many whole ones.
const LONG_PIECE: usize = 4096;

/// The place where the next version is built: `io::Write`, from the first byte to the last.
///
/// In values of 4 MiB and more, pieces of 4 KiB and more bypass the processor's caches. A producer is fastest
/// if it computes such a value piece by piece, each piece as large as fits in a cache.
///
/// ```
/// use std::io::Write;
/// # use handover::cell::Cell;
/// # use handover::map::MemoryMappedFile;
/// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
///
/// let mut writer = cell.try_writer()?.expect("nobody else writes");
/// writer.publish_with(1000, |buffer| {
///     while buffer.remaining() > 0 {
///         buffer.write_all(&[7; 100])?;
///     }
///     Ok(())
/// })?;
/// assert_eq!(cell.info()?.length, Some(1000));
/// # Ok::<(), handover::Error>(())
/// ```
pub struct SlotBuffer<'a> {
    shared: &'a Shared,
    slot: usize,
    at: usize,
    length: usize,
    generation: u32,
}

impl SlotBuffer<'_> {
    /// How many bytes can still be written.
    pub fn remaining(&self) -> usize {
        self.length - self.at
    }

    /// The bytes themselves, for building a value in place. They hold whatever an earlier version left.
    ///
    /// # Safety
    ///
    /// The memory is shared: every process that can write to the cell must keep its protocol, so that none
    /// writes to this slot while the slice lives; nor may a child that is forked meanwhile. Meanwhile no
    /// other thread of this process may read the cell without a pin ([`Cell::copy`](crate::cell::Cell::copy),
    /// [`Reader::copy`](crate::cell::Reader::copy), or what a mapper reads): an overtaken one may still be
    /// loading from this slot.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        self.at = self.length;
        // Bytes written earlier must not become visible after what the caller publishes next.
        self.end_past_caches();
        // SAFETY: the slot lies in the view and has memory for `length` bytes. Nobody else uses it, as the
        // caller guarantees, and `self` is borrowed mutably as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.shared.slot_ptr(self.slot), self.length) }
    }

    /// Whether the value bypasses the caches.
    fn is_long(&self) -> bool {
        self.length >= memory::PAST_CACHES
    }

    fn end_past_caches(&self) {
        if self.is_long() {
            memory::end_past_caches();
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.remaining());
        if self.is_long() && bytes.len() >= LONG_PIECE {
            self.shared.copy_in_past_caches(self.slot, self.at, bytes);
        } else {
            self.shared.copy_in(self.slot, self.at, bytes);
        }
        self.at += bytes.len();
    }

    /// Most values are written whole.
    #[cold]
    fn zero_rest(&mut self) {
        const ZEROES: [u8; 4096] = [0; 4096];
        while self.remaining() > 0 {
            self.put(&ZEROES[..self.remaining().min(ZEROES.len())]);
        }
    }
}

impl fmt::Debug for SlotBuffer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotBuffer")
            .field("length", &self.length)
            .field("written", &self.at)
            .finish_non_exhaustive()
    }
}

impl Drop for SlotBuffer<'_> {
    fn drop(&mut self) {
        self.end_past_caches();
    }
}

impl io::Write for SlotBuffer<'_> {
    /// Fails with `Forked` in a child of the process that has the lease.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.generation != sys::fork_generation() {
            return Err(Error::forked(self.shared.subject()).into());
        }
        let count = bytes.len().min(self.remaining());
        self.put(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
