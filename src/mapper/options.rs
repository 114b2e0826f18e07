//! How a mapper is opened or created: its options and the three verbs. Relies on `memory_mapper`.

use std::time::Duration;

use super::memory_mapper::MemoryMapper;
use super::type_name::TypeName;
use super::versions::{Named, Stored, Versions, Writing};
use super::wait::LOCK_LIMIT;
use crate::cell::{Cell, CellOptions, Durability};
use crate::codec::Codec;
use crate::error::Result;
use crate::map::MapOptions;
use crate::terms::Place;

/// How to open or create a [`MemoryMapper`].
///
/// The codec follows from the type that is asked for.
///
/// ```
/// use std::time::Duration;
///
/// use handover::map::MapOptions;
/// use handover::{Auth, ErrorKind, MapperOptions, MemoryMapper, Scope};
///
/// let options = MapperOptions::new().map(MapOptions::new().scope(Scope::User)).ttl(Duration::from_secs(60));
/// # let name = &format!("MapperOptions in the docs {}", std::process::id());
/// let producer: MemoryMapper<Auth> = options.secret().capacity(4096).create_new(name)?;
/// producer.set(&Auth::new("secret"))?;
///
/// let late = MapperOptions::new()
///     .wait(Duration::from_millis(10))
///     .open_existing::<Auth, handover::codec::Json>("nobody makes this one");
/// assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a map is opened or created with them"]
pub struct MapperOptions {
    cell: CellOptions,
    ttl: Option<Duration>,
    type_name: Option<&'static str>,
    lock_limit: Option<Duration>,
    full_errors: bool,
}

impl MapperOptions {
    /// The defaults: room for values of 64 KiB, no waiting, no expiry, no type name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options of the map below.
    pub fn map(mut self, options: MapOptions) -> Self {
        self.cell = self.cell.map(options);
        self
    }

    /// The most bytes that an encoded value in a new map may have. Default: 64 KiB. An existing map keeps its
    /// own.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.cell = self.cell.capacity(bytes);
        self
    }

    /// How long opening waits for a map that is not there yet. Default: not at all.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.cell = self.cell.wait(limit);
        self
    }

    /// How long a write waits while somebody else writes or has a lease. Default: 10 s. See
    /// [`MemoryMapper::try_set`] for one that does not wait.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::{ErrorKind, MapperOptions, MemoryMapper};
    ///
    /// # let name = &format!("lock_limit in the docs {}", std::process::id());
    /// let mapper: MemoryMapper<u32> =
    ///     MapperOptions::new().lock_limit(Duration::from_millis(1)).create_or_open(name)?;
    /// let other = MemoryMapper::<u32>::open_existing(name)?;
    /// let _lease = std::thread::scope(|scope| {
    ///     scope.spawn(|| other.lease(Duration::ZERO)).join().unwrap()
    /// })?;
    /// assert_eq!(mapper.set(&1).unwrap_err().kind(), ErrorKind::TimedOut);
    /// # Ok::<(), handover::Error>(())
    /// ```
    pub fn lock_limit(mut self, limit: Duration) -> Self {
        self.lock_limit = Some(limit);
        self
    }

    /// Whether the messages of `Decode` errors may quote the value: all that the codec's library says.
    /// Default: false, because a message ends up in a log, and the value may be a secret; it then says where
    /// the value differs, what was expected there and what was found, in kind.
    ///
    /// ```
    /// use handover::{MapperOptions, MemoryMapper};
    ///
    /// # let name = &format!("full_errors in the docs {}", std::process::id());
    /// let text = MemoryMapper::<String>::create_or_open(name)?;
    /// text.set(&"hello".to_owned())?;
    ///
    /// let number: MemoryMapper<u16> = MapperOptions::new().open_existing(name)?;
    /// assert!(number.get().unwrap_err().to_string().contains("expected u16, found a string"));
    /// let number: MemoryMapper<u16> = MapperOptions::new().full_errors(true).open_existing(name)?;
    /// assert!(number.get().unwrap_err().to_string().contains("string \"hello\", expected u16"));
    /// # Ok::<(), handover::Error>(())
    /// ```
    pub fn full_errors(mut self, full: bool) -> Self {
        self.full_errors = full;
        self
    }

    /// How long a value can be read after it was set. Default: for ever. It holds for values that this mapper
    /// sets.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What a stored value survives, for cells on files.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.cell = self.cell.durability(durability);
        self
    }

    /// Keeps the map out of swap and core dumps, and wipes a value once it is replaced and nobody reads it.
    pub fn secret(mut self) -> Self {
        self.cell = self.cell.secret(true);
        self
    }

    /// Stores the name of the type with each value; reading a value that was stored under another name is an
    /// error.
    ///
    /// ```
    /// use handover::{ErrorKind, MapperOptions, MemoryMapper, TypeName};
    ///
    /// struct Celsius;
    /// impl TypeName for Celsius {
    ///     const TYPE_NAME: &'static str = "weather.Celsius";
    /// }
    /// struct Kelvin;
    /// impl TypeName for Kelvin {
    ///     const TYPE_NAME: &'static str = "weather.Kelvin";
    /// }
    ///
    /// # let name = &format!("named in the docs {}", std::process::id());
    /// let writer: MemoryMapper<f64> = MapperOptions::new().named::<Celsius>().create_or_open(name)?;
    /// writer.set(&21.5)?;
    /// let reader: MemoryMapper<f64> = MapperOptions::new().named::<Kelvin>().open_existing(name)?;
    /// assert_eq!(reader.get().unwrap_err().kind(), ErrorKind::TypeMismatch);
    /// # Ok::<(), handover::Error>(())
    /// ```
    pub fn named<N: TypeName>(mut self) -> Self {
        self.type_name = Some(N::TYPE_NAME);
        self
    }

    /// See [`MemoryMapper::create_new`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_new<'a, T, C: Codec<T>>(&self, place: impl Into<Place<'a>>) -> Result<MemoryMapper<T, C>> {
        let place = place.into();
        Ok(self.mapper(self.cell.create_new(place)?, place))
    }

    /// See [`MemoryMapper::create_or_open`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_or_open<'a, T, C: Codec<T>>(
        &self,
        place: impl Into<Place<'a>>,
    ) -> Result<MemoryMapper<T, C>> {
        let place = place.into();
        Ok(self.mapper(self.cell.create_or_open(place)?, place))
    }

    /// See [`MemoryMapper::open_existing`].
    ///
    /// # Errors
    ///
    /// As there; `TimedOut` where [`wait`](Self::wait) gave a limit.
    pub fn open_existing<'a, T, C: Codec<T>>(
        &self,
        place: impl Into<Place<'a>>,
    ) -> Result<MemoryMapper<T, C>> {
        let place = place.into();
        Ok(self.mapper(self.cell.open_existing(place)?, place))
    }

    fn mapper<T, C>(&self, cell: Cell, place: Place<'_>) -> MemoryMapper<T, C> {
        let writing = Writing { ttl: self.ttl, lock_limit: self.lock_limit.unwrap_or(LOCK_LIMIT) };
        let named = self.cell.name_of(place).map(|name| Named::new(name, &self.cell));
        let stored = Stored::new(cell, self.type_name, self.full_errors, named);
        MemoryMapper::new(Versions::new(stored, writing))
    }
}

