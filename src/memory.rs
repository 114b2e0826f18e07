//! Copies between private memory and memory that other processes may be changing.
//!
//! # Why such accesses are sound
//!
//! In the language, plain accesses that race are undefined behaviour, and so are atomic accesses of two sizes
//! that overlap and race, unless all of them load. A copy can't keep that rule: it meets other copies of any
//! length and alignment, atomics, and whatever another process does.
//!
//! So the language sees none of these accesses. On x86-64 and 64-bit Arm each is an instruction in an `asm!`
//! block, which is as opaque to the compiler as a call of foreign code. Such a block stands for any Rust code
//! with the same effects; ours stand for relaxed atomic accesses of the same sizes as the accesses that they
//! meet. To the machine, accesses that meet are no error: a naturally aligned access of up to 8 bytes is
//! whole, and a longer or unaligned one may return a mix of several writes. The caller has other means to
//! tell whether it did.
//!
//! On other processors, and in Miri, bytes and words are atomics of the language. These machines give the
//! same guarantee; the language leaves open what happens where two sizes meet.
//!
//! Code that touches shared memory keeps two duties: no plain access (through a reference or a pointer), and
//! no two atomics of different sizes over the same bytes. `ViewAccessor::atomic` passes the second on to its
//! caller.
//!
//! Relies on `error` and `terms`; `map`, `cell` and `sys` rely on it.

mod word;

use std::sync::atomic::{Ordering, fence};

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::terms::Subject;

const WORD: usize = size_of::<u64>();

/// A buffer of zeroes to copy `len` bytes of `subject` into. The length may come from shared memory, so a
/// lack of room is an error and does not end the process.
pub(crate) fn room_for(len: usize, subject: &Subject) -> Result<Zeroizing<Vec<u8>>> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| {
        Error::no_space(
            subject.clone(),
            len as u64,
            "this process has no memory for a copy of the value; free some".to_owned(),
        )
    })?;
    room.resize(len, 0);
    Ok(Zeroizing::new(room))
}

/// Copies `to.len()` bytes from shared memory.
///
/// # Safety
///
/// `from` must be valid for reads of `to.len()` bytes while this runs. Concurrent accesses to them in this
/// process must be atomic or made by this module.
pub(crate) unsafe fn load(from: *const u8, to: &mut [u8]) {
    // SAFETY: both ranges are `to.len()` bytes long; the caller guarantees the shared one.
    if unsafe { wide::copy::<true>(from, to.as_mut_ptr(), to.len()) } {
        return;
    }
    // Bytes up to the first whole word of the shared side.
    let head = from.align_offset(WORD).min(to.len());
    let (first, rest) = to.split_at_mut(head);
    let (words, last) = rest.as_chunks_mut::<WORD>();
    let mut at = from;
    for byte in first {
        // SAFETY: `at` is within the range that the caller guarantees.
        *byte = unsafe { word::load_u8(at) };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, and `at` is a multiple of the word's size here.
        *word = unsafe { word::load_u64(at.cast()) }.to_ne_bytes();
        at = at.wrapping_add(WORD);
    }
    for byte in last {
        // SAFETY: as above.
        *byte = unsafe { word::load_u8(at) };
        at = at.wrapping_add(1);
    }
}

/// Copies `from` into shared memory.
///
/// # Safety
///
/// `to` must be valid for writes of `from.len()` bytes while this runs. Concurrent accesses to them in this
/// process must be atomic or made by this module.
pub(crate) unsafe fn store(to: *mut u8, from: &[u8]) {
    if from.len() >= PAST_CACHES {
        // SAFETY: the caller guarantees this too.
        unsafe { store_past_caches(to, from) };
        return end_past_caches();
    }
    // SAFETY: both ranges are `from.len()` bytes long; the caller guarantees the shared one.
    if !unsafe { wide::copy::<false>(from.as_ptr(), to, from.len()) } {
        // SAFETY: what the caller guarantees.
        unsafe { store_words(to, from) }
    }
}

