//! The handle of a thread that reads again and again. Relies on `versions`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::versions::{Decoded, Stored};
use crate::codec::Codec;
use crate::error::Result;

/// Lends the newest value, decoded once for each version. One for each thread; see
/// [`MemoryMapper::reader`](crate::MemoryMapper::reader).
///
/// While the version stays the same, [`get`](Self::get) looks at one word.
///
/// ```
/// use handover::MemoryMapper;
///
/// # let name = &format!("MapperReader in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<String>::create_or_open(name)?;
/// let mut reader = mapper.reader();
/// assert_eq!(reader.get()?, None);
/// mapper.set(&"hello".to_owned())?;
/// assert_eq!(reader.get()?.map(String::as_str), Some("hello"));
/// # Ok::<(), handover::Error>(())
/// ```
#[must_use = "a reader keeps the map's name, and what it decoded, only while it lives"]
pub struct MapperReader<T, C> {
    stored: Stored,
    decoded: Decoded<T>,
    codec: PhantomData<fn() -> C>,
}

/// The decoded value stays out of it: it may be a secret.
impl<T, C> fmt::Debug for MapperReader<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapperReader")
            .field("subject", self.stored.cell().subject())
            .field("version", &self.stored.cell().version())
            .field("type_name", &self.stored.type_name())
            .finish_non_exhaustive()
    }
}

impl<T, C: Codec<T>> MapperReader<T, C> {
    pub(super) fn new(stored: Stored) -> Self {
        Self { stored, decoded: Decoded::none(), codec: PhantomData }
    }

    /// The newest value; `None` where there is none.
    ///
    /// # Errors
    ///
    /// As for [`MemoryMapper::get`](crate::MemoryMapper::get).
    #[inline]
    pub fn get(&mut self) -> Result<Option<&T>> {
        Ok(self.get_shared()?.map(|value| &**value))
    }

    /// The newest value, to be kept: clone the `Arc`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    #[inline]
    pub fn get_shared(&mut self) -> Result<Option<&Arc<T>>> {
        self.decoded.get::<C>(&self.stored)
    }

    /// The newest version; 0: nothing was stored yet. One load.
    #[inline]
    pub fn version(&self) -> u64 {
        self.stored.cell().version()
    }
}
