//! Proves that every read-only handle refuses to write in the same way, `AccessDenied`, whatever it stands
//! for (a name or a file) and whatever it is (a mapper, a plain mapper, a cell, a view, a stream). Proves
//! that this changes nothing, and that reading by copy goes on.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use handover::cell::{Cell, CellOptions};
use handover::map::{Access, MapOptions, MemoryMappedFile, Rights};
use handover::mapper::PlainOptions;
use handover::{Error, ErrorKind, MapperOptions, MemoryMapper, Place, PlainMapper};
use handover_tests::{names_in, own_dir, word};

/// Checks that it was refused, and that the message names the map and says what to do.
#[track_caller]
fn denied<T>(what: &str, result: Result<T, Error>) {
    let Err(error) = result else { panic!("{what} succeeded") };
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{what}: {error}");
    let text = error.to_string();
    let subject = error.subject().unwrap_or_else(|| panic!("{what} names no map: {text}"));
    assert!(text.contains(&subject.to_string()), "{what}: {text}");
    assert!(text.contains("read"), "{what}: {text}");
}

/// Runs `check` with a place of each kind, and with each way to open it read-only. The options for writing
/// come first.
fn everywhere(check: impl Fn(Place<'_>, &MapOptions, &MapOptions)) {
    let ways: [fn(MapOptions) -> MapOptions; 2] =
        [|options| options.access(Access::Read), |options| options.rights(Rights::READ)];
    for way in ways {
        let directory = own_dir();
        let options = names_in(&directory);
        check("read".into(), &options, &way(options.clone()));
    }
    let directory = own_dir();
    let options = names_in(&directory);
    let path = directory.path().join("read");
    check((&path).into(), &options, &options.clone().access(Access::Read));
}

#[test]
fn a_mapper() {
    everywhere(|place, writing, reading| {
        let writer: MemoryMapper<u32> = MapperOptions::new().map(writing.clone()).create_new(place).unwrap();
        let version = writer.set(&1).unwrap();
        let reader: MemoryMapper<u32> =
            MapperOptions::new().map(reading.clone()).open_existing(place).unwrap();
        denied("set", reader.set(&2));
        denied("set_ttl", reader.set_ttl(&2, Duration::from_secs(9)));
        denied("set_expires_at", reader.set_expires_at(&2, SystemTime::now()));
        denied("take", reader.take());
        denied("update", reader.update(|number| number + 1));
        denied("compare_and_set", reader.compare_and_set(version, &2));
        denied("compare_and_set of another version", reader.compare_and_set(version + 1, &2));
        denied("clear", reader.clear());
        denied("lease", reader.lease(Duration::ZERO));
        assert_eq!(reader.get_with_version().unwrap(), Some((version, 1)));
        assert_eq!(reader.reader().get().unwrap(), Some(&1));
        assert_eq!(writer.set(&3).unwrap(), version + 1);
        assert_eq!(*reader.get_shared().unwrap().unwrap(), 3);
    });
}

#[test]
fn a_cell() {
    everywhere(|place, writing, reading| {
        let writer = CellOptions::new().map(writing.clone()).create_new(place).unwrap();
        writer.try_writer().unwrap().unwrap().publish(b"a value").unwrap();
        let reader = CellOptions::new().map(reading.clone()).open_existing(place).unwrap();
        assert!(!reader.can_write());
        denied("try_writer", reader.try_writer());
        denied("writer_timeout", reader.writer_timeout(Duration::ZERO));
        denied("a pin", reader.reader().load().map(drop));
        assert_eq!(reader.copy().unwrap().unwrap().bytes.as_slice(), b"a value");
        assert_eq!(reader.reader().copy().unwrap().unwrap().bytes.as_slice(), b"a value");
        assert_eq!(writer.version(), 1);
        // Nothing hinders a handle that may write.
        assert!(writer.try_writer().unwrap().is_some());
    });
}

#[test]
fn a_plain_mapper() {
    everywhere(|place, writing, reading| {
        let writer: PlainMapper<u32> = PlainOptions::new().map(writing.clone()).create_new(place).unwrap();
        writer.set(&1).unwrap();
        let reader: PlainMapper<u32> = PlainOptions::new().map(reading.clone()).open_existing(place).unwrap();
        denied("set", reader.set(&2));
        denied("clear", reader.clear());
        assert_eq!(reader.get().unwrap(), Some(1));
        assert_eq!(reader.get_text().unwrap().unwrap().as_str(), "1");
        writer.set(&3).unwrap();
        assert_eq!(reader.get().unwrap(), Some(3));
    });
}

#[test]
fn a_view_and_a_stream() {
    everywhere(|place, writing, reading| {
        let writer = writing.create_new(place, 4096).unwrap();
        let shared = writer.create_view_accessor(0, 0).unwrap();
        shared.write(0, 1u8).unwrap();
        let only = reading.open_existing(place).unwrap();
        for map in [&writer, &only] {
            let view = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
            denied("write", view.write(0, 2u8));
            denied("write_bool", view.write_bool(0, true));
            denied("write_array", view.write_array(0, &[2u8; 4]));
            denied("a word to write to", word::<AtomicU64>(&view, 0).map(drop));
            let mut stream = map.create_view_stream_with(0, 0, Access::Read).unwrap();
            let error = stream.write(&[2]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            denied("a stream's write", Err::<(), _>(Error::from(error)));
            assert_eq!(stream.position(), 0);
            assert_eq!(view.read::<u64>(0).unwrap(), 1);
            assert_eq!(view.load::<AtomicU64>(0).unwrap(), 1);
        }
        // A read-only map returns no view that writes.
        denied("a view that writes", only.create_view_accessor(0, 0));
        denied("a stream that writes", only.create_view_stream(0, 0));
    });
}

#[test]
fn a_map_without_a_name() {
    let map = MapOptions::new().access(Access::Read).anonymous(1 << 20).unwrap();
    denied("a view that writes", map.create_view_accessor(0, 0));
    denied("a cell", Cell::make_in(map));
}

#[test]
fn a_file_opened_for_reading_only() {
    let directory = own_dir();
    let path = directory.path().join("file");
    std::fs::write(&path, [1; 100]).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    denied("a map that writes", MemoryMappedFile::from_file(file, 0));
    assert_eq!(contents(&path), [1; 100]);
}

fn contents(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
