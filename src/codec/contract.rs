//! What a codec is. Relies on `untyped` for what is stored; every codec relies on it.

use std::time::SystemTime;

use zeroize::Zeroizing;

use super::numbers;
use super::untyped::Untyped;
use super::wiped::wipe;
use crate::error::{Error, Result};

/// Turns values of `T` into bytes and back.
///
/// ```
/// use handover::codec::{Codec, Zeroizing};
/// use handover::{Error, MemoryMapper, Result};
///
/// /// A temperature in two bytes.
/// struct Tenths;
///
/// impl Codec<f32> for Tenths {
///     const ID: u32 = 65_536;
///     const NAME: &'static str = "tenths of a degree";
///
///     fn encode(value: &f32) -> Result<Zeroizing<Vec<u8>>> {
///         if !(-300.0..3000.0).contains(value) {
///             return Err(Error::encode(Self::NAME, "it is no temperature on Earth"));
///         }
///         Ok(Zeroizing::new(((value * 10.0).round() as i16).to_le_bytes().to_vec()))
///     }
///
///     fn decode(bytes: &[u8]) -> Result<f32> {
///         let bytes = bytes.try_into().map_err(|_| Error::decode(Self::NAME, "expected two bytes"))?;
///         Ok(f32::from(i16::from_le_bytes(bytes)) / 10.0)
///     }
/// }
///
/// # let name = &format!("Codec in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<f32, Tenths>::create_or_open(name)?;
/// mapper.set(&21.5)?;
/// assert_eq!(mapper.get()?, Some(21.5));
/// # Ok::<(), handover::Error>(())
/// ```
pub trait Codec<T> {
    /// The number that is stored with a value. Numbers of your own start at 65,536.
    const ID: u32;

    /// The name, for messages.
    const NAME: &'static str;

    /// The bytes of `value`, in memory that is wiped when it is dropped.
    ///
    /// # Errors
    ///
    /// `Encode` where the value has no form in this codec. The error must not quote the value: it may be a
    /// secret.
    fn encode(value: &T) -> Result<Zeroizing<Vec<u8>>>;

    /// The value of these bytes.
    ///
    /// # Errors
    ///
    /// `Decode` where they are not a value of `T`. The error must not quote the bytes: they may be a secret.
    fn decode(bytes: &[u8]) -> Result<T>;

    /// [`decode`](Self::decode) with errors that may quote the bytes: what
    /// [`MapperOptions::full_errors`](crate::MapperOptions::full_errors) asks for. Default: the same errors.
    ///
    /// # Errors
    ///
    /// `Decode`.
    fn decode_quoting(bytes: &[u8]) -> Result<T> {
        Self::decode(bytes)
    }

    /// What is stored beside the bytes of `value`. Only [`AnyCodec`](super::AnyCodec) overrides this.
    #[doc(hidden)]
    fn tags(_value: &T) -> Tags<'_> {
        Tags { codec: Self::ID, type_name: None, expires: None }
    }

    /// The value of what was stored, for which [`check`](Self::check) succeeded. Only
    /// [`AnyCodec`](super::AnyCodec) keeps what lies beside the bytes.
    #[doc(hidden)]
    fn decode_stored(stored: Untyped, quoting: bool) -> Result<T> {
        let decoded = if quoting { Self::decode_quoting(&stored.bytes) } else { Self::decode(&stored.bytes) };
        wipe(stored.bytes);
        decoded
    }

    /// Whether values that were stored with the codec `stored` may be read with this one. Only
    /// [`AnyCodec`](super::AnyCodec) reads those of others.
    #[doc(hidden)]
    fn check(stored: u32) -> Result<()> {
        if stored != Self::ID && stored != numbers::NONE {
            return Err(Error::codec_mismatch(numbers::name_of(stored), Self::NAME));
        }
        Ok(())
    }
}

/// What is stored beside a value's bytes.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    /// The codec's number.
    pub codec: u32,
    /// The name of the type; `None` leaves it to the mapper.
    pub type_name: Option<&'a str>,
    /// When the value becomes unreadable; `None` leaves it to the mapper.
    pub expires: Option<SystemTime>,
}
