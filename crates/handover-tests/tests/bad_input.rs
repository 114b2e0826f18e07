//! Proves that each kind of bad input is a clear error, which says what happened and what to do, and that
//! nothing is lost: the old value is still there afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use handover::cell::{Cell, CellOptions, Meta};
use handover::codec::{Bytes, Codec, Json, MessagePack, Text};
use handover::map::{Access, MapOptions, MemoryMappedFile, ViewAccessor};
use handover::mapper::PlainOptions;
use handover::{Error, ErrorKind, MapperOptions, MemoryMapper, TypeName};
use handover_tests::{OwnDir, names_in, own_dir};
use serde::{Deserialize, Serialize};

const CURRENT: u64 = 64;
const SLOT_HEADERS: u64 = 8192;

/// Names and files that only this test uses.
struct Place(OwnDir);

impl Place {
    fn new() -> Self {
        Self(own_dir())
    }

    fn map(&self) -> MapOptions {
        names_in(&self.0)
    }

    fn mapper(&self) -> MapperOptions {
        MapperOptions::new().map(self.map())
    }

    fn plain(&self) -> PlainOptions {
        PlainOptions::new().map(self.map())
    }
}

/// Checks that it failed in this way, and that the message has all the words.
#[track_caller]
fn refused<T>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let Err(error) = result else { panic!("expected {kind:?}, and it succeeded") };
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

fn anonymous_cell(bytes: &[u8]) -> Cell {
    let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20).unwrap()).unwrap();
    cell.try_writer().unwrap().unwrap().publish(bytes).unwrap();
    cell
}

fn bytes_of(cell: &Cell) -> Vec<u8> {
    cell.copy().unwrap().unwrap().bytes.to_vec()
}

/// The position of a field of the newest version's header.
fn newest_field(view: &ViewAccessor, at: u64) -> u64 {
    SLOT_HEADERS + (view.read::<u64>(CURRENT).unwrap() & 63) * 64 + at
}

#[test]
fn capacity_0() {
    let place = Place::new();
    let range = ["capacity out of range: 0 bytes", "1 to "];
    refused(place.mapper().capacity(0).create_or_open::<u32, Json>("n"), ErrorKind::OutOfRange, &range);
    refused(
        CellOptions::new().capacity(0).create_or_open(&place.0.path().join("f")),
        ErrorKind::OutOfRange,
        &range,
    );
    refused(
        place.plain().capacity(0).create_or_open::<u32, Json>("n"),
        ErrorKind::OutOfRange,
        &["capacity", "0 bytes", "at least 1"],
    );
    assert!(!place.0.path().join("f").exists());
    refused(place.map().open_existing("n"), ErrorKind::NotFound, &["'n'", "start the producer"]);
}

#[test]
fn a_capacity_beyond_the_address_space() {
    let place = Place::new();
    let file = place.0.path().join("f");
    for capacity in [u64::MAX, i64::MAX as u64, 1 << 47, 1 << 41] {
        let words = [&*capacity.to_string(), "1 to "];
        refused(
            place.mapper().capacity(capacity).create_or_open::<u32, Json>("n"),
            ErrorKind::OutOfRange,
            &words,
        );
        let on_file = CellOptions::new().capacity(capacity).create_or_open(&file);
        refused(on_file, ErrorKind::OutOfRange, &words);
        assert!(!file.exists());
        refused(place.map().open_existing("n"), ErrorKind::NotFound, &[]);
    }
}

#[test]
fn a_map_too_small_for_a_cell() {
    refused(
        Cell::make_in(MemoryMappedFile::anonymous(16_384 + 3 * 4096 - 1).unwrap()),
        ErrorKind::OutOfRange,
        &["28671 bytes", "28672"],
    );
    refused(Cell::make_in(MemoryMappedFile::anonymous(1).unwrap()), ErrorKind::OutOfRange, &["28672"]);
    refused(Cell::open_in(MemoryMappedFile::anonymous(1).unwrap()), ErrorKind::WrongKind, &["too small"]);
}

