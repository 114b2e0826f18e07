//! How values lie in maps: the one module that knows the layout.
//!
//! At present that is the plain layout of the library: the bytes at the map's start, the rest zero. The
//! subcommands put, get and measure values through this module only.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use handover::codec::Codec;
use handover::{
    Access, Error, ErrorKind, MapInfo, MapOptions, MapperOptions, MemoryMappedFile, MemoryMapper, Result,
    Scope, Subject,
};
use zeroize::Zeroizing;

use crate::args::Place;

/// The layout's name, as `ls` shows it.
pub(crate) const LAYOUT: &str = "plain";

/// Room in a new map if nothing else was asked for and the value needs no more.
const CAPACITY: u64 = 64 << 10;

/// A value's bytes. Wiped when dropped.
pub(crate) type Value = Zeroizing<Vec<u8>>;

/// The bytes as they are: what they mean was checked before.
#[derive(Debug)]
struct Raw;

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

/// A value that was put. While this lives, so does its name.
#[derive(Debug)]
pub(crate) struct Held(MemoryMapper<Value, Raw>);

impl Held {
    /// What the map is called.
    pub(crate) fn subject(&self) -> &Subject {
        self.0.subject()
    }

    /// Bytes that a value there may have.
    pub(crate) fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    /// Whether the map was created, and not joined.
    pub(crate) fn was_created(&self) -> bool {
        self.0.map().was_created()
    }
}

/// What a new map is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Creation {
    /// Room for values; `None` leaves it to the value.
    pub(crate) capacity: Option<u64>,
    /// Whether one that exists already is an error.
    pub(crate) new: bool,
    /// Permission bits in the global scope.
    pub(crate) mode: Option<u32>,
}

impl Creation {
    fn capacity_for(self, value: &Value) -> u64 {
        self.capacity.unwrap_or_else(|| CAPACITY.max(value.len() as u64))
    }
}

/// What a look at a map tells about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is one, of so many bytes.
    Value(u64),
    /// None was stored yet.
    Empty,
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
            Self::Incomplete => "incomplete",
            Self::Unknown => "unknown",
        }
    }

    /// Bytes of the value, where that is known.
    pub(crate) fn used(self) -> Option<u64> {
        match self {
            Self::Value(size) => Some(size),
            Self::Empty => Some(0),
            Self::Incomplete | Self::Unknown => None,
        }
    }
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

/// Why the layout can't give this value back as it is, if it can't.
pub(crate) fn refuses(value: &Value) -> Option<&'static str> {
    match (value.first(), value.last()) {
        (None, _) => Some("an empty value can't be told from no value"),
        (Some(0), _) | (_, Some(0)) => {
            Some("a value that starts or ends with a zero byte can't be told from the unused rest of the map")
        }
        (Some(0xFF), _) => Some("the byte 0xFF at the start marks a value that is being written"),
        _ => None,
    }
}

/// Stores a value under a name.
pub(crate) fn put(name: &str, place: &Place, creation: Creation, value: &Value) -> Result<Held> {
    let mut map = options(place);
    if let Some(mode) = creation.mode {
        map = map.file_mode(mode);
    }
    let options = MapperOptions::new().plain().map(map);
    let capacity = creation.capacity_for(value);
    let mapper: MemoryMapper<Value, Raw> = if creation.new {
        options.create_new_as(name, capacity)?
    } else {
        options.create_as(name, capacity)?
    };
    mapper.write(value)?;
    Ok(Held(mapper))
}

/// Stores a value in a file, where it stays.
pub(crate) fn put_file(path: &Path, creation: Creation, value: &Value) -> Result<()> {
    let put = || {
        let mapper: MemoryMapper<Value, Raw> =
            MapperOptions::new().plain().create_on_file(path, creation.capacity_for(value))?;
        mapper.write(value)
    };
    if !creation.new {
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

/// The value under a name as it is now.
pub(crate) fn get(name: &str, place: &Place) -> Result<Value> {
    let map = options(place).access(Access::Read);
    let mapper: MemoryMapper<Value, Raw> = MapperOptions::new().plain().map(map).open_as(name)?;
    mapper.read()
}

/// The value under a name, waiting up to `limit` for the map and its first value.
pub(crate) fn wait(name: &str, place: &Place, limit: Duration) -> Result<Value> {
    let start = Instant::now();
    let map = options(place).access(Access::Read);
    let mapper: MemoryMapper<Value, Raw> = MapperOptions::new().plain().map(map).wait(limit).open_as(name)?;
    // The error must name the whole time, not what was left of it.
    mapper.wait(limit.saturating_sub(start.elapsed())).map_err(|e| match e {
        Error::TimedOut { waiting_for, .. } => Error::TimedOut { waiting_for, after: limit },
        other => other,
    })
}

/// The value in a file as it is now.
pub(crate) fn get_file(path: &Path) -> Result<Value> {
    // A file without a byte can't be mapped.
    if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
        return Err(Error::NoValue { subject: Subject::Path(path.to_owned()) });
    }
    let map = MapOptions::new().access(Access::Read);
    let mapper: MemoryMapper<Value, Raw> = MapperOptions::new().plain().map(map).open_file(path)?;
    mapper.read()
}

/// The value in a file, waiting up to `limit` for the file and its first value.
pub(crate) fn wait_file(path: &Path, limit: Duration) -> Result<Value> {
    let start = Instant::now();
    loop {
        match get_file(path) {
            Err(error) if is_not_yet(&error) => {
                let left = limit.saturating_sub(start.elapsed());
                if left.is_zero() {
                    let waiting_for = format!("a value in '{}'", path.display());
                    return Err(Error::TimedOut { waiting_for, after: limit });
                }
                std::thread::sleep(left.min(Duration::from_millis(10)));
            }
            other => return other,
        }
    }
}

/// Whether waiting may help.
pub(crate) fn is_not_yet(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoValue)
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
pub(crate) fn peek(map: &MapInfo, owner: Option<u32>) -> Content {
    // Reading pages that nobody wrote yet would take memory for them (and time: they may be many).
    if map.allocated < map.capacity {
        return Content::Unknown;
    }
    let place = Place { global: map.scope == Scope::Global, owner };
    // It can be gone by now, as any map at any moment.
    let opened = options(&place).access(Access::Read).open_existing(&map.name);
    opened.and_then(|map| measure(&map)).unwrap_or(Content::Unknown)
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
