//! `MemoryMapper<T>`: a value of a type, in a map.
//!
//! What most programs use. Stands on `map` for the bytes and on `codec` for their form.

mod auth;
mod plain;

use std::marker::PhantomData;
use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

pub use self::auth::Auth;
use self::plain::Plain;
use crate::codec::{Codec, Json};
use crate::error::{Error, Result, Subject};
use crate::map::{MapOptions, MemoryMappedFile, OpenMode};

/// How long a read or write waits for another one that is under way. Both are one copy long; only a process
/// that was stopped inside takes longer.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// A value of type `T` in a map, readable and replaceable by every process that knows its name.
///
/// The value lies there in codec `C`, JSON by default.
///
/// ```
/// use handover::{Auth, MemoryMapper};
/// # let dir = std::env::temp_dir().join(format!("handover-doc-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// // The producer:
/// let producer = MemoryMapper::<Auth>::create(Auth::MAP_NAME, 4096)?;
/// producer.write(&Auth::new("eyJhbGciOi…"))?;
///
/// // A consumer, in another process:
/// let consumer = MemoryMapper::<Auth>::open(Auth::MAP_NAME)?;
/// assert_eq!(consumer.read()?.bearer(), "eyJhbGciOi…");
/// # drop((producer, consumer));
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The name lives as long as a process has a mapper (or a map) for it.
#[derive(Debug)]
pub struct MemoryMapper<T, C = Json> {
    plain: Plain,
    types: PhantomData<fn(T) -> (T, C)>,
}

/// Options of a [`MemoryMapper`] beyond its name and capacity.
///
/// ```
/// use std::time::Duration;
/// use handover::{Auth, ErrorKind, MapperOptions, Scope, MapOptions};
///
/// let late = MapperOptions::new()
///     .map(MapOptions::new().scope(Scope::User))
///     .wait(Duration::from_millis(10))
///     .open::<Auth>("nobody makes this one");
/// assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MapperOptions {
    map: MapOptions,
    offset: u64,
    wait: Option<Duration>,
}

impl MapperOptions {
    /// The defaults: the value at offset 0, no waiting.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options of the map below.
    pub fn map(mut self, options: MapOptions) -> Self {
        self.map = options;
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

    /// See [`MemoryMapper::create`].
    pub fn create<T>(&self, name: &str, capacity: u64) -> Result<MemoryMapper<T>>
    where
        Json: Codec<T>,
    {
        self.create_as(name, capacity)
    }

    /// See [`MemoryMapper::open`].
    pub fn open<T>(&self, name: &str) -> Result<MemoryMapper<T>>
    where
        Json: Codec<T>,
    {
        self.open_as(name)
    }

    /// [`create`](Self::create) with another codec.
    pub fn create_as<T, C: Codec<T>>(&self, name: &str, capacity: u64) -> Result<MemoryMapper<T, C>> {
        self.on(self.map.create_or_open(name, capacity)?)
    }

    /// [`create_as`](Self::create_as), but `AlreadyExists` where the name has a living holder.
    pub fn create_new_as<T, C: Codec<T>>(&self, name: &str, capacity: u64) -> Result<MemoryMapper<T, C>> {
        self.on(self.map.create_new(name, capacity)?)
    }

    /// [`open`](Self::open) with another codec.
    pub fn open_as<T, C: Codec<T>>(&self, name: &str) -> Result<MemoryMapper<T, C>> {
        let map = self.waiting(|| self.map.open_existing(name), || format!("a map named {name:?}"))?;
        self.on(map)
    }

    /// A mapper on the file at `path`: the value survives its processes. The file is created if it does not
    /// exist; an existing one keeps its length if that is larger than `capacity`.
    pub fn create_on_file<T, C: Codec<T>>(
        &self,
        path: impl AsRef<Path>,
        capacity: u64,
    ) -> Result<MemoryMapper<T, C>> {
        let path = path.as_ref();
        let options = self.map.clone().open_mode(OpenMode::OpenOrCreate);
        let capacity = std::fs::metadata(path).map_or(0, |file| file.len()).max(capacity);
        self.on(options.create_from_file(path, capacity)?)
    }

    /// A mapper on the file at `path`, which must exist.
    pub fn open_file<T, C: Codec<T>>(&self, path: impl AsRef<Path>) -> Result<MemoryMapper<T, C>> {
        let path = path.as_ref();
        let map =
            self.waiting(|| self.map.create_from_file(path, 0), || format!("the file '{}'", path.display()))?;
        self.on(map)
    }

    fn on<T, C: Codec<T>>(&self, map: MemoryMappedFile) -> Result<MemoryMapper<T, C>> {
        Ok(MemoryMapper { plain: Plain::new(map, self.offset)?, types: PhantomData })
    }

    fn waiting<M>(&self, open: impl Fn() -> Result<M>, what: impl FnOnce() -> String) -> Result<M> {
        match self.wait {
            None => open(),
            Some(limit) => poll(limit, what, || match open() {
                Err(Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }),
        }
    }
}

/// Asks again and again, at first every 100 µs and ever less often down to every 10 ms: names appear without
/// a sound on every system.
fn poll<T>(
    limit: Duration,
    what: impl FnOnce() -> String,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(got) = attempt()? {
            return Ok(got);
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(Error::TimedOut { waiting_for: what(), after: limit });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

impl<T, C: Codec<T>> MemoryMapper<T, C> {
    /// Opens the map under `name`, or creates it with `capacity` bytes. An existing map keeps its capacity
    /// and its value.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_or_open`].
    pub fn create(name: &str, capacity: u64) -> Result<Self> {
        MapperOptions::new().create_as(name, capacity)
    }

    /// Opens the map under `name`.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::open_existing`].
    pub fn open(name: &str) -> Result<Self> {
        MapperOptions::new().open_as(name)
    }

    /// Replaces the value. No reader of this library sees a mix of the old and the new one.
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`, `Encode` (the old value stays); `Unsupported` on a read-only map; `TimedOut` where
    /// another process was stopped in the middle of a read or write for 10 s.
    pub fn write(&self, value: &T) -> Result<()> {
        self.plain.write(&C::encode(value)?)
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// `NoValue` where none was stored yet; `Incomplete` where a writer died while it wrote; `Decode` where
    /// the bytes are no `T`.
    pub fn read(&self) -> Result<T> {
        C::decode(&self.plain.read()?)
    }

    /// The stored bytes as text: for JSON, the JSON.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read); `Decode` where they are not UTF-8.
    pub fn read_string(&self) -> Result<Zeroizing<String>> {
        <crate::codec::Text as Codec<String>>::decode(&self.plain.read()?).map(Zeroizing::new)
    }

    /// The value, once there is one, waiting up to `limit` for the first.
    ///
    /// # Errors
    ///
    /// `TimedOut`, and those of [`read`](Self::read) but `NoValue`.
    pub fn wait(&self, limit: Duration) -> Result<T> {
        poll(
            limit,
            || format!("a value in {}", self.subject()),
            || match self.read() {
                Err(Error::NoValue { .. }) => Ok(None),
                other => other.map(Some),
            },
        )
    }

    /// What the map is called, for messages.
    pub fn subject(&self) -> &Subject {
        self.plain.map().subject()
    }

    /// The map below.
    pub fn map(&self) -> &MemoryMappedFile {
        self.plain.map()
    }

    /// Bytes that an encoded value may have.
    pub fn capacity(&self) -> u64 {
        self.plain.capacity()
    }
}