/// [`store`] word by word.
///
/// # Safety
///
/// As for [`store`].
unsafe fn store_words(to: *mut u8, from: &[u8]) {
    let head = to.cast_const().align_offset(WORD).min(from.len());
    let (first, rest) = from.split_at(head);
    let (words, last) = rest.as_chunks::<WORD>();
    let mut at = to;
    for byte in first {
        // SAFETY: `at` is within the range that the caller guarantees.
        unsafe { word::store_u8(at, *byte) };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, and `at` is a multiple of the word's size here.
        unsafe { word::store_u64(at.cast(), u64::from_ne_bytes(*word)) };
        at = at.wrapping_add(WORD);
    }
    for byte in last {
        // SAFETY: as above.
        unsafe { word::store_u8(at, *byte) };
        at = at.wrapping_add(1);
    }
}

/// Stores of this length and more bypass the caches. This is more than a core's own cache commonly holds, so
/// most of it would be written back before anybody reads it. As in a C library's `memcpy`, no line is then
/// read from memory only to be overwritten.
pub(crate) const PAST_CACHES: usize = 4 << 20;

/// [`store`] for a part of a long value, at least some pages, which bypasses the caches where the processor
/// can. Others see it after [`end_past_caches`].
///
/// # Safety
///
/// As for [`store`].
pub(crate) unsafe fn store_past_caches(to: *mut u8, from: &[u8]) {
    let head = to.align_offset(wide::ALIGNMENT).min(from.len());
    let (first, rest) = from.split_at(head);
    let middle = to.wrapping_add(head);
    // SAFETY: both ranges are `rest.len()` bytes long, the caller guarantees the shared one, and it is
    // aligned.
    let done = unsafe { wide::copy_past_caches(rest.as_ptr(), middle, rest.len()) };
    // SAFETY: a part of the range that the caller guarantees.
    unsafe { store_words(to, first) };
    // SAFETY: as above.
    unsafe { store_words(middle.wrapping_add(done), &rest[done..]) };
}

/// Orders what [`store_past_caches`] stored before all later stores, as the language expects of stores.
pub(crate) fn end_past_caches() {
    wide::fence();
}

/// Sets `len` bytes of shared memory to zero.
///
/// # Safety
///
/// As for [`store`] with `len` bytes.
pub(crate) unsafe fn zero(to: *mut u8, len: usize) {
    const ZEROES: [u8; 4096] = [0; 4096];
    let mut done = 0;
    while done < len {
        let count = (len - done).min(ZEROES.len());
        // SAFETY: the range is part of the one that the caller guarantees.
        unsafe { store(to.wrapping_add(done), &ZEROES[..count]) };
        done += count;
    }
}

/// An integer that one instruction loads whole.
pub(crate) trait Word: Copy {
    /// Loads the integer at `at`; later loads see what its writer stored before it.
    ///
    /// # Safety
    ///
    /// As for [`load`] with the bytes of the integer, and `at` must be a multiple of its size.
    unsafe fn load_acquire(at: *const u8) -> Self;
}

macro_rules! words {
    ($($load:ident: $($integer:ty)*),*) => {$($(
        impl Word for $integer {
            #[inline]
            unsafe fn load_acquire(at: *const u8) -> Self {
                // SAFETY: what the caller guarantees.
                let value = unsafe { word::$load(at.cast()) };
                fence(Ordering::Acquire);
                value as Self
            }
        }
    )*)*};
}

words!(load_u8: u8 i8, load_u16: u16 i16, load_u32: u32 i32, load_u64: u64 i64);

