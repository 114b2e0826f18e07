//! Proves that several threads that create or open one file at the same time all get it. Maps each ask for
//! another capacity, and the file has at least what each asked for. Cells all get one and the same cell.

use std::path::Path;
use std::sync::{Barrier, Mutex};

use handover::cell::CellOptions;
use handover::map::MemoryMappedFile;
use handover::mapper::PlainOptions;
use handover::{Error, ErrorKind, PlainMapper, Result};
use handover_tests::own_dir;

const ROUNDS: usize = 200;
const CAPACITIES: [u64; 4] = [100, 20_000, 5000, 300_000];

/// Lets a thread for each capacity call `open` at once, with a new file in each round.
fn together(open: impl Fn(&Path, u64) -> Result<()> + Sync) {
    let directory = own_dir();
    let barrier = Barrier::new(CAPACITIES.len());
    // Nobody panics before all are through: the others would wait forever.
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for capacity in CAPACITIES {
            let (barrier, directory, open, failed) = (&barrier, directory.path(), &open, &failed);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    barrier.wait();
                    if let Err(error) = open(&directory.join(format!("file {round}")), capacity) {
                        failed.lock().unwrap().push(format!("round {round}, capacity {capacity}: {error}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {}, first {}", failed.len(), ROUNDS * CAPACITIES.len(), failed[0]);
}

/// Checks that the capacity is at least the requested one.
fn at_least(capacity: u64, found: u64) -> Result<()> {
    if found >= capacity {
        return Ok(());
    }
    Err(Error::new(ErrorKind::OutOfRange, format!("a capacity of {found} was found")))
}

#[test]
fn maps_are_as_long_as_each_asked_for() {
    together(|path, capacity| {
        let map = MemoryMappedFile::create_or_open(path, capacity)?;
        at_least(capacity, map.capacity())?;
        map.create_view_accessor(0, 0)?.write(capacity - 1, 1u8)
    });
}

#[test]
fn plain_mappers_are_as_long_as_each_asked_for() {
    together(|path, capacity| {
        let plain: PlainMapper<u64> = PlainOptions::new().capacity(capacity).create_or_open(path)?;
        at_least(capacity, plain.capacity())?;
        plain.set(&capacity)
    });
}

#[test]
fn cells_are_one() {
    together(|path, number| {
        let cell = CellOptions::new().capacity(3000).create_or_open(path)?;
        cell.writer_timeout(std::time::Duration::from_secs(60))?.publish(&number.to_ne_bytes())?;
        cell.copy().map(drop)
    });
}
