//! Proves the promises for cells on files besides power loss: values survive their processes, two processes
//! share one file, damage is noticed when the file is opened and an older version comes back, and messages
//! say what to do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use handover::cell::{Cell, CellOptions};
use handover::codec::{Json, Text};
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MapOptions};
use handover::{Durability, ErrorKind, MapperOptions, MemoryMapper};
use handover_tests::{FileAt, OwnDir, Start, names_in, own_dir};

const HEADERS: u64 = 8192;
const SLOTS: u64 = 16_384;
const HANG: Duration = Duration::from_secs(60);

fn cell(path: &Path, durability: Durability) -> Cell {
    CellOptions::new().durability(durability).capacity(3000).create_or_open(path).unwrap()
}

fn set(cell: &Cell, value: &[u8]) -> u64 {
    cell.try_writer().unwrap().expect("nobody else writes").publish(value).unwrap()
}

fn value(cell: &Cell) -> Option<Vec<u8>> {
    cell.copy().unwrap().map(|value| value.bytes.to_vec())
}

fn read_only(path: &Path) -> handover::Result<Cell> {
    Cell::open_in(MapOptions::new().access(Access::Read).open_existing(path)?)
}

fn word(path: &Path, at: u64) -> u64 {
    let mut bytes = [0; 8];
    File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    u64::from_ne_bytes(bytes)
}

