//! Mapped memory. Relies on the system's own module; `section` makes it.

use std::io;

use rustix::mm::MsyncFlags;

use super::os;

/// A view's offset in the file is rounded down to a multiple of this.
pub(super) fn view_alignment() -> u64 {
    rustix::param::page_size() as u64
}

#[derive(Debug)]
#[must_use = "dropping it unmaps the memory"]
pub(crate) struct Mapping {
    /// The first byte of the view, `skip` after the first byte of the pages.
    pub(super) first: *mut u8,
    pub(super) mapped: usize,
    pub(super) skip: usize,
    pub(super) len: usize,
}

// SAFETY: the mapping is an address range that any thread may use; all copies through the pointer use atomic
// accesses.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; no method changes the fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.first
    }

    fn base(&self) -> *mut u8 {
        self.first.wrapping_sub(self.skip)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// From the start of the page.
    pub(crate) fn skip(&self) -> usize {
        self.skip
    }

    /// Always `true`: a page gets its memory when it is touched.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn has_memory(&self, _at: usize, _len: usize) -> bool {
        true
    }

    pub(crate) fn keep_secret(&self) -> io::Result<()> {
        if self.mapped == 0 {
            return Ok(());
        }
        Ok(os::keep_secret(self.base().cast(), self.mapped)?)
    }

    pub(crate) fn flush(&self, at: usize, len: usize, wait: bool) -> io::Result<()> {
        debug_assert!(at <= self.len && len <= self.len - at);
        if len == 0 {
            return Ok(());
        }
        let start = self.skip + at;
        let page_start = start - start % view_alignment() as usize;
        let flags = if wait { MsyncFlags::SYNC } else { MsyncFlags::ASYNC };
        let first = self.base().wrapping_add(page_start);
        // SAFETY: the pages lie within what mmap returned, which is mapped until drop.
        unsafe { rustix::mm::msync(first.cast(), start + len - page_start, flags) }?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.mapped > 0 {
            // SAFETY: base and mapped are what mmap returned; nothing borrows from the mapping when it is
            // dropped.
            let _ = unsafe { rustix::mm::munmap(self.base().cast(), self.mapped) };
        }
    }
}
