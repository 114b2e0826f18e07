//! JSON. Relies on `contract` and `explain`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::contract::Codec;
use super::explain::{explain, locate};
use super::numbers;
use super::wiped::Growing;
use crate::error::{Error, Result};

/// JSON (RFC 8259), as `serde_json` and .NET's `System.Text.Json` write it. The default.
///
/// Reading passes over a byte order mark.
///
/// ```
/// use handover::codec::{Codec, Json};
///
/// let bytes = Json::encode(&vec![1, 2])?;
/// assert_eq!(&**bytes, b"[1,2]");
/// let numbers: Vec<u8> = Json::decode(&bytes)?;
/// assert_eq!(numbers, [1, 2]);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Json {
    /// Its number.
    pub const ID: u32 = numbers::JSON;

    /// The bytes without the byte order mark before them, if there is one. Some writers put one there, .NET's
    /// `StreamWriter` among them; RFC 8259 (section 8.1) lets a reader pass over it.
    ///
    /// ```
    /// use handover::codec::Json;
    ///
    /// assert_eq!(Json::without_mark(b"\xEF\xBB\xBF{}"), b"{}");
    /// assert_eq!(Json::without_mark(b"{}"), b"{}");
    /// ```
    pub fn without_mark(bytes: &[u8]) -> &[u8] {
        bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes)
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const ID: u32 = numbers::JSON;
    const NAME: &'static str = "JSON";

    fn encode(value: &T) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Growing::default();
        serde_json::to_writer(&mut bytes, value).map_err(|error| match error.classify() {
            // The message of the type's own serialisation may quote the value.
            Category::Data => Error::encode("JSON", "the type's own serialisation failed"),
            // serde_json itself only complains about keys, and quotes none.
            _ => Error::encode("JSON", error),
        })?;
        Ok(bytes.into_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        let bytes = Self::without_mark(bytes);
        serde_json::from_slice(bytes).map_err(|error| refused::<T>(bytes, &error))
    }

    fn decode_quoting(bytes: &[u8]) -> Result<T> {
        let bytes = Self::without_mark(bytes);
        serde_json::from_slice(bytes).map_err(|error| {
            match locate::<T, _>(&mut serde_json::Deserializer::from_slice(bytes)) {
                Some(path) => Error::decode("JSON", format_args!("at {path}: {error}")),
                None => Error::decode("JSON", error),
            }
        })
    }
}

/// The error for bytes that are not a `T`.
#[cold]
fn refused<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Error {
    // Its own text may quote the value.
    let what = match error.classify() {
        Category::Io => None,
        Category::Syntax => Some("a syntax error".to_owned()),
        Category::Data => explain::<T, _>(&mut serde_json::Deserializer::from_slice(bytes)),
        Category::Eof => Some("an early end".to_owned()),
    };
    let what = what.as_deref().unwrap_or("a value of another type");
    match error.line() {
        // What the type refuses once all of it was read is nowhere.
        0 => Error::decode("JSON", what),
        line => Error::decode("JSON", format_args!("{what} (line {line} column {})", error.column())),
    }
}