/// Changes one byte.
fn damage(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

fn current_slot(path: &Path) -> u64 {
    word(path, 64) & 63
}

/// Where the bytes of the current slot start; slots have 4,096 bytes for values of up to 3,000 bytes.
fn current_bytes(path: &Path) -> u64 {
    SLOTS + current_slot(path) * 4096
}

fn with_three_versions(dir: &OwnDir) -> PathBuf {
    let path = dir.path().join("cell");
    let cell = cell(&path, Durability::Sync);
    for value in ["first", "second", "third"] {
        set(&cell, value.as_bytes());
    }
    path
}

#[test]
fn damage_to_the_newest_version_brings_the_one_before_back() {
    let dir = own_dir();
    // A byte of the value, of its length, of its time, of its checksum, of its version.
    for at in [None, Some(8), Some(32), Some(24), Some(0)] {
        let path = with_three_versions(&dir);
        damage(
            &path,
            at.map_or(current_bytes(&path) + 2, |field| HEADERS + current_slot(&path) * 64 + field),
        );

        let error = read_only(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(
            text.contains("cell'") && text.contains("not whole") && text.contains("write access"),
            "{text}"
        );

        let recovered = cell(&path, Durability::Sync);
        assert_eq!(value(&recovered).as_deref(), Some(&b"second"[..]), "{at:?}");
        assert_eq!((recovered.version(), recovered.dropped().is_some()), (2, true), "{at:?}");
        if at != Some(0) {
            assert_eq!(recovered.dropped(), Some(3));
        }
        // The second one to open it has nothing to recover, and a read-only handle can open it now.
        assert_eq!(cell(&path, Durability::None).dropped(), None);
        assert_eq!(value(&read_only(&path).unwrap()).as_deref(), Some(&b"second"[..]));
        assert_eq!(set(&recovered, b"fourth"), 3);
        drop(recovered);
        assert_eq!(value(&cell(&path, Durability::None)).as_deref(), Some(&b"fourth"[..]));
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn where_all_versions_are_damaged_the_cell_is_empty_and_says_what_it_dropped() {
    let dir = own_dir();
    let path = with_three_versions(&dir);
    for slot in 0..3 {
        damage(&path, SLOTS + slot * 4096);
    }
    let recovered = cell(&path, Durability::None);
    assert_eq!((recovered.version(), recovered.dropped(), value(&recovered)), (0, Some(3), None));
    assert_eq!(set(&recovered, b"again"), 1);
    assert_eq!(value(&recovered).as_deref(), Some(&b"again"[..]));
}

#[test]
fn a_word_that_names_nothing_leads_to_the_newest_whole_version() {
    let dir = own_dir();
    for current in [0u64, 63, 1 << 6, 7 << 6 | 1, 9 << 6 | 0x3C, u64::MAX] {
        let path = with_three_versions(&dir);
        File::options().write(true).open(&path).unwrap().write_all_at(&current.to_ne_bytes(), 64).unwrap();
        let recovered = cell(&path, Durability::None);
        assert_eq!(value(&recovered).as_deref(), Some(&b"third"[..]), "{current:#x}");
        assert_eq!(recovered.version(), 3);
        assert_eq!(set(&recovered, b"next"), 4);
        drop(recovered);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn damage_while_the_file_is_open_is_told_by_the_snapshot() {
    let dir = own_dir();
    let path = with_three_versions(&dir);
    let cell = cell(&path, Durability::None);
    let mut reader = cell.reader();
    let snapshot = reader.load().unwrap().unwrap().clone();
    assert!(snapshot.is_whole());
    damage(&path, current_bytes(&path));
    assert!(!snapshot.is_whole());
    damage(&path, current_bytes(&path));
    assert!(snapshot.is_whole());
    // Another process took it out: the bytes stay for whoever holds them.
    cell.try_writer().unwrap().unwrap().clear().unwrap();
    assert!(snapshot.is_whole());
    assert_eq!(snapshot.copy().unwrap().as_slice(), b"third");
}

#[test]
fn a_damaged_file_with_a_writer_says_that_it_can_not_be_recovered_now() {
    let dir = own_dir();
    let path = with_three_versions(&dir);
    let first = cell(&path, Durability::None);
    let lease = first.try_writer().unwrap().unwrap();
    damage(&path, current_bytes(&path));
    let error = CellOptions::new().capacity(3000).create_or_open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(error.to_string().contains("writers' lock"), "{error}");
    drop(lease);
    assert_eq!(cell(&path, Durability::None).dropped(), Some(3));
}

#[test]
fn every_durability_stores_and_reads() {
    let dir = own_dir();
    for durability in [Durability::None, Durability::Flush, Durability::Sync] {
        let path = dir.path().join(format!("{durability:?}"));
        let options = MapperOptions::new().durability(durability);
        let mapper: MemoryMapper<String, Json> = options.clone().capacity(100).create_or_open(&path).unwrap();
        for version in 1..=20 {
            assert_eq!(mapper.set(&format!("value {version}")).unwrap(), version);
        }
        assert_eq!(mapper.take().unwrap().as_deref(), Some("value 20"));
        assert_eq!(mapper.get().unwrap(), None);
        mapper.set(&"last".to_owned()).unwrap();
        drop(mapper);
        let again: MemoryMapper<String, Json> = options.open_existing(&path).unwrap();
        assert_eq!((again.version(), again.get().unwrap().unwrap().as_str()), (22, "last"));
        assert_eq!(again.cell().dropped(), None);
    }
}

#[test]
fn what_was_taken_or_cleared_is_not_in_the_file() {
    let dir = own_dir();
    for durability in [Durability::None, Durability::Sync] {
        let path = dir.path().join(format!("{durability:?}"));
        let strong: MemoryMapper<String, Text> =
            MapperOptions::new().durability(Durability::Sync).capacity(3000).create_or_open(&path).unwrap();
        strong.set(&"a t0ken that nobody may find".to_owned()).unwrap();
        let mapper: MemoryMapper<String, Text> =
            MapperOptions::new().durability(durability).open_existing(&path).unwrap();
        assert!(mapper.take().unwrap().is_some());
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"t0ken"));
        assert_eq!(word(&path, 144), word(&path, 64), "the absence is on the disk before the value is wiped");
    }
}

#[test]
fn who_only_opened_a_file_is_no_writer() {
    let dir = own_dir();
    let path = with_three_versions(&dir);
    let one = cell(&path, Durability::None);
    let two = cell(&path, Durability::None);
    assert!(!one.info().unwrap().has_writer);
    assert_eq!(one.wait_newer_while_written(3, HANG).unwrap(), None);
    set(&two, b"fourth");
    assert!(one.info().unwrap().has_writer);
}

#[test]
fn a_file_that_is_something_else_is_left_as_it_is() {
    let dir = own_dir();
    let path = dir.path().join("else");
    // Its first bytes are zero; what follows is not.
    let mut bytes = vec![0; 40_000];
    bytes[1000..1010].copy_from_slice(b"important!");
    for start in [&b"{\"a\":1}"[..], b"HANDCELL garbage", b"\x7fELF", &[0; 8]] {
        bytes[..start.len()].copy_from_slice(start);
        fs::write(&path, &bytes).unwrap();
        let error = CellOptions::new().capacity(3000).create_or_open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKind, "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        bytes[..16].fill(0);
    }
    let error = CellOptions::new().capacity(3000).create_or_open(&path).unwrap_err();
    assert!(error.to_string().contains("move it away or remove it"), "{error}");
    fs::write(&path, b"short").unwrap();
    let error = CellOptions::new().capacity(3000).create_or_open(&path).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OutOfRange | ErrorKind::WrongKind), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"short");
}

#[test]
fn a_head_that_was_cut_short_is_completed() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    drop(cell(&path, Durability::None));
    let head = fs::read(&path).unwrap()[..64].to_vec();
    for words in 0..256u32 {
        let mut cut = head.clone();
        for (at, chunk) in cut.chunks_mut(8).enumerate() {
            if words & 1 << at == 0 {
                chunk.fill(0);
            }
        }
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&cut, 0).unwrap();
        let before = fs::metadata(&path).unwrap().len();
        if cut != head {
            let error = read_only(&path).unwrap_err();
            assert!(error.to_string().contains("makes one"), "{words:#b}: {error}");
        }
        let made = cell(&path, Durability::None);
        assert_eq!((made.version(), value(&made)), (0, None), "{words:#b}");
        assert_eq!(fs::read(&path).unwrap()[..64], head);
        assert_eq!(fs::metadata(&path).unwrap().len(), before);
    }
}

