//! How values lie in maps: the one module that knows the layouts.
//!
//! A value lies in a cell of the library, tagged with its codec, unless the plain layout was asked for. The
//! subcommands put, get, take, watch and measure values through this module only.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handover::codec::{self, Codec};
use handover::{
    Access, Cell, CellInfo, CellOptions, Durability, Error, ErrorKind, MapInfo, MapOptions, MapperOptions,
    MemoryMappedFile, MemoryMapper, Meta, Result, Scope, Subject,
};
use zeroize::Zeroizing;

use crate::args::Place;

/// Room in a new map if nothing else was asked for and the value needs no more.
const CAPACITY: u64 = 64 << 10;

/// How long putting and taking wait while another process is the writer.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// What a cell starts with.
const CELL_MAGIC: &[u8; 8] = b"HANDCELL";

/// Bytes at the start of a cell that are not all zero in any cell, and that have memory in each.
const CELL_HEAD: usize = 64;
const CELL_LEAST: u64 = 16 << 10;

/// A value's bytes. Wiped when dropped.
pub(crate) type Value = Zeroizing<Vec<u8>>;

/// A value in a cell, and what is stored with it.
pub(crate) type Stored = handover::Value;

/// The bytes as they are: what they mean was checked before.
#[derive(Debug)]
pub(crate) struct Raw;

impl Codec<Value> for Raw {
    const ID: u32 = 0;
    const NAME: &'static str = "bytes";

    fn encode(value: &Value) -> Result<Value> {
        Ok(value.clone())
    }

    fn decode(bytes: &[u8]) -> Result<Value> {
        Ok(Zeroizing::new(bytes.to_vec()))
    }
}

/// What a value is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Text,
    Bytes,
}

impl Kind {
    /// The library's number for it.
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::Json => <codec::Json as Codec<u8>>::ID,
            Self::Text => <codec::Text as Codec<String>>::ID,
            Self::Bytes => <codec::Bytes as Codec<Vec<u8>>>::ID,
        }
    }

    /// The kind with this number, if it is one of them.
    pub(crate) fn of(id: u32) -> Option<Self> {
        [Self::Json, Self::Text, Self::Bytes].into_iter().find(|kind| kind.id() == id)
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Name(&'a str, &'a Place),
    Path(&'a Path),
}

impl Source<'_> {
    fn open(self, access: Access) -> Result<MemoryMappedFile> {
        match self {
            Source::Name(name, place) => options(place).access(access).open_existing(name),
            Source::Path(path) => {
                // A file without a byte can't be mapped.
                if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
                    return Err(Error::NoValue { subject: Subject::Path(path.to_owned()) });
                }
                MapOptions::new().access(access).create_from_file(path, 0)
            }
        }
    }

    /// What it is called, for people.
    pub(crate) fn shown(self) -> String {
        match self {
            Source::Name(name, _) => crate::output::printable(name),
            Source::Path(path) => path.display().to_string(),
        }
    }
}

/// What is to be stored, beyond the value.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub(crate) struct Storing {
    pub(crate) kind: Kind,
    /// Whether it goes into the plain layout.
    pub(crate) plain: bool,
    /// Room for values in a new map; `None` leaves it to the value.
    pub(crate) capacity: Option<u64>,
    /// Whether a map that exists already is an error.
    pub(crate) new: bool,
    /// Permission bits in the global scope.
    pub(crate) mode: Option<u32>,
    /// How long the value can be read.
    pub(crate) ttl: Option<Duration>,
    pub(crate) secret: bool,
    /// Whether a value in a file has to survive the loss of power.
    pub(crate) sync: bool,
}

impl Storing {
    fn capacity_for(self, value: &Value) -> u64 {
        self.capacity.unwrap_or_else(|| CAPACITY.max(value.len() as u64))
    }

    fn cell_options(self) -> CellOptions {
        let durability = if self.sync { Durability::Sync } else { Durability::None };
        CellOptions::new().secret(self.secret).durability(durability)
    }