#[test]
fn a_value_larger_than_the_capacity() {
    let place = Place::new();
    let mapper = place.mapper().capacity(100).create_or_open::<String, Json>("n").unwrap();
    let version = mapper.set(&"small".to_owned()).unwrap();
    let large = "x".repeat(mapper.capacity() as usize);
    let words = ["takes 102 bytes", "room for 100", "the old value stays", "larger capacity"];
    refused(mapper.set(&large), ErrorKind::ValueTooLarge, &words);
    refused(mapper.update(|_| large.clone()), ErrorKind::ValueTooLarge, &words);
    refused(mapper.compare_and_set(version, &large), ErrorKind::ValueTooLarge, &words);
    let mut lease = mapper.lease(Duration::ZERO).unwrap();
    refused(lease.set(&large), ErrorKind::ValueTooLarge, &words);
    refused(lease.writer().publish_with(usize::MAX, |_| Ok(())), ErrorKind::ValueTooLarge, &["room for 100"]);
    drop(lease);
    assert_eq!(mapper.get_with_version().unwrap(), Some((version, "small".to_owned())));
    let plain = place.plain().capacity(10).create_or_open::<String, Json>("p").unwrap();
    plain.set(&"small".to_owned()).unwrap();
    refused(plain.set(&large), ErrorKind::ValueTooLarge, &["room for 10", "the old value stays"]);
    assert_eq!(plain.get().unwrap().unwrap(), "small");
}

#[test]
fn another_codec() {
    let place = Place::new();
    let json = place.mapper().capacity(100).create_or_open::<String, Json>("n").unwrap();
    json.set(&"secret".to_owned()).unwrap();
    let names = ["stored as JSON", "asked for as MessagePack", "use the codec of its producer"];
    let pack = place.mapper().open_existing::<String, MessagePack>("n").unwrap();
    refused(pack.get(), ErrorKind::CodecMismatch, &names);
    refused(pack.get_shared(), ErrorKind::CodecMismatch, &names);
    refused(pack.take(), ErrorKind::CodecMismatch, &names);
    refused(pack.update(|text| text), ErrorKind::CodecMismatch, &names);
    let text = place.mapper().open_existing::<String, Text>("n").unwrap();
    refused(text.get(), ErrorKind::CodecMismatch, &["JSON", "text"]);
    let bytes = place.mapper().open_existing::<Vec<u8>, Bytes>("n").unwrap();
    refused(bytes.get(), ErrorKind::CodecMismatch, &["JSON", "bytes"]);
    assert_eq!(json.get().unwrap().unwrap(), "secret");
    // A watch says so and goes on.
    let mut watch = pack.watch().timeout(Duration::ZERO);
    refused(watch.next().unwrap(), ErrorKind::CodecMismatch, &names);
    pack.set(&"packed".to_owned()).unwrap();
    assert_eq!(watch.next().unwrap().unwrap().value.as_deref(), Some("packed"));
    refused(json.get(), ErrorKind::CodecMismatch, &["stored as MessagePack", "asked for as JSON"]);
}

struct Celsius;
impl TypeName for Celsius {
    const TYPE_NAME: &'static str = "weather.Celsius";
}
struct Kelvin;
impl TypeName for Kelvin {
    const TYPE_NAME: &'static str = "weather.Kelvin";
}
struct Long;
impl TypeName for Long {
    const TYPE_NAME: &'static str = match str::from_utf8(&[b'x'; 257]) {
        Ok(name) => name,
        Err(_) => "",
    };
}

#[test]
fn another_type() {
    let place = Place::new();
    let celsius = place.mapper().named::<Celsius>().capacity(100).create_or_open::<f64, Json>("n").unwrap();
    celsius.set(&21.5).unwrap();
    let kelvin = place.mapper().named::<Kelvin>().open_existing::<f64, Json>("n").unwrap();
    let names = ["stored as type 'weather.Celsius'", "asked for as 'weather.Kelvin'", "use the type"];
    refused(kelvin.get(), ErrorKind::TypeMismatch, &names);
    refused(kelvin.get_shared(), ErrorKind::TypeMismatch, &names);
    refused(kelvin.take(), ErrorKind::TypeMismatch, &names);
    refused(kelvin.update(|kelvin| kelvin + 1.0), ErrorKind::TypeMismatch, &names);
    assert_eq!(celsius.get().unwrap().unwrap().to_bits(), 21.5f64.to_bits());
    // A reader that asks for no type gets the value.
    assert_eq!(
        place.mapper().open_existing::<f64, Json>("n").unwrap().get().unwrap().unwrap().to_bits(),
        21.5f64.to_bits()
    );
}

