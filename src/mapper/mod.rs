//! `MemoryMapper<T>`: a value of a type, in a map.
//!
//! What most programs use. Stands on `cell` (and, for the plain layout, on `map`) for the bytes and on `codec`
//! for their form.

#[cfg(feature = "rkyv")]
mod archived;
mod auth;
#[cfg(feature = "tokio")]
mod changes;
mod options;
mod plain;
mod reader;
mod versions;
mod watch;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

#[cfg(feature = "rkyv")]
pub use self::archived::{ArchivedReader, ArchivedSnapshot, ArchivedValue};
pub use self::auth::Auth;
#[cfg(feature = "tokio")]
pub use self::changes::Changes;
pub use self::options::MapperOptions;
use self::options::poll;
use self::plain::Plain;
pub use self::reader::MapperReader;
use self::versions::{Found, Versions};
pub use self::watch::{Change, Watch};
use crate::cell::{Cell, Writer};
use crate::codec::{Codec, Json, Text};
use crate::error::{Error, Result, Subject};
use crate::map::MemoryMappedFile;

/// How long a write waits for another one that is under way, and in the plain layout a read as well. Each is
/// one copy long; only a lease or a process that was stopped takes longer.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// A value of type `T` in a map, readable and replaceable by every process that knows its name.
///
/// The value lies there in codec `C`, JSON by default.
///
/// ```
/// use handover::{Auth, MemoryMapper};
/// # let dir = std::env::temp_dir().join(format!("handover-doc-mapper-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// // The producer:
/// let producer = MemoryMapper::<Auth>::create(Auth::MAP_NAME, 4096)?;
/// producer.set(&Auth::new("eyJhbGciOi…"))?;
///
/// // A consumer, in another process:
/// let consumer = MemoryMapper::<Auth>::open(Auth::MAP_NAME)?;
/// assert_eq!(consumer.read()?.bearer(), "eyJhbGciOi…");
/// # drop((producer, consumer));
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The name lives as long as a process has a mapper (or a map) for it. Readers never wait, and never see a
/// mix of two values, whatever happens to a writer.
#[derive(Debug)]
pub struct MemoryMapper<T, C = Json> {
    store: Store<T>,
    ttl: Option<Duration>,
    type_name: Option<&'static str>,
    codec: PhantomData<fn() -> C>,
}

#[derive(Debug)]
enum Store<T> {
    Cell(Versions<T>),
    Plain(Box<Plain>),
}

/// A type's name, the same in every program that shares its values: see [`MapperOptions::named`].
pub trait TypeName {
    /// The name, at most 256 bytes of UTF-8.
    const TYPE_NAME: &'static str;
}

impl<T, C: Codec<T>> MemoryMapper<T, C> {
    /// Opens the map under `name`, or creates it for encoded values of up to `capacity` bytes. An existing map
    /// keeps its capacity and its value.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_or_open`]; `WrongKind` for a map that is there in another layout.
    pub fn create(name: &str, capacity: u64) -> Result<Self> {
        MapperOptions::new().create_as(name, capacity)
    }

    /// Opens the map under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::open_existing`]; `WrongKind` for a map in another layout.
    pub fn open(name: &str) -> Result<Self> {
        MapperOptions::new().open_as(name)
    }

