//! The base of both kinds of view: a mapping, what may be done with it, and checked copies.
//!
//! Relies on `sys` for the mapping and on `memory` for the copies; `accessor` and `stream` rely on it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::memory;
use crate::steps::{self, Flushed};
use crate::sys::Mapping;
use crate::terms::{Access, Subject};

/// A window on a map's bytes. Other processes may change them at any time, so a view copies bytes and hands
/// out no reference to them.
#[derive(Debug)]
pub(super) struct View {
    mapping: Mapping,
    access: Access,
    /// Whether there is a file to flush to.
    on_file: bool,
    /// The map that it shows, for messages. A view keeps the bytes, not the name.
    subject: Arc<Subject>,
}

impl View {
    pub(super) fn new(mapping: Mapping, access: Access, on_file: bool, subject: Arc<Subject>) -> Self {
        Self { mapping, access, on_file, subject }
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
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
        Err(self.denied("a write view can't be read"))
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.access.can_write() {
            return Ok(());
        }
        Err(self.denied(&format!("a {} view can't be written", self.access)))
    }

    #[cold]
    fn denied(&self, reason: &str) -> Error {
        Error::denied(self.subject().clone(), reason).with_advice("create the view with read-write access")
    }

    /// Copies out. Panics unless the range lies within the view and the view is readable.
    pub(super) fn load(&self, at: usize, to: &mut [u8]) {
        self.check_range(self.access.can_read(), at, to.len());
        // SAFETY: the range lies within the mapping, which lives as long as `self` and is readable; in this
        // process shared memory is accessed by `memory` and by atomics alone.
        unsafe { memory::load(self.as_ptr().wrapping_add(at), to) }
    }

    /// Copies in. Panics unless the range lies within the view and the view is writable.
    pub(super) fn store(&self, at: usize, from: &[u8]) {
        self.check_range(self.access.can_write(), at, from.len());
        // SAFETY: the range lies within the mapping, which lives as long as `self` and is writable; in this
        // process shared memory is accessed by `memory` and by atomics alone.
        unsafe { memory::store(self.as_ptr().wrapping_add(at), from) }
    }

    /// Sets bytes to zero. Panics as [`store`](Self::store) does.
    pub(super) fn zero(&self, at: usize, len: usize) {
        self.check_range(self.access.can_write(), at, len);
        // SAFETY: as in `store`.
        unsafe { memory::zero(self.as_ptr().wrapping_add(at), len) }
    }

    #[inline]
    fn check_range(&self, allowed: bool, at: usize, len: usize) {
        assert!(allowed && at <= self.len() && len <= self.len() - at);
    }

    /// Whether a part of the view, which must lie within it, can be touched.
    pub(super) fn has_memory(&self, at: usize, len: usize) -> bool {
        self.mapping.has_memory(at, len)
    }

    /// Keeps the view's pages out of swap and, where the system can, out of core dumps.
    pub(super) fn keep_secret(&self) -> Result<()> {
        self.mapping.keep_secret().map_err(|source| {
            Error::io(format!("keep {} bytes out of swap", self.len()), source)
                .with_advice("use a smaller capacity, or raise the limit of locked memory (ulimit -l)")
                .about(self.subject())
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
            .map_err(|source| Error::io("flush a view", source).about(self.subject()))?;
        steps::flushed(Flushed::Bytes { at, len, wait });
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // As in .NET, writes reach the file when the view is dropped.
        if self.access.writes_shared() {
            let _ = self.flush();
        }
    }
}
