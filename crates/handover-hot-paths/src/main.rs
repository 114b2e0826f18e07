//! The library's hot paths, each run as often as asked, to count their instructions: `handover-hot-paths PATH
//! ROUNDS`. Without arguments this lists the paths, one per line.
//!
//! `cargo xtask instructions` runs it under callgrind, which counts only what happens inside `counted`.
//! Everything happens in one thread.

use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use handover::cell::{Cell, CellOptions, Reader, Writer};
use handover::map::MapOptions;
use handover::{MapperOptions, MemoryMapper, Result};
use serde::{Deserialize, Serialize};

struct Path {
    name: &'static str,
    run: fn(&Place, u64) -> Result<()>,
}

const PATHS: &[Path] = &[
    Path {
        name: "version",
        run: |place, rounds| {
            let (_writer, cell) = place.cell()?;
            repeat(rounds, || Ok(cell.version()))
        },
    },
    Path {
        name: "load_unchanged",
        run: |place, rounds| {
            let (_writer, cell) = place.cell()?;
            let mut reader = held(&cell)?;
            repeat(rounds, || Ok(reader.load()?.is_some()))
        },
    },
    Path {
        name: "load_new",
        run: |place, rounds| {
            let (mut writer, cell) = place.cell()?;
            let mut reader = held(&cell)?;
            for _ in 0..rounds {
                writer.publish(&TOKEN)?;
                counted(|| Ok(reader.load()?.is_some()))?;
            }
            Ok(())
        },
    },
    Path {
        name: "read_copy",
        run: |place, rounds| {
            let (_writer, cell) = place.cell()?;
            let mut reader = held(&cell)?;
            repeat(rounds, || reader.copy())
        },
    },
    Path { name: "publish", run: |place, rounds| followed(place, rounds, |writer| writer.publish(&TOKEN)) },
    Path {
        name: "publish_pieces",
        run: |place, rounds| {
            followed(place, rounds, |writer| {
                writer.publish_with(TOKEN.len(), |buffer| {
                    for piece in black_box(&TOKEN).chunks(TOKEN.len() / 4) {
                        buffer.write_all(piece).unwrap_or_else(|_| unreachable!("there is room for all"));
                    }
                    Ok(())
                })
            })
        },
    },
    Path {
        name: "publish_in_place",
        run: |place, rounds| {
            followed(place, rounds, |writer| {
                writer.publish_with(TOKEN.len(), |buffer| {
                    // SAFETY: nobody else knows this map, and the reader pins another slot.
                    let bytes = unsafe { buffer.as_mut_slice() };
                    // A few bytes, so that the count is what surrounds the producer's own work.
                    bytes[..16].copy_from_slice(black_box(&TOKEN[..16]));
                    Ok(())
                })
            })
        },
    },
    Path {
        name: "publish_past_a_held_version",
        run: |place, rounds| {
            let (mut writer, cell) = place.cell()?;
            let _reader = held(&cell)?;
            repeat(rounds, || writer.publish(black_box(&TOKEN)))
        },
    },
    Path {
        name: "wait_for_what_is_there",
        run: |place, rounds| {
            let (_writer, cell) = place.cell()?;
            repeat(rounds, || cell.wait_newer(0, Duration::from_secs(1)))
        },
    },
    Path {
        name: "get_shared_unchanged",
        run: |place, rounds| {
            let (producer, consumer) = place.mappers()?;
            producer.set(&Token::new())?;
            consumer.get_shared()?;
            repeat(rounds, || consumer.get_shared())
        },
    },
    Path {
        name: "json_set",
        run: |place, rounds| {
            let (producer, consumer) = place.mappers()?;
            let mut lease = producer.lease(Duration::ZERO)?;
            let token = Token::new();
            for _ in 0..rounds {
                counted(|| lease.set(black_box(&token)))?;
                consumer.get_shared()?;
            }
            Ok(())
        },
    },
    Path { name: "json_get_new", run: |place, rounds| json_read(place, rounds, MemoryMapper::get) },
    Path {
        name: "json_get_shared_new",
        run: |place, rounds| json_read(place, rounds, MemoryMapper::get_shared),
    },
];

