//! The plain layout: the bytes of the encoded value at an offset, the rest of the map zero, nothing else.
//!
//! What the C# recipe writes and reads, so it goes both ways with such programs. Writers and readers of this
//! library exclude each other by a lock of the map, which the system lets go of when its holder dies. A writer
//! that dies while it writes is noticed by [`UNDER_WAY`].

use zeroize::Zeroizing;

use super::LOCK_LIMIT;
use crate::cell::MAGIC;
use crate::error::{Error, Result};
use crate::map::{Access, MemoryMappedFile, ViewAccessor};
use crate::sys::{LockId, LockMode};

/// The first byte of a value while it is written: no UTF-8 text, so no JSON either, starts with it. A value
/// that still has it when its lock is free was left by a writer that died.
const UNDER_WAY: u8 = 0xFF;

#[derive(Debug)]
pub(super) struct Plain {
    map: MemoryMappedFile,
    view: ViewAccessor,
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
        let mut head = [0; MAGIC.len()];
        // A map for writing alone can't be looked into.
        if let Ok(start) = map.create_view_accessor_with(0, 0, Access::Read)
            && start.read_bytes(0, &mut head)? == head.len()
            && head == *MAGIC
        {
            return Err(Error::wrong_kind(
                map.subject().clone(),
                "a map in the plain layout was expected; it is a cell (leave out plain; on the command line: \
                 --plain)",
            ));
        }
        Ok(Self { map, view })
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
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(vec![0; self.capacity() as usize]);
        {
            let _lock = self.map.lock(LockId::VALUE, LockMode::Shared, LOCK_LIMIT)?;
            self.view.read_bytes(0, &mut bytes)?;
        }
        let start = bytes.iter().position(|byte| *byte != 0);
        let (Some(start), Some(end)) = (start, bytes.iter().rposition(|byte| *byte != 0)) else {
            return Err(Error::NoValue { subject: self.map.subject().clone() });
        };
        if start == 0 && bytes[0] == UNDER_WAY {
            return Err(Error::Incomplete { subject: self.map.subject().clone() });
        }
        Ok(Zeroizing::new(bytes[start..=end].to_vec()))
    }
}
