//! What both kinds of view stand on: a mapping, what may be done with it, and checked copies.

use crate::error::{Error, Result};
use crate::map::{Access, bytes};
use crate::steps::{self, Flushed};
use crate::sys::Mapping;

/// A window on a map's bytes. Other processes may change them at any time, so no reference to them is handed
/// out: bytes are copied.
#[derive(Debug)]
pub(super) struct View {
    mapping: Mapping,
    access: Access,
    /// Whether there is a file to flush to.
    on_file: bool,
}

impl View {
    pub(super) fn new(mapping: Mapping, access: Access, on_file: bool) -> Self {
        Self { mapping, access, on_file }
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    pub(super) fn len(&self) -> usize {
        self.mapping.len()
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    pub(super) fn pointer_offset(&self) -> u64 {
        self.mapping.skip() as u64
    }

    pub(super) fn check_readable(&self) -> Result<()> {
        if self.access.can_read() {
            return Ok(());
        }
        Err(Error::unsupported("reading from a write view; create the view with read-write access"))
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.access.can_write() {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "writing to a {} view; create the view with read-write access",
            self.access
        )))
    }

    /// Copies out. The range must lie within the view and the view must be readable, or this panics.
    pub(super) fn load(&self, at: usize, to: &mut [u8]) {
        assert!(self.access.can_read() && at <= self.len() && to.len() <= self.len() - at);
        // SAFETY: the range lies within the mapping, which lives as long as `self` and is readable; this
        // library accesses shared memory with atomic operations only.
        unsafe { bytes::load(self.as_ptr().wrapping_add(at), to) }
    }

    /// Copies in. The range must lie within the view and the view must be writable, or this panics.
    pub(super) fn store(&self, at: usize, from: &[u8]) {
        assert!(self.access.can_write() && at <= self.len() && from.len() <= self.len() - at);
        // SAFETY: the range lies within the mapping, which lives as long as `self` and is writable; this
        // library accesses shared memory with atomic operations only.
        unsafe { bytes::store(self.as_ptr().wrapping_add(at), from) }
    }

    /// Sets bytes to zero, under the rules of [`store`](Self::store).
    pub(super) fn zero(&self, at: usize, len: usize) {
        assert!(self.access.can_write() && at <= self.len() && len <= self.len() - at);
        // SAFETY: as in `store`.
        unsafe { bytes::zero(self.as_ptr().wrapping_add(at), len) }
    }

    /// Whether a part of the view, which must lie within it, can be touched.
    pub(super) fn has_memory(&self, at: usize, len: usize) -> bool {
        self.mapping.has_memory(at, len)
    }

    /// Keeps the view's pages out of swap and core dumps, as the system can.
    pub(super) fn keep_secret(&self) -> Result<()> {
        self.mapping.keep_secret().map_err(|source| Error::Io {
            doing: format!(
                "keep {} bytes out of swap; use a smaller capacity, or raise the limit of locked memory \
                 (ulimit -l)",
                self.len()
            ),
            source,
        })
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.flush_range(0, self.len(), true)
    }

    pub(super) fn flush_range(&self, at: usize, len: usize, wait: bool) -> Result<()> {
        if !self.on_file {
            return Ok(());
        }
        self.mapping
            .flush(at, len, wait)
            .map_err(|source| Error::Io { doing: "flush a view".to_owned(), source })?;
        steps::flushed(Flushed::Bytes { at, len, wait });
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // As .NET does: what was written reaches the file when the view goes.
        if self.access.writes_shared() {
            let _ = self.flush();
        }
    }
}