#[test]
fn a_type_name_from_the_map_does_not_reach_a_terminal_as_it_is() {
    let place = Place::new();
    let mapper = place.mapper().named::<Kelvin>().capacity(100).create_or_open::<u32, Json>("n").unwrap();
    let meta = Meta { codec: <Json as Codec<u32>>::ID, type_name: Some("\u{1b}[2Jred"), expires: 0 };
    mapper.lease(Duration::ZERO).unwrap().writer().publish_as(&meta, b"1").unwrap();
    let text = mapper.get().unwrap_err().to_string();
    assert!(text.contains("red") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_type_name_that_is_too_long() {
    let place = Place::new();
    let mapper = place.mapper().capacity(100).create_or_open::<u32, Json>("n").unwrap();
    mapper.set(&1).unwrap();
    let long = place.mapper().named::<Long>().open_existing::<u32, Json>("n").unwrap();
    refused(long.set(&2), ErrorKind::InvalidArgument, &["type name", "257 bytes", "at most 256"]);
    assert_eq!(mapper.get().unwrap().unwrap(), 1);
    let longest = "x".repeat(256);
    let mut lease = mapper.lease(Duration::ZERO).unwrap();
    let meta = Meta { codec: 1, type_name: Some(&longest), expires: 0 };
    lease.writer().publish_as(&meta, &[b'1'; 100]).unwrap();
    assert_eq!(mapper.cell().info().unwrap().type_name, Some(longest));
}

#[test]
fn a_plain_map_opened_as_a_cell() {
    let place = Place::new();
    let open = ["expected a cell", "plain"];
    for (name, capacity) in [("small", 64), ("page", 4096), ("large", 1 << 20)] {
        let plain = place.plain().capacity(capacity).create_or_open::<String, Json>(name).unwrap();
        plain.set(&"a value".to_owned()).unwrap();
        refused(place.mapper().open_existing::<String, Json>(name), ErrorKind::WrongKind, &open);
        refused(
            place.mapper().capacity(64).create_or_open::<String, Json>(name),
            ErrorKind::WrongKind,
            &open,
        );
        assert_eq!(plain.get().unwrap().unwrap(), "a value");
    }
}

#[test]
fn a_cell_opened_as_a_plain_map() {
    let place = Place::new();
    let cell = place.mapper().capacity(64).create_or_open::<String, Json>("n").unwrap();
    let plain = ["a map in the plain layout", "a cell", "MemoryMapper"];
    for stored in [false, true] {
        refused(place.plain().open_existing::<String, Json>("n"), ErrorKind::WrongKind, &plain);
        refused(place.plain().offset(100).open_existing::<String, Json>("n"), ErrorKind::WrongKind, &plain);
        refused(place.plain().capacity(64).create_or_open::<String, Json>("n"), ErrorKind::WrongKind, &plain);
        if !stored {
            cell.set(&"a value".to_owned()).unwrap();
        }
    }
    assert_eq!(cell.get().unwrap().unwrap(), "a value");
}

#[test]
fn a_plain_handle_on_a_map_that_became_a_cell() {
    let place = Place::new();
    let path = place.0.path().join("f");
    std::fs::write(&path, vec![0; 1 << 16]).unwrap();
    let plain = PlainOptions::new().open_existing::<String, Json>(&path).unwrap();
    let cell = MapperOptions::new().capacity(64).create_or_open::<String, Json>(&path).unwrap();
    cell.set(&"a value".to_owned()).unwrap();
    refused(plain.set(&"other".to_owned()), ErrorKind::WrongKind, &["a cell"]);
    refused(plain.clear(), ErrorKind::WrongKind, &["a cell"]);
    refused(plain.get(), ErrorKind::WrongKind, &["a cell"]);
    assert_eq!(cell.get().unwrap().unwrap(), "a value");
}

#[test]
fn a_cell_of_a_newer_layout_or_the_other_byte_order() {
    let map = || {
        let map = MemoryMappedFile::anonymous(1 << 16).unwrap();
        let view = map.create_view_accessor(0, 0).unwrap();
        let head = MemoryMappedFile::anonymous(1 << 16).unwrap();
        let model = head.create_view_accessor(0, 0).unwrap();
        drop(Cell::make_in(head).unwrap());
        view.write(0, model.read::<[u8; 64]>(0).unwrap()).unwrap();
        (map, view)
    };
    let (newer, view) = map();
    view.write(8, 2u32).unwrap();
    let words = ["layout version 2", "knows version 1", "or a newer one"];
    refused(Cell::open_in(newer), ErrorKind::WrongKind, &words);
    let (newer, view) = map();
    view.write(8, u32::MAX).unwrap();
    refused(Cell::make_in(newer), ErrorKind::WrongKind, &["layout version 4294967295"]);
    assert_eq!(view.read::<u32>(8).unwrap(), u32::MAX);
    let (other, view) = map();
    view.write(12, 0x0D0C_0B0Au32).unwrap();
    refused(Cell::open_in(other), ErrorKind::WrongKind, &["other byte order", "store the value here"]);
    let (garbled, view) = map();
    view.write(32, 65u32).unwrap();
    refused(Cell::open_in(garbled), ErrorKind::WrongKind, &["don't fit", "create it"]);
    let (same, _) = map();
    assert!(Cell::open_in(same).is_ok());
}

#[test]
fn a_read_only_handle_asked_to_write() {
    let place = Place::new();
    let cell = place.mapper().capacity(64).create_or_open::<u32, Json>("n").unwrap();
    let version = cell.set(&1).unwrap();
    let reading =
        place.mapper().map(place.map().access(Access::Read)).open_existing::<u32, Json>("n").unwrap();
    let words = ["opened for reading only"];
    refused(reading.set(&2), ErrorKind::AccessDenied, &words);
    refused(reading.take(), ErrorKind::AccessDenied, &words);
    refused(reading.update(|number| number + 1), ErrorKind::AccessDenied, &words);
    refused(reading.compare_and_set(version, &2), ErrorKind::AccessDenied, &words);
    refused(reading.clear(), ErrorKind::AccessDenied, &words);
    refused(reading.lease(Duration::ZERO), ErrorKind::AccessDenied, &words);
    refused(
        reading.cell().reader().load().map(|_| ()),
        ErrorKind::AccessDenied,
        &["reading only", "copy the value, or open the map read-write"],
    );
    assert_eq!(reading.get_with_version().unwrap(), Some((version, 1)));
    assert_eq!(*reading.get_shared().unwrap().unwrap(), 1);
}

#[test]
fn a_lock_that_is_held_past_the_time_out() {
    let place = Place::new();
    let producer = place.mapper().capacity(64).create_or_open::<u32, Json>("n").unwrap();
    let mut lease = producer.lease(Duration::ZERO).unwrap();
    lease.set(&1).unwrap();
    let other = place.mapper().open_existing::<u32, Json>("n").unwrap();
    let limit = Duration::from_millis(5);
    let late = |who| ["timed out after 5ms", "the writers' lock", "'n'", who];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let words = late("another handle of this process");
            refused(other.lease(limit), ErrorKind::TimedOut, &words);
            // Of one handle as well.
            refused(
                producer.lease(limit),
                ErrorKind::TimedOut,
                &late("another thread holds through this handle"),
            );
        });
    });
    let cell = other.cell();
    refused(cell.writer_timeout(limit), ErrorKind::TimedOut, &late("this thread"));
    assert!(cell.try_writer().unwrap().is_none());
    let words = ["'n'", "it would wait for itself", "this thread", "through the lease"];
    refused(other.lease(limit), ErrorKind::WouldDeadlock, &words);
    refused(producer.lease(limit), ErrorKind::WouldDeadlock, &words);
    assert_eq!(other.get().unwrap().unwrap(), 1);
    lease.set(&2).unwrap();
    drop(lease);
    assert_eq!(other.set(&3).unwrap(), 3);
}