/// 1 KB of raw bytes.
const TOKEN: [u8; 1024] = [b'h'; 1024];
const CAPACITY: u64 = 64 << 10;

/// About 1 KB as JSON.
#[derive(Serialize, Deserialize)]
struct Token {
    bearer: String,
    issuer: String,
    audience: Vec<String>,
    issued: u64,
    expires: u64,
}

impl Token {
    fn new() -> Self {
        Self {
            bearer: "eyJhbGciOiJIUzI1NiJ9".repeat(42),
            issuer: "https://login.example/realms/one".to_owned(),
            audience: vec!["reports".to_owned(), "archive".to_owned()],
            issued: 1_700_000_000,
            expires: 1_700_003_600,
        }
    }
}

struct Place(MapOptions);

impl Place {
    /// A writer, and a cell of the same name that was opened separately, with one version in it.
    fn cell(&self) -> Result<(Writer, Cell)> {
        let made = CellOptions::new().capacity(CAPACITY).map(self.0.clone()).create_or_open("cell")?;
        let mut writer = made.writer_timeout(Duration::ZERO)?;
        writer.publish(&TOKEN)?;
        Ok((writer, CellOptions::new().capacity(CAPACITY).map(self.0.clone()).create_or_open("cell")?))
    }

    fn mappers(&self) -> Result<(MemoryMapper<Token>, MemoryMapper<Token>)> {
        let options = MapperOptions::new().map(self.0.clone());
        Ok((options.clone().capacity(CAPACITY).create_or_open("mapper")?, options.open_existing("mapper")?))
    }
}

/// A reader that holds the current version.
fn held(cell: &Cell) -> Result<Reader> {
    let mut reader = cell.reader();
    reader.load()?;
    Ok(reader)
}

/// Publishes, with a reader that follows.
fn followed<R>(place: &Place, rounds: u64, mut publish: impl FnMut(&mut Writer) -> Result<R>) -> Result<()> {
    let (mut writer, cell) = place.cell()?;
    let mut reader = held(&cell)?;
    for _ in 0..rounds {
        counted(|| publish(&mut writer))?;
        reader.load()?;
    }
    Ok(())
}

/// Reads, with a new value each time.
fn json_read<R>(
    place: &Place,
    rounds: u64,
    mut read: impl FnMut(&MemoryMapper<Token>) -> Result<R>,
) -> Result<()> {
    let (producer, consumer) = place.mappers()?;
    let mut lease = producer.lease(Duration::ZERO)?;
    let token = Token::new();
    for _ in 0..rounds {
        lease.set(&token)?;
        counted(|| read(&consumer))?;
    }
    Ok(())
}

fn repeat<R>(rounds: u64, mut once: impl FnMut() -> Result<R>) -> Result<()> {
    (0..rounds).try_for_each(|_| counted(&mut once))
}

/// Callgrind counts inside this function, which it knows by name.
#[inline(never)]
fn counted<R>(once: impl FnOnce() -> Result<R>) -> Result<()> {
    black_box(once()?);
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [] => {
            for path in PATHS {
                println!("{}", path.name);
            }
            Ok(())
        }
        [name, rounds] => run(name, rounds),
        _ => Err("usage: handover-hot-paths [PATH ROUNDS]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, rounds: &str) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path =
        PATHS.iter().find(|path| path.name == name).ok_or_else(|| format!("there is no path {name:?}"))?;
    let folder = tempfile::tempdir()?;
    (path.run)(&Place(MapOptions::new().directory(folder.path())), rounds.parse()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_runs() {
        for path in PATHS {
            run(path.name, "3").unwrap();
        }
        assert!(run("unknown", "3").is_err());
    }
}
