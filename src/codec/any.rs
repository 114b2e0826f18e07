//! The codec of values that carry their own. Relies on `contract` and `untyped`.

use zeroize::Zeroizing;

use super::contract::{Codec, Tags};
use super::numbers;
use super::untyped::Untyped;
use crate::error::Result;

/// The codec of [`Untyped`] values: it stores and returns any bytes, with the codec's number and the type's
/// name.
///
/// ```
/// use handover::codec::{AnyCodec, Text, Untyped};
/// use handover::{MemoryMapper, PlainMapper};
///
/// # let name = &format!("AnyCodec in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<Untyped, AnyCodec>::create_or_open(name)?;
/// mapper.set(&Untyped::new(Text::ID, b"hello".to_vec()))?;
/// assert_eq!(mapper.get()?.expect("it was set").codec, Text::ID);
///
/// // Others see a value of that codec:
/// assert_eq!(MemoryMapper::<String, Text>::open_existing(name)?.get()?.as_deref(), Some("hello"));
/// # Ok::<(), handover::Error>(())
/// ```
///
/// The plain layout keeps only the bytes: a value read from it has codec 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyCodec;

impl Codec<Untyped> for AnyCodec {
    const ID: u32 = numbers::NONE;
    const NAME: &'static str = "any codec";

    fn encode(value: &Untyped) -> Result<Zeroizing<Vec<u8>>> {
        Ok(value.bytes.clone())
    }

    fn decode(bytes: &[u8]) -> Result<Untyped> {
        Ok(Untyped::new(numbers::NONE, bytes.to_vec()))
    }

    fn tags(value: &Untyped) -> Tags<'_> {
        Tags { codec: value.codec, type_name: value.type_name.as_deref(), expires: value.expires }
    }

    fn decode_stored(stored: Untyped, _quoting: bool) -> Result<Untyped> {
        Ok(stored)
    }

    fn check(_stored: u32) -> Result<()> {
        Ok(())
    }
}

impl Untyped {
    /// The value in bytes of codec `C`.
    ///
    /// ```
    /// use handover::codec::{Json, Untyped};
    ///
    /// assert_eq!(&**Untyped::encode::<_, Json>(&[2, 3, 5])?.bytes, b"[2,3,5]");
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Encode`.
    pub fn encode<T, C: Codec<T>>(value: &T) -> Result<Self> {
        Ok(Self::new(C::ID, C::encode(value)?))
    }

    /// The value as a `T`, where its codec is `C` (or 0).
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::codec::{Json, Text, Untyped};
    ///
    /// let value = Untyped::new(Json::ID, b"\"hello\"".to_vec());
    /// assert_eq!(value.decode::<String, Json>()?, "hello");
    /// assert_eq!(value.decode::<String, Text>().unwrap_err().kind(), ErrorKind::CodecMismatch);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `CodecMismatch` where the value has another codec; `Decode` where the bytes are not such a value.
    pub fn decode<T, C: Codec<T>>(&self) -> Result<T> {
        C::check(self.codec)?;
        C::decode(&self.bytes)
    }
}
