//! Proves that the two layouts refuse each other's maps and leave them as they were, and that readers which
//! clear up (expired and taken values) do so although they had them pinned, and don't count as writers for it.

mod contract_common;

use std::time::Duration;

use contract_common::{own_dir, within};
use handover::{Auth, Cell, ErrorKind, MapperOptions, MemoryMapper, ViewAccessor};
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
    let cell: MemoryMapper<u32> = cells(&dir).create("n", 64).unwrap();
    cell.set(&7).unwrap();
    let plain = cells(&dir).plain();
    assert_eq!(plain.create::<u32>("n", 64).unwrap_err().kind(), ErrorKind::WrongKind);
    assert_eq!(plain.open::<u32>("n").unwrap_err().kind(), ErrorKind::WrongKind);
    assert_eq!(cell.read().unwrap(), 7);
}

#[test]
fn a_plain_map_of_any_size_is_no_cell_and_stays_as_it_was() {
    for capacity in [1, 10, 64, 100, 20_000, 100_000] {
        let dir = own_dir();
        let plain: MemoryMapper<u32> = cells(&dir).plain().create("n", capacity).unwrap();
        plain.set(&7).unwrap();
        for refused in [cells(&dir).create::<u32>("n", 64), cells(&dir).open("n")] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongKind, "{capacity}");
            assert!(error.to_string().contains("--plain"), "{capacity}: {error}");
        }
        assert_eq!(plain.read().unwrap(), 7);
    }
}

#[test]
fn a_file_of_something_else_is_no_cell_and_stays_as_it_was() {
    let dir = own_dir();
    for content in [&b"x"[..], b"a text of somebody", &vec![b'y'; 70_000]] {
        let path = dir.path().join("file");
        std::fs::write(&path, content).unwrap();
        let error = MapperOptions::new().create_on_file::<u32, handover::codec::Json>(&path, 64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKind, "{error}");
        assert!(std::fs::read(&path).unwrap() == content);
    }
}

#[test]
fn a_taken_value_is_wiped_once_the_reader_that_pinned_it_moves_on() {
    for moves_on in [true, false] {
        let dir = own_dir();
        let producer: MemoryMapper<Auth> = cells(&dir).create("n", 64).unwrap();
        producer.set(&Auth::new(SECRET)).unwrap();
        let raw = raw(&dir);
        let cell = Cell::open(within(&dir).open_existing("n").unwrap()).unwrap();
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
    let producer: MemoryMapper<Auth> = cells(&dir).create("n", 64).unwrap();
    producer.set_ttl(&Auth::new(SECRET), Duration::from_secs(1)).unwrap();
    let consumer: MemoryMapper<Auth> = cells(&dir).open("n").unwrap();
    let raw = raw(&dir);
    assert!(consumer.get().unwrap().is_some() && has_secret(&raw));
    std::thread::sleep(Duration::from_millis(1050));
    assert!(consumer.get().unwrap().is_none());
    assert!(!has_secret(&raw));
}

#[test]
fn readers_that_clear_up_are_no_writers() {
    let dir = own_dir();
    let producer: MemoryMapper<Auth> = cells(&dir).create("n", 64).unwrap();
    producer.set_ttl(&Auth::new(SECRET), Duration::from_millis(10)).unwrap();
    let one: MemoryMapper<Auth> = cells(&dir).open("n").unwrap();
    let two: MemoryMapper<Auth> = cells(&dir).open("n").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    // Removes the expired value.
    assert!(one.get().unwrap().is_none());
    assert_eq!(two.version().unwrap(), 2);
    assert!(two.cell().unwrap().info().unwrap().has_writer);
    drop(producer);
    assert!(!two.cell().unwrap().info().unwrap().has_writer);
    assert_eq!(two.watch().after(2).while_written().count(), 0);
}
