//! Proves that whatever bytes lie in a map, opening, reading and writing it give an error or a value: no
//! panic, no call that does not return, no access out of bounds, and no allocation that follows a number from
//! the map.
//!
//! The debug build's assertions and overflow checks are part of the proof. A guard ends every test that
//! hangs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use handover::cell::{Cell, CellOptions, Meta};
use handover::codec::{Json, MessagePack};
use handover::map::{Access, MapOptions, MemoryMappedFile, ViewAccessor};
use handover::{Error, ErrorKind, MapperOptions};
#[cfg_attr(not(target_os = "linux"), allow(unused_imports, reason = "some tests are for Linux"))]
use handover_tests::fuzz::{Random, Source, TARGETS, Target, telling_word};
#[cfg_attr(not(target_os = "linux"), allow(unused_imports, reason = "some tests are for Linux"))]
use handover_tests::{HANG, names_in, own_dir, skip, word};

/// Refuses sizes that no value in these tests needs.
struct Sparing;

const ALLOCATION_LIMIT: usize = 64 << 20;

#[global_allocator]
static ALLOCATOR: Sparing = Sparing;

// SAFETY: the system's allocator does the work; refusing is allowed at any time.
unsafe impl GlobalAlloc for Sparing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > ALLOCATION_LIMIT {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the rules of this function, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs a test on a separate thread, and ends the whole program if it does not return.
fn guarded(body: impl FnOnce() + Send + 'static) {
    let (done, came_back) = channel();
    let thread = std::thread::spawn(move || {
        body();
        let _ = done.send(());
    });
    if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = came_back.recv_timeout(HANG) {
        eprintln!("a call did not return");
        std::process::abort();
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Ends a thread that runs until told, even when its test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Feeds a target with the kept inputs and with `count` new ones.
fn feed(name: &'static str, count: u64) {
    guarded(move || {
        let target = Target::find(name).expect("a target");
        let kept = target.corpus();
        assert!(!kept.is_empty(), "the corpus of {name} is missing");
        for (file, input) in &kept {
            eprintln!("{name}: {file}");
            (target.one_input)(input);
        }
        let mut source = Source::new(target, 1);
        for _ in 0..count {
            let input = source.next_input();
            let told = Told(&input);
            (target.one_input)(told.0);
        }
    });
}

/// Shows the input when the test fails in it.
struct Told<'a>(&'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with the input {:?}", self.0);
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
    let mut folders: Vec<_> =
        folders.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    folders.sort();
    let mut targets: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    targets.sort_unstable();
    assert_eq!(folders, targets);
}

#[test]
fn a_cell_whose_words_are_overwritten_between_calls() {
    feed("cell", 3000);
}

#[test]
fn a_map_of_any_content_opened_as_a_cell() {
    feed("image", 3000);
}

#[test]
fn a_map_of_any_content_opened_as_plain() {
    feed("plain", 1500);
}

#[test]
#[cfg(unix)] // Windows keeps no record.
fn a_named_map_whose_record_is_overwritten() {
    feed("record", 300);
}

#[test]
fn a_value_of_any_bytes_for_every_codec() {
    feed("decode", 20_000);
}

// Single words, whose effects are known.

const CURRENT: u64 = 64;
const SLOT_HEADERS: u64 = 8192;

fn field(slot: u64, at: u64) -> u64 {
    SLOT_HEADERS + slot * 64 + at
}

/// A cell in a map of 64 KiB with the value "a value" of type "t" in version 1, which is in slot 0, and a
/// view of it.
fn with_a_value() -> (Cell, ViewAccessor) {
    let map = MemoryMappedFile::anonymous(65_536).unwrap();
    let view = map.create_view_accessor(0, 0).unwrap();
    let cell = Cell::make_in(map).unwrap();
    let meta = Meta { codec: 7, type_name: Some("t"), expires: 0 };
    assert_eq!(cell.try_writer().unwrap().unwrap().publish_as(&meta, b"a value").unwrap(), 1);
    assert_eq!(view.read::<u64>(CURRENT).unwrap(), 1 << 6);
    (cell, view)
}

fn all_kinds(cell: &Cell) -> [Result<(), ErrorKind>; 4] {
    let kind = |error: Error| error.kind();
    [
        cell.reader().load().map(|_| ()).map_err(kind),
        cell.reader().copy().map(|_| ()).map_err(kind),
        cell.copy().map(|_| ()).map_err(kind),
        cell.info().map(|_| ()).map_err(kind),
    ]
}

#[test]
fn a_slot_that_does_not_exist_is_damage_and_the_next_value_repairs_it() {
    let (cell, view) = with_a_value();
    for slot in [12, 63] {
        view.write(CURRENT, 5u64 << 6 | slot).unwrap();
        assert_eq!(all_kinds(&cell), [Err(ErrorKind::Corrupt); 4]);
        assert_eq!(cell.try_writer().unwrap().unwrap().publish(b"next").unwrap(), 6);
        assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"next");
    }
}

#[test]
fn a_length_beyond_capacity_or_memory_is_damage() {
    let (cell, view) = with_a_value();
    let extent = view.read::<u64>(field(0, 48)).unwrap();
    for length in [u64::MAX, i64::MAX as u64, cell.capacity() + 1, extent] {
        view.write(field(0, 8), length).unwrap();
        assert_eq!(all_kinds(&cell), [Err(ErrorKind::Corrupt); 4], "{length}");
    }
    view.write(field(0, 8), 7u64).unwrap();
    for name in [257u32, u32::MAX] {
        view.write(field(0, 20), name).unwrap();
        assert_eq!(all_kinds(&cell), [Err(ErrorKind::Corrupt); 4], "{name}");
    }
    view.write(field(0, 20), 1u32).unwrap();
    assert_eq!(cell.copy().unwrap().unwrap().type_name.as_deref(), Some("t"));
}

#[test]
#[cfg(unix)] // Windows asks the kernel what has memory, and finds the forgery.
fn a_length_that_no_memory_holds_is_an_error_and_takes_none() {
    let map = MapOptions::new().delay_allocate_pages(true).anonymous(8 << 30).unwrap();
    let view = map.create_view_accessor(0, 0).unwrap();
    let cell = Cell::make_in(map).unwrap();
    cell.try_writer().unwrap().unwrap().publish(b"a value").unwrap();
    let length = ALLOCATION_LIMIT as u64 + 1;
    view.write(field(0, 8), length).unwrap();
    assert_eq!(all_kinds(&cell), [Err(ErrorKind::Corrupt); 4]);
    // With the extent forged too, only the allocator is left to refuse.
    view.write(field(0, 48), length).unwrap();
    assert_eq!(cell.copy().unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(cell.reader().copy().unwrap_err().kind(), ErrorKind::NoSpace);
    let mut reader = cell.reader();
    assert_eq!(reader.load().unwrap().unwrap().copy().unwrap_err().kind(), ErrorKind::NoSpace);
    // Information without the value needs no room for the value.
    assert_eq!(cell.info().unwrap().length, Some(length));
}

#[test]
fn the_highest_version_is_followed_by_an_error_not_by_the_first() {
    let (cell, view) = with_a_value();
    let highest = (1u64 << 58) - 1;
    view.write(field(0, 0), highest - 1).unwrap();
    view.write(CURRENT, (highest - 1) << 6).unwrap();
    let mut writer = cell.try_writer().unwrap().unwrap();
    assert_eq!(writer.publish(b"last").unwrap(), highest);
    assert_eq!(writer.publish(b"one more").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(writer.clear().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"last");
}

#[test]
fn a_version_that_its_slot_does_not_have_is_an_error_after_some_attempts() {
    let (cell, view) = with_a_value();
    view.write(field(0, 0), 9u64).unwrap();
    assert_eq!(all_kinds(&cell), [Err(ErrorKind::Overtaken); 4]);
    assert_eq!(cell.try_writer().unwrap().unwrap().publish(b"next").unwrap(), 2);
    assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"next");
}

#[test]
fn times_of_any_number_are_times() {
    let (cell, view) = with_a_value();
    for number in [0, 1, i64::MAX as u64, u64::MAX] {
        view.write(field(0, 32), number).unwrap();
        let value = cell.copy().unwrap().unwrap();
        assert_eq!(
            value.written.duration_since(SystemTime::UNIX_EPOCH).unwrap(),
            // On Windows times have this unit.
            Duration::from_nanos(if cfg!(windows) { number / 100 * 100 } else { number })
        );
        assert_eq!(cell.reader().load().unwrap().unwrap().written(), value.written);
    }
    for (written, expires) in [(0, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 1)] {
        view.write(field(0, 32), written).unwrap();
        view.write(field(0, 40), expires).unwrap();
        let expected = if written == 0 { Ok(()) } else { Err(ErrorKind::ClockWentBack) };
        let [load, read, copy, info] = all_kinds(&cell);
        assert_eq!(([load, read, copy], info), ([expected; 3], Ok(())));
    }
}

#[test]
fn pins_and_counts_of_any_number_keep_nobody_from_publishing() {
    let (cell, view) = with_a_value();
    let slots = u64::from(view.read::<u32>(32).unwrap());
    // A pin in each entry, whose owners don't exist.
    for entry in 0..slots - 2 {
        view.write(4096 + entry * 64, entry + 2).unwrap();
    }
    for claimed in [0, 1, 40, u32::MAX] {
        for word in [0, 1, slots, u64::MAX - 1, u64::MAX] {
            view.write(192, claimed).unwrap();
            view.write(72, word as u32).unwrap();
            view.write(128, word).unwrap();
            view.write(136, word).unwrap();
            for slot in 1..slots {
                view.write(field(slot, 48), word).unwrap();
            }
            let before = cell.version();
            assert_eq!(cell.try_writer().unwrap().unwrap().publish(b"next").unwrap(), before + 1);
            assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"next");
            assert!(cell.info().unwrap().reserved <= cell.map().capacity());
        }
    }
}

#[test]
fn a_forged_extent_takes_no_memory_of_the_neighbours() {
    let (cell, view) = with_a_value();
    let slot_size = view.read::<u64>(24).unwrap();
    let value = vec![b'v'; cell.capacity() as usize];
    let publish = || cell.try_writer().unwrap().unwrap().publish(&value).unwrap();
    let mut reader = cell.reader();
    let mut held = Vec::new();
    for _ in 0..8 {
        publish();
        held.push(reader.load().unwrap().unwrap().clone());
    }
    // The last ones lie in the highest slots; the slots below claim memory that reaches into them.
    held.drain(..5);
    let slots = u64::from(view.read::<u32>(32).unwrap());
    let pinned: Vec<u64> = (0..8).map(|entry| view.read::<u64>(4096 + entry * 64).unwrap()).collect();
    for slot in (0..slots).filter(|slot| !pinned.contains(&(slot + 1))) {
        view.write(field(slot, 48), slot_size * 5).unwrap();
    }
    for _ in 0..5 {
        cell.try_writer().unwrap().unwrap().publish(b"small").unwrap();
        assert!(held.iter().all(|snapshot| snapshot.copy().unwrap().as_slice() == value.as_slice()));
    }
}

#[test]
fn a_watch_gets_over_versions_that_go_back() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    let options = MapperOptions::new();
    let mapper = options.clone().capacity(64).create_or_open::<u32, MessagePack>(&path).unwrap();
    for number in 0..9 {
        mapper.set(&number).unwrap();
    }
    let view = mapper.map().create_view_accessor(0, 0).unwrap();
    let newest = view.read::<u64>(CURRENT).unwrap();
    // Waiting ends with version 9, and reading finds version 3.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (slot, stop, view) = (newest & 63, &stop, &view);
        let _stop = StopAtEnd(stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                view.write(CURRENT, 3 << 6 | slot).unwrap();
                view.write(field(slot, 0), 3u64).unwrap();
                std::hint::spin_loop();
                view.write(CURRENT, newest).unwrap();
                view.write(field(slot, 0), newest >> 6).unwrap();
            }
        });
        for _ in 0..2000 {
            // No version is newer than the newest, whatever comes between.
            for change in mapper.watch().after(8).timeout(Duration::from_micros(100)).take(2).flatten() {
                assert!(change.version <= newest >> 6 && change.skipped <= newest >> 6);
            }
        }
    });
}