/// Copies by instructions of 32 and 64 bytes.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod wide {
    use std::arch::{asm, is_x86_feature_detected};

    /// Bytes that one turn of the loops copies.
    const TURN: usize = 128;
    /// Lengths that gain from the widest instructions. Longer copies wait for the caches, where an access
    /// that straddles two lines costs more than it saves.
    const WIDEST: std::ops::RangeInclusive<usize> = 256..=4096;
    /// The alignment that non-temporal stores need; whole cache lines are fastest.
    pub(super) const ALIGNMENT: usize = 64;

    /// Copies `count` bytes, a multiple of four times `$width` and not 0: through registers `$wide` of that
    /// many bytes, loaded by `$load` and stored by `$store`.
    macro_rules! copy_turns {
        ($from:ident, $to:ident, $count:ident, $width:literal, $wide:literal, $load:literal, $store:literal) => {
            asm!(
                "2:",
                concat!($load, " ", $wide, "0, [{from}]"),
                concat!($load, " ", $wide, "1, [{from} + ", $width, "]"),
                concat!($load, " ", $wide, "2, [{from} + 2 * ", $width, "]"),
                concat!($load, " ", $wide, "3, [{from} + 3 * ", $width, "]"),
                concat!($store, " [{to}], ", $wide, "0"),
                concat!($store, " [{to} + ", $width, "], ", $wide, "1"),
                concat!($store, " [{to} + 2 * ", $width, "], ", $wide, "2"),
                concat!($store, " [{to} + 3 * ", $width, "], ", $wide, "3"),
                concat!("add {from}, 4 * ", $width),
                concat!("add {to}, 4 * ", $width),
                concat!("sub {rest}, 4 * ", $width),
                "jnz 2b",
                "vzeroupper",
                from = inout(reg) $from => _,
                to = inout(reg) $to => _,
                rest = inout(reg) $count => _,
                // `vzeroupper` changes them all.
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack),
            )
        };
    }

    /// Copies `$width` bytes.
    macro_rules! copy_one {
        ($from:ident, $to:ident, $wide:literal, $move:literal) => {
            asm!(
                concat!($move, " ", $wide, "0, [{from}]"),
                concat!($move, " [{to}], ", $wide, "0"),
                from = in(reg) $from,
                to = in(reg) $to,
                out("ymm0") _,
                options(nostack, preserves_flags),
            )
        };
    }

    /// Copies `len` bytes, unless they are few or the processor can't. Returns whether it did. With `ALIGN`
    /// most stores are aligned, even where `to` is not.
    ///
    /// # Safety
    ///
    /// Both ranges must be valid for `len` bytes and must not overlap; others may access only the shared one.
    #[inline]
    pub(super) unsafe fn copy<const ALIGN: bool>(from: *const u8, to: *mut u8, len: usize) -> bool {
        if len < TURN || !is_x86_feature_detected!("avx") {
            return false;
        }
        /// Copies the first bytes, then whole turns from where stores are aligned, and one turn that ends
        /// where the ranges end: some bytes are copied twice.
        macro_rules! copy_all {
            ($width:literal, $wide:literal, $move:literal) => {{
                let turn: usize = 4 * $width;
                let mut done = if ALIGN { to.align_offset($width) } else { 0 };
                if done > 0 {
                    // SAFETY: reads and writes the first bytes of the two ranges, which have that many; the
                    // processor can do that. Turns follow, which leave no upper halves.
                    unsafe { copy_one!(from, to, $wide, $move) };
                }
                let count = (len - done) / turn * turn;
                if count > 0 {
                    let (middle, to_middle) = (from.wrapping_add(done), to.wrapping_add(done));
                    // SAFETY: as above, `count` bytes, more than none, of what is left of them.
                    unsafe { copy_turns!(middle, to_middle, count, $width, $wide, $move, $move) };
                    done += count;
                }
                if done < len {
                    let (last, to_last) = (from.wrapping_add(len - turn), to.wrapping_add(len - turn));
                    // SAFETY: as above, the last bytes.
                    unsafe { copy_turns!(last, to_last, turn, $width, $wide, $move, $move) };
                }
            }};
        }
        // The second condition selects processors that don't get slower when they do that. (glibc uses it
        // too.)
        if WIDEST.contains(&len) && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avxvnni")
        {
            copy_all!(64, "zmm", "vmovdqu64");
        } else {
            copy_all!(32, "ymm", "vmovdqu");
        }
        true
    }

    /// Copies as much as fits in whole turns past the caches, and returns its length. Only a [`fence`] in
    /// between orders these stores before later ones.
    ///
    /// # Safety
    ///
    /// As for [`copy`]; and `to` must be a multiple of [`ALIGNMENT`].
    #[inline]
    pub(super) unsafe fn copy_past_caches(from: *const u8, to: *mut u8, len: usize) -> usize {
        if len < TURN || !is_x86_feature_detected!("avx") {
            return 0;
        }
        let count = len / TURN * TURN;
        // SAFETY: as in `copy`, and `to` is aligned as these stores need.
        unsafe { copy_turns!(from, to, count, 32, "ymm", "vmovdqu", "vmovntdq") };
        count
    }

    /// Orders all earlier stores before all later ones.
    #[inline]
    pub(super) fn fence() {
        // SAFETY: every x86-64 has the instruction, which touches nothing.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) }
    }
}