    /// Replaces the value, and gives its version.
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`, `Encode`, `NoSpace`: the old value stays. `Unsupported` on a read-only map. `TimedOut`
    /// where another process was the writer for 10 s. In the plain layout there are no versions, and the
    /// result is 0.
    pub fn set(&self, value: &T) -> Result<u64> {
        self.set_expiring(value, self.ttl.map(versions::after))
    }

    /// [`set`](Self::set), with a value that can be read for `ttl`.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set); `Unsupported` in the plain layout.
    pub fn set_ttl(&self, value: &T, ttl: Duration) -> Result<u64> {
        self.set_expiring(value, Some(versions::after(ttl)))
    }

    /// [`set`](Self::set), with a value that can be read until `at`.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set); `Unsupported` in the plain layout.
    pub fn set_expires_at(&self, value: &T, at: SystemTime) -> Result<u64> {
        self.set_expiring(value, Some(at))
    }

    fn set_expiring(&self, value: &T, expires: Option<SystemTime>) -> Result<u64> {
        match &self.store {
            Store::Cell(versions) => {
                versions::publish::<T, C>(&mut versions.writer()?, value, self.type_name, expires)
            }
            Store::Plain(_) if expires.is_some() => {
                Err(Error::unsupported("the plain layout has no room for an expiry; use a cell"))
            }
            Store::Plain(plain) => plain.write(&C::encode(value)?).map(|()| 0),
        }
    }

    /// The value; `None` where there is none: not yet, cleared, taken or expired.
    ///
    /// # Errors
    ///
    /// `CodecMismatch`, `TypeMismatch` and `Decode` where it is no such value; `ClockWentBack` where its expiry
    /// can't be told; `Incomplete` in the plain layout, where a writer died while it wrote.
    pub fn get(&self) -> Result<Option<T>> {
        Ok(self.get_with_version()?.map(|(_, value)| value))
    }

    /// The value and its version, which is 0 in the plain layout.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_with_version(&self) -> Result<Found<T>> {
        match &self.store {
            Store::Cell(versions) => versions.get::<C>(self.type_name),
            Store::Plain(plain) => match plain.read() {
                Ok(bytes) => C::decode(&bytes).map(|value| Some((0, value))),
                Err(Error::NoValue { .. }) => Ok(None),
                Err(other) => Err(other),
            },
        }
    }

    /// The value, shared: as long as the version does not change, nothing is decoded and the same value comes
    /// back.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_shared(&self) -> Result<Option<Arc<T>>> {
        match &self.store {
            Store::Cell(versions) => versions.get_shared::<C>(self.type_name),
            Store::Plain(_) => Ok(self.get()?.map(Arc::new)),
        }
    }

    /// Short form of [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn write(&self, value: &T) -> Result<()> {
        self.set(value).map(|_| ())
    }

    /// Short form of [`get`](Self::get), where no value is the error `NoValue`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), and `NoValue`.
    pub fn read(&self) -> Result<T> {
        self.get()?.ok_or_else(|| Error::NoValue { subject: self.subject().clone() })
    }

    /// The stored bytes as text: for JSON, the JSON.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read); `Decode` where they are not UTF-8.
    pub fn read_string(&self) -> Result<Zeroizing<String>> {
        let bytes = match &self.store {
            Store::Cell(versions) => match versions.read()? {
                Some(value) => value.bytes,
                None => return Err(Error::NoValue { subject: self.subject().clone() }),
            },
            Store::Plain(plain) => plain.read()?,
        };
        <Text as Codec<String>>::decode(&bytes).map(Zeroizing::new)
    }

    /// Takes the value out: of all who try, one gets it, and its bytes are wiped. `None` where there is none.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get) (the value stays) and [`set`](Self::set); `Unsupported` in the plain layout.
    pub fn take(&self) -> Result<Option<T>> {
        let versions = self.versions()?;
        let mut writer = versions.writer()?;
        let Some(value) = writer.value()? else { return Ok(None) };
        let decoded = versions::decode::<T, C>(value, self.type_name)?;
        writer.clear()?;
        drop(writer);
        versions.forget();
        Ok(Some(decoded))
    }

    /// Replaces the value by what `change` makes of it, with no other write in between; gives the new version.
    ///
    /// Where `change` panics, the old value stays.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read) and [`set`](Self::set); `Unsupported` in the plain layout.
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<u64> {
        let mut writer = self.versions()?.writer()?;
        let Some(value) = writer.value()? else {
            return Err(Error::NoValue { subject: self.subject().clone() });
        };
        let new = change(versions::decode::<T, C>(value, self.type_name)?);
        self.publish(&mut writer, &new)
    }

    /// Replaces the value if `version` is the newest (0: nothing was ever stored); gives the new version.
    ///
    /// # Errors
    ///
    /// `Conflict` where another version is the newest; as for [`set`](Self::set); `Unsupported` in the plain
    /// layout.
    pub fn compare_and_set(&self, version: u64, value: &T) -> Result<u64> {
        let mut writer = self.versions()?.writer()?;
        let found = writer.version();
        if found != version {
            return Err(Error::Conflict { expected: version, found });
        }
        self.publish(&mut writer, value)
    }

    /// Removes the value and wipes its bytes; gives the version that stands for its absence.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set); in the plain layout the map is zeroed and the result is 0.
    pub fn clear(&self) -> Result<u64> {
        match &self.store {
            Store::Cell(versions) => {
                let version = versions.writer()?.clear()?;
                versions.forget();
                Ok(version)
            }
            Store::Plain(plain) => plain.write(&[]).map(|()| 0),
        }
    }

    fn publish(&self, writer: &mut Writer, value: &T) -> Result<u64> {
        versions::publish::<T, C>(writer, value, self.type_name, self.ttl.map(versions::after))
    }

    /// Becomes the only writer until the lease is dropped, waiting up to `limit` while another one is. Setting
    /// a value under a lease makes no system call unless somebody sleeps or memory is needed.
    ///
    /// # Errors
    ///
    /// `TimedOut`; `Unsupported` on a read-only map and in the plain layout.
    pub fn lease(&self, limit: Duration) -> Result<Lease<'_, T, C>> {
        Ok(Lease { writer: self.cell()?.writer_timeout(limit)?, mapper: self })
    }

    /// A handle for a thread that reads again and again: it lends the value, without a lock and without
    /// counting references as [`get_shared`](Self::get_shared) has to.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-reader-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: no other thread runs.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    /// # let producer = handover::MemoryMapper::<u32>::create("lent count", 64)?;
    /// # let consumer = handover::MemoryMapper::<u32>::open("lent count")?;
    /// let mut reader = consumer.reader()?;
    /// for count in 1..=3 {
    ///     producer.set(&count)?;
    ///     assert_eq!(reader.get()?, Some(&count));
    /// }
    /// # drop((producer, consumer, reader));
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Unsupported` in the plain layout.
    pub fn reader(&self) -> Result<MapperReader<T, C>> {
        Ok(MapperReader::new(self.cell()?.clone(), self.type_name))
    }

