//! Proves what every error offers its reader: one word for the program, one message in `Display` and `Debug`
//! (so `fn main() -> handover::Result<()>` prints it), and the map that it is about, for each operation on a
//! map.

use std::io::Write;
use std::time::Duration;

use handover::cell::{Cell, CellOptions, Meta};
use handover::codec::{Bytes, Codec, Json, MessagePack, Text};
use handover::map::dotnet::{Decimal, FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile, Rights, Subject};
use handover::mapper::PlainOptions;
use handover::{Error, ErrorKind, MapperOptions, MemoryMapper, PlainMapper, Result, Scope, TypeName};
use handover_tests::{OwnDir, Start, names_in, own_dir, word};
use serde::{Deserialize, Serialize};

/// What was done, the kind of error that it must be, and the error.
type Row = (&'static str, ErrorKind, Error);

#[track_caller]
fn row<T>(what: &'static str, kind: ErrorKind, result: Result<T>) -> Row {
    match result {
        Ok(_) => panic!("{what} succeeded"),
        Err(error) => (what, kind, error),
    }
}

fn named(name: &str) -> Subject {
    Subject::Map { name: name.to_owned(), scope: Scope::User }
}

/// Checks that each error is of its kind, shows the same message in each way, and names the map.
#[track_caller]
fn check(subject: &Subject, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (what, kind, error) in rows {
        let text = error.to_string();
        if error.kind() != kind {
            wrong.push(format!("{what} is {:?} and not {kind:?}: {text}", error.kind()));
        }
        if format!("{error:?}") != text || format!("{error:#?}") != text {
            wrong.push(format!("{what} shows something else in Debug: {error:?}"));
        }
        if error.subject() != Some(subject) {
            wrong.push(format!("{what} is about {:?}: {text}", error.subject()));
        }
        // Once is enough.
        if text.matches(&subject.to_string()).count() != 1 {
            wrong.push(format!("{what} does not name the map once: {text}"));
        }
        if let Some(advice) = error.advice()
            && !text.ends_with(&format!("; {advice}"))
        {
            wrong.push(format!("{what} does not end with its advice, {advice:?}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

struct Maps {
    _directory: OwnDir,
    options: MapOptions,
}

impl Maps {
    fn new() -> Self {
        let directory = own_dir();
        let options = names_in(&directory);
        Self { _directory: directory, options }
    }

    fn cell(&self) -> CellOptions {
        CellOptions::new().map(self.options.clone())
    }

    fn mapper(&self) -> MapperOptions {
        MapperOptions::new().map(self.options.clone())
    }

    fn plain(&self) -> PlainOptions {
        PlainOptions::new().map(self.options.clone())
    }

    fn reading(&self) -> MapOptions {
        self.options.clone().access(Access::Read)
    }
}

#[test]
fn opening_and_creating_by_name() {
    let maps = Maps::new();
    let options = &maps.options;
    let missing = vec![
        row("open_existing", ErrorKind::NotFound, options.open_existing("n")),
        row("a cell", ErrorKind::NotFound, maps.cell().open_existing("n")),
        row("a mapper", ErrorKind::NotFound, maps.mapper().open_existing::<u32, Json>("n")),
        row("a plain mapper", ErrorKind::NotFound, maps.plain().open_existing::<u32, Json>("n")),
        row(
            "a mapper that waits",
            ErrorKind::TimedOut,
            maps.mapper().wait(Duration::ZERO).open_existing::<u32, Json>("n"),
        ),
        row(
            "a plain mapper that waits",
            ErrorKind::TimedOut,
            maps.plain().wait(Duration::ZERO).open_existing::<u32, Json>("n"),
        ),
        row(
            "open_existing for the audit list",
            ErrorKind::Io,
            options.clone().rights(Rights::ACCESS_SYSTEM_SECURITY).open_existing("n"),
        ),
    ];
    check(&named("n"), missing);
    let _holder = options.create_new("n", 64).unwrap();
    let there = vec![
        row("create_new", ErrorKind::AlreadyExists, options.create_new("n", 64)),
        row("a new cell", ErrorKind::AlreadyExists, maps.cell().create_new("n")),
        row("a new mapper", ErrorKind::AlreadyExists, maps.mapper().create_new::<u32, Json>("n")),
        row("a new plain mapper", ErrorKind::AlreadyExists, maps.plain().create_new::<u32, Json>("n")),
        row("no cell", ErrorKind::WrongKind, maps.cell().open_existing("n")),
        row("no mapper's cell", ErrorKind::WrongKind, maps.mapper().open_existing::<u32, Json>("n")),
        row(
            "an offset beyond the end",
            ErrorKind::OutOfRange,
            maps.plain().offset(1 << 20).open_existing::<u32, Json>("n"),
        ),
        row("no byte from an offset", ErrorKind::OutOfRange, {
            // Windows gives whole pages of it.
            let end = options.open_existing("n").unwrap().capacity();
            maps.plain().offset(end).open_existing::<u32, Json>("n")
        }),
    ];
    check(&named("n"), there);
}

#[test]
fn opening_and_creating_files() {
    let directory = own_dir();
    let path = directory.path().join("file");
    let subject = Subject::Path(path.clone());
    let missing = vec![
        row("open_existing", ErrorKind::NotFound, MemoryMappedFile::open_existing(&path)),
        row("a cell", ErrorKind::NotFound, Cell::open_existing(&path)),
        row("a mapper", ErrorKind::NotFound, MemoryMapper::<u32>::open_existing(&path)),
        row("a plain mapper", ErrorKind::NotFound, PlainMapper::<u32>::open_existing(&path)),
        row(
            ".NET's Open",
            ErrorKind::NotFound,
            create_from_file(&path, FileMode::Open, 0, &MapOptions::new()),
        ),
        row(
            "a mapper that waits",
            ErrorKind::TimedOut,
            MapperOptions::new().wait(Duration::ZERO).open_existing::<u32, Json>(&path),
        ),
    ];
    check(&subject, missing);
    std::fs::write(&path, [1; 100]).unwrap();
    let mut there = vec![
        row("create_new", ErrorKind::AlreadyExists, MemoryMappedFile::create_new(&path, 64)),
        row("a new cell", ErrorKind::AlreadyExists, Cell::create_new(&path)),
        row("a new mapper", ErrorKind::AlreadyExists, MemoryMapper::<u32>::create_new(&path)),
        row("a new plain mapper", ErrorKind::AlreadyExists, PlainMapper::<u32>::create_new(&path)),
        row("no cell", ErrorKind::WrongKind, Cell::open_existing(&path)),
        row("no cell to make", ErrorKind::WrongKind, Cell::create_or_open(&path)),
        row("no mapper's cell", ErrorKind::WrongKind, MemoryMapper::<u32>::open_existing(&path)),
    ];
    let alone = std::fs::File::open(&path).unwrap();
    // On Windows such a lock keeps nobody from mapping the file.
    if cfg!(unix) && alone.try_lock().is_ok() {
        let taken = MemoryMappedFile::open_existing(&path);
        there.push(row("a file that somebody has alone", ErrorKind::SharingViolation, taken));
    }
    drop(alone);
    check(&subject, there);
    check(
        &Subject::Path(directory.path().to_owned()),
        vec![row("a directory", ErrorKind::AccessDenied, MemoryMappedFile::open_existing(directory.path()))],
    );
}

#[test]
fn views_and_streams() {
    let maps = Maps::new();
    let map = maps.options.create_new("n", 4096).unwrap();
    let size = map.capacity();
    let reading = maps.reading().open_existing("n").unwrap();
    let read = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
    let both = map.create_view_accessor(0, 0).unwrap();
    both.write(0, [u8::MAX; 16]).unwrap();
    let mut stream = map.create_view_stream_with(0, 0, Access::Read).unwrap();
    let mut short = map.create_view_stream(0, 4).unwrap();
    let mut buffer = [0u8; 2];
    let rows = vec![
        row("an offset beyond", ErrorKind::OutOfRange, map.create_view_accessor(size + 1, 0)),
        row("a stream's offset beyond", ErrorKind::OutOfRange, map.create_view_stream(size + 1, 0)),
        row("an end beyond", ErrorKind::AccessDenied, map.create_view_accessor(1, size)),
        row("a view beyond all memory", ErrorKind::NoSpace, map.create_view_accessor(0, u64::MAX)),
        row("a view with more rights", ErrorKind::AccessDenied, reading.create_view_accessor(0, 0)),
        row("read", ErrorKind::OutOfRange, both.read::<u8>(size)),
        row("read across the end", ErrorKind::InvalidArgument, both.read::<u64>(size - 1)),
        row("read_array", ErrorKind::OutOfRange, both.read_array(size, &mut buffer)),
        row("write past the end", ErrorKind::OutOfRange, both.write(size, 1u8)),
        row("write_array across the end", ErrorKind::InvalidArgument, both.write_array(size - 1, &[1u8; 2])),
        row("no decimal", ErrorKind::InvalidArgument, Decimal::read(&both, 0)),
        row(
            "a word between words",
            ErrorKind::InvalidArgument,
            word::<std::sync::atomic::AtomicU64>(&both, 1).map(drop),
        ),
        row("write", ErrorKind::AccessDenied, read.write(0, 1u8)),
        row("write_array", ErrorKind::AccessDenied, read.write_array(0, &[1u8])),
        row("a stream's write", ErrorKind::AccessDenied, stream.write(&[1]).map_err(Error::from)),
        row(
            "a stream's write past the end",
            ErrorKind::Unsupported,
            short.write(&[1; 5]).map_err(Error::from),
        ),
        row("set_len", ErrorKind::Unsupported, short.set_len(9)),
    ];
    check(&named("n"), rows);
}

#[test]
fn maps_without_a_name() {
    let map = MemoryMappedFile::anonymous(100).unwrap();
    let rows = vec![
        row("an offset beyond", ErrorKind::OutOfRange, map.create_view_accessor(101, 0)),
        row("no cell", ErrorKind::WrongKind, Cell::open_in(map)),
        row("too small", ErrorKind::OutOfRange, Cell::make_in(MemoryMappedFile::anonymous(100).unwrap())),
    ];
    check(&Subject::Anonymous, rows);
}

#[test]
fn cells() {
    let maps = Maps::new();
    let cell = maps.cell().capacity(100).create_new("n").unwrap();
    let reading = Cell::open_in(maps.reading().open_existing("n").unwrap()).unwrap();
    let mut writer = cell.try_writer().unwrap().unwrap();
    let long = "x".repeat(257);
    let meta = Meta { type_name: Some(&long), ..Meta::default() };
    let mut rows = vec![
        row("publish", ErrorKind::ValueTooLarge, writer.publish(&[0; 101])),
        row("publish_with", ErrorKind::ValueTooLarge, writer.publish_with(usize::MAX, |_| Ok(()))),
        row("a long type name", ErrorKind::InvalidArgument, writer.publish_as(&meta, b"1")),
        row("writer_timeout", ErrorKind::TimedOut, cell.writer_timeout(Duration::from_millis(1))),
        row("wait_newer", ErrorKind::TimedOut, cell.wait_newer(9, Duration::ZERO)),
        row("try_writer", ErrorKind::AccessDenied, reading.try_writer()),
        row("a pin", ErrorKind::AccessDenied, reading.reader().load().map(drop)),
    ];
    let mut held = Vec::new();
    for number in 0..62u8 {
        writer.publish(&[number]).unwrap();
        held.push(cell.reader().load().unwrap().unwrap().clone());
    }
    rows.push(row("one more snapshot", ErrorKind::TooManyReaders, cell.reader().load().map(drop)));
    drop(held);
    let expires = u64::MAX - 1;
    writer.publish_as(&Meta { expires, ..Meta::default() }, b"1").unwrap();
    let view = cell.map().create_view_accessor(0, 0).unwrap();
    // The header of the newest slot says that it was written an hour from now.
    let written_at = 8192 + (view.read::<u64>(64).unwrap() & 63) * 64 + 32;
    let written = view.read::<u64>(written_at).unwrap();
    view.write(written_at, written + 3_600_000_000_000).unwrap();
    rows.push(row("copy", ErrorKind::ClockWentBack, cell.copy()));
    rows.push(row("value under a lease", ErrorKind::ClockWentBack, writer.value()));
    view.write(written_at, written).unwrap();
    // The length, which is larger than any slot.
    view.write(written_at - 24, u64::MAX).unwrap();
    rows.push(row("copy of a damaged cell", ErrorKind::Corrupt, cell.reader().copy()));
    check(&named("n"), rows);
}

struct Celsius;
impl TypeName for Celsius {
    const TYPE_NAME: &'static str = "weather.Celsius";
}
struct Kelvin;
impl TypeName for Kelvin {
    const TYPE_NAME: &'static str = "weather.Kelvin";
}

/// A value that has no form in any codec.
#[derive(Debug, Deserialize)]
struct Formless;

impl Serialize for Formless {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no form"))
    }
}

#[test]
fn mappers() {
    let maps = Maps::new();
    let text: MemoryMapper<String> = maps.mapper().capacity(100).named::<Celsius>().create_new("n").unwrap();
    let open = || maps.mapper();
    let empty = text.clear().unwrap();
    let second = Duration::ZERO;
    let mut rows = vec![
        row("update of nothing", ErrorKind::NoValue, text.update(|text| text)),
        row("compare_and_set", ErrorKind::Conflict, text.compare_and_set(empty + 1, &String::new())),
        row("wait", ErrorKind::TimedOut, text.wait(second)),
        row("watch", ErrorKind::TimedOut, text.watch().after(empty).timeout(second).next().unwrap()),
        row("set", ErrorKind::ValueTooLarge, text.set(&"x".repeat(100))),
        row("set_ttl", ErrorKind::ValueTooLarge, text.set_ttl(&"x".repeat(100), second)),
    ];
    text.set(&"a value".to_owned()).unwrap();
    let version = text.version();
    let large = || "x".repeat(100);
    let formless: MemoryMapper<Formless> = open().open_existing("n").unwrap();
    let packed: MemoryMapper<String, MessagePack> = open().open_existing("n").unwrap();
    let kelvin: MemoryMapper<String> = open().named::<Kelvin>().open_existing("n").unwrap();
    let number: MemoryMapper<u32> = open().open_existing("n").unwrap();
    let reading: MemoryMapper<String> = MapperOptions::new().map(maps.reading()).open_existing("n").unwrap();
    let mut lease = text.lease(Duration::ZERO).unwrap();
    rows.push(row("lease", ErrorKind::TimedOut, number.lease(Duration::ZERO)));
    rows.push(row("lease on this thread", ErrorKind::WouldDeadlock, number.lease(Duration::from_millis(1))));
    rows.push(row("set under a lease", ErrorKind::ValueTooLarge, lease.set(&large())));
    drop(lease);
    rows.extend([
        row("update", ErrorKind::ValueTooLarge, text.update(|_| large())),
        row("compare_and_set, too large", ErrorKind::ValueTooLarge, text.compare_and_set(version, &large())),
        row("set of what has no form", ErrorKind::Encode, formless.set(&Formless)),
        row("get, another codec", ErrorKind::CodecMismatch, packed.get()),
        row("get_shared, another codec", ErrorKind::CodecMismatch, packed.get_shared()),
        row("take, another codec", ErrorKind::CodecMismatch, packed.take()),
        row("update, another codec", ErrorKind::CodecMismatch, packed.update(|text| text)),
        row("watch, another codec", ErrorKind::CodecMismatch, packed.watch().next().unwrap()),
        row("get, another type name", ErrorKind::TypeMismatch, kelvin.get()),
        row("get_with_version, another type name", ErrorKind::TypeMismatch, kelvin.get_with_version()),
        row("take, another type name", ErrorKind::TypeMismatch, kelvin.take()),
        row("a reader, another type name", ErrorKind::TypeMismatch, kelvin.reader().get().map(drop)),
        row("get, another type", ErrorKind::Decode, number.get()),
        row("get_shared, another type", ErrorKind::Decode, number.get_shared()),
        row("take, another type", ErrorKind::Decode, number.take()),
        row("update, another type", ErrorKind::Decode, number.update(|number| number)),
        row("wait, another type", ErrorKind::Decode, number.wait(second)),
        row("watch, another type", ErrorKind::Decode, number.watch().next().unwrap()),
        row("a reader, another type", ErrorKind::Decode, number.reader().get().map(drop)),
        row("set for reading only", ErrorKind::AccessDenied, reading.set(&String::new())),
        row("take for reading only", ErrorKind::AccessDenied, reading.take()),
        row("lease for reading only", ErrorKind::AccessDenied, reading.lease(second)),
    ]);
    assert_eq!(text.get().unwrap().unwrap(), "a value");
    let bytes: MemoryMapper<Vec<u8>, Bytes> = open().open_existing("n").unwrap();
    bytes.set(&vec![0xFF]).unwrap();
    rows.push(row("get_text", ErrorKind::Decode, bytes.get_text()));
    let broken: MemoryMapper<String, Text> = open().open_existing("n").unwrap();
    let meta = Meta { codec: <Text as Codec<String>>::ID, ..Meta::default() };
    broken.lease(second).unwrap().writer().publish_as(&meta, &[0xFF]).unwrap();
    rows.push(row("get of no text", ErrorKind::Decode, broken.get()));
    check(&named("n"), rows);
}

#[test]
fn plain_mappers() {
    let maps = Maps::new();
    let text: PlainMapper<String> = maps.plain().capacity(64).create_new("n").unwrap();
    let open = || maps.plain();
    let mut rows = vec![row("wait", ErrorKind::TimedOut, text.wait(Duration::ZERO))];
    text.set(&"a value".to_owned()).unwrap();
    let number: PlainMapper<u32> = open().open_existing("n").unwrap();
    let formless: PlainMapper<Formless> = open().open_existing("n").unwrap();
    let bytes: PlainMapper<Vec<u8>, Bytes> = open().open_existing("n").unwrap();
    let reading: PlainMapper<String> = PlainOptions::new().map(maps.reading()).open_existing("n").unwrap();
    rows.extend([
        row("set", ErrorKind::ValueTooLarge, text.set(&"x".repeat(1 << 16))),
        row("set of what has no form", ErrorKind::Encode, formless.set(&Formless)),
        row("set of bytes that look like a mark", ErrorKind::Encode, bytes.set(&vec![0xFF, 1])),
        row("get, another type", ErrorKind::Decode, number.get()),
        row("wait, another type", ErrorKind::Decode, number.wait(Duration::ZERO)),
        row("set for reading only", ErrorKind::AccessDenied, reading.set(&"x".to_owned())),
        row("clear for reading only", ErrorKind::AccessDenied, reading.clear()),
    ]);
    assert_eq!(text.get().unwrap().unwrap(), "a value");
    bytes.set(&vec![b'"', 0xFF, b'"']).unwrap();
    rows.push(row("get_text", ErrorKind::Decode, bytes.get_text()));
    text.map().create_view_accessor(0, 0).unwrap().write(0, 0xFFu8).unwrap();
    rows.push(row("get, cut short", ErrorKind::Incomplete, text.get()));
    rows.push(row("get_text, cut short", ErrorKind::Incomplete, text.get_text()));
    let _cell = maps.cell().create_new("c").unwrap();
    check(&named("n"), rows);
    check(&named("c"), vec![row("a cell", ErrorKind::WrongKind, open().open_existing::<u32, Json>("c"))]);
}

// Errors that a program makes itself.

const _: () = assert!(size_of::<Error>() == size_of::<usize>());
const _: () = assert!(size_of::<Result<()>>() == size_of::<usize>());
const _: () = assert!(size_of::<Option<Error>>() == size_of::<usize>());

#[test]
fn one_s_own_errors_have_no_map_until_they_are_said_to_be_about_one() {
    let error = Error::new(ErrorKind::Conflict, "the shelf is full").with_advice("take something off it");
    assert!(error.subject().is_none());
    assert_eq!(format!("{error:?}"), "the shelf is full; take something off it");
    let error = error.about(&named("shelf"));
    assert_eq!(error.subject(), Some(&named("shelf")));
    assert_eq!(format!("{error:?}"), "map 'shelf' in scope user: the shelf is full; take something off it");
}

/// Set for the child that ends with an error.
const CHILD: &str = "HANDOVER_TEST_ENDS_WITH_AN_ERROR";

/// A test's result is reported as that of `main` is.
#[test]
fn a_program_that_ends_with_an_error() -> Result<()> {
    if std::env::var_os(CHILD).is_some() {
        let _held = MemoryMapper::<String>::open_existing("nobody holds this")?;
    }
    Ok(())
}

#[test]
fn a_program_that_ends_with_an_error_prints_the_message() {
    let directory = own_dir();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_that_ends_with_an_error", "--nocapture", "--test-threads=1"])
        .env(CHILD, "")
        .env("HANDOVER_DIR", directory.path())
        .run_for_output()
        .unwrap();
    assert!(!child.status.success());
    let printed = String::from_utf8([child.stdout, child.stderr].concat()).unwrap();
    let line = "Error: no map 'nobody holds this' in scope user: its last holder has gone, or it was never created; \
                start the producer, or wait for it";
    assert!(printed.lines().any(|printed| printed == line), "{printed}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_its_file_system_can_not_map() {
    let path = std::path::Path::new("/sys/kernel/uevent_seqnum");
    let Ok(map) = MapOptions::new().access(Access::Read).open_existing(path) else {
        handover_tests::skip!("there is no such file here");
    };
    let refused = map.create_view_accessor_with(0, 0, Access::Read);
    check(&Subject::Path(path.to_owned()), vec![row("a view", ErrorKind::Unsupported, refused)]);
}
