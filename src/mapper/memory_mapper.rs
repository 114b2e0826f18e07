//! `MemoryMapper<T>`: a value of a type, in a cell.
//!
//! Relies on `versions`, and hands out what `reader` and `lease` have. `options` opens and creates,
//! `watching` adds the methods that wait.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::lease::Lease;
use super::reader::MapperReader;
use super::versions::{Versions, after};
use crate::cell::Cell;
use crate::codec::{AnyCodec, Codec, Json, Untyped, text_of};
use crate::error::{Error, Result};
use crate::map::MemoryMappedFile;
use crate::terms::Subject;

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
/// let producer = MemoryMapper::<Auth>::create_or_open(Auth::MAP_NAME)?;
/// producer.set(&Auth::new("eyJhbGciOi…"))?;
///
/// // A consumer, in another process:
/// let consumer = MemoryMapper::<Auth>::open_existing(Auth::MAP_NAME)?;
/// assert_eq!(consumer.get()?.expect("it was set").bearer(), "eyJhbGciOi…");
/// # drop((producer, consumer));
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The name lives as long as a process has a mapper (or a map) for it. Readers never wait, and never see a
/// mix of two values, whatever happens to a writer. One mapper serves all threads. `Debug` never shows the
/// value.
///
/// Where somebody takes the name's file away meanwhile (a cleaner, a log-out, an `rm`), everything that
/// writes, waits, or reads more than it has seen fails with `NameLost`, within 100 ms and from then on. Open
/// the name again then, or [watch it on](crate::Watch::follow_name).
#[must_use = "a name is gone as soon as its last mapper is dropped: keep it in a variable (`_held`, not `_`)"]
pub struct MemoryMapper<T, C = Json> {
    versions: Versions<T>,
    codec: PhantomData<fn() -> C>,
}

/// A mapper for values of any type and codec: for programs that learn both at run time.
///
/// ```
/// use std::time::Duration;
///
/// use handover::codec::{Json, Untyped};
/// use handover::mapper::UntypedMapper;
///
/// # let name = &format!("UntypedMapper in the docs {}", std::process::id());
/// let mapper = UntypedMapper::create_or_open(name)?;
/// mapper.set_ttl(&Untyped::new(Json::ID, b"[2,3,5]".to_vec()), Duration::from_secs(60))?;
///
/// let value = mapper.get()?.expect("it was set");
/// assert_eq!((value.codec_name().as_str(), value.bytes.as_slice()), ("JSON", &b"[2,3,5]"[..]));
/// assert!(value.written.is_some() && value.expires.is_some());
/// # Ok::<(), handover::Error>(())
/// ```
pub type UntypedMapper = MemoryMapper<Untyped, AnyCodec>;

/// The value stays out of it: it may be a secret.
impl<T, C> fmt::Debug for MemoryMapper<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMapper")
            .field("subject", self.subject())
            .field("version", &self.cell().version())
            .field("type_name", &self.versions.type_name())
            .finish_non_exhaustive()
    }
}

impl<T, C: Codec<T>> MemoryMapper<T, C> {
    /// Replaces the value, and returns its version.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("set in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<Vec<u32>>::create_or_open(name)?;
    /// assert_eq!(mapper.set(&vec![2, 3, 5])?, 1);
    /// assert_eq!(mapper.set(&vec![7])?, 2);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`, `Encode`, `NoSpace`: the old value stays. `AccessDenied` on a read-only map.
    /// `TimedOut` where somebody else wrote for 10 s ([`MapperOptions::lock_limit`] says otherwise).
    /// `WouldDeadlock` where this thread itself does: under a [`lease`](Self::lease), in an
    /// [`update`](Self::update). `NameLost` where the map's file was taken from its name: whoever opens the
    /// name now would not find the value, so the old one stays.
    ///
    /// [`MapperOptions::lock_limit`]: crate::MapperOptions::lock_limit
    pub fn set(&self, value: &T) -> Result<u64> {
        self.write(value, None)
    }

    /// [`set`](Self::set), if nobody else writes now or has a lease; `None` where somebody does.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("try_set in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
    /// assert_eq!(mapper.try_set(&10)?, Some(1));
    /// let _lease = mapper.lease(Duration::ZERO)?;
    /// assert_eq!(mapper.try_set(&11)?, None);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set), but `TimedOut` and `WouldDeadlock`.
    pub fn try_set(&self, value: &T) -> Result<Option<u64>> {
        let bytes = self.versions.encode::<C>(value)?;
        let Some(mut writer) = self.cell().try_writer()? else { return Ok(None) };
        self.versions.publish::<C>(&mut writer, value, bytes, None).map(Some)
    }