#[test]
fn a_head_that_alone_did_not_reach_the_disk_is_made_anew() {
    let dir = own_dir();
    for lost in [8, 64, 512, 4096] {
        let path = with_three_versions(&dir);
        File::options().write(true).open(&path).unwrap().write_all_at(&vec![0; lost], 0).unwrap();
        let recovered = cell(&path, Durability::None);
        assert_eq!(value(&recovered).as_deref(), Some(&b"third"[..]), "{lost}");
        assert_eq!((recovered.version(), recovered.dropped()), (3, None));
        assert_eq!(set(&recovered, b"next"), 4);
        drop(recovered);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_that_grew_is_the_same_cell_and_one_that_was_cut_is_refused() {
    let dir = own_dir();
    let path = with_three_versions(&dir);
    let length = fs::metadata(&path).unwrap().len();
    // A larger capacity leaves an existing cell as it is.
    let same = CellOptions::new().capacity(1 << 20).create_or_open(&path).unwrap();
    assert_eq!((same.version(), same.capacity() < 4096), (3, true));
    drop(same);
    let map = create_from_file(&path, FileMode::Open, length * 2, &MapOptions::new()).unwrap();
    let grown = Cell::open_in(map).unwrap();
    assert_eq!(value(&grown).as_deref(), Some(&b"third"[..]));
    assert_eq!(set(&grown, b"fourth"), 4);
    drop(grown);
    assert_eq!(value(&cell(&path, Durability::None)).as_deref(), Some(&b"fourth"[..]));
    File::options().write(true).open(&path).unwrap().set_len(length - 4096).unwrap();
    let error = CellOptions::new().capacity(3000).create_or_open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKind);
    assert!(error.to_string().contains("don't fit the map"), "{error}");
}

#[test]
#[cfg(target_os = "linux")] // Elsewhere a file has its disk space from when it was made.
fn memory_that_a_header_only_promises_is_taken_before_it_is_written() {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::FallocateFlags;

    let dir = own_dir();
    let path = dir.path().join("cell");
    let big = CellOptions::new().capacity(1 << 20).create_or_open(&path).unwrap();
    for seed in 0..3u8 {
        set(&big, &vec![seed | 1; 1 << 20]);
    }
    drop(big);
    // As after a power loss: the headers say that slots have memory, and they have none.
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let slot_size = ((1u64 << 20) + 256).next_multiple_of(4096);
    for slot in (0..3).filter(|slot| *slot != current_slot(&path)) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, flags, SLOTS + slot * slot_size, slot_size).unwrap();
    }
    let before = file.metadata().unwrap().blocks();
    let cell = CellOptions::new().capacity(1 << 20).create_or_open(&path).unwrap();
    let mut writer = cell.try_writer().unwrap().unwrap();
    writer
        .publish_with(1 << 20, |_| {
            let taken = file.metadata().unwrap().blocks() - before;
            assert!(taken * 512 >= 1 << 20, "{taken} blocks");
            Ok(())
        })
        .unwrap();
}