#[test]
fn waiting_for_a_value_ends_in_time_while_versions_without_one_stream_past() {
    guarded(|| {
        let dir = own_dir();
        let options = MapperOptions::new().map(names_in(&dir));
        let mapper = options.clone().capacity(64).create_or_open::<u32, Json>("empty").unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut lease = mapper.lease(HANG).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    lease.clear().unwrap();
                }
            });
            let _stop = StopAtEnd(&stop);
            for limit in [0, 1, 20] {
                let waited = mapper.wait(Duration::from_millis(limit));
                assert_eq!(waited.unwrap_err().kind(), ErrorKind::TimedOut);
            }
        });
    });
}

/// Readers read and writers write while a thread overwrites words, for this many calls each.
fn scribbled_over(file: bool, calls: u32) {
    guarded(move || {
        let dir = own_dir();
        let path = dir.path().join("cell");
        let size = 16_384 + 5 * 8192;
        let open = || {
            if file {
                MapOptions::new().create_or_open(&path, size).unwrap()
            } else {
                names_in(&dir).create_or_open("scribbled", size).unwrap()
            }
        };
        let first = open();
        let view = first.create_view_accessor(0, 0).unwrap();
        let cells = [first, open(), open()].map(|map| Cell::make_in(map).unwrap());
        let stop = AtomicBool::new(false);
        let calls_made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let (stop, view, calls_made) = (&stop, &view, &calls_made);
            scope.spawn(move || {
                let mut random = Random(11);
                while !stop.load(Ordering::Relaxed) {
                    // Anything but the head, which handles read once.
                    let at = match random.below(5) {
                        0 => [64, 72, 128, 136, 192][random.below(5)],
                        1 => 4096 + random.number() % 3 * 64,
                        2..4 => 8192 + random.number() % 40 * 8,
                        _ => random.number() % (size - 64) / 8 * 8 + 56,
                    };
                    if let Ok(word) = word::<AtomicU64>(view, at) {
                        word.store(telling_word(&mut random), Ordering::Relaxed);
                    }
                }
            });
            let mut workers = Vec::new();
            for (worker, cell) in cells.iter().chain(&cells[..1]).enumerate() {
                workers.push(scope.spawn(move || {
                    let mut handles = handover_tests::fuzz::Handles::new(cell.clone());
                    let mut random = Random(worker as u64);
                    for _ in 0..calls {
                        let choice = random.number();
                        handles.act(choice as u8, (choice >> 8) as u16);
                        calls_made.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
            let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(ended.iter().all(Result::is_ok), "a call panicked");
        });
        assert_eq!(calls_made.load(Ordering::Relaxed), u64::from(calls) * 4);
    });
}

#[test]
fn a_named_cell_that_is_scribbled_over_while_it_is_used() {
    scribbled_over(false, 8000);
}

#[test]
fn a_cell_on_a_file_that_is_scribbled_over_while_it_is_used() {
    scribbled_over(true, 8000);
}

#[test]
fn loading_through_a_handle_that_cannot_write_is_an_error_even_where_its_file_can() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    let cell = CellOptions::new().capacity(64).create_or_open(&path).unwrap();
    cell.try_writer().unwrap().unwrap().publish(b"a value").unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let map = MapOptions::new().access(Access::Read).from_file(file, 0).unwrap();
    let reading = Cell::open_in(map).unwrap();
    assert!(!reading.can_write());
    assert_eq!(reading.reader().load().unwrap_err().kind(), ErrorKind::AccessDenied);
    assert_eq!(reading.reader().copy().unwrap().unwrap().bytes.as_slice(), b"a value");
    assert_eq!(reading.try_writer().unwrap_err().kind(), ErrorKind::AccessDenied);
}

#[cfg(target_os = "linux")]
#[test]
fn a_record_that_leads_to_a_fifo_is_not_waited_for() {
    use std::os::unix::fs::MetadataExt;

    use handover_tests::Start;

    guarded(|| {
        let dir = own_dir();
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).run();
        if !made.is_ok_and(|status| status.success()) {
            skip!("no FIFO can be made here");
        }
        let names = own_dir();
        let options = names_in(&names);
        let holder = options.create_new("n", 4096).unwrap();
        let scope = std::fs::read_dir(names.path()).unwrap().flatten().next().unwrap().path();
        let files = std::fs::read_dir(scope).unwrap().flatten();
        let file = files.map(|file| file.path()).find(|file| file.metadata().unwrap().len() > 4096).unwrap();
        let metadata = fifo.metadata().unwrap();
        let path = fifo.to_str().unwrap();
        let mut record = std::fs::read(&file).unwrap()[..81].to_vec();
        record[12..16].copy_from_slice(&2u32.to_le_bytes());
        record[16..24].copy_from_slice(&0u64.to_le_bytes());
        record[48..52].copy_from_slice(&(path.len() as u32).to_le_bytes());
        record[56..64].copy_from_slice(&metadata.dev().to_le_bytes());
        record[64..72].copy_from_slice(&metadata.ino().to_le_bytes());
        record.extend_from_slice(path.as_bytes());
        {
            use std::os::unix::fs::FileExt;
            std::fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&record, 0).unwrap();
        }
        assert!(options.clone().access(Access::Read).open_existing("n").is_err());
        assert!(options.open_existing("n").is_err());
        drop(holder);
    });
}

#[test]
fn a_current_slot_that_does_not_exist_and_is_being_written_ends_nobody() {
    let (cell, view) = with_a_value();
    for slot in [12u64, 63] {
        view.write(CURRENT, 5u64 << 6 | slot).unwrap();
        view.write(128, slot + 1).unwrap();
        assert_eq!(cell.try_writer().unwrap().unwrap().publish(b"next").unwrap(), 6);
        assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"next");
    }
}

#[test]
fn a_current_slot_that_does_not_exist_beside_a_durable_one_to_be_wiped_ends_nobody() {
    let (cell, view) = with_a_value();
    for slot in [12u64, 63] {
        view.write(CURRENT, 5u64 << 6 | slot).unwrap();
        // Slot 0: the version that reached the disk last, marked for wiping.
        view.write(field(0, 0), 1u64).unwrap();
        view.write(144, 1u64 << 6).unwrap();
        view.write(field(0, 56), 2u64).unwrap();
        drop(cell.try_writer().unwrap());
        assert_eq!(cell.try_writer().unwrap().unwrap().publish(b"next").unwrap(), 6);
        assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"next");
    }
}