    /// [`set`](Self::set), with a value that can be read for `ttl`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("set_ttl in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<String>::create_or_open(name)?;
    /// mapper.set_ttl(&"soon gone".to_owned(), Duration::from_millis(1))?;
    /// std::thread::sleep(Duration::from_millis(2));
    /// assert_eq!(mapper.get()?, None);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn set_ttl(&self, value: &T, ttl: Duration) -> Result<u64> {
        self.set_expires_at(value, after(ttl))
    }

    /// [`set`](Self::set), with a value that can be read until `at`.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn set_expires_at(&self, value: &T, at: SystemTime) -> Result<u64> {
        self.write(value, Some(at))
    }

    /// The value; `None` where there is none: not yet, cleared, taken or expired.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("get in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<Vec<u32>>::create_or_open(name)?;
    /// assert_eq!(mapper.get()?, None);
    /// mapper.set(&vec![2, 3, 5])?;
    /// assert_eq!(mapper.get()?, Some(vec![2, 3, 5]));
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `CodecMismatch`, `TypeMismatch` and `Decode` where it is no such value; `ClockWentBack` where its
    /// expiry can't be told; `Overtaken` on a read-only map whose writers were too fast again and again;
    /// `Corrupt`; `NameLost` where the map's file was taken from its name.
    pub fn get(&self) -> Result<Option<T>> {
        Ok(self.get_with_version()?.map(|(_, value)| value))
    }

    /// The value and its version.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_with_version(&self) -> Result<Option<(u64, T)>> {
        self.versions.stored().get::<T, C>()
    }

    /// The value, shared: as long as the version does not change, nothing is decoded and the same value comes
    /// back.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("get_shared in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<String>::create_or_open(name)?;
    /// mapper.set(&"hello".to_owned())?;
    /// let first = mapper.get_shared()?.expect("it was set");
    /// let second = mapper.get_shared()?.expect("it was set");
    /// assert!(Arc::ptr_eq(&first, &second));
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); `NameLost` only for a version that was not decoded before.
    pub fn get_shared(&self) -> Result<Option<Arc<T>>> {
        self.versions.get_shared::<C>()
    }

    /// The stored bytes as text (for JSON, the JSON), whatever their codec; `None` where there is no value.
    /// The text is wiped when dropped.
    ///
    /// ```
    /// use handover::{Auth, MemoryMapper};
    ///
    /// # let name = &format!("get_text in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<Auth>::create_or_open(name)?;
    /// mapper.set(&Auth::new("secret"))?;
    /// let text = mapper.get_text()?.expect("it was set");
    /// assert_eq!(text.as_str(), r#"{"Bearer":"secret"}"#);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Decode` where the bytes are not UTF-8; `ClockWentBack`, `Overtaken`, `Corrupt` and `NameLost` as for
    /// [`get`](Self::get).
    pub fn get_text(&self) -> Result<Option<Zeroizing<String>>> {
        let Some(value) = self.versions.stored().read()? else { return Ok(None) };
        text_of(&value.bytes).map(Some).map_err(|error| error.about(self.subject()))
    }

    /// Takes the value out: of all that try, one gets it, and its bytes are wiped. `None` where there is
    /// none.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("take in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<String>::create_or_open(name)?;
    /// mapper.set(&"for one of you".to_owned())?;
    /// assert_eq!(mapper.take()?.as_deref(), Some("for one of you"));
    /// assert_eq!(mapper.take()?, None);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get) (the value stays) and [`set`](Self::set).
    pub fn take(&self) -> Result<Option<T>> {
        let mut writer = self.versions.writer()?;
        let Some(value) = writer.value()? else { return Ok(None) };
        let decoded = self.versions.stored().decode::<T, C>(value)?;
        writer.clear()?;
        drop(writer);
        self.versions.forget();
        Ok(Some(decoded))
    }

    /// Replaces the value by what `change` makes of it, with no other write in between; returns the new
    /// version.
    ///
    /// Where `change` panics, the old value stays.
    ///
    /// ```
    /// use handover::{ErrorKind, MemoryMapper};
    ///
    /// # let name = &format!("update in the docs {}", std::process::id());
    /// let counter = MemoryMapper::<u64>::create_or_open(name)?;
    /// assert_eq!(counter.update(|count| count + 1).unwrap_err().kind(), ErrorKind::NoValue);
    /// counter.set(&0)?;
    /// counter.update(|count| count + 1)?;
    /// assert_eq!(counter.get()?, Some(1));
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NoValue` where there is none; as for [`get`](Self::get) and [`set`](Self::set): the old value stays.
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<u64> {
        let mut writer = self.versions.writer()?;
        let Some(value) = writer.value()? else {
            return Err(Error::no_value(self.subject().clone()));
        };
        let new = change(self.versions.stored().decode::<T, C>(value)?);
        let bytes = self.versions.encode::<C>(&new)?;
        self.versions.publish::<C>(&mut writer, &new, bytes, None)
    }

    /// Replaces the value if `version` is the newest (0: nothing was ever stored); returns the new version.
    ///
    /// ```
    /// use handover::{ErrorKind, MemoryMapper};
    ///
    /// # let name = &format!("compare_and_set in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u64>::create_or_open(name)?;
    /// let version = mapper.compare_and_set(0, &10)?;
    /// mapper.compare_and_set(version, &11)?;
    /// // By now somebody else may have set another:
    /// assert_eq!(mapper.compare_and_set(version, &12).unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Conflict` where another version is the newest; as for [`set`](Self::set).
    pub fn compare_and_set(&self, version: u64, value: &T) -> Result<u64> {
        let bytes = self.versions.encode::<C>(value)?;
        let mut writer = self.versions.writer()?;
        let found = writer.version();
        if found != version {
            return Err(Error::conflict(self.subject().clone(), version, found));
        }
        self.versions.publish::<C>(&mut writer, value, bytes, None)
    }

    /// Removes the value and wipes its bytes; returns the version that stands for its absence.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn clear(&self) -> Result<u64> {
        let version = self.versions.writer()?.clear()?;
        self.versions.forget();
        Ok(version)
    }

    /// Removes the value and wipes its bytes if it has expired and nobody writes now; says whether it did.
    ///
    /// Reading does the same: this is for a producer that nobody reads from.
    ///
    /// # Errors
    ///
    /// `ClockWentBack`, `NoSpace`, `NameLost`.
    pub fn remove_expired(&self) -> Result<bool> {
        let removed = self.cell().remove_expired()?;
        if removed {
            self.versions.forget();
        }
        Ok(removed)
    }

    /// Sets a value. It is encoded before the lock is taken, so that others wait for a copy at most.
    fn write(&self, value: &T, expires: Option<SystemTime>) -> Result<u64> {
        let bytes = self.versions.encode::<C>(value)?;
        self.versions.publish::<C>(&mut self.versions.writer()?, value, bytes, expires)
    }

    /// Becomes the only writer until the lease is dropped, waiting up to `limit` while another one is.
    /// Setting a value under a lease makes no system call unless somebody sleeps or memory is needed.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("lease in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u64>::create_or_open(name)?;
    /// let mut lease = mapper.lease(Duration::from_secs(1))?;
    /// for count in 0..1000 {
    ///     lease.set(&count)?;
    /// }
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut`; `AccessDenied` on a read-only map; `WouldDeadlock` where this thread has a lease already,
    /// or is in an [`update`](Self::update); `NameLost`.
    pub fn lease(&self, limit: Duration) -> Result<Lease<'_, T, C>> {
        Ok(Lease::new(&self.versions, self.versions.lease(limit)?))
    }

    /// A handle for a thread that reads again and again: it lends the value, without a lock and without
    /// counting references as [`get_shared`](Self::get_shared) has to.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("reader in the docs {}", std::process::id());
    /// # let producer = MemoryMapper::<u32>::create_or_open(name)?;
    /// let consumer = MemoryMapper::<u32>::open_existing(name)?;
    /// let mut reader = consumer.reader();
    /// for count in 1..=3 {
    ///     producer.set(&count)?;
    ///     assert_eq!(reader.get()?, Some(&count));
    /// }
    /// # Ok::<(), handover::Error>(())
    /// ```
    pub fn reader(&self) -> MapperReader<T, C> {
        MapperReader::new(self.versions.stored().clone())
    }

    /// The newest version; 0: nothing was stored yet. One load.
    #[inline]
    pub fn version(&self) -> u64 {
        self.cell().version()
    }
}

impl<T, C> MemoryMapper<T, C> {
    pub(super) fn new(versions: Versions<T>) -> Self {
        Self { versions, codec: PhantomData }
    }

    /// For the methods that other files add.
    pub(super) fn versions(&self) -> &Versions<T> {
        &self.versions
    }

    /// What people call the map, for messages.
    pub fn subject(&self) -> &Subject {
        self.versions.subject()
    }

    /// The map below.
    pub fn map(&self) -> &MemoryMappedFile {
        self.cell().map()
    }

    /// Fails if the map's name has been lost: its file was deleted, moved or replaced, so that whoever opens
    /// the name finds another map, or none. One look, about 2 µs, for a program that only holds the name;
    /// setting, getting and waiting look by themselves. See [`MemoryMappedFile::check_name`].
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("check_name of mappers {}", std::process::id());
    /// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
    /// mapper.check_name()?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NameLost`.
    pub fn check_name(&self) -> Result<()> {
        self.map().check_name()
    }

    /// The cell below.
    #[inline]
    pub fn cell(&self) -> &Cell {
        self.versions.cell()
    }

    /// The most bytes that an encoded value may have.
    pub fn capacity(&self) -> u64 {
        self.cell().capacity()
    }
}
