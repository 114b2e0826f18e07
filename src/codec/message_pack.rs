//! `MessagePack`. Relies on `contract` and `explain`.

use rmp_serde::decode::ReadRefReader;
use rmp_serde::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::contract::Codec;
use super::explain::{explain, locate};
use super::numbers;
use super::wiped::Growing;
use crate::error::{Error, Result};

/// `MessagePack`, with the names of fields: smaller than JSON and faster to read.
///
/// ```
/// use handover::codec::{Codec, MessagePack};
///
/// let bytes = MessagePack::encode(&vec![1, 2])?;
/// assert_eq!(&**bytes, [0x92, 1, 2]);
/// let numbers: Vec<u8> = MessagePack::decode(&bytes)?;
/// assert_eq!(numbers, [1, 2]);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl MessagePack {
    /// Its number.
    pub const ID: u32 = numbers::MESSAGE_PACK;
}

/// How deeply values may be nested: as deeply as `serde_json` allows.
const DEPTH_LIMIT: usize = 128;

impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    const ID: u32 = numbers::MESSAGE_PACK;
    const NAME: &'static str = "MessagePack";

    fn encode(value: &T) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Growing::default();
        encode::write_named(&mut bytes, value).map_err(|error| match error {
            // The message of the type's own serialisation may quote the value.
            encode::Error::Syntax(_) => Error::encode("MessagePack", "the type's own serialisation failed"),
            other => Error::encode("MessagePack", other),
        })?;
        Ok(bytes.into_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        T::deserialize(&mut decoder(bytes)).map_err(|error| {
            // Its own text may quote the value.
            let what = match error {
                decode::Error::InvalidMarkerRead(_) | decode::Error::InvalidDataRead(_) => "an early end",
                decode::Error::DepthLimitExceeded => "nested too deeply",
                decode::Error::Utf8Error(_) => "text that is not UTF-8",
                _ => &explain::<T, _>(&mut decoder(bytes)).unwrap_or("a value of another type".to_owned()),
            };
            Error::decode("MessagePack", what)
        })
    }

    fn decode_quoting(bytes: &[u8]) -> Result<T> {
        T::deserialize(&mut decoder(bytes)).map_err(|error| match locate::<T, _>(&mut decoder(bytes)) {
            Some(path) => Error::decode("MessagePack", format_args!("at {path}: {error}")),
            None => Error::decode("MessagePack", error),
        })
    }
}

fn decoder(bytes: &[u8]) -> rmp_serde::Deserializer<ReadRefReader<'_, [u8]>> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    // Its own limit of 1,024 is more than the stack of a thread bears.
    decoder.set_max_depth(DEPTH_LIMIT);
    decoder
}
