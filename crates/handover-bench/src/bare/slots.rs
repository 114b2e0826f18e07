//! What the loops share: slots, each on a separate page, and the copy.

use crate::place::SharedMemory;

/// What a processor fetches at a time.
pub(super) const LINE: usize = 64;
/// Where the slots start, each on a separate page.
pub(super) const SLOTS: usize = 4096;

pub(super) const VERSION: &str = "-";

/// Bytes from slot to slot.
pub(super) fn slot_size(size: usize) -> usize {
    size.next_multiple_of(4096)
}

/// Where a slot starts, which has room for `size` bytes.
pub(super) fn slot_ptr(memory: &SharedMemory, slot: usize, size: usize) -> *mut u8 {
    memory.bytes(SLOTS + slot * slot_size(size), size)
}

pub(crate) type Copy =
    unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void;

/// Copies with the C library, through a pointer that the compiler can't see through. So a copy that may race
/// with another process belongs to the machine and not to the language, and all loops copy alike.
pub(crate) fn copier() -> Copy {
    std::hint::black_box(libc::memcpy)
}
