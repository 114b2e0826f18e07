//! A value as it is stored: bytes, and what they are. Relies on `numbers`.

use std::fmt;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::numbers;

/// A value whose type and codec are known only at run time: its bytes, and what is stored beside them.
///
/// For programs that handle values of any type, such as a command or a bridge to another language. See
/// [`UntypedMapper`](crate::mapper::UntypedMapper). `Debug` shows no byte of the value.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use handover::codec::{Json, Untyped};
///
/// let mut value = Untyped::new(Json::ID, b"[2,3,5]".to_vec());
/// value.type_name = Some("math.Primes".to_owned());
/// value.expires = Some(SystemTime::now() + Duration::from_secs(60));
/// assert_eq!(value.codec_name(), "JSON");
/// assert_eq!(value.decode::<Vec<u32>, Json>()?, [2, 3, 5]);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Untyped {
    /// The number of its codec; 0: bytes of no codec, which every codec may read.
    pub codec: u32,
    /// The name of its type, if it has one; at most 256 bytes.
    pub type_name: Option<String>,
    /// Its bytes, wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// When it was written, for a value that was read. Setting a value ignores this.
    pub written: Option<SystemTime>,
    /// When it becomes unreadable. Setting a value with `None` leaves that to the mapper.
    pub expires: Option<SystemTime>,
}

impl Untyped {
    /// Bytes in the codec with this number ([`Json::ID`](super::Json::ID) and so on), without a type name or
    /// an expiry.
    pub fn new(codec: u32, bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self { codec, type_name: None, bytes: bytes.into(), written: None, expires: None }
    }

    /// The name of its codec, for messages.
    pub fn codec_name(&self) -> String {
        numbers::name_of(self.codec)
    }
}

impl fmt::Debug for Untyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Untyped")
            .field("codec", &self.codec)
            .field("type_name", &self.type_name)
            .field("bytes", &format_args!("[{} bytes]", self.bytes.len()))
            .field("written", &self.written)
            .field("expires", &self.expires)
            .finish()
    }
}
