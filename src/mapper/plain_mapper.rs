//! `PlainMapper<T>`: a value of a type in the plain layout, which C# programs write and read. Relies on
//! `plain`.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use zeroize::Zeroizing;

use super::plain::Plain;
use super::wait::LOCK_LIMIT;
use crate::backoff::Backoff;
use crate::codec::{Codec, Json, text_of};
use crate::error::{ErrorKind, Result};
use crate::map::{MapOptions, MemoryMappedFile};
use crate::terms::{Place, Subject};

/// A value of type `T` in the plain layout: its encoded bytes from an offset on, the rest of the map zero.
///
/// Programs that use .NET's maps directly write and read this layout. It keeps no versions, so there is no
/// `take`, `update`, `watch`, lease or expiry, and readers and writers wait for each other, up to 10 s.
/// Between programs of this library use [`MemoryMapper`](crate::MemoryMapper). `Debug` never shows the value.
///
/// ```
/// use handover::PlainMapper;
/// # let dir = std::env::temp_dir().join(format!("handover-doc-plain-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// let producer = PlainMapper::<Vec<u32>>::create_or_open("primes")?;
/// producer.set(&vec![2, 3, 5])?;
/// let consumer = PlainMapper::<Vec<u32>>::open_existing("primes")?;
/// assert_eq!(consumer.get()?, Some(vec![2, 3, 5]));
/// assert_eq!(consumer.get_text()?.unwrap().as_str(), "[2,3,5]");
/// # drop((producer, consumer));
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a name is gone as soon as its last mapper is dropped: keep it in a variable (`_held`, not `_`)"]
pub struct PlainMapper<T, C = Json> {
    plain: Plain,
    full_errors: bool,
    value: PhantomData<fn(T) -> (T, C)>,
}

impl<T, C> fmt::Debug for PlainMapper<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainMapper")
            .field("subject", self.plain.map().subject())
            .field("capacity", &self.plain.capacity())
            .finish_non_exhaustive()
    }
}

/// How to open or create a [`PlainMapper`].
///
/// ```
/// use handover::PlainMapper;
/// use handover::mapper::PlainOptions;
///
/// # let name = &format!("PlainOptions in the docs {}", std::process::id());
/// let mapper: PlainMapper<String> = PlainOptions::new().capacity(4096).offset(64).create_new(name)?;
/// assert_eq!(mapper.capacity(), 4096 - 64);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a map is opened or created with them"]
pub struct PlainOptions {
    map: MapOptions,
    capacity: Option<u64>,
    offset: u64,
    wait: Option<Duration>,
    lock_limit: Option<Duration>,
    full_errors: bool,
}

impl PlainOptions {
    /// The defaults: 64 KiB, from the start of the map, no waiting.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options of the map below.
    pub fn map(mut self, options: MapOptions) -> Self {
        self.map = options;
        self
    }

    /// Bytes of a new map. Default: 64 KiB. An existing map keeps its own; a shorter file grows.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// Where in the map the value starts, in bytes. Default: 0.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// How long opening waits for a map that is not there yet. Default: not at all.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }

    /// How long a read or a write waits while another process writes, and a write while one reads. Default:
    /// 10 s.
    pub fn lock_limit(mut self, limit: Duration) -> Self {
        self.lock_limit = Some(limit);
        self
    }

    /// Whether the messages of `Decode` errors may quote the value. Default: false. See
    /// [`MapperOptions::full_errors`](crate::MapperOptions::full_errors).
    pub fn full_errors(mut self, full: bool) -> Self {
        self.full_errors = full;
        self
    }