#[test]
fn the_63rd_snapshot_at_a_time() {
    let place = Place::new();
    let cell = CellOptions::new().capacity(64).map(place.map()).create_or_open("n").unwrap();
    let other = Cell::open_in(place.map().open_existing("n").unwrap()).unwrap();
    let mut writer = cell.try_writer().unwrap().unwrap();
    let mut held = Vec::new();
    for number in 0..62u8 {
        writer.publish(&[number]).unwrap();
        let from = if number % 2 == 0 { &cell } else { &other };
        held.push(from.reader().load().unwrap().unwrap().clone());
    }
    writer.publish(b"one more").unwrap();
    for cell in [&cell, &other] {
        refused(
            cell.reader().load().map(|_| ()),
            ErrorKind::TooManyReaders,
            &["all 62 reader entries", "'n'", "drop a snapshot", "read by copy"],
        );
        // Reading by copy goes on, and so does writing.
        assert_eq!(cell.reader().copy().unwrap().unwrap().bytes.as_slice(), b"one more");
    }
    writer.publish(b"another").unwrap();
    for (number, snapshot) in held.iter().enumerate() {
        assert_eq!(snapshot.copy().unwrap().as_slice(), [number as u8]);
    }
    drop(held.swap_remove(30));
    let mut reader = cell.reader();
    assert_eq!(reader.load().unwrap().unwrap().copy().unwrap().as_slice(), b"another");
}

