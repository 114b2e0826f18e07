//! A look at a map from outside: which layout it has, whether it holds a value, and how large that is.
//!
//! Never gives the value, and changes nothing. Relies on `source` for the map; `ls` and `stat` rely on it.

use handover::cell::{CellInfo, inspect};
use handover::codec::{Codec, Zeroizing};
use handover::map::{Access, MapInfo};
use handover::mapper::PlainOptions;
use handover::{Error, ErrorKind, PlainMapper, Result};

use crate::source::Source;

/// Bytes at the start of a cell that always have memory.
const CELL_LEAST: u64 = 16 << 10;

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
    const UNKNOWN: Self = Self { layout: None, content: Content::Unknown, cell: None };

    fn cell(info: CellInfo) -> Self {
        let content = match info.length {
            Some(length) => Content::Value(length),
            None if info.is_expired() => Content::Expired,
            None => Content::Empty,
        };
        Self { layout: Some("cell"), content, cell: Some(info) }
    }
}

/// Looks at a map, and at what the list says of it where there is a list.
pub(crate) fn peek(source: &Source<'_>, listed: Option<&MapInfo>) -> Look {
    // Reading a page that nobody has written takes memory for it, and there may be many.
    if listed.is_some_and(|map| map.allocated < map.capacity.min(CELL_LEAST)) {
        return Look::UNKNOWN;
    }
    match inspect(source.place, &source.options(Access::Read)) {
        Ok(info) => Look::cell(info),
        Err(error) if error.kind() == ErrorKind::WrongKind => {
            let has_all_memory = listed.is_none_or(|map| map.allocated >= map.capacity);
            peek_plain(source, has_all_memory)
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => Look { layout: Some("cell"), ..Look::UNKNOWN },
        // It may be gone by now.
        Err(_) => Look::UNKNOWN,
    }
}

fn peek_plain(source: &Source<'_>, has_all_memory: bool) -> Look {
    let options = PlainOptions::new().map(source.options(Access::Read));
    let mapper: PlainMapper<u64, Length> = match options.open_existing(source.place) {
        Ok(mapper) => mapper,
        // A cell of another version.
        Err(error) if error.kind() == ErrorKind::WrongKind => {
            return Look { layout: Some("cell"), ..Look::UNKNOWN };
        }
        Err(_) => return Look::UNKNOWN,
    };
    if !has_all_memory {
        return Look { layout: Some("plain"), ..Look::UNKNOWN };
    }
    let content = match mapper.get() {
        Ok(Some(length)) => Content::Value(length),
        Ok(None) => Content::Empty,
        Err(error) if error.kind() == ErrorKind::Incomplete => Content::Incomplete,
        Err(_) => Content::Unknown,
    };
    Look { layout: Some("plain"), content, cell: None }
}

/// Gives the length of a value and nothing else of it.
struct Length;

impl Codec<u64> for Length {
    const ID: u32 = 0;
    const NAME: &'static str = "bytes";

    fn encode(_: &u64) -> Result<Zeroizing<Vec<u8>>> {
        Err(Error::encode("a length", "it is no value"))
    }

    fn decode(bytes: &[u8]) -> Result<u64> {
        Ok(bytes.len() as u64)
    }
}
