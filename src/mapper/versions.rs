//! What a mapper on a cell keeps: the cell, and the value that was decoded last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::LOCK_LIMIT;
use crate::cell::{Cell, Meta, Value, Writer};
use crate::codec::{self, Codec};
use crate::error::{Error, Result};
use crate::sys;

#[derive(Debug)]
pub(super) struct Versions<T> {
    cell: Cell,
    decoded: Mutex<Decoded<T>>,
}

/// The value that was decoded last.
#[derive(Debug)]
pub(super) struct Decoded<T>(Option<Known<T>>);

#[derive(Debug)]
struct Known<T> {
    version: u64,
    written: SystemTime,
    expires: Option<SystemTime>,
    value: Arc<T>,
}

/// A decoded value and its version.
pub(super) type Found<T> = Option<(u64, T)>;

impl<T> Decoded<T> {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The newest value, decoded once for each version.
    #[inline]
    pub(super) fn get<C: Codec<T>>(
        &mut self,
        cell: &Cell,
        type_name: Option<&str>,
    ) -> Result<Option<&Arc<T>>> {
        let stands = |known: &Known<T>| known.version == cell.version() && known.expires.is_none();
        if !self.0.as_ref().is_some_and(stands) {
            self.renew::<C>(cell, type_name)?;
        }
        Ok(self.0.as_ref().map(|known| &known.value))
    }

    /// Decodes the newest value, unless it is the one that is known, and has not expired.
    #[cold]
    fn renew<C: Codec<T>>(&mut self, cell: &Cell, type_name: Option<&str>) -> Result<()> {
        if let Some(known) = &self.0
            && known.version == cell.version()
            && !cell.has_expired(known.written, known.expires)?
        {
            return Ok(());
        }
        self.0 = None;
        let Some(value) = read(cell)? else { return Ok(()) };
        let (version, written, expires) = (value.version, value.written, value.expires);
        let value = Arc::new(decode::<T, C>(value, type_name)?);
        self.0 = Some(Known { version, written, expires, value });
        Ok(())
    }
}

/// The newest value's bytes, copied.
fn read(cell: &Cell) -> Result<Option<Value>> {
    let value = cell.reader().read()?;
    if value.is_none() {
        cell.remove_expired()?;
    }
    Ok(value)
}

impl<T> Versions<T> {
    pub(super) fn new(cell: Cell) -> Self {
        Self { cell, decoded: Mutex::new(Decoded::none()) }
    }

    pub(super) fn cell(&self) -> &Cell {
        &self.cell
    }

    fn decoded(&self) -> MutexGuard<'_, Decoded<T>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest value's bytes, copied.
    pub(super) fn read(&self) -> Result<Option<Value>> {
        read(&self.cell)
    }

    pub(super) fn get<C: Codec<T>>(&self, type_name: Option<&str>) -> Result<Found<T>> {
        self.read()?.map(|value| Ok((value.version, decode::<T, C>(value, type_name)?))).transpose()
    }

    /// The newest value, decoded once for each version.
    pub(super) fn get_shared<C: Codec<T>>(&self, type_name: Option<&str>) -> Result<Option<Arc<T>>> {
        Ok(self.decoded().get::<C>(&self.cell, type_name)?.cloned())
    }

    /// Forgets what was decoded last: it is gone.
    pub(super) fn forget(&self) {
        self.decoded().0 = None;
    }

    pub(super) fn writer(&self) -> Result<Writer> {
        self.cell.writer_timeout(LOCK_LIMIT)
    }
}

/// Decodes a value after checking that it was stored as what it is asked for.
pub(super) fn decode<T, C: Codec<T>>(value: Value, type_name: Option<&str>) -> Result<T> {
    check_stored_as::<T, C>(value.codec, value.type_name.as_deref(), type_name)?;
    let decoded = C::decode(&value.bytes);
    codec::wipe(value.bytes);
    decoded
}

/// Whether a value was stored as what it is asked for.
pub(super) fn check_stored_as<T, C: Codec<T>>(
    codec: u32,
    stored: Option<&str>,
    wanted: Option<&str>,
) -> Result<()> {
    if codec != C::ID && codec != 0 {
        return Err(Error::CodecMismatch { stored: codec::name_of(codec), wanted: C::NAME.to_owned() });
    }
    if let (Some(wanted), Some(stored)) = (wanted, stored)
        && wanted != stored
    {
        return Err(Error::TypeMismatch { stored: stored.to_owned(), wanted: wanted.to_owned() });
    }
    Ok(())
}

/// Encodes and publishes a value.
pub(super) fn publish<T, C: Codec<T>>(
    writer: &mut Writer,
    value: &T,
    type_name: Option<&str>,
    expires: Option<SystemTime>,
) -> Result<u64> {
    // 0 would be never.
    let expires = expires.map_or(0, |at| sys::nanoseconds(at).max(1));
    let bytes = C::encode(value)?;
    let published = writer.publish_as(&Meta { codec: C::ID, type_name, expires }, &bytes);
    codec::wipe(bytes);
    published
}

/// When a value that lives for `ttl` from now expires.
pub(super) fn after(ttl: Duration) -> SystemTime {
    // A time beyond the calendar's end is as good as never.
    SystemTime::now().checked_add(ttl).unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX))
}