    fn publish(self, cell: &Cell, value: &Value) -> Result<u64> {
        let expires = self.ttl.map_or(0, |ttl| {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(ttl);
            u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).max(1)
        });
        let meta = Meta { codec: self.kind.id(), type_name: None, expires };
        cell.writer_timeout(LOCK_LIMIT)?.publish_as(&meta, value)
    }
}

/// A value that was put. While this lives, so does its name.
#[derive(Debug)]
pub(crate) enum Held {
    Cell(Cell, u64),
    Plain(Box<MemoryMapper<Value, Raw>>),
}

impl Held {
    fn map(&self) -> &MemoryMappedFile {
        match self {
            Self::Cell(cell, _) => cell.map(),
            Self::Plain(mapper) => mapper.map(),
        }
    }

    /// What the map is called.
    pub(crate) fn subject(&self) -> &Subject {
        self.map().subject()
    }

    /// Bytes that a value there may have.
    pub(crate) fn capacity(&self) -> u64 {
        match self {
            Self::Cell(cell, _) => cell.capacity(),
            Self::Plain(mapper) => mapper.capacity(),
        }
    }

    /// Whether the map was created, and not joined.
    pub(crate) fn was_created(&self) -> bool {
        self.map().was_created()
    }

    /// Removes and wipes the value if it has expired; otherwise says in what time it will.
    pub(crate) fn remove_expired(&self) -> Result<Tidied> {
        // Somebody who writes now stores another value, or takes this one.
        const LATER: Duration = Duration::from_millis(100);
        let Self::Cell(cell, _) = self else { return Ok(Tidied::Nothing) };
        // Under the lock, so that no value which has just been stored is meant.
        let Some(mut writer) = cell.try_writer()? else { return Ok(Tidied::Later(LATER)) };
        let info = cell.info()?;
        match time(info.expires) {
            None => Ok(Tidied::Nothing),
            Some(_) if info.length.is_none() => writer.clear().map(|_| Tidied::Removed),
            Some(at) => Ok(Tidied::Later(at.duration_since(SystemTime::now()).unwrap_or(LATER))),
        }
    }

    /// Waits up to `limit` for somebody to take the value; whether somebody did.
    pub(crate) fn is_taken_within(&self, limit: Duration) -> Result<bool> {
        let Self::Cell(cell, put) = self else { return Ok(false) };
        let start = Instant::now();
        let mut seen = *put;
        loop {
            match cell.wait_newer(seen, limit.saturating_sub(start.elapsed())) {
                Ok(newer) => seen = newer,
                Err(Error::TimedOut { .. }) => return Ok(false),
                Err(other) => return Err(other),
            }
            let info = cell.info()?;
            // One that expired has its expiry until it is removed, and is no longer waited for then.
            if info.length.is_none() && info.expires == 0 {
                return Ok(true);
            }
        }
    }
}

/// What came of an attempt to remove an expired value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tidied {
    /// It is removed.
    Removed,
    /// It has not expired; it may have after this.
    Later(Duration),
    /// There is nothing that expires.
    Nothing,
}

/// What a look at a map tells about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is one, of so many bytes.
    Value(u64),
    /// There is none: not yet, or it was taken or removed.
    Empty,
    /// Its time is over.
    Expired,
    /// It is being written, or its writer died.
    Incomplete,
    /// This process can't look, or should not.
    Unknown,
}

impl Content {
    /// One word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Value(_) => "value",
            Self::Empty => "empty",
            Self::Expired => "expired",
            Self::Incomplete => "incomplete",
            Self::Unknown => "unknown",
        }
    }

    /// Bytes of the value, where that is known.
    pub(crate) fn used(self) -> Option<u64> {
        match self {
            Self::Value(size) => Some(size),
            Self::Empty | Self::Expired => Some(0),
            Self::Incomplete | Self::Unknown => None,
        }
    }
}

/// A look at a map from outside.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The layout's name, where that is known.
    pub(crate) layout: Option<&'static str>,
    pub(crate) content: Content,
    /// What a cell says of itself.
    pub(crate) cell: Option<CellInfo>,
}

impl Look {
    pub(crate) const UNKNOWN: Self = Self { layout: None, content: Content::Unknown, cell: None };
}

