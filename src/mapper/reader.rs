//! The handle of a thread that reads again and again.

use std::marker::PhantomData;
use std::sync::Arc;

use super::versions::Decoded;
use crate::cell::Cell;
use crate::codec::Codec;
use crate::error::Result;

/// Lends the newest value, decoded once for each version. One for each thread; see
/// [`MemoryMapper::reader`](super::MemoryMapper::reader).
///
/// While the version stands, [`get`](Self::get) is one look at one word.
#[derive(Debug)]
pub struct MapperReader<T, C> {
    cell: Cell,
    type_name: Option<&'static str>,
    decoded: Decoded<T>,
    codec: PhantomData<fn() -> C>,
}

impl<T, C: Codec<T>> MapperReader<T, C> {
    pub(super) fn new(cell: Cell, type_name: Option<&'static str>) -> Self {
        Self { cell, type_name, decoded: Decoded::none(), codec: PhantomData }
    }

    /// The newest value; `None` where there is none.
    ///
    /// # Errors
    ///
    /// As for [`MemoryMapper::get`](super::MemoryMapper::get).
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
        self.decoded.get::<C>(&self.cell, self.type_name)
    }

    /// The newest version; 0: nothing was stored yet. One load.
    #[inline]
    pub fn version(&self) -> u64 {
        self.cell.version()
    }
}
