//! A value that was copied out of a cell.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::terms::is_send_and_sync;

/// One version's bytes, copied, with what was stored beside them.
///
/// `Debug` shows the version, the length and the codec, never the bytes.
///
/// ```
/// use handover::cell::Cell;
/// use handover::map::MemoryMappedFile;
///
/// let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
/// cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
///
/// let value = cell.copy()?.expect("it was just stored");
/// assert_eq!((value.version, value.bytes.as_slice()), (1, b"hello".as_slice()));
/// assert_eq!(format!("{value:?}"), "Value { version: 1, length: 5, codec: 0, .. }");
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Value {
    /// The version.
    pub version: u64,
    /// Its bytes, wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The number of its codec.
    pub codec: u32,
    /// The name of its type, if it was stored with one.
    pub type_name: Option<String>,
    /// When it was written.
    pub written: SystemTime,
    /// When it becomes unreadable.
    pub expires: Option<SystemTime>,
}

const _: () = is_send_and_sync::<Value>();

impl Value {
    /// Whether it has expired since it was copied.
    pub fn is_expired(&self) -> bool {
        is_over(self.expires)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("version", &self.version)
            .field("length", &self.bytes.len())
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// A time in a slot's header: nanoseconds since 1970.
pub(super) fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

/// The same where 0 stands for none.
pub(super) fn time_or_none(nanoseconds: u64) -> Option<SystemTime> {
    (nanoseconds > 0).then(|| time(nanoseconds))
}

/// Whether an expiry has passed.
pub(super) fn is_over(expires: Option<SystemTime>) -> bool {
    expires.is_some_and(|at| at <= SystemTime::now())
}