#[test]
#[cfg(target_os = "linux")] // Elsewhere a file keeps its disk space.
fn a_slot_of_a_large_value_is_given_back_after_the_file_was_opened_again() {
    use std::os::unix::fs::MetadataExt;
    let dir = own_dir();
    let path = dir.path().join("cell");
    let open = || CellOptions::new().capacity(1 << 20).create_or_open(&path).unwrap();
    let cell = open();
    for _ in 0..3 {
        set(&cell, &vec![7; 1 << 20]);
    }
    drop(cell);
    let cell = open();
    for _ in 0..3 {
        set(&cell, b"small");
    }
    let bytes = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(bytes < 300_000, "{bytes} bytes are kept for a value of 5");
}

// ---- processes

const ROLE: &str = "HANDOVER_TEST_ROLE";
const FILE: &str = "HANDOVER_TEST_FILE";

/// Runs one of the roles below in another process.
fn process(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(FILE, path).stdout(std::process::Stdio::null());
    command
}

/// What another process does; in the test's own process this does nothing.
#[test]
fn role() {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(FILE)) else { return };
    let mapper: MemoryMapper<(String, u64), Json> = MapperOptions::new()
        .durability(Durability::Sync)
        .capacity(3000)
        .create_or_open(Path::new(&path))
        .unwrap();
    match role.as_str() {
        "store" => {
            mapper.set(&("stored".to_owned(), 1)).unwrap();
        }
        "add" => {
            for _ in 0..50 {
                mapper.update(|(text, count)| (text, count + 1)).unwrap();
            }
        }
        "answer" => {
            let (_, count) = mapper.wait(HANG).unwrap();
            mapper.set(&("answered".to_owned(), count + 1)).unwrap();
        }
        "die" => {
            let _lease = mapper.lease(HANG).unwrap();
            std::process::abort();
        }
        other => panic!("no such role: {other}"),
    }
}

fn open(path: &Path) -> MemoryMapper<(String, u64), Json> {
    MapperOptions::new().open_existing(path).unwrap()
}

#[test]
fn values_survive_their_processes() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    assert!(process("store", &path).run().unwrap().success());
    assert_eq!(open(&path).get().unwrap().unwrap(), ("stored".to_owned(), 1));
    assert!(!process("die", &path).stderr(std::process::Stdio::null()).run().unwrap().success());
    let mapper = open(&path);
    assert_eq!(mapper.get().unwrap().unwrap(), ("stored".to_owned(), 1));
    assert_eq!(mapper.set(&("next".to_owned(), 2)).unwrap(), 2);
}

#[test]
fn two_processes_change_one_file_and_lose_nothing() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    assert!(process("store", &path).run().unwrap().success());
    let mut others: Vec<_> = (0..2).map(|_| process("add", &path).start().unwrap()).collect();
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
    let mapper = open(&path);
    assert_eq!((mapper.get().unwrap().unwrap().1, mapper.version()), (101, 101));
}

#[test]
fn a_process_learns_of_a_value_that_another_stored_in_the_file() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    let mapper: MemoryMapper<(String, u64), Json> =
        MapperOptions::new().capacity(3000).create_or_open(&path).unwrap();
    let mut other = process("answer", &path).start().unwrap();
    mapper.set(&("asked".to_owned(), 41)).unwrap();
    mapper.cell().wait_newer(1, HANG).unwrap();
    assert_eq!(mapper.get().unwrap().unwrap(), ("answered".to_owned(), 42));
    assert!(other.wait().unwrap().success());
}

#[test]
fn a_cell_on_a_file_that_has_a_name_is_on_a_file_for_who_opens_the_name() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    drop(cell(&path, Durability::None));
    let options = names_in(&dir);
    let holder = options.clone().map_name("on a file").open_existing(&path).unwrap();
    let durable = CellOptions::new().durability(Durability::Sync);
    let named = durable.open_in(options.open_existing("on a file").unwrap()).unwrap();
    assert_eq!(set(&named, b"by name"), 1);
    assert_eq!(word(&path, 144), word(&path, 64), "it is on the disk");
    drop((named, holder));
    assert_eq!(value(&cell(&path, Durability::None)).as_deref(), Some(&b"by name"[..]));
}

