//! Bare loops: the least that a part of handing over can cost. None of them is a way to hand over values: each
//! leaves out something that is needed, and says what.

mod calls;
mod copy;
mod decode;
mod flip;
mod header;
mod pin;
mod promised;
mod seqlock;
mod wake;

pub(crate) use self::calls::Calls;
pub(crate) use self::copy::Memcpy;
pub(crate) use self::decode::Decode;
pub(crate) use self::flip::Flip;
pub(crate) use self::header::FlipHeader;
pub(crate) use self::pin::{AsymmetricPin, Pin};
pub(crate) use self::promised::PromisedCalls;
pub(crate) use self::seqlock::Seqlock;
pub(crate) use self::wake::{CacheLine, Futex};

use crate::place::SharedMemory;

/// What a processor fetches at a time.
const LINE: usize = 64;
/// Where the slots start, each on a page of its own.
const SLOTS: usize = 4096;

const VERSION: &str = "-";

/// Bytes from slot to slot.
fn slot_size(size: usize) -> usize {
    size.next_multiple_of(4096)
}

/// Where a slot starts, which has room for `size` bytes.
fn slot_ptr(memory: &SharedMemory, slot: usize, size: usize) -> *mut u8 {
    memory.bytes(SLOTS + slot * slot_size(size), size)
}

pub(crate) type Copy =
    unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void;

/// Copies by the C library, through a pointer that the compiler can't look behind: so that a copy which may race
/// with another process is the machine's and not the language's, and all loops copy alike.
pub(crate) fn copier() -> Copy {
    std::hint::black_box(libc::memcpy)
}
