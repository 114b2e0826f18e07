//! The options of a mapper, and how one comes to be.

use std::marker::PhantomData;
use std::path::Path;
use std::time::{Duration, Instant};

use super::plain::Plain;
use super::versions::Versions;
use super::{MemoryMapper, Store, TypeName};
use crate::cell::{CellOptions, Durability};
use crate::codec::{Codec, Json};
use crate::error::{Error, Result};
use crate::map::{MapOptions, OpenMode};

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
    cell: CellOptions,
    plain: bool,
    offset: u64,
    wait: Option<Duration>,
    ttl: Option<Duration>,
    type_name: Option<&'static str>,
}

impl MapperOptions {
    /// The defaults: a cell, no waiting, no expiry, no type name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options of the map below.
    pub fn map(mut self, options: MapOptions) -> Self {
        self.map = options;
        self
    }

    /// Uses the plain layout, which C# programs write and read, in place of a cell: the bytes of the value at
    /// the start, the rest zero. It has no versions, and so none of `take`, `update`, `watch`, expiry.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Where in the map a plain value starts, in bytes. Default: 0.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// How long opening waits for a map that is not there yet. Default: not at all.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }

    /// How long a value can be read after it was set. Default: for ever.
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
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-named-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    /// use handover::{ErrorKind, MapperOptions, TypeName};
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
    /// let options = MapperOptions::new();
    /// let writer = options.clone().named::<Celsius>().create::<f64>("outside", 64)?;
    /// writer.set(&21.5)?;
    /// let reader = options.named::<Kelvin>().open::<f64>("outside")?;
    /// assert_eq!(reader.get().unwrap_err().kind(), ErrorKind::TypeMismatch);
    /// # drop((writer, reader));
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named<N: TypeName>(mut self) -> Self {
        self.type_name = Some(N::TYPE_NAME);
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
        if self.plain {
            return self.on_plain(self.map.create_or_open(name, capacity)?);
        }
        self.check_cell()?;
        Ok(self.mapper(Store::Cell(Versions::new(self.cell.create_named(name, capacity, &self.map)?))))
    }

    /// As [`create_as`](Self::create_as), where the name must have no holder.
    pub fn create_new_as<T, C: Codec<T>>(&self, name: &str, capacity: u64) -> Result<MemoryMapper<T, C>> {
        if self.plain {
            return self.on_plain(self.map.create_new(name, capacity)?);
        }
        self.check_cell()?;
        Ok(self.mapper(Store::Cell(Versions::new(self.cell.create_new_named(name, capacity, &self.map)?))))
    }

    /// [`open`](Self::open) with another codec.
    pub fn open_as<T, C: Codec<T>>(&self, name: &str) -> Result<MemoryMapper<T, C>> {
        let map = self.waiting(|| self.map.open_existing(name), || format!("a map named {name:?}"))?;
        if self.plain {
            return self.on_plain(map);
        }
        self.check_cell()?;
        Ok(self.mapper(Store::Cell(Versions::new(self.cell.open(map)?))))
    }

    /// A mapper on the file at `path`: the value survives its processes. The file is created if it does not
    /// exist; an existing one keeps its capacity.
    pub fn create_on_file<T, C: Codec<T>>(
        &self,
        path: impl AsRef<Path>,
        capacity: u64,
    ) -> Result<MemoryMapper<T, C>> {
        let path = path.as_ref();
        if self.plain {
            let options = self.map.clone().open_mode(OpenMode::OpenOrCreate);
            let capacity = std::fs::metadata(path).map_or(0, |file| file.len()).max(capacity);
            return self.on_plain(options.create_from_file(path, capacity)?);
        }
        self.check_cell()?;
        Ok(self.mapper(Store::Cell(Versions::new(self.cell.create_on_file(path, capacity, &self.map)?))))
    }

    /// A mapper on the file at `path`, which must exist.
    pub fn open_file<T, C: Codec<T>>(&self, path: impl AsRef<Path>) -> Result<MemoryMapper<T, C>> {
        let path = path.as_ref();
        let map =
            self.waiting(|| self.map.create_from_file(path, 0), || format!("the file '{}'", path.display()))?;
        if self.plain {
            return self.on_plain(map);
        }
        self.check_cell()?;
        Ok(self.mapper(Store::Cell(Versions::new(self.cell.open(map)?))))
    }

    fn check_cell(&self) -> Result<()> {
        if self.offset != 0 {
            return Err(Error::invalid("offset", "only a value in the plain layout has one"));
        }
        Ok(())
    }

    fn on_plain<T, C>(&self, map: crate::map::MemoryMappedFile) -> Result<MemoryMapper<T, C>> {
        if self.ttl.is_some() || self.type_name.is_some() {
            return Err(Error::unsupported(
                "the plain layout has no room for an expiry or a type's name; use a cell",
            ));
        }
        Ok(self.mapper(Store::Plain(Box::new(Plain::new(map, self.offset)?))))
    }

    fn mapper<T, C>(&self, store: Store<T>) -> MemoryMapper<T, C> {
        MemoryMapper { store, ttl: self.ttl, type_name: self.type_name, codec: PhantomData }
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
pub(super) fn poll<T>(
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
