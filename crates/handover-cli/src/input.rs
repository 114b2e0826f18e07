//! Reads the value that `put` stores, and checks that it is what the user says it is.
//!
//! No message quotes a value. Relies on `secret` for reading; `put` relies on it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;

use handover::cell::{Contents, contents};
use handover::codec::{Bytes, Json, Text, Untyped, Zeroizing};
use handover::map::MemoryMappedFile;
use serde::de::IgnoredAny;
use serde_json::error::Category;

use crate::args::PutArgs;
use crate::failure::Failure;
use crate::secret;

/// What the user says a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Text,
    Bytes,
}

impl Kind {
    pub(crate) fn of(args: &PutArgs) -> Self {
        match (args.text, args.bytes) {
            (true, _) => Self::Text,
            (_, true) => Self::Bytes,
            _ => Self::Json,
        }
    }

    /// The number of its codec.
    fn codec(self) -> u32 {
        match self {
            Self::Json => Json::ID,
            Self::Text => Text::ID,
            Self::Bytes => Bytes::ID,
        }
    }

    /// In a word, for people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Text => "text",
            Self::Bytes => "any kind",
        }
    }
}

/// The value, from the arguments, a file or standard input.
pub(crate) fn read(given: Option<OsString>, file: Option<&Path>, kind: Kind) -> Result<Untyped, Failure> {
    let bytes = read_bytes(given, file)?;
    check(&bytes, kind)?;
    Ok(Untyped::new(kind.codec(), bytes))
}

fn read_bytes(given: Option<OsString>, file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match (given, file) {
        (Some(_), Some(_)) => Err(Failure::Usage("give the value either as VALUE or with --file".to_owned())),
        (Some(value), None) if value != "-" => Ok(Zeroizing::new(value.into_encoded_bytes())),
        (None, Some(path)) => File::open(path)
            .and_then(|mut file| secret::read_all(&mut file))
            .map_err(|e| Failure::other(format!("could not read '{}': {e}", path.display()))),
        (None, None) if io::stdin().is_terminal() => Err(Failure::Usage(
            "no value: give it as VALUE, in a file (--file F), or on standard input (-)".to_owned(),
        )),
        (_, None) => secret::read_all(&mut io::stdin().lock())
            .map_err(|e| Failure::other(format!("could not read standard input: {e}"))),
    }
}

/// Checks that the value is what the user says it is.
fn check(value: &[u8], kind: Kind) -> Result<(), Failure> {
    match kind {
        Kind::Bytes => {}
        Kind::Text => {
            str::from_utf8(value).map_err(|e| {
                Failure::other(format!(
                    "the value is not text: byte {} is not UTF-8; give --bytes for bytes as they are",
                    e.valid_up_to()
                ))
            })?;
        }
        Kind::Json => {
            serde_json::from_slice::<IgnoredAny>(value).map_err(|e| {
                let what = match e.classify() {
                    Category::Eof => "it ends early",
                    _ => "a syntax error",
                };
                Failure::other(format!(
                    "the value is not JSON: {what} at line {} column {}; put text in quotes, or store it as \
                     it is with --text or --bytes",
                    e.line(),
                    e.column()
                ))
            })?;
        }
    }
    Ok(())
}

/// Checks that the plain layout gives this value back as it is.
pub(crate) fn check_plain(value: &[u8]) -> Result<(), Failure> {
    let why = match (value.first(), value.last()) {
        (None, _) => "an empty value looks like no value",
        (Some(0), _) | (_, Some(0)) => {
            "a value that starts or ends with a zero byte looks like the unused rest of the map"
        }
        (Some(0xFF), _) => "the byte 0xFF at the start marks a value that is being written",
        _ if starts_as_a_cell(value)? => "it starts as a cell does",
        _ => return Ok(()),
    };
    Err(Failure::other(format!(
        "the plain layout can't hold this value: {why}; a cell can (leave out --plain)"
    )))
}

fn starts_as_a_cell(value: &[u8]) -> handover::Result<bool> {
    let start = &value[..value.len().min(64)];
    let map = MemoryMappedFile::anonymous(64)?;
    map.create_view_accessor(0, 0)?.write_array(0, start)?;
    Ok(matches!(contents(&map)?, Contents::Cell { .. }))
}
