//! What a mapper on a cell keeps: the cell, how values are stored in it, and the value that was decoded last.
//!
//! Relies on `cell` and `codec`; every part of a mapper relies on it.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use zeroize::Zeroizing;

use crate::cell::{Cell, CellOptions, Meta, Value, Writer};
use crate::codec::{Codec, Untyped, wipe};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{self, ForkMutex};
use crate::terms::{Place, Subject};

/// A cell, and what its values are to be: what everything that reads them keeps.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    cell: Cell,
    type_name: Option<&'static str>,
    /// Whether messages about values that can't be decoded may quote them.
    full_errors: bool,
    /// For maps with a name.
    named: Option<Arc<Named>>,
}

/// The name of a cell, and how to open it again.
#[derive(Debug)]
pub(super) struct Named {
    name: String,
    options: CellOptions,
}

impl Named {
    pub(super) fn new(name: &str, options: &CellOptions) -> Self {
        Self { name: name.to_owned(), options: options.clone() }
    }
}

/// How a mapper writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    pub(super) ttl: Option<Duration>,
    /// How long a write waits for another one.
    pub(super) lock_limit: Duration,
}

pub(super) struct Versions<T> {
    stored: Stored,
    writing: Writing,
    /// A forked child forgets what its parent decoded.
    decoded: ForkMutex<Decoded<T>>,
}

/// The value that was decoded last.
pub(super) struct Decoded<T>(Option<Known<T>>);

struct Known<T> {
    version: u64,
    written: SystemTime,
    expires: Option<SystemTime>,
    value: Arc<T>,
}

impl<T> Default for Decoded<T> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T> Decoded<T> {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The newest value, decoded once for each version.
    #[inline]
    pub(super) fn get<C: Codec<T>>(&mut self, stored: &Stored) -> Result<Option<&Arc<T>>> {
        let stands = |known: &Known<T>| known.version == stored.cell.version() && known.expires.is_none();
        if !self.0.as_ref().is_some_and(stands) {
            self.renew::<C>(stored)?;
        }
        Ok(self.0.as_ref().map(|known| &known.value))
    }

    /// Decodes the newest value, unless it is the one that is known, and has not expired.
    #[cold]
    fn renew<C: Codec<T>>(&mut self, stored: &Stored) -> Result<()> {
        if let Some(known) = &self.0
            && known.version == stored.cell.version()
            && !stored.cell.has_expired(known.written, known.expires)?
        {
            return Ok(());
        }
        self.0 = None;
        let Some(value) = stored.read()? else { return Ok(()) };
        let (version, written, expires) = (value.version, value.written, value.expires);
        let value = Arc::new(stored.decode::<T, C>(value)?);
        self.0 = Some(Known { version, written, expires, value });
        Ok(())
    }
}

impl Stored {
    pub(super) fn new(
        cell: Cell,
        type_name: Option<&'static str>,
        full_errors: bool,
        named: Option<Named>,
    ) -> Self {
        Self { cell, type_name, full_errors, named: named.map(Arc::new) }
    }

    /// The cell that has the name now, if there is one; `None` without a name.
    pub(super) fn with_its_name(&self) -> Result<Option<Self>> {
        let Some(named) = &self.named else { return Ok(None) };
        match named.options.open_if_made(Place::Name(&named.name)) {
            Ok(cell) => Ok(cell.map(|cell| Self { cell, ..self.clone() })),
            // Somebody who is opening or closing it was stopped, or it is lost again already.
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::NameLost) => Ok(None),
            Err(other) => Err(other),
        }
    }

    pub(super) fn has_name(&self) -> bool {
        self.named.is_some()
    }

    #[inline]
    pub(super) fn cell(&self) -> &Cell {
        &self.cell
    }

    pub(super) fn type_name(&self) -> Option<&'static str> {
        self.type_name
    }

    /// The newest value's bytes, copied.
    pub(super) fn read(&self) -> Result<Option<Value>> {
        let value = self.cell.reader().copy()?;
        if value.is_none() {
            self.cell.remove_expired()?;
        }
        Ok(value)
    }

    /// The newest value and its version.
    pub(super) fn get<T, C: Codec<T>>(&self) -> Result<Option<(u64, T)>> {
        self.read()?.map(|value| Ok((value.version, self.decode::<T, C>(value)?))).transpose()
    }

    /// Decodes a value that was read from the cell, after checking that it was stored as what it is asked
    /// for.
    pub(super) fn decode<T, C: Codec<T>>(&self, value: Value) -> Result<T> {
        let Value { bytes, codec, type_name: stored, written, expires, .. } = value;
        check_stored_as::<T, C>(codec, stored.as_deref(), self.type_name)
            .and_then(|()| {
                let mut untyped = Untyped::new(codec, bytes);
                (untyped.type_name, untyped.written, untyped.expires) = (stored, Some(written), expires);
                C::decode_stored(untyped, self.full_errors)
            })
            .map_err(|error| error.about(self.cell.subject()))
    }
}

