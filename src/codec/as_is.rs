//! Text and bytes, stored as they are. Relies on `contract`.

use zeroize::Zeroizing;

use super::contract::Codec;
use super::numbers;
use crate::error::{Error, Result};

/// UTF-8 text as it is. The plain layout loses NULs at both ends.
///
/// ```
/// use handover::codec::{Codec, Text};
///
/// assert_eq!(&**Text::encode(&"hello".to_owned())?, b"hello");
/// assert_eq!(Text::decode(b"hello")?, "hello");
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Text {
    /// Its number.
    pub const ID: u32 = numbers::TEXT;
}

/// Bytes as they are. The plain layout loses zero bytes at both ends, and refuses a first byte of 0xFF.
///
/// ```
/// use handover::codec::{Bytes, Codec};
///
/// assert_eq!(&**Bytes::encode(&vec![1, 2])?, [1, 2]);
/// assert_eq!(Bytes::decode(&[1, 2])?, [1, 2]);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl Bytes {
    /// Its number.
    pub const ID: u32 = numbers::BYTES;
}

impl Codec<String> for Text {
    const ID: u32 = numbers::TEXT;
    const NAME: &'static str = "text";

    fn encode(value: &String) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(value.as_bytes().to_vec()))
    }

    fn decode(bytes: &[u8]) -> Result<String> {
        checked(bytes).map(str::to_owned)
    }
}

impl Codec<Vec<u8>> for Bytes {
    const ID: u32 = numbers::BYTES;
    const NAME: &'static str = "bytes";

    fn encode(value: &Vec<u8>) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(value.clone()))
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}

/// Stored bytes of any codec as text, wiped when dropped.
pub(crate) fn text_of(bytes: &[u8]) -> Result<Zeroizing<String>> {
    checked(bytes).map(|text| Zeroizing::new(text.to_owned()))
}

fn checked(bytes: &[u8]) -> Result<&str> {
    str::from_utf8(bytes)
        .map_err(|error| Error::decode("text", format_args!("byte {} is not UTF-8", error.valid_up_to())))
}
