//! Proves that the two layouts refuse each other's maps and leave them as they were. Proves that readers
//! clean up expired and taken values even though they had them pinned, and that this does not make them
//! writers.

mod contract_common;

use std::time::Duration;

use contract_common::{own_dir, within};
use handover::cell::Cell;
use handover::codec::Json;
use handover::map::ViewAccessor;
use handover::mapper::PlainOptions;
use handover::{Auth, ErrorKind, MapperOptions, MemoryMapper, PlainMapper};
use tempfile::TempDir;

const SECRET: &str = "s3cr3t-t0k3n";

fn cells(dir: &TempDir) -> MapperOptions {
    MapperOptions::new().map(within(dir))
}

fn raw(dir: &TempDir) -> ViewAccessor {
    within(dir).open_existing("n").unwrap().create_view_accessor(0, 0).unwrap()
}

fn has_secret(view: &ViewAccessor) -> bool {
    let mut bytes = vec![0u8; view.capacity().min(1 << 20) as usize];
    view.read_array(0, &mut bytes).unwrap();
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

#[test]
fn a_cell_is_no_plain_map_and_stays_as_it_was() {
    let dir = own_dir();
    let cell: MemoryMapper<u32> = cells(&dir).capacity(64).create_or_open("n").unwrap();
    cell.set(&7).unwrap();
    let plain = PlainOptions::new().map(within(&dir));
    assert_eq!(
        plain.clone().capacity(64).create_or_open::<u32, Json>("n").unwrap_err().kind(),
        ErrorKind::WrongKind
    );
    assert_eq!(plain.open_existing::<u32, Json>("n").unwrap_err().kind(), ErrorKind::WrongKind);
    assert_eq!(cell.get().unwrap().unwrap(), 7);
}

#[test]
fn a_plain_map_of_any_size_is_no_cell_and_stays_as_it_was() {
    for capacity in [1, 10, 64, 100, 20_000, 100_000] {
        let dir = own_dir();
        let plain: PlainMapper<u32> =
            PlainOptions::new().map(within(&dir)).capacity(capacity).create_or_open("n").unwrap();
        plain.set(&7).unwrap();
        for refused in
            [cells(&dir).capacity(64).create_or_open::<u32, Json>("n"), cells(&dir).open_existing("n")]
        {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongKind, "{capacity}");
            assert!(error.to_string().contains("plain layout"), "{capacity}: {error}");
        }
        assert_eq!(plain.get().unwrap().unwrap(), 7);
    }
}

#[test]
fn a_file_of_something_else_is_no_cell_and_stays_as_it_was() {
    let dir = own_dir();
    for content in [&b"x"[..], b"a text of somebody", &vec![b'y'; 70_000]] {
        let path = dir.path().join("file");
        std::fs::write(&path, content).unwrap();
        let error = MapperOptions::new().capacity(64).create_or_open::<u32, Json>(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKind, "{error}");
        assert!(std::fs::read(&path).unwrap() == content);
    }
}

#[test]
fn a_taken_value_is_wiped_once_the_reader_that_pinned_it_moves_on() {
    for moves_on in [true, false] {
        let dir = own_dir();
        let producer: MemoryMapper<Auth> = cells(&dir).capacity(64).create_or_open("n").unwrap();
        producer.set(&Auth::new(SECRET)).unwrap();
        let raw = raw(&dir);
        let cell = Cell::open_in(within(&dir).open_existing("n").unwrap()).unwrap();
        let mut reader = cell.reader();
        assert!(reader.load().unwrap().is_some());
        producer.take().unwrap().unwrap();
        assert!(has_secret(&raw), "it was pinned");
        if moves_on {
            assert!(reader.load().unwrap().is_none());
        } else {
            drop(reader);
        }
        assert!(!has_secret(&raw));
    }
}

#[test]
fn an_expired_value_is_wiped_by_a_reader_that_had_it_pinned() {
    let dir = own_dir();
    let producer: MemoryMapper<Auth> = cells(&dir).capacity(64).create_or_open("n").unwrap();
    producer.set_ttl(&Auth::new(SECRET), Duration::from_secs(1)).unwrap();
    let consumer: MemoryMapper<Auth> = cells(&dir).open_existing("n").unwrap();
    let raw = raw(&dir);
    assert!(consumer.get().unwrap().is_some() && has_secret(&raw));
    std::thread::sleep(Duration::from_millis(1050));
    assert!(consumer.get().unwrap().is_none());
    assert!(!has_secret(&raw));
}

#[test]
fn readers_that_clear_up_are_no_writers() {
    let dir = own_dir();
    let producer: MemoryMapper<Auth> = cells(&dir).capacity(64).create_or_open("n").unwrap();
    producer.set_ttl(&Auth::new(SECRET), Duration::from_millis(10)).unwrap();
    let one: MemoryMapper<Auth> = cells(&dir).open_existing("n").unwrap();
    let two: MemoryMapper<Auth> = cells(&dir).open_existing("n").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    // Removes the expired value.
    assert!(one.get().unwrap().is_none());
    assert_eq!(two.version(), 2);
    assert!(two.cell().info().unwrap().has_writer);
    drop(producer);
    assert!(!two.cell().info().unwrap().has_writer);
    assert_eq!(two.cell().wait_newer_while_written(2, Duration::ZERO).unwrap(), None);
    assert!(two.wait_for_writer(Duration::ZERO).is_err());
}

#[test]
fn a_value_that_is_cleared_under_a_lease_is_wiped_although_the_same_mapper_had_read_it() {
    let dir = own_dir();
    let mapper: MemoryMapper<Auth> = cells(&dir).capacity(64).create_or_open("n").unwrap();
    mapper.set(&Auth::new(SECRET)).unwrap();
    assert!(mapper.get().unwrap().is_some());
    let raw = raw(&dir);
    let mut lease = mapper.lease(Duration::from_secs(10)).unwrap();
    lease.clear().unwrap();
    drop(lease);
    assert!(!has_secret(&raw));
}

/// A mapper that has handed out a copy of the value no longer reads it.
#[test]
fn a_secret_that_was_replaced_is_wiped_although_mappers_had_read_it() {
    for own in [true, false] {
        let dir = own_dir();
        let options = cells(&dir).secret();
        let producer: MemoryMapper<Auth> = options.clone().capacity(64).create_or_open("n").unwrap();
        producer.set(&Auth::new(SECRET)).unwrap();
        let consumer: MemoryMapper<Auth> = options.open_existing("n").unwrap();
        let reader = if own { &producer } else { &consumer };
        assert!(reader.get().unwrap().is_some());
        let raw = raw(&dir);
        producer.set(&Auth::new("another")).unwrap();
        assert!(!has_secret(&raw), "by the producer itself: {own}");
    }
}

#[test]
fn who_looks_for_a_value_that_is_not_there_keeps_nobody_from_becoming_the_writer() {
    let dir = own_dir();
    let producer: MemoryMapper<u32> = cells(&dir).capacity(64).create_or_open("n").unwrap();
    let consumer: MemoryMapper<u32> = cells(&dir).open_existing("n").unwrap();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| (0..50_000).all(|_| consumer.get().unwrap().is_none()));
        let mut refused = 0;
        while !looking.is_finished() {
            refused += u32::from(producer.cell().try_writer().unwrap().is_none());
        }
        assert!(looking.join().unwrap());
        assert_eq!(refused, 0);
    });
}
