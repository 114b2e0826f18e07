//! The plain layout: the bytes of the encoded value at an offset, the rest of the map zero, nothing else.
//!
//! What the C# recipe writes and reads, so it goes both ways with such programs. Writers and readers of this
//! library exclude each other by a lock of the map, which the system lets go of when its holder dies. A writer
//! that dies while it writes is noticed by [`UNDER_WAY`].

use zeroize::Zeroizing;

use super::LOCK_LIMIT;
use crate::cell;
use crate::error::{Error, Result};
use crate::map::{Access, MemoryMappedFile, ViewAccessor, bytes};
use crate::sys::{LockId, LockMode};

/// The first byte of a value while it is written: no UTF-8 text, so no JSON either, starts with it. A value
/// that still has it when its lock is free was left by a writer that died.
const UNDER_WAY: u8 = 0xFF;

#[derive(Debug)]
pub(super) struct Plain {
    map: MemoryMappedFile,
    view: ViewAccessor,
    /// Where a cell has its mark.
    start: ViewAccessor,
}

impl Plain {
    pub(super) fn new(map: MemoryMappedFile, offset: u64) -> Result<Self> {
        let view = match map.create_view_accessor(offset, 0) {
            Err(Error::AccessDenied { .. }) => map.create_view_accessor_with(offset, 0, Access::Read)?,
            other => other?,
        };
        if view.capacity() == 0 {
            return Err(Error::out_of_range(
                "offset",
                format!("{offset}, and {} has no byte after it", map.subject()),
            ));
        }
        let start =
            map.create_view_accessor_with(0, cell::MARK.min(map.capacity() as usize) as u64, Access::Read);
        let plain = Self { map, view, start: start? };
        plain.check()?;
        Ok(plain)
    }

    /// That the map is not a cell, which reading would not understand and writing would damage.
    fn check(&self) -> Result<()> {
        let mut start = [0; cell::MARK];
        self.start.read_bytes(0, &mut start)?;
        if cell::is_marked(&start) {
            return Err(Error::wrong_kind(
                self.map.subject().clone(),
                "a map in the plain layout was expected, and a cell is there: open it without plain (on the \
                 command line: without --plain)",
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
            return Err(Error::Encode {
                codec: "bytes in the plain layout",
                reason:
                    "they start with 0xFF, which there marks a value that is being written; put another byte \
                         before them"
                        .to_owned(),
            });
        }
        let (size, capacity) = (bytes.len() as u64, self.capacity());
        if size > capacity {
            return Err(Error::ValueTooLarge { size, capacity });
        }
        if !self.view.can_write() {
            return Err(Error::unsupported(format!("{} was opened for reading only", self.map.subject())));
        }
        let _lock = self.map.lock(LockId::VALUE, LockMode::Exclusive, LOCK_LIMIT)?;
        self.check()?;
        // The mark must be there before any other byte changes, and the first byte come last. A process that
        // dies leaves its stores up to some point of this order: the fences keep the compiler to it, and the
        // kernel, which lets go of the lock, lets all processors see what was stored before.
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

    /// The value's bytes: without the zero bytes before and after it, as the recipe reads.
    ///
    /// Only a look at the bytes from the end of the map tells where the value ends. The copy that is made has the
    /// value's size.
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>> {
        let no_value = || Error::NoValue { subject: self.map.subject().clone() };
        self.check()?;
        let mut bytes = {
            let _lock = self.map.lock(LockId::VALUE, LockMode::Shared, LOCK_LIMIT)?;
            let end = self.end()?;
            let mut bytes = bytes::room_for(end, self.map.subject())?;
            if end > 0 {
                self.view.read_bytes(0, &mut bytes)?;
            }
            bytes
        };
        let start = bytes.iter().position(|byte| *byte != 0).ok_or_else(no_value)?;
        if start == 0 && bytes[0] == UNDER_WAY {
            return Err(Error::Incomplete { subject: self.map.subject().clone() });
        }
        // A program that takes no lock may have written since the end was found.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        bytes.copy_within(start.., 0);
        bytes.truncate(end - start);
        Ok(bytes)
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
