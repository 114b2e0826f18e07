//! What a mapper on a cell keeps: the cell, a reader, and the value that was decoded last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::LOCK_LIMIT;
use crate::cell::{Cell, Meta, Reader, Snapshot, Value, Writer};
use crate::codec::{self, Codec};
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Versions<T> {
    cell: Cell,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    reader: Reader,
    decoded: Option<(u64, Arc<T>)>,
}

/// A decoded value and its version.
pub(super) type Found<T> = Option<(u64, T)>;

impl<T> Versions<T> {
    pub(super) fn new(cell: Cell) -> Self {
        let reader = cell.reader();
        Self { cell, state: Mutex::new(State { reader, decoded: None }) }
    }

    pub(super) fn cell(&self) -> &Cell {
        &self.cell
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest value's bytes, copied.
    pub(super) fn read(&self) -> Result<Option<Value>> {
        let value = self.state().reader.read()?;
        if value.is_none() {
            self.cell.remove_expired()?;
        }
        Ok(value)
    }

    pub(super) fn get<C: Codec<T>>(&self, type_name: Option<&str>) -> Result<Found<T>> {
        self.read()?.map(|value| Ok((value.version, decode::<T, C>(&value, type_name)?))).transpose()
    }

    /// The newest value, decoded once for each version.
    pub(super) fn get_shared<C: Codec<T>>(&self, type_name: Option<&str>) -> Result<Option<Arc<T>>> {
        let mut state = self.state();
        let State { reader, decoded } = &mut *state;
        let version = if self.cell.can_write() {
            match reader.load() {
                // Loaded to see that it has not expired.
                Ok(snapshot) => snapshot.map(Snapshot::version),
                Err(Error::TooManyReaders { .. }) => None,
                Err(other) => return Err(other),
            }
        } else {
            None
        };
        if let (Some(version), Some((of, value))) = (version, &*decoded)
            && *of == version
        {
            return Ok(Some(value.clone()));
        }
        let Some(value) = reader.read()? else {
            *decoded = None;
            drop(state);
            self.cell.remove_expired()?;
            return Ok(None);
        };
        if let Some((of, shared)) = &*decoded
            && *of == value.version
        {
            return Ok(Some(shared.clone()));
        }
        let shared = Arc::new(decode::<T, C>(&value, type_name)?);
        *decoded = Some((value.version, shared.clone()));
        Ok(Some(shared))
    }

    pub(super) fn writer(&self) -> Result<Writer> {
        self.cell.writer_timeout(LOCK_LIMIT)
    }
}

/// Decodes a value after checking that it was stored as what it is asked for.
pub(super) fn decode<T, C: Codec<T>>(value: &Value, type_name: Option<&str>) -> Result<T> {
    check_stored_as::<T, C>(value.codec, value.type_name.as_deref(), type_name)?;
    C::decode(&value.bytes)
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
    let expires = expires.map_or(0, |at| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // 0 would be never.
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
    });
    writer.publish_as(&Meta { codec: C::ID, type_name, expires }, &C::encode(value)?)
}

/// When a value that lives for `ttl` from now expires.
pub(super) fn after(ttl: Duration) -> SystemTime {
    // A time beyond the calendar's end is as good as never.
    SystemTime::now().checked_add(ttl).unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX))
}
