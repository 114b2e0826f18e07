//! The plain layout: the bytes of the encoded value at an offset, the rest of the map zero, nothing else.
//!
//! The C# recipe writes and reads the same, so values go both ways. Writers and readers of this library
//! exclude each other by a lock of the map, which the system releases when its holder dies. [`UNDER_WAY`]
//! shows that a writer died while it wrote. Relies on `map`; `plain_mapper` relies on it.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::backoff::Backoff;
use crate::cell;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{MemoryMappedFile, ViewAccessor};
use crate::memory;
use crate::sys::{LockId, LockMode};
use crate::terms::Access;

/// The first byte of a value while it is written: no UTF-8 text, so no JSON either, starts with it. A value
/// that still has it when its lock is free was left by a writer that died.
const UNDER_WAY: u8 = 0xFF;

pub(super) struct Plain {
    map: MemoryMappedFile,
    view: ViewAccessor,
    lock_limit: Duration,
    /// Where a cell has its mark.
    start: ViewAccessor,
}

impl Plain {
    pub(super) fn new(map: MemoryMappedFile, offset: u64, lock_limit: Duration) -> Result<Self> {
        let view = match map.create_view_accessor(offset, 0) {
            Err(error) if error.kind() == ErrorKind::AccessDenied => {
                map.create_view_accessor_with(offset, 0, Access::Read)?
            }
            other => other?,
        };
        if view.capacity() == 0 {
            let reason = format!("{offset}, and the map has no byte after it");
            return Err(Error::out_of_range("offset", reason).about(map.subject()));
        }
        let start =
            map.create_view_accessor_with(0, cell::MARK.min(map.capacity() as usize) as u64, Access::Read);
        let plain = Self { map, view, lock_limit, start: start? };
        plain.check()?;
        Ok(plain)
    }

    /// Refuses a cell, which reading would misunderstand and writing would damage.
    fn check(&self) -> Result<()> {
        let mut start = [0; cell::MARK];
        self.start.read_bytes(0, &mut start)?;
        if cell::is_marked(&start) {
            return Err(Error::wrong_kind(
                self.map.subject().clone(),
                "expected a map in the plain layout, found a cell; open it with MemoryMapper",
            ));
        }
        Ok(())
    }

    pub(super) fn map(&self) -> &MemoryMappedFile {
        &self.map
    }

    pub(super) fn capacity(&self) -> u64 {
        self.view.capacity()
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        if bytes.first() == Some(&UNDER_WAY) {
            return Err(Error::encode(
                "bytes in the plain layout",
                "they start with 0xFF, which there marks a value that is being written",
            )
            .with_advice("put another byte before them")
            .about(self.map.subject()));
        }
        let (size, capacity) = (bytes.len() as u64, self.capacity());
        if size > capacity {
            return Err(Error::value_too_large(self.map.subject().clone(), size, capacity));
        }
        if !self.view.can_write() {
            return Err(Error::read_only(self.map.subject().clone()));
        }
        let _lock = self.map.lock(LockId::VALUE, LockMode::Exclusive, self.lock_limit)?;
        self.check()?;
        // The mark must be there before any other byte changes, and the first byte must come last. A process
        // that dies leaves its stores up to some point of this order: the fences keep the compiler to it, and
        // the kernel, which releases the lock, lets all processors see what was stored before.
        self.view.write(0, UNDER_WAY)?;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if let Some(rest) = bytes.get(1..).filter(|rest| !rest.is_empty()) {
            self.view.write_array(1, rest)?;
        }
        let end = size.max(1);
        self.view.zero(end, capacity - end)?;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.view.write(0, bytes.first().copied().unwrap_or(0))
    }

    /// The value's bytes, without the zero bytes before and after it, as the recipe reads; `None` where all
    /// are zero.
    ///
    /// The value ends at the last byte that is not zero, so the search starts at the end of the map. The copy
    /// has the value's size.
    pub(super) fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        self.check()?;
        let mut bytes = {
            let _lock = self.map.lock(LockId::VALUE, LockMode::Shared, self.lock_limit)?;
            if self.map.is_guest() { self.copy_twice()? } else { self.copy()? }
        };
        let Some(start) = bytes.iter().position(|byte| *byte != 0) else { return Ok(None) };
        if start == 0 && bytes[0] == UNDER_WAY {
            return Err(Error::incomplete(self.map.subject().clone()));
        }
        // A program that takes no lock may have written since the end was found.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        bytes.copy_within(start.., 0);
        bytes.truncate(end - start);
        Ok(Some(bytes))
    }

    /// All bytes up to the last one that is not zero.
    fn copy(&self) -> Result<Zeroizing<Vec<u8>>> {
        let end = self.end()?;
        let mut bytes = memory::room_for(end, self.map.subject())?;
        if end > 0 {
            self.view.read_bytes(0, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// The same for a reader whose lock keeps no writer off: it copies until two copies in a row are the
    /// same.
    ///
    /// A copy that a writer ran into differs from the next one: in the first byte, if that writer is still at
    /// work, else in the bytes that it had not written yet. A mark that stays was left by a writer that died.
    fn copy_twice(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut last = self.copy()?;
        let waiting_for = || "a moment in which nobody writes".to_owned();
        let attempt = || {
            let next = self.copy()?;
            let is_same = *next == *last;
            let last = std::mem::replace(&mut last, next);
            Ok(is_same.then_some(last))
        };
        Backoff::LOCK.poll(self.lock_limit, waiting_for, attempt).map_err(|e| e.about(self.map.subject()))
    }

    /// One more than the position of the last byte that is not zero.
    fn end(&self) -> Result<usize> {
        let mut chunk = Zeroizing::new([0; 4096]);
        let mut end = self.capacity() as usize;
        while end > 0 {
            let start = (end - 1) / chunk.len() * chunk.len();
            let part = &mut chunk[..end - start];
            self.view.read_bytes(start as u64, part)?;
            if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
                return Ok(start + last + 1);
            }
            end = start;
        }
        Ok(0)
    }
}
