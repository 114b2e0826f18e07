//! Sequential access to a map.
//!
//! Relies on `view`; `map` hands streams out.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

use super::view::View;
use crate::error::{Error, Result};
use crate::terms::Access;

const BUFFER: usize = 8192;

/// A stream over a part of a map: `Read`, `BufRead`, `Write` and `Seek`. Its length is fixed.
///
/// ```
/// use std::io::{BufRead, Seek, Write};
///
/// use handover::map::MemoryMappedFile;
///
/// let map = MemoryMappedFile::anonymous(64)?;
/// let mut stream = map.create_view_stream(0, 0)?;
/// writeln!(stream, "first\nsecond")?;
/// stream.rewind()?;
/// let mut line = String::new();
/// stream.read_line(&mut line)?;
/// assert_eq!(line, "first\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a view unmaps its bytes"]
pub struct ViewStream {
    view: View,
    position: u64,
    /// A copy of the bytes that `BufRead` shows; shared memory itself is never lent.
    buffer: Vec<u8>,
    /// Where the copy starts.
    buffer_at: u64,
}

impl fmt::Debug for ViewStream {
    /// Leaves the bytes out: they may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewStream")
            .field("view", &self.view)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl ViewStream {
    pub(super) fn new(view: View) -> Self {
        Self { view, position: 0, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Bytes in the view: the stream's length, which never changes.
    pub fn len(&self) -> u64 {
        self.view.len() as u64
    }

    /// Whether the view has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same as [`len`](Self::len): .NET has both.
    pub fn capacity(&self) -> u64 {
        self.len()
    }

    /// Where the next read or write starts; may lie beyond the end.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes between the start of the view's first page (Windows: of its 64 KiB block) and the view.
    pub fn pointer_offset(&self) -> u64 {
        self.view.pointer_offset()
    }

    /// What the view may do.
    pub fn access(&self) -> Access {
        self.view.access()
    }

    /// Whether bytes can be read.
    pub fn can_read(&self) -> bool {
        self.view.access().can_read()
    }

    /// Whether bytes can be written.
    pub fn can_write(&self) -> bool {
        self.view.access().can_write()
    }

    /// The first byte of the view, for unsafe code: see
    /// [`ViewAccessor::as_ptr`](super::ViewAccessor::as_ptr).
    pub fn as_ptr(&self) -> *mut u8 {
        self.view.as_ptr()
    }

    /// Always fails: a view keeps the length it was created with.
    ///
    /// # Errors
    ///
    /// `AccessDenied` on a read view, else `Unsupported`.
    pub fn set_len(&mut self, _len: u64) -> Result<()> {
        self.view.check_writable()?;
        Err(self.unsupported("a view has a fixed length").with_advice("create another view"))
    }

    /// An error of class `Unsupported` that names the map.
    fn unsupported(&self, reason: impl fmt::Display) -> Error {
        Error::unsupported(reason).about(self.view.subject())
    }

    /// Bytes from the position to the end, and the position within the view.
    fn remaining(&self) -> (usize, usize) {
        let at = usize::try_from(self.position).unwrap_or(usize::MAX).min(self.view.len());
        (at, self.view.len() - at)
    }
}

impl Read for ViewStream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.view.check_readable()?;
        let (at, remaining) = self.remaining();
        let count = to.len().min(remaining);
        self.view.load(at, &mut to[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for ViewStream {
    /// Writes all of `from`, or nothing if it does not fit.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` on a read view; `Unsupported` where it does not fit.
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.view.check_writable()?;
        let (at, remaining) = self.remaining();
        if from.len() > remaining {
            let error = self.unsupported(format!(
                "a write of {} bytes at position {} reaches beyond the end of the view ({} bytes)",
                from.len(),
                self.position,
                self.view.len()
            ));
            return Err(error
                .with_advice("a view can't grow, and nothing was written; create a larger map")
                .into());
        }
        self.view.store(at, from);
        self.position += from.len() as u64;
        self.buffer.clear();
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.view.flush()?)
    }
}

impl Seek for ViewStream {
    /// Positions beyond the end are allowed: a read there returns nothing, and a write fails.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a position before the start.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| {
            let error = Error::invalid("position", "a seek to before the start of the view");
            io::Error::from(error.about(self.view.subject()))
        })?;
        self.buffer.clear();
        Ok(self.position)
    }
}

impl BufRead for ViewStream {
    /// Shows a copy of the next bytes, up to 8 KiB, as they were when this copied them.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.view.check_readable()?;
        let into = self.position.wrapping_sub(self.buffer_at);
        if into >= self.buffer.len() as u64 {
            let (at, remaining) = self.remaining();
            self.buffer.resize(remaining.min(BUFFER), 0);
            self.view.load(at, &mut self.buffer);
            self.buffer_at = self.position;
            return Ok(&self.buffer);
        }
        Ok(&self.buffer[into as usize..])
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
    }
}