fn options(place: &Place) -> MapOptions {
    let mut options = MapOptions::new();
    if place.global {
        options = options.scope(Scope::Global);
    }
    if let Some(owner) = place.owner {
        options = options.owned_by(owner);
    }
    options
}

/// Why the plain layout can't give this value back as it is, if it can't.
pub(crate) fn plain_refuses(value: &Value) -> Option<&'static str> {
    match (value.first(), value.last()) {
        (None, _) => Some("an empty value can't be told from no value"),
        (Some(0), _) | (_, Some(0)) => {
            Some("a value that starts or ends with a zero byte can't be told from the unused rest of the map")
        }
        (Some(0xFF), _) => Some("the byte 0xFF at the start marks a value that is being written"),
        _ if value.starts_with(CELL_MAGIC) => Some("it starts as a cell does"),
        _ => None,
    }
}

/// Stores a value under a name.
pub(crate) fn put(name: &str, place: &Place, storing: Storing, value: &Value) -> Result<Held> {
    let mut map = options(place);
    if let Some(mode) = storing.mode {
        map = map.file_mode(mode);
    }
    let capacity = storing.capacity_for(value);
    if storing.plain {
        let options = MapperOptions::new().plain().map(map);
        let mapper: MemoryMapper<Value, Raw> = if storing.new {
            options.create_new_as(name, capacity)?
        } else {
            options.create_as(name, capacity)?
        };
        mapper.write(value)?;
        return Ok(Held::Plain(Box::new(mapper)));
    }
    let options = storing.cell_options();
    let cell = if storing.new {
        options.create_new_named(name, capacity, &map)?
    } else {
        options.create_named(name, capacity, &map)?
    };
    let version = storing.publish(&cell, value)?;
    Ok(Held::Cell(cell, version))
}

/// Stores a value in a file, where it stays.
pub(crate) fn put_file(path: &Path, storing: Storing, value: &Value) -> Result<()> {
    let put = || {
        let capacity = storing.capacity_for(value);
        if storing.plain {
            let mapper: MemoryMapper<Value, Raw> =
                MapperOptions::new().plain().create_on_file(path, capacity)?;
            return mapper.write(value);
        }
        let cell = storing.cell_options().create_on_file(path, capacity, &MapOptions::new())?;
        storing.publish(&cell, value).map(drop)
    };
    if !storing.new {
        return put();
    }
    // The mapper opens files that exist; that this one did not is settled by creating it here.
    let subject = || Subject::Path(path.to_owned());
    fs::File::create_new(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { subject: subject() },
        _ => Error::Io { doing: format!("create {}", subject()), source },
    })?;
    put().inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// How long a subcommand may wait for what is not there yet.
#[derive(Debug)]
pub(crate) struct Patience {
    /// `None`: not at all.
    limit: Option<Duration>,
    start: Instant,
    said: bool,
}

impl Patience {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit, start: Instant::now(), said: false }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.limit.is_some()
    }

    /// What is left of the time, saying at first that there is something to wait for.
    pub(crate) fn left(&mut self, source: Source<'_>) -> Duration {
        let limit = self.limit.unwrap_or_default();
        if !self.said {
            let up_to = humantime::format_duration(limit);
            crate::output::say(&format!("waiting up to {up_to} for '{}'", source.shown()));
            self.said = true;
        }
        limit.saturating_sub(self.start.elapsed())
    }

    fn is_over(&self, source: Source<'_>) -> Error {
        let waiting_for = format!("a value in '{}'", source.shown());
        Error::TimedOut { waiting_for, after: self.limit.unwrap_or_default() }
    }

    /// The error of a wait for a version: it must name the whole time, not what was left of it.
    pub(crate) fn failed(&self, source: Source<'_>, error: Error) -> Error {
        match error {
            Error::TimedOut { .. } => self.is_over(source),
            other => other,
        }
    }

    /// Tries until there is a map, and a value in it if `attempt` says that there is none.
    fn retry<T>(&mut self, source: Source<'_>, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let mut pause = Duration::from_millis(1);
        loop {
            match attempt() {
                Err(error)
                    if self.is_some() && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoValue) =>
                {
                    let left = self.left(source);
                    if left.is_zero() {
                        return Err(self.is_over(source));
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(Duration::from_millis(10));
                }
                other => return other,
            }
        }
    }
}

