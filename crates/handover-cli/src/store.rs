//! Storing a value: in a cell or in the plain layout, under a name or in a file.
//!
//! Relies on `source` for the place; `put` and `hold` rely on it.

use std::time::{Duration, Instant, SystemTime};

use handover::codec::{AnyCodec, Untyped};
use handover::map::{Access, MemoryMappedFile, Subject};
use handover::mapper::{PlainOptions, UntypedMapper};
use handover::{Durability, ErrorKind, MapperOptions, Place, PlainMapper, Result};

use crate::source::Source;

/// Room in a new map, unless the user asks for another size or the value needs more.
const CAPACITY: u64 = 64 << 10;

/// How a value is to be stored.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub(crate) struct Storing {
    /// Whether it goes into the plain layout.
    pub(crate) plain: bool,
    /// Room for values in a new map; `None` leaves it to the value.
    pub(crate) capacity: Option<u64>,
    /// Whether it is an error if the map exists already.
    pub(crate) new: bool,
    pub(crate) secret: bool,
    /// Whether a value in a file must survive a loss of power.
    pub(crate) sync: bool,
}

impl Storing {
    /// Stores a value. If that fails, a file that was made for it is removed.
    pub(crate) fn store(self, source: &Source<'_>, value: &Untyped) -> Result<Held> {
        let capacity = self.capacity.unwrap_or_else(|| CAPACITY.max(value.bytes.len() as u64));
        let mut held = self.open(source, capacity)?;
        let stored = match &mut held {
            Held::Plain(mapper) => mapper.set(value),
            Held::Cell(mapper, put) => mapper.set(value).map(|version| {
                *put = Put { version, expires: value.expires };
            }),
        };
        let Err(error) = stored else { return Ok(held) };
        let is_left_over = held.was_created() && held.is_empty();
        // Windows removes no file that is mapped.
        drop(held);
        if is_left_over && let Place::File(path) = source.place {
            // The user needs the first error, not one of this.
            let _ = std::fs::remove_file(path);
        }
        Err(error)
    }

    fn open(self, source: &Source<'_>, capacity: u64) -> Result<Held> {
        let (place, map) = (source.place, source.options(Access::ReadWrite));
        if self.plain {
            let options = PlainOptions::new().map(map).capacity(capacity);
            let mapper = if self.new { options.create_new(place) } else { options.create_or_open(place) };
            return mapper.map(Box::new).map(Held::Plain);
        }
        let durability = if self.sync { Durability::Sync } else { Durability::None };
        let mut options = MapperOptions::new().map(map).capacity(capacity).durability(durability);
        if self.secret {
            options = options.secret();
        }
        let mapper = if self.new { options.create_new(place) } else { options.create_or_open(place) };
        Ok(Held::Cell(Box::new(mapper?), Put::default()))
    }
}

/// A value that was put. While this lives, so does its name.
#[derive(Debug)]
pub(crate) enum Held {
    Cell(Box<UntypedMapper>, Put),
    Plain(Box<PlainMapper<Untyped, AnyCodec>>),
}

/// Which version was put in a cell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Put {
    version: u64,
    expires: Option<SystemTime>,
}

impl Held {
    fn map(&self) -> &MemoryMappedFile {
        match self {
            Self::Cell(mapper, _) => mapper.map(),
            Self::Plain(mapper) => mapper.map(),
        }
    }

    /// Fails if the name leads to this map no more.
    pub(crate) fn check_name(&self) -> Result<()> {
        self.map().check_name()
    }

    /// What the map is called.
    pub(crate) fn subject(&self) -> &Subject {
        self.map().subject()
    }

    /// Bytes that a value there may have.
    pub(crate) fn capacity(&self) -> u64 {
        match self {
            Self::Cell(mapper, _) => mapper.capacity(),
            Self::Plain(mapper) => mapper.capacity(),
        }
    }

    /// Whether this process created the map.
    pub(crate) fn was_created(&self) -> bool {
        self.map().was_created()
    }

    /// Whether nobody has stored a value there.
    fn is_empty(&self) -> bool {
        match self {
            Self::Cell(mapper, _) => mapper.version() == 0,
            Self::Plain(mapper) => matches!(mapper.get(), Ok(None)),
        }
    }

    /// Removes and wipes the value if it has expired; otherwise says when it will have.
    pub(crate) fn remove_expired(&self) -> Result<Tidied> {
        // Somebody is writing now: another value comes, or this one is taken.
        const LATER: Duration = Duration::from_millis(100);
        let Self::Cell(mapper, _) = self else { return Ok(Tidied::Nothing) };
        if mapper.remove_expired()? {
            return Ok(Tidied::Removed);
        }
        Ok(match mapper.cell().info()?.expires_at() {
            None => Tidied::Nothing,
            Some(at) => Tidied::Later(at.duration_since(SystemTime::now()).unwrap_or(LATER)),
        })
    }

    /// Waits up to `limit` for the value to go, and says how it went.
    pub(crate) fn wait_gone(&self, limit: Duration) -> Result<Gone> {
        // A version's time is that of the system's last tick, so it may be earlier by as much.
        const TICK: Duration = Duration::from_millis(10);
        let Self::Cell(mapper, put) = self else { return Ok(Gone::NotYet) };
        let start = Instant::now();
        let mut seen = put.version;
        loop {
            match mapper.cell().wait_newer(seen, limit.saturating_sub(start.elapsed())) {
                Ok(newer) => seen = newer,
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(Gone::NotYet),
                Err(other) => return Err(other),
            }
            let info = mapper.cell().info()?;
            // An expired value keeps its expiry until somebody removes it, which is no taking.
            if info.length.is_some() || info.expires_at().is_some() {
                continue;
            }
            let removed = info.written_at().map(|at| at + TICK);
            let has_expired =
                info.version == put.version + 1 && put.expires.is_some_and(|at| removed >= Some(at));
            return Ok(if has_expired { Gone::Expired } else { Gone::Taken });
        }
    }
}

/// Whether and how a value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    NotYet,
    /// Somebody took it, or what replaced it.
    Taken,
    /// It expired, and somebody removed it.
    Expired,
}

/// What came of an attempt to remove an expired value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tidied {
    /// It is removed.
    Removed,
    /// It has not expired; try again after this.
    Later(Duration),
    /// There is nothing that expires.
    Nothing,
}
