//! How a value becomes bytes, and back.
//!
//! Knows nothing of maps. `mapper` relies on it. A codec of your own is a type that implements [`Codec`].

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use self::wiped::Growing;
use crate::error::{Error, Result};

#[cfg(feature = "rkyv")]
pub(crate) mod archive;
mod wiped;

pub(crate) use self::wiped::wipe;

/// Turns values of `T` into bytes and back.
pub trait Codec<T> {
    /// The number that is stored with a value. Numbers of your own start at 65,536.
    const ID: u32;

    /// The name, for messages.
    const NAME: &'static str;

    /// The bytes of `value`, in memory that is wiped when it is dropped.
    ///
    /// # Errors
    ///
    /// `Encode` where the value has no form in this codec.
    fn encode(value: &T) -> Result<Zeroizing<Vec<u8>>>;

    /// The value of these bytes.
    ///
    /// # Errors
    ///
    /// `Decode` where they are not a value of `T`. The error must not repeat the bytes: they may be a secret.
    fn decode(bytes: &[u8]) -> Result<T>;
}

/// JSON (RFC 8259), as `serde_json` and .NET's `System.Text.Json` write it. The default. A byte order mark before
/// it is passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

/// UTF-8 text as it is. In the plain layout NULs at both ends are lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

/// Bytes as they are. In the plain layout zero bytes at both ends are lost, and the first one can't be 0xFF.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

/// `MessagePack`, with the names of fields: smaller than JSON and faster to read.
#[cfg(feature = "messagepack")]
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

#[cfg(feature = "rkyv")]
pub use self::archive::{ArchiveWriter, Rkyv};

/// What the codec with this number is called.
pub fn name_of(id: u32) -> String {
    match id {
        0 => "bytes of no codec".to_owned(),
        1 => "JSON".to_owned(),
        2 => "MessagePack".to_owned(),
        3 => "text".to_owned(),
        4 => "bytes".to_owned(),
        5 => "rkyv".to_owned(),
        other => format!("codec {other}"),
    }
}

/// How deeply values may be nested in MessagePack; `serde_json` has the same limit.
#[cfg(feature = "messagepack")]
const DEPTH_LIMIT: usize = 128;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const ID: u32 = 1;
    const NAME: &'static str = "JSON";

    fn encode(value: &T) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Growing::default();
        serde_json::to_writer(&mut bytes, value)
            // serde_json's own errors here are about keys and never quote a value.
            .map_err(|e| Error::Encode { codec: "JSON", reason: e.to_string() })?;
        Ok(bytes.into_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        // RFC 8259, section 8.1, leaves it to the reader. .NET's StreamWriter puts one there.
        let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
        serde_json::from_slice(bytes).map_err(|e| Error::Decode {
            codec: "JSON",
            // Its own text may quote the value.
            reason: format!(
                "{} at line {} column {}",
                match e.classify() {
                    serde_json::error::Category::Io => "unreadable",
                    serde_json::error::Category::Syntax => "a syntax error",
                    serde_json::error::Category::Data => "a missing field or a value of another type",
                    serde_json::error::Category::Eof => "an early end",
                },
                e.line(),
                e.column()
            ),
        })
    }
}

#[cfg(feature = "messagepack")]
impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    const ID: u32 = 2;
    const NAME: &'static str = "MessagePack";

    fn encode(value: &T) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Growing::default();
        rmp_serde::encode::write_named(&mut bytes, value)
            .map_err(|e| Error::Encode { codec: "MessagePack", reason: e.to_string() })?;
        Ok(bytes.into_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        use rmp_serde::decode::Error as E;
        let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
        // Its own limit of 1,024 is more than the stack of a thread bears.
        decoder.set_max_depth(DEPTH_LIMIT);
        T::deserialize(&mut decoder).map_err(|e| Error::Decode {
            codec: "MessagePack",
            // Its own text may quote the value.
            reason: match e {
                E::InvalidMarkerRead(_) | E::InvalidDataRead(_) => "an early end",
                E::DepthLimitExceeded => "nested too deeply",
                E::Utf8Error(_) => "text that is not UTF-8",
                _ => "a missing field or a value of another type",
            }
            .to_owned(),
        })
    }
}

impl Codec<String> for Text {
    const ID: u32 = 3;
    const NAME: &'static str = "text";

    fn encode(value: &String) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(value.as_bytes().to_vec()))
    }

    fn decode(bytes: &[u8]) -> Result<String> {
        str::from_utf8(bytes).map(str::to_owned).map_err(|e| Error::Decode {
            codec: "text",
            reason: format!("byte {} is not UTF-8", e.valid_up_to()),
        })
    }
}

impl Codec<Vec<u8>> for Bytes {
    const ID: u32 = 4;
    const NAME: &'static str = "bytes";

    fn encode(value: &Vec<u8>) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(value.clone()))
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}
