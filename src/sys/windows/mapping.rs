//! Mapped memory. Relies on `kernel`, and on `wake` for where its sleepers wait; `section` makes it.

use std::fs::File;
use std::io;
use std::sync::Weak;

use super::kernel::{self, View};
use super::wake;

#[derive(Debug)]
#[must_use = "dropping it unmaps the memory"]
pub(crate) struct Mapping {
    /// `None` for a mapping of zero bytes.
    pub(super) view: Option<View>,
    pub(super) skip: usize,
    pub(super) len: usize,
    /// A flush writes this file through to the disk while the map exists. This does not keep the file open:
    /// closing the map closes its file, so that others can open it.
    pub(super) file: Weak<File>,
}

impl Mapping {
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        match &self.view {
            Some(view) => view.base().as_ptr().wrapping_add(self.skip),
            None => std::ptr::dangling_mut(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// From the start of the 64 KiB block.
    pub(crate) fn skip(&self) -> usize {
        self.skip
    }

    pub(crate) fn has_memory(&self, at: usize, len: usize) -> bool {
        debug_assert!(at <= self.len && len <= self.len - at);
        self.view.as_ref().is_none_or(|view| kernel::is_committed(view, self.skip + at, len))
    }

    /// The system has no way to leave pages out of dumps.
    pub(crate) fn keep_secret(&self) -> io::Result<()> {
        self.view.as_ref().map_or(Ok(()), kernel::lock_committed)
    }

    /// Waits for the disk while the map is open. Otherwise, and for a map opened by name, which has no handle
    /// to the file, waits only for the system's cache.
    pub(crate) fn flush(&self, at: usize, len: usize, wait: bool) -> io::Result<()> {
        debug_assert!(at <= self.len && len <= self.len - at);
        let Some(view) = self.view.as_ref().filter(|_| len > 0) else { return Ok(()) };
        kernel::flush_view(view, self.skip + at, len)?;
        match self.file.upgrade().filter(|_| wait) {
            Some(file) => file.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.view.is_some() {
            wake::leave(self.as_ptr().addr());
        }
    }
}