#[test]
fn a_clock_that_went_back_under_a_value_that_expires() {
    let place = Place::new();
    let mapper = place.mapper().capacity(64).create_or_open::<u32, Json>("n").unwrap();
    let day = Duration::from_secs(86_400);
    mapper.set_ttl(&7, day).unwrap();
    let view = mapper.map().create_view_accessor(0, 0).unwrap();
    let written_at = newest_field(&view, 32);
    let written = view.read::<u64>(written_at).unwrap();
    // The clock is now an hour before the time of writing.
    view.write(written_at, written + 3_600_000_000_000).unwrap();
    let words =
        ["has an expiry", "ahead of this machine's clock", "set the clock right", "the value is kept"];
    refused(mapper.get(), ErrorKind::ClockWentBack, &words);
    refused(mapper.get_shared(), ErrorKind::ClockWentBack, &words);
    refused(mapper.take(), ErrorKind::ClockWentBack, &words);
    refused(mapper.update(|number| number), ErrorKind::ClockWentBack, &words);
    refused(mapper.cell().copy(), ErrorKind::ClockWentBack, &words);
    refused(mapper.cell().reader().load().map(|_| ()), ErrorKind::ClockWentBack, &words);
    // The clock is right again (and this handle, whose reader remembers what the header said, is another
    // one).
    view.write(written_at, written).unwrap();
    let mapper = place.mapper().open_existing::<u32, Json>("n").unwrap();
    assert_eq!(mapper.get_with_version().unwrap(), Some((1, 7)));
    // A value without an expiry does not care.
    mapper.set(&8).unwrap();
    let written_at = newest_field(&view, 32);
    view.write(written_at, u64::MAX).unwrap();
    assert_eq!(mapper.get().unwrap().unwrap(), 8);
}

/// Whether the bytes stand anywhere in the map.
fn is_in(view: &ViewAccessor, bytes: &[u8]) -> bool {
    let mut all = vec![0u8; view.capacity() as usize];
    view.read_array(0, &mut all).unwrap();
    all.windows(bytes.len()).any(|part| part == bytes)
}