    /// The newest version; 0: nothing was stored yet. One load.
    ///
    /// # Errors
    ///
    /// `Unsupported` in the plain layout, which has no versions.
    pub fn version(&self) -> Result<u64> {
        Ok(self.cell()?.version())
    }

    /// The versions as they come, starting with the one that is there: a blocking iterator.
    ///
    /// It gives the newest version each time and says how many it skipped. In the plain layout its first item
    /// is the error `Unsupported`.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-watch-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    /// # let producer = handover::MemoryMapper::<u32>::create("count", 64)?;
    /// # let consumer = handover::MemoryMapper::<u32>::open("count")?;
    /// producer.set(&1)?;
    /// producer.set(&2)?;
    /// drop(producer);
    /// let seen: Vec<_> = consumer.watch().while_written().collect::<Result<_, _>>()?;
    /// assert_eq!((seen[0].version, seen[0].value), (2, Some(2)));
    /// assert_eq!(seen.len(), 1);
    /// # drop(consumer);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&self) -> Watch<'_, T, C> {
        Watch::new(self)
    }

    /// The versions as they come, starting with the one that is there, for asynchronous programs: a stream,
    /// and [`changed`](Changes::changed). Works on tokio and on every other runtime.
    ///
    /// It gives the newest version each time and says how many it skipped. One thread of the process waits for
    /// all maps and tasks; it starts when it is first needed, and ends when it no longer is. On Linux and
    /// Windows it sleeps; from the 128th map on (on Windows the 64th), on a read-only map and on macOS it looks
    /// every few milliseconds.
    /// A publisher that dies between publishing and waking delays this by at most 100 ms.
    ///
    /// In the plain layout the first item is the error `Unsupported`.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-changes-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: no other thread runs.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    /// # let options = handover::MapperOptions::new();
    /// # let producer = options.create::<u32>("counted", 64)?;
    /// # let consumer = options.open::<u32>("counted")?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let writing = std::thread::spawn(move || {
    ///     for count in 1..=1000 {
    ///         producer.set(&count)?;
    ///     }
    ///     Ok::<(), handover::Error>(())
    /// });
    /// let mut changes = consumer.changes();
    /// let mut last = None;
    /// while last != Some(1000) {
    ///     let change = changes.changed().await?.expect("it has no end of its own");
    ///     last = change.value;
    /// }
    /// # writing.join().unwrap()?;
    /// # Ok::<(), handover::Error>(())
    /// # })?;
    /// # drop(consumer);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn changes(&self) -> Changes<'_, T, C> {
        Changes::new(self)
    }

    /// The value, once there is one, waiting up to `limit` for it.
    ///
    /// # Errors
    ///
    /// `TimedOut`, and those of [`get`](Self::get).
    pub fn wait(&self, limit: Duration) -> Result<T> {
        let Store::Cell(versions) = &self.store else {
            return poll(limit, || format!("a value in {}", self.subject()), || self.get());
        };
        let start = std::time::Instant::now();
        loop {
            let seen = versions.cell().version();
            if let Some(value) = self.get()? {
                return Ok(value);
            }
            let left = limit.saturating_sub(start.elapsed());
            match versions.cell().wait_newer(seen, left) {
                // Versions without a value may come faster than this can look at them.
                Ok(_) if !left.is_zero() => {}
                Ok(_) | Err(Error::TimedOut { .. }) => {
                    return Err(Error::TimedOut {
                        waiting_for: format!("a value in {}", self.subject()),
                        after: limit,
                    });
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// What the map is called, for messages.
    pub fn subject(&self) -> &Subject {
        self.map().subject()
    }

    /// The map below.
    pub fn map(&self) -> &MemoryMappedFile {
        match &self.store {
            Store::Cell(versions) => versions.cell().map(),
            Store::Plain(plain) => plain.map(),
        }
    }

    /// The cell below.
    ///
    /// # Errors
    ///
    /// `Unsupported` in the plain layout.
    pub fn cell(&self) -> Result<&Cell> {
        self.versions().map(Versions::cell)
    }

    /// Bytes that an encoded value may have.
    pub fn capacity(&self) -> u64 {
        match &self.store {
            Store::Cell(versions) => versions.cell().capacity(),
            Store::Plain(plain) => plain.capacity(),
        }
    }

    fn versions(&self) -> Result<&Versions<T>> {
        match &self.store {
            Store::Cell(versions) => Ok(versions),
            Store::Plain(_) => {
                Err(Error::unsupported("the plain layout has no versions; use a cell for this"))
            }
        }
    }
}

/// The right to be the only writer of a mapper's value: see [`MemoryMapper::lease`].
#[derive(Debug)]
#[must_use]
pub struct Lease<'a, T, C> {
    mapper: &'a MemoryMapper<T, C>,
    writer: Writer,
}

impl<T, C: Codec<T>> Lease<'_, T, C> {
    /// Replaces the value, and gives its version.
    ///
    /// # Errors
    ///
    /// As for [`MemoryMapper::set`].
    pub fn set(&mut self, value: &T) -> Result<u64> {
        self.mapper.publish(&mut self.writer, value)
    }

    /// Removes the value and wipes its bytes.
    ///
    /// # Errors
    ///
    /// As for [`MemoryMapper::clear`].
    pub fn clear(&mut self) -> Result<u64> {
        let version = self.writer.clear()?;
        self.mapper.versions()?.forget();
        Ok(version)
    }

    /// The writer of the cell below.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }
}