    /// See [`PlainMapper::create_new`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_new<'a, T, C: Codec<T>>(&self, place: impl Into<Place<'a>>) -> Result<PlainMapper<T, C>> {
        self.mapper(self.map.create_new(place, self.bytes())?)
    }

    /// See [`PlainMapper::create_or_open`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_or_open<'a, T, C: Codec<T>>(
        &self,
        place: impl Into<Place<'a>>,
    ) -> Result<PlainMapper<T, C>> {
        self.mapper(self.map.create_or_open(place, self.bytes())?)
    }

    /// See [`PlainMapper::open_existing`].
    ///
    /// # Errors
    ///
    /// As there; `TimedOut` where [`wait`](Self::wait) gave a limit.
    pub fn open_existing<'a, T, C: Codec<T>>(
        &self,
        place: impl Into<Place<'a>>,
    ) -> Result<PlainMapper<T, C>> {
        let place = place.into();
        let Some(limit) = self.wait else { return self.mapper(self.map.open_existing(place)?) };
        let open = || match self.map.open_existing(place) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        self.mapper(self.map.wait_for(place, "its producer to create it", limit, open)?)
    }

    fn bytes(&self) -> u64 {
        self.capacity.unwrap_or(64 << 10)
    }

    fn mapper<T, C>(&self, map: MemoryMappedFile) -> Result<PlainMapper<T, C>> {
        let plain = Plain::new(map, self.offset, self.lock_limit.unwrap_or(LOCK_LIMIT))?;
        Ok(PlainMapper { plain, full_errors: self.full_errors, value: PhantomData })
    }
}

impl<T, C: Codec<T>> PlainMapper<T, C> {
    /// Creates a map of 64 KiB ([`PlainOptions::capacity`] says otherwise) under a name that has no holder,
    /// or in a file that does not exist.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_new`].
    pub fn create_new<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        PlainOptions::new().create_new(place)
    }

    /// Opens the map under a name or in a file, or creates it with 64 KiB ([`PlainOptions::capacity`] says
    /// otherwise).
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_or_open`]; `WrongKind` where a cell is there.
    pub fn create_or_open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        PlainOptions::new().create_or_open(place)
    }

    /// Opens the map under a name or in a file.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::open_existing`]; `WrongKind` where a cell is there.
    pub fn open_existing<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        PlainOptions::new().open_existing(place)
    }

    /// Replaces the value.
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`, `Encode`: the old value stays. `AccessDenied` on a read-only map. `TimedOut` where
    /// another process read or wrote for 10 s. `NameLost` where the map's file was taken from its name.
    pub fn set(&self, value: &T) -> Result<()> {
        self.plain.write(&C::encode(value).map_err(|error| error.about(self.subject()))?)
    }

    /// The value; `None` where there is none.
    ///
    /// # Errors
    ///
    /// `Decode` where it is no such value; `Incomplete` where a writer died while it wrote; `TimedOut` where
    /// another process wrote for 10 s; `NameLost` where the map's file was taken from its name.
    pub fn get(&self) -> Result<Option<T>> {
        let Some(bytes) = self.plain.read()? else { return Ok(None) };
        let decoded = if self.full_errors { C::decode_quoting(&bytes) } else { C::decode(&bytes) };
        decoded.map(Some).map_err(|error| error.about(self.subject()))
    }

    /// The stored bytes as text (for JSON, the JSON); `None` where there is no value. The text is wiped when
    /// dropped.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); `Decode` where the bytes are not UTF-8.
    pub fn get_text(&self) -> Result<Option<Zeroizing<String>>> {
        let Some(bytes) = self.plain.read()? else { return Ok(None) };
        text_of(&bytes).map(Some).map_err(|error| error.about(self.subject()))
    }

    /// The value, once there is one, waiting up to `limit` for it. It polls at most 10 ms apart.
    ///
    /// # Errors
    ///
    /// `TimedOut`, and those of [`get`](Self::get).
    pub fn wait(&self, limit: Duration) -> Result<T> {
        Backoff::NAME
            .poll(limit, || "a value".to_owned(), || self.get())
            .map_err(|error| error.about(self.subject()))
    }

    /// Removes the value: the map is zero from the offset on.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn clear(&self) -> Result<()> {
        self.plain.write(&[])
    }

    /// What people call the map, for messages.
    pub fn subject(&self) -> &Subject {
        self.map().subject()
    }

    /// Fails if the map's name has been lost. See [`MemoryMappedFile::check_name`].
    ///
    /// ```
    /// use handover::PlainMapper;
    ///
    /// # let name = &format!("check_name of plain mappers {}", std::process::id());
    /// let mapper = PlainMapper::<u32>::create_or_open(name)?;
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

    /// The map below.
    pub fn map(&self) -> &MemoryMappedFile {
        self.plain.map()
    }

    /// The most bytes that an encoded value may have.
    pub fn capacity(&self) -> u64 {
        self.plain.capacity()
    }
}