impl<T> Versions<T> {
    pub(super) fn new(stored: Stored, writing: Writing) -> Self {
        Self { stored, writing, decoded: ForkMutex::default() }
    }

    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    #[inline]
    pub(super) fn cell(&self) -> &Cell {
        &self.stored.cell
    }

    pub(super) fn subject(&self) -> &Subject {
        self.stored.cell.subject()
    }

    pub(super) fn type_name(&self) -> Option<&'static str> {
        self.stored.type_name
    }

    fn decoded(&self) -> MutexGuard<'_, Decoded<T>> {
        self.decoded.lock()
    }

    /// The newest value, decoded once for each version.
    pub(super) fn get_shared<C: Codec<T>>(&self) -> Result<Option<Arc<T>>> {
        Ok(self.decoded().get::<C>(&self.stored)?.cloned())
    }

    /// The newest value, once there is one, waiting up to `limit` for it.
    pub(super) fn wait<C: Codec<T>>(&self, limit: Duration) -> Result<T> {
        let start = Instant::now();
        loop {
            let seen = self.cell().version();
            if let Some((_, value)) = self.stored.get::<T, C>()? {
                return Ok(value);
            }
            let left = limit.saturating_sub(start.elapsed());
            match self.cell().wait_newer(seen, left) {
                // Versions without a value may come faster than this can look at them.
                Ok(_) if !left.is_zero() => {}
                Err(error) if error.kind() != ErrorKind::TimedOut => return Err(error),
                _ => return Err(Error::timed_out("a value", limit).about(self.subject())),
            }
        }
    }

    /// Becomes the writer, as a write does: for as long as it takes.
    pub(super) fn writer(&self) -> Result<Writer> {
        self.lease(self.writing.lock_limit)
    }

    /// Becomes the writer, waiting up to `limit`. Where this thread itself has the lock, waiting is in vain.
    pub(super) fn lease(&self, limit: Duration) -> Result<Writer> {
        let cell = self.cell();
        if let Some(writer) = cell.try_writer()? {
            return Ok(writer);
        }
        if !limit.is_zero() && cell.is_written_by_this_thread() {
            return Err(Error::would_deadlock(self.subject().clone()));
        }
        cell.writer_timeout(limit)
    }

    /// The bytes of a value, for which nobody needs the lock. A map that can't be written is no reason to
    /// encode one.
    pub(super) fn encode<C: Codec<T>>(&self, value: &T) -> Result<Zeroizing<Vec<u8>>> {
        if !self.cell().can_write() {
            return Err(Error::read_only(self.subject().clone()));
        }
        C::encode(value).map_err(|error| error.about(self.subject()))
    }

    /// Publishes a value in its bytes. Without an expiry of its own it gets that of the mapper.
    pub(super) fn publish<C: Codec<T>>(
        &self,
        writer: &mut Writer,
        value: &T,
        bytes: Zeroizing<Vec<u8>>,
        expires: Option<SystemTime>,
    ) -> Result<u64> {
        let tags = C::tags(value);
        let expires = expires.or(tags.expires).or_else(|| self.writing.ttl.map(after));
        let meta = Meta {
            codec: tags.codec,
            type_name: tags.type_name.or(self.stored.type_name),
            // 0 would be never.
            expires: expires.map_or(0, |at| sys::nanoseconds(at).max(1)),
        };
        let published = writer.publish_as(&meta, &bytes);
        wipe(bytes);
        published.map_err(|error| error.about(self.subject()))
    }

    /// Forgets what was decoded last: it is gone.
    pub(super) fn forget(&self) {
        self.decoded().0 = None;
    }
}

/// Whether a value was stored as what it is asked for.
pub(super) fn check_stored_as<T, C: Codec<T>>(
    codec: u32,
    stored: Option<&str>,
    wanted: Option<&str>,
) -> Result<()> {
    C::check(codec)?;
    match (stored, wanted) {
        (Some(stored), Some(wanted)) if stored != wanted => Err(Error::type_mismatch(stored, wanted)),
        _ => Ok(()),
    }
}

/// When a value that lives for `ttl` from now expires.
pub(super) fn after(ttl: Duration) -> SystemTime {
    // A time beyond the calendar's end is as good as never.
    SystemTime::now().checked_add(ttl).unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX))
}