/// The three verbs. [`MapperOptions`] has them too.
///
/// Each takes a [`Place`]: a `&str` is a name, a `&Path` is a file.
impl<T, C: Codec<T>> MemoryMapper<T, C> {
    /// Creates the map under a name that has no holder, or in a file that does not exist, for encoded values
    /// of up to 64 KiB ([`MapperOptions::capacity`] says otherwise).
    ///
    /// ```
    /// use handover::{ErrorKind, MemoryMapper};
    ///
    /// # let name = &format!("create_new in the docs {}", std::process::id());
    /// let first = MemoryMapper::<String>::create_new(name)?;
    /// let second = MemoryMapper::<String>::create_new(name);
    /// assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// # drop(first);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_new`](crate::map::MemoryMappedFile::create_new).
    pub fn create_new<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        MapperOptions::new().create_new(place)
    }

    /// Opens the map under a name or in a file, or creates it, for encoded values of up to 64 KiB
    /// ([`MapperOptions::capacity`] says otherwise). An existing map keeps its capacity and its value.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// let path = std::env::temp_dir().join(format!("create-or-open-{}", std::process::id()));
    /// MemoryMapper::<String>::create_or_open(&path)?.set(&"files stay".to_owned())?;
    /// assert_eq!(MemoryMapper::<String>::create_or_open(&path)?.get()?.as_deref(), Some("files stay"));
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_or_open`](crate::map::MemoryMappedFile::create_or_open);
    /// `WrongKind` for a map that is there in another layout.
    pub fn create_or_open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        MapperOptions::new().create_or_open(place)
    }

    /// Opens the map under a name or in a file.
    ///
    /// ```
    /// use handover::{ErrorKind, MemoryMapper};
    ///
    /// let absent = MemoryMapper::<String>::open_existing("nobody holds this name");
    /// assert_eq!(absent.unwrap_err().kind(), ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::open_existing`](crate::map::MemoryMappedFile::open_existing); `WrongKind`
    /// for a map in another layout.
    pub fn open_existing<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        MapperOptions::new().open_existing(place)
    }
}
