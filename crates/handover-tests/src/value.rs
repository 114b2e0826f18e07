//! Values that show whether they are whole: a counter, a pattern that follows from counter and length, and a
//! hash at the end. No part of one value fits into another.

/// The shortest value.
pub const SHORTEST: usize = 24;

fn next(state: u64) -> u64 {
    // xorshift64 (Marsaglia 2003).
    let state = state ^ (state << 13);
    let state = state ^ (state >> 7);
    state ^ (state << 17)
}

fn seed(counter: u64, length: usize) -> u64 {
    (counter.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (length as u64) << 1) | 1
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23)
}

/// Makes the value with this counter; `length` is at least [`SHORTEST`].
pub fn make(counter: u64, length: usize) -> Vec<u8> {
    assert!(length >= SHORTEST);
    let mut bytes = Vec::with_capacity(length + 8);
    bytes.extend_from_slice(&counter.to_le_bytes());
    let mut state = seed(counter, length);
    let mut hash = counter;
    while bytes.len() < length - 8 {
        state = next(state);
        hash = mix(hash, state);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length - 8);
    bytes.extend_from_slice(&hash.to_le_bytes());
    bytes
}

/// The counter of a value.
///
/// # Errors
///
/// What is wrong with it, if it is not whole.
pub fn check(bytes: &[u8]) -> Result<u64, String> {
    let length = bytes.len();
    if length < SHORTEST {
        return Err(format!("a value of {length} bytes"));
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let counter = word(0);
    let mut state = seed(counter, length);
    let mut hash = counter;
    let mut at = 8;
    while at < length - 8 {
        state = next(state);
        hash = mix(hash, state);
        let count = (length - 8 - at).min(8);
        if bytes[at..at + count] != state.to_le_bytes()[..count] {
            return Err(format!("torn: counter {counter}, {length} bytes, another value from byte {at} on"));
        }
        at += count;
    }
    if word(length - 8) == hash { Ok(counter) } else { Err(format!("torn: counter {counter}, wrong hash")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_shows() {
        for length in [24, 25, 31, 32, 100] {
            let whole = make(7, length);
            assert_eq!((whole.len(), check(&whole)), (length, Ok(7)));
            for at in 0..length {
                let mut other = whole.clone();
                other[at] ^= 1;
                assert!(check(&other).is_err(), "{at} of {length}");
            }
        }
    }
}
