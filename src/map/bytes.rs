//! Copies between private memory and memory that other processes may be changing.
//!
//! For the language such a copy must be made of atomic accesses: with plain ones it would be a data race, even
//! if the result were thrown away. Relaxed accesses compile to plain loads and stores of the machine. The
//! bytes that come back may be a mix of several writes; whoever calls decides by other means whether they are.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use zeroize::Zeroizing;

use crate::error::{Error, Result, Subject};

const WORD: usize = size_of::<u64>();

/// Zeroes to copy `len` bytes of `subject` into. The length may come from shared memory: where there is no room
/// for it, that is an error and does not end the process.
pub(crate) fn room_for(len: usize, subject: &Subject) -> Result<Zeroizing<Vec<u8>>> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| Error::NoSpace {
        subject: subject.clone(),
        needed: len as u64,
        reason: "this process has no memory for a copy of the value; free some".to_owned(),
    })?;
    room.resize(len, 0);
    Ok(Zeroizing::new(room))
}

/// Copies `to.len()` bytes from shared memory.
///
/// # Safety
///
/// `from` must be valid for reads of `to.len()` bytes while this runs, and all concurrent accesses to them in
/// this process must be atomic.
pub(crate) unsafe fn load(from: *const u8, to: &mut [u8]) {
    // Bytes up to the first whole word of the shared side.
    let head = from.align_offset(WORD).min(to.len());
    let (first, rest) = to.split_at_mut(head);
    let (words, last) = rest.as_chunks_mut::<WORD>();
    let mut at = from;
    for byte in first {
        // SAFETY: `at` is within the range that the caller vouches for; atomic as everybody's accesses.
        *byte = unsafe { load_byte(at) };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, and `at` is a multiple of the word's size here.
        let atomic = unsafe { &*at.cast::<AtomicU64>() };
        *word = atomic.load(Relaxed).to_ne_bytes();
        at = at.wrapping_add(WORD);
    }
    for byte in last {
        // SAFETY: as above.
        *byte = unsafe { load_byte(at) };
        at = at.wrapping_add(1);
    }
}

/// Copies `from` into shared memory.
///
/// # Safety
///
/// `to` must be valid for writes of `from.len()` bytes while this runs, and all concurrent accesses to them in
/// this process must be atomic.
pub(crate) unsafe fn store(to: *mut u8, from: &[u8]) {
    let head = to.cast_const().align_offset(WORD).min(from.len());
    let (first, rest) = from.split_at(head);
    let (words, last) = rest.as_chunks::<WORD>();
    let mut at = to;
    for byte in first {
        // SAFETY: `at` is within the range that the caller vouches for; atomic as everybody's accesses.
        unsafe { store_byte(at, *byte) };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, and `at` is a multiple of the word's size here.
        let atomic = unsafe { &*at.cast::<AtomicU64>() };
        atomic.store(u64::from_ne_bytes(*word), Relaxed);
        at = at.wrapping_add(WORD);
    }
    for byte in last {
        // SAFETY: as above.
        unsafe { store_byte(at, *byte) };
        at = at.wrapping_add(1);
    }
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
        // SAFETY: the range is part of the one that the caller vouches for.
        unsafe { store(to.wrapping_add(done), &ZEROES[..count]) };
        done += count;
    }
}

/// # Safety
///
/// `at` must be valid for reads, with atomic accesses only.
unsafe fn load_byte(at: *const u8) -> u8 {
    // SAFETY: valid and, being a byte, aligned.
    let atomic = unsafe { &*at.cast::<AtomicU8>() };
    atomic.load(Relaxed)
}

/// # Safety
///
/// `at` must be valid for writes, with atomic accesses only.
unsafe fn store_byte(at: *mut u8, byte: u8) {
    // SAFETY: valid and, being a byte, aligned.
    let atomic = unsafe { &*at.cast::<AtomicU8>() };
    atomic.store(byte, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

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