#[test]
fn what_expired_was_taken_or_cleared_is_unreadable_and_wiped() {
    const SECRET: &str = "a value that nobody may find";
    // What ends the value; whether this handle has read it, so that it holds a pin; whether another handle
    // has.
    for (end, read_before, read_elsewhere) in
        (0..3).flat_map(|end| [(end, false, false), (end, true, false), (end, true, true)])
    {
        let place = Place::new();
        let mapper = place.mapper().capacity(100).create_or_open::<String, Json>("n").unwrap();
        let other = place.mapper().open_existing::<String, Json>("n").unwrap();
        let view = mapper.map().create_view_accessor(0, 16_384 + 8 * 4096).unwrap();
        mapper.set_ttl(&SECRET.to_owned(), Duration::from_secs(3600)).unwrap();
        // Reading an expired value pins it too, and a reader remembers what the header said before.
        if read_before && end != 0 {
            assert_eq!(mapper.get().unwrap().unwrap(), SECRET);
        }
        let mut reader = other.cell().reader();
        if read_elsewhere {
            assert_eq!(*other.get_shared().unwrap().unwrap(), SECRET);
            assert!(reader.load().unwrap().is_some());
        }
        assert!(is_in(&view, SECRET.as_bytes()));
        match end {
            0 => {
                view.write(newest_field(&view, 40), 1u64).unwrap();
                assert_eq!(mapper.cell().info().unwrap().length, None);
                assert_eq!(mapper.get().unwrap(), None);
                assert_eq!(mapper.version(), 2);
            }
            1 => assert_eq!(mapper.take().unwrap().as_deref(), Some(SECRET)),
            _ => assert_eq!(mapper.clear().unwrap(), 2),
        }
        // A snapshot keeps the bytes until its reader moves on; a mapper's read does not.
        assert_eq!(is_in(&view, SECRET.as_bytes()), read_elsewhere, "{end} {read_before}");
        assert!(reader.load().unwrap().is_none());
        assert!(!is_in(&view, SECRET.as_bytes()), "{end} {read_before} {read_elsewhere}");
        assert_eq!(mapper.get().unwrap(), None);
        assert_eq!(mapper.get_shared().unwrap(), None);
        assert_eq!(mapper.take().unwrap(), None);
        assert_eq!(other.get().unwrap(), None);
        assert!(!is_in(&view, SECRET.as_bytes()), "{end} {read_before} {read_elsewhere}");
    }
}

#[test]
fn a_secret_version_is_wiped_when_its_last_reader_moves_on() {
    let map = MemoryMappedFile::anonymous(1 << 17).unwrap();
    let view = map.create_view_accessor(0, 0).unwrap();
    let cell = CellOptions::new().secret(true).make_in(map);
    let cell = match cell {
        Err(error) if error.kind() == ErrorKind::Io => {
            return eprintln!("skipped: too little memory can be locked here");
        }
        other => other.unwrap(),
    };
    let publish = |bytes: &[u8]| cell.try_writer().unwrap().unwrap().publish(bytes).unwrap();
    // A value that is given up before publication is wiped at once.
    let given_up = cell.try_writer().unwrap().unwrap().publish_with(100, |buffer| {
        std::io::Write::write_all(buffer, b"a secret given up").unwrap();
        Err(Error::new(ErrorKind::Conflict, "given up"))
    });
    refused(given_up, ErrorKind::Conflict, &[]);
    assert!(!is_in(&view, b"a secret given up"));
    publish(b"the first secret");
    let mut reader = cell.reader();
    reader.load().unwrap();
    publish(b"the second secret");
    assert!(is_in(&view, b"the first secret"));
    reader.load().unwrap();
    assert!(!is_in(&view, b"the first secret"));
    assert_eq!(bytes_of(&cell), b"the second secret");
}

fn boom<T>() -> T {
    panic!("on purpose")
}

#[test]
fn a_closure_that_panics_or_fails_publishes_nothing_and_lets_go_of_the_lock() {
    let cell = anonymous_cell(b"the old value");
    let mut writer = cell.try_writer().unwrap().unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        writer.publish_with(100, |buffer| {
            std::io::Write::write_all(buffer, b"half").unwrap();
            boom()
        })
    }));
    assert!(panicked.is_err());
    let failed = writer.publish_with(100, |_| Err(Error::new(ErrorKind::Conflict, "given up")));
    refused(failed, ErrorKind::Conflict, &[]);
    assert_eq!((cell.version(), bytes_of(&cell)), (1, b"the old value".to_vec()));
    // The lease lives on, and the next version is whole, with nothing of the last attempt in it.
    assert_eq!(writer.publish_with(6, |_| Ok(())).unwrap(), 2);
    assert_eq!(bytes_of(&cell), [0; 6]);
    drop(writer);
    let place = Place::new();
    let mapper = place.mapper().capacity(64).create_or_open::<u32, Json>("n").unwrap();
    mapper.set(&1).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| mapper.update(|_| boom()))).is_err());
    assert_eq!(mapper.get_with_version().unwrap(), Some((1, 1)));
    let other = place.mapper().open_existing::<u32, Json>("n").unwrap();
    assert_eq!(other.lease(Duration::ZERO).unwrap().set(&2).unwrap(), 2);
    assert_eq!(mapper.update(|number| number + 1).unwrap(), 3);
}