/// How a cell is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// To look: so that nothing in it changes.
    Look,
    /// To wait: for writing if that is allowed, so that it sleeps until it is woken.
    Wait,
    Write,
}

fn open_cell(source: Source<'_>, opening: Opening) -> Result<Cell> {
    let access = if opening == Opening::Look { Access::Read } else { Access::ReadWrite };
    let map = match source.open(access) {
        Err(Error::AccessDenied { .. }) if opening == Opening::Wait => source.open(Access::Read)?,
        other => other?,
    };
    // Its producer may be making it.
    if head(&map)? == [0; CELL_HEAD] {
        return Err(Error::NoValue { subject: map.subject().clone() });
    }
    Cell::open(map)
}

/// The first bytes of a map, with zeroes after its end.
fn head(map: &MemoryMappedFile) -> Result<[u8; CELL_HEAD]> {
    let mut head = [0; CELL_HEAD];
    map.create_view_accessor_with(0, 0, Access::Read)?.read_array(0, &mut head)?;
    Ok(head)
}

/// Opens a cell for watching it.
pub(crate) fn open_to_wait(source: Source<'_>, patience: &mut Patience) -> Result<Cell> {
    patience.retry(source, || open_cell(source, Opening::Wait))
}

/// The newest value in a cell; no pin keeps its bytes from being wiped meanwhile, unless writers are too fast.
pub(crate) fn read(cell: &Cell) -> Result<Option<Stored>> {
    match cell.copy() {
        Err(Error::Overtaken { .. }) if cell.can_write() => cell.reader().read(),
        other => other,
    }
}

/// The value in a cell, if its version is newer than `than`; `None` where the newest is not.
pub(crate) fn get(source: Source<'_>, than: u64, patience: &mut Patience) -> Result<Option<Stored>> {
    let opening = if patience.is_some() { Opening::Wait } else { Opening::Look };
    let cell = patience.retry(source, || open_cell(source, opening))?;
    loop {
        let seen = cell.version();
        let found = match read(&cell) {
            Err(Error::Overtaken { .. }) if !cell.can_write() => read(&open_cell(source, Opening::Wait)?)?,
            other => other?,
        };
        match found {
            Some(value) if value.version > than => return Ok(Some(value)),
            Some(_) if !patience.is_some() => return Ok(None),
            None if !patience.is_some() => return Err(Error::NoValue { subject: cell.subject().clone() }),
            _ => {}
        }
        cell.wait_newer(seen.max(than), patience.left(source)).map_err(|e| patience.failed(source, e))?;
    }
}

/// Takes the value out of a cell: of all who try, one gets it.
pub(crate) fn take(source: Source<'_>, patience: &mut Patience) -> Result<Stored> {
    let cell = patience.retry(source, || open_cell(source, Opening::Write))?;
    loop {
        let seen = cell.version();
        // Who only waits is no writer.
        if cell.info()?.length.is_some()
            && let Some(value) = cell.writer_timeout(LOCK_LIMIT)?.take()?
        {
            return Ok(value);
        }
        if !patience.is_some() {
            return Err(Error::NoValue { subject: cell.subject().clone() });
        }
        cell.wait_newer(seen, patience.left(source)).map_err(|e| patience.failed(source, e))?;
    }
}

/// The value in a map of the plain layout.
pub(crate) fn get_plain(source: Source<'_>, patience: &mut Patience) -> Result<Value> {
    let options = |map: MapOptions| MapperOptions::new().plain().map(map.access(Access::Read));
    patience.retry(source, || {
        let mapper: MemoryMapper<Value, Raw> = match source {
            Source::Name(name, place) => options(self::options(place)).open_as(name)?,
            Source::Path(path) => {
                // It says what a file without a byte is.
                drop(source.open(Access::Read)?);
                options(MapOptions::new()).open_file(path)?
            }
        };
        mapper.read()
    })
}