/// Elsewhere words are copied.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod wide {
    /// Copies nothing.
    ///
    /// # Safety
    ///
    /// None is needed.
    pub(super) unsafe fn copy<const ALIGN: bool>(_from: *const u8, _to: *mut u8, _len: usize) -> bool {
        false
    }

    /// Copies nothing.
    ///
    /// # Safety
    ///
    /// None is needed.
    pub(super) unsafe fn copy_past_caches(_from: *const u8, _to: *mut u8, _len: usize) -> usize {
        0
    }

    pub(super) const ALIGNMENT: usize = 8;

    pub(super) fn fence() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_copies_are_exact_at_every_alignment_and_length() {
        let source: Vec<u8> = (0..=250).cycle().take((4 << 20) + 300).collect();
        let mut room = vec![0u64; source.len() / 8 + 16];
        let base = room.as_mut_ptr().cast::<u8>();
        for start in [0, 1, 31, 32] {
            for len in (0..600).chain([1000, 1024, 4095, 4096, 4097, (4 << 20) - 1, 4 << 20, (4 << 20) + 131])
            {
                // SAFETY: the room is longer than 33 + len bytes, and nobody else uses it.
                unsafe { store(base.wrapping_add(start), &source[..len]) };
                let mut back = vec![0; len];
                // SAFETY: as above.
                unsafe { load(base.wrapping_add(start), &mut back) };
                assert!(back == source[..len], "{len} bytes at {start}");
                // SAFETY: as above.
                unsafe { zero(base, start + len + 1) };
            }
        }
    }

    #[test]
    fn pieces_that_go_past_the_caches_are_exact_at_every_alignment_and_length() {
        let source: Vec<u8> = (0..=250).cycle().take(4500).collect();
        let mut room = vec![0u64; 600];
        let base = room.as_mut_ptr().cast::<u8>();
        for start in [0, 1, 31, 32, 63, 64] {
            for len in (0..300).chain([4096, 4097, 4300]) {
                let mut expected = vec![0; 4800];
                expected[start..start + len].copy_from_slice(&source[..len]);
                // SAFETY: the room has 4,800 bytes, and nobody else uses it.
                unsafe { store_past_caches(base.wrapping_add(start), &source[..len]) };
                end_past_caches();
                let mut back = vec![1; 4800];
                // SAFETY: as above.
                unsafe { load(base, &mut back) };
                assert!(back == expected, "{len} bytes at {start}");
                // SAFETY: as above.
                unsafe { zero(base, 4800) };
            }
        }
    }

    #[test]
    fn copies_are_exact_at_every_alignment_and_length() {
        let source: Vec<u8> = (1..=40).collect();
        for start in 0..9 {
            for len in 0..31 {
                let mut shared = [0u64; 8];
                let base = shared.as_mut_ptr().cast::<u8>();
                // SAFETY: 9 + 31 bytes fit in the 64 of `shared`, which nobody else uses.
                unsafe { store(base.wrapping_add(start), &source[..len]) };
                let mut back = [0xEE; 64];
                // SAFETY: as above.
                unsafe { load(base, &mut back) };
                assert!(back[..start].iter().chain(&back[start + len..]).all(|byte| *byte == 0));
                assert_eq!(back[start..start + len], source[..len]);
                let mut part = vec![0; len];
                // SAFETY: as above.
                unsafe { load(base.wrapping_add(start), &mut part) };
                assert_eq!(part, source[..len]);
                // SAFETY: as above.
                unsafe { zero(base.wrapping_add(start), len) };
                assert_eq!(shared, [0; 8]);
            }
        }
    }
}
