//! What is handed over: the same for all subjects.
//!
//! *Bytes*: a pattern, with the number of the publication in the first and in the last eight bytes. *Typed*:
//! an access token with a few fields, whose bearer is as long as the size requires.

use serde::{Deserialize, Serialize};

/// S, M and L.
pub(crate) const SIZES: [(&str, usize); 3] = [("S", SMALL), ("M", MEDIUM), ("L", 16 << 20)];
/// S.
pub(crate) const SMALL: usize = 1024;
/// M.
pub(crate) const MEDIUM: usize = 64 << 10;
/// Bytes of a publication's number.
pub(crate) const NUMBER: usize = size_of::<u64>();
/// What a processor fetches at a time.
const LINE: usize = 64;

/// The bytes that a producer publishes repeatedly, each time with another number.
pub(crate) struct Bytes(Vec<u8>);

fn pattern(at: usize) -> u8 {
    (at.wrapping_mul(31) >> 3) as u8
}

impl Bytes {
    pub(crate) fn new(size: usize) -> Self {
        assert!(size >= NUMBER);
        Self((0..size).map(pattern).collect())
    }

    /// The bytes of publication `number`.
    #[inline]
    pub(crate) fn numbered(&mut self, number: u64) -> &[u8] {
        let number = number.to_le_bytes();
        let last = self.0.len() - NUMBER;
        self.0[..NUMBER].copy_from_slice(&number);
        self.0[last..].copy_from_slice(&number);
        &self.0
    }
}

/// The number of the publication that these bytes belong to. Reads only the first word.
#[inline]
pub(crate) fn number_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<NUMBER>().map_or(u64::MAX, |first| u64::from_le_bytes(*first))
}

/// Reads one word of each line, as a user of the value would, and returns the number.
#[inline]
pub(crate) fn touch(bytes: &[u8]) -> u64 {
    let sum = bytes.iter().step_by(LINE).fold(0u64, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    std::hint::black_box(sum);
    number_of(bytes)
}

/// Whether these are the bytes of publication `number`, each of them.
pub(crate) fn check_bytes(bytes: &[u8], size: usize, number: u64) -> Result<(), String> {
    let mut expected = Bytes::new(size);
    if bytes == expected.numbered(number) {
        return Ok(());
    }
    Err(format!(
        "{} bytes, number {}, are not the {size} bytes of number {number}",
        bytes.len(),
        number_of(bytes)
    ))
}

/// Builds the bytes of publication `number` in place, like a producer that computes its value.
#[inline]
pub(crate) fn fill(to: &mut [u8], number: u64) {
    fill_from(to, number);
}

/// [`fill`] for one piece, whose first word is `value`; returns that of the next piece.
#[inline]
pub(crate) fn fill_from(to: &mut [u8], mut value: u64) -> u64 {
    let (words, rest) = to.as_chunks_mut::<NUMBER>();
    for word in words {
        *word = value.to_le_bytes();
        value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    rest.fill(0);
    value
}

/// The typed value: an access token.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub(crate) struct Token {
    /// The number of its publication.
    pub(crate) number: u64,
    pub(crate) bearer: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) expires: u64,
}

/// The token of an archive. It has no shared pointers, so it needs no table of them.
#[inline]
pub(crate) fn owned(archived: &ArchivedToken) -> Token {
    use rkyv::rancor::{Panic, ResultExt as _};
    std::hint::black_box(rkyv::api::deserialize_using::<Token, _, Panic>(archived, &mut ()).always_ok())
}

/// The rough size in JSON of a token's fields other than the bearer.
const FIELDS: usize = 224;

impl Token {
    /// A token of about `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let letter = |at: usize| char::from(LETTERS[usize::from(pattern(at)) % LETTERS.len()]);
        Self {
            number: 0,
            bearer: (0..size.saturating_sub(FIELDS)).map(letter).collect(),
            issuer: "https://login.example.com/tenant".to_owned(),
            subject: "service-account@example.com".to_owned(),
            scopes: ["read", "write", "profile", "offline"].map(str::to_owned).to_vec(),
            expires: 1_900_000_000,
        }
    }

    /// Whether this is the token of publication `number`.
    pub(crate) fn check(&self, size: usize, number: u64) -> Result<(), String> {
        if *self == (Self { number, ..Self::new(size) }) {
            return Ok(());
        }
        Err(format!("the token read has number {} and is not the one of number {number}", self.number))
    }
}