/// What the name of a living map is in full, and its capacity.
pub(crate) fn find(name: &str, place: &Place) -> Result<(String, Scope, u64)> {
    let map = options(place).access(Access::Read).open_existing(name)?;
    let Subject::Map { name, scope } = map.subject().clone() else {
        unreachable!("opened by name");
    };
    Ok((name, scope, map.capacity()))
}

/// What a look at a listed map tells about its value. A map of somebody else is looked into only where
/// `owner` names that user.
pub(crate) fn peek(map: &MapInfo, owner: Option<u32>) -> Look {
    // Reading pages that nobody wrote yet would take memory for them (and time: they may be many). A cell has
    // memory for its head.
    if map.allocated < map.capacity.min(CELL_LEAST) {
        return Look::UNKNOWN;
    }
    peek_at(&map.name, &Place { global: map.scope == Scope::Global, owner }, map.allocated >= map.capacity)
}

/// What a look at a map tells that can be opened but is in no list.
pub(crate) fn peek_unlisted(name: &str, scope: Scope) -> Look {
    peek_at(name, &Place { global: scope == Scope::Global, owner: None }, true)
}

fn peek_at(name: &str, place: &Place, has_all_memory: bool) -> Look {
    let look = |opened: MemoryMappedFile| -> Result<Look> {
        if head(&opened)?.starts_with(CELL_MAGIC) {
            return Ok(look_at_cell(opened));
        }
        let content = if has_all_memory { measure(&opened)? } else { Content::Unknown };
        Ok(Look { layout: Some("plain"), content, cell: None })
    };
    // It can be gone by now, as any map at any moment.
    options(place).access(Access::Read).open_existing(name).and_then(look).unwrap_or(Look::UNKNOWN)
}

fn look_at_cell(map: MemoryMappedFile) -> Look {
    let info = Cell::open(map).and_then(|cell| cell.info()).ok();
    let content = match &info {
        None => Content::Unknown,
        Some(CellInfo { length: Some(length), .. }) => Content::Value(*length),
        Some(CellInfo { expires: 1.., .. }) => Content::Expired,
        Some(_) => Content::Empty,
    };
    Look { layout: Some("cell"), content, cell: info }
}

/// A time that a cell tells; `None` for 0.
pub(crate) fn time(nanoseconds: u64) -> Option<SystemTime> {
    (nanoseconds > 0).then(|| UNIX_EPOCH + Duration::from_nanos(nanoseconds))
}

/// The bytes between the first and the last that is not zero. Takes no lock, so it never waits for a writer
/// that was stopped; beside one that is writing it can be off.
fn measure(map: &MemoryMappedFile) -> Result<Content> {
    const CHUNK: u64 = 64 << 10;
    let view = map.create_view_accessor_with(0, 0, Access::Read)?;
    let mut chunk = Zeroizing::new(vec![0u8; CHUNK.min(map.capacity()) as usize]);
    let mut read = |from: u64| -> Result<Zeroizing<Vec<u8>>> {
        let count = view.read_array(from, &mut chunk)?;
        Ok(Zeroizing::new(chunk[..count].to_vec()))
    };
    let mut start = 0;
    let first = loop {
        let bytes = read(start)?;
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            if start == 0 && at == 0 && bytes[0] == 0xFF {
                return Ok(Content::Incomplete);
            }
            break start + at as u64;
        }
        start += bytes.len() as u64;
        if start >= map.capacity() {
            return Ok(Content::Empty);
        }
    };
    let mut end = map.capacity();
    while end > first {
        let from = end.saturating_sub(CHUNK);
        let bytes = read(from)?;
        // A chunk at the very start of the map may reach beyond what is still to look at.
        let bytes = &bytes[..(end - from) as usize];
        if let Some(at) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(Content::Value((from + at as u64 + 1).saturating_sub(first)));
        }
        end = from;
    }
    // It was there a moment ago: a writer is at it.
    Ok(Content::Incomplete)
}