#[test]
fn the_file_must_not_be_there_with_create_new() {
    let dir = own_dir();
    let path = with_three_versions(&dir);
    let error = create_from_file(&path, FileMode::CreateNew, 1 << 20, &MapOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(value(&cell(&path, Durability::None)).as_deref(), Some(&b"third"[..]));
}

#[test]
fn a_cell_in_a_map_of_any_kind_can_be_opened_again() {
    let dir = own_dir();
    let options = names_in(&dir);
    let map = options.create_new("raw", 100_000).unwrap();
    let cell = Cell::make_in(map).unwrap();
    assert_eq!(set(&cell, b"value"), 1);
    for again in [
        Cell::open_in(options.open_existing("raw").unwrap()).unwrap(),
        Cell::make_in(options.open_existing("raw").unwrap()).unwrap(),
    ] {
        assert_eq!(value(&again).as_deref(), Some(&b"value"[..]));
    }
}

#[test]
fn a_refused_file_is_left_as_it_is_whatever_follows_its_zero_bytes() {
    let dir = own_dir();
    let path = dir.path().join("else");
    let mut bytes = vec![0xFF; 400_000];
    bytes[..64].fill(0);
    fs::write(&path, &bytes).unwrap();
    let error = CellOptions::new().capacity(3000).create_or_open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKind, "{error}");
    let after = fs::read(&path).unwrap();
    let changed = bytes.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!((after.len(), changed), (bytes.len(), 0));
}

/// With neither the head nor `current` on the disk, only the slots tell what there was.
#[test]
fn a_secret_whose_head_alone_did_not_reach_the_disk_comes_back() {
    let dir = own_dir();
    let path = dir.path().join("cell");
    let open = || CellOptions::new().secret(true).capacity(3000).create_or_open(&path).unwrap();
    let first = open();
    set(&first, b"a secret");
    drop(first);
    let file = File::options().write(true).open(&path).unwrap();
    // Magic, and current. What writers keep is on the disk.
    file.write_all_at(&[0; 8], 0).unwrap();
    file.write_all_at(&[0; 8], 64).unwrap();
    assert_eq!(value(&open()).as_deref(), Some(&b"a secret"[..]));
}

/// On the disk, the words that say where there is memory may be older than the value.
#[test]
fn what_is_cleared_after_a_loss_of_power_is_not_in_the_file() {
    // The slot's extent; what publishing and writers keep in the first page.
    let lost = |path: &Path, extent: bool, first_page: bool| {
        let file = File::options().write(true).open(path).unwrap();
        if extent {
            file.write_all_at(&[0; 8], HEADERS + current_slot(path) * 64 + 48).unwrap();
        }
        if first_page {
            file.write_all_at(&[0; 128], 64).unwrap();
        }
    };
    for durability in [Durability::None, Durability::Sync] {
        // With `Sync` the headers are on the disk before the version is current.
        for (extent, first_page) in [(durability == Durability::None, false), (false, true)] {
            let dir = own_dir();
            let path = dir.path().join("cell");
            set(&cell(&path, durability), b"a value to be cleared");
            lost(&path, extent, first_page);
            let again = cell(&path, durability);
            assert_eq!(value(&again).as_deref(), Some(&b"a value to be cleared"[..]));
            again.try_writer().unwrap().unwrap().clear().unwrap();
            drop(again);
            let found = fs::read(&path).unwrap().windows(7).any(|window| window == b"cleared");
            assert!(!found, "{durability:?}, lost: extent {extent}, first page {first_page}");
        }
    }
}

/// The reader that had pinned it ended with the power.
#[test]
fn what_was_dropped_is_told_once_also_where_a_dead_reader_had_pinned_it() {
    let dir = own_dir();
    let path = with_three_versions(&dir);
    damage(&path, current_bytes(&path));
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&(current_slot(&path) + 1).to_ne_bytes(), 4096).unwrap();
    file.write_all_at(&1u32.to_ne_bytes(), 192).unwrap();
    for dropped in [Some(3), None] {
        let recovered = cell(&path, Durability::Sync);
        assert_eq!((value(&recovered).as_deref(), recovered.dropped()), (Some(&b"second"[..]), dropped));
    }
}