#[test]
fn there_is_no_value_to_update_and_another_version_than_expected() {
    let place = Place::new();
    let mapper = place.mapper().capacity(64).create_or_open::<u32, Json>("n").unwrap();
    refused(mapper.update(|number| number), ErrorKind::NoValue, &["'n'", "holds no value", "wait until"]);
    refused(
        mapper.compare_and_set(3, &1),
        ErrorKind::Conflict,
        &["holds version 0", "expected version 3", "try again"],
    );
    assert_eq!(mapper.compare_and_set(0, &1).unwrap(), 1);
    refused(mapper.compare_and_set(0, &2), ErrorKind::Conflict, &["holds version 1", "expected version 0"]);
    assert_eq!(mapper.get().unwrap().unwrap(), 1);
}

#[derive(Debug, Serialize, Deserialize)]
struct Login {
    user: String,
    code: u8,
}

#[derive(Debug, Serialize, Deserialize)]
enum Colour {
    Red,
}

/// Values of another kind than requested, in both codecs, none of which an error may repeat.
#[test]
fn decode_errors_never_quote_values() {
    const SECRET: &str = "hunter2hunter2";
    fn check<T: Serialize, W: std::fmt::Debug + serde::de::DeserializeOwned + Serialize>(value: &T)
    where
        Json: Codec<W>,
        MessagePack: Codec<W>,
    {
        let json = serde_json::to_vec(value).unwrap();
        let pack = pack(value);
        let mut failures = vec![
            <Json as Codec<W>>::decode(&json).unwrap_err(),
            <MessagePack as Codec<W>>::decode(&pack).unwrap_err(),
            <Json as Codec<W>>::decode(&json[..json.len() - 1]).unwrap_err(),
        ];
        failures
            .extend((0..pack.len()).filter_map(|end| <MessagePack as Codec<W>>::decode(&pack[..end]).err()));
        for failure in failures {
            let text = format!("{failure} {failure:?}");
            assert!(!text.contains("hunter2") && !text.contains("7654321"), "{text}");
            assert!(text.contains("check that producer and consumer agree"), "{text}");
        }
    }
    fn pack<T: Serialize>(value: &T) -> Vec<u8> {
        let value = serde_json::to_value(value).unwrap();
        <MessagePack as Codec<serde_json::Value>>::encode(&value).unwrap().to_vec()
    }
    check::<_, u32>(&SECRET);
    check::<_, Colour>(&SECRET);
    check::<_, Vec<bool>>(&[SECRET]);
    check::<_, Login>(&serde_json::json!({ "user": SECRET, "code": 7_654_321 }));
    check::<_, Login>(&serde_json::json!({ "user": 7_654_321, "code": SECRET }));
    check::<_, Login>(&serde_json::json!({ SECRET: 1 }));
    check::<_, std::net::IpAddr>(&SECRET);
    check::<_, char>(&SECRET);
    let text = <Text as Codec<String>>::decode(b"hunter2\xff").unwrap_err().to_string();
    assert!(text.contains("byte 7 is not UTF-8") && !text.contains("hunter"), "{text}");
}

#[test]
fn a_mapper_of_the_wrong_type_leaves_the_value_as_it_is() {
    let place = Place::new();
    let text = place.mapper().capacity(64).create_or_open::<String, Json>("n").unwrap();
    text.set(&"hunter2".to_owned()).unwrap();
    let number: MemoryMapper<u32> = place.mapper().open_existing("n").unwrap();
    let words = ["not JSON of the type asked for", "line 1 column"];
    refused(number.get(), ErrorKind::Decode, &words);
    refused(number.take(), ErrorKind::Decode, &words);
    refused(number.update(|number| number), ErrorKind::Decode, &words);
    assert_eq!(text.get_with_version().unwrap(), Some((1, "hunter2".to_owned())));
}
