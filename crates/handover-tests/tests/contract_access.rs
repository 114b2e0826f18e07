//! Proves the two access matrices (map and view, file and map), the table of rights, and what read-only,
//! write-only and copy-on-write views do. The matrices are copied from .NET's tests, not computed by the
//! library.

mod contract_common;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Seek, Write};

use contract_common::{failure, kind, own_dir, within};
use handover::map::dotnet::{Decimal, FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile, Rights};
use handover::{ErrorKind, Result};
use handover_tests::{skip, under_wine};
use tempfile::TempDir;

use handover::map::Access::{CopyOnWrite, Read as R, ReadExecute, ReadWrite, ReadWriteExecute, Write as W};

const VIEWS: [Access; 6] = [R, W, ReadWrite, CopyOnWrite, ReadExecute, ReadWriteExecute];

/// One row for each map, one column for each of `VIEWS`.
const MAP_BY_VIEW: [(Access, [bool; 6]); 5] = [
    (R, [true, false, false, true, false, false]),
    (ReadWrite, [true, true, true, true, false, false]),
    (CopyOnWrite, [true, false, false, true, false, false]),
    (ReadExecute, [true, false, false, true, true, false]),
    (ReadWriteExecute, [true, true, true, true, true, true]),
];

/// Whether `result` is what the table says. A system may refuse to map memory as code (a file system mounted
/// without it, a hardened kernel): then, and for such a view only, a denial is accepted too.
#[track_caller]
fn check<T>(result: Result<T>, allowed: bool, view: Access, what: &str) -> Option<T> {
    match result {
        Ok(view) => {
            assert!(allowed, "{what} was allowed");
            Some(view)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::AccessDenied, "{what}: {error}");
            if allowed {
                assert!(view.can_execute(), "{what} was denied: {error}");
                eprintln!("not proven, this system refuses code in maps: {what}: {error}");
            }
            None
        }
    }
}

#[track_caller]
fn check_views(map: &MemoryMappedFile, row: [bool; 6], what: &str) {
    for (access, allowed) in VIEWS.into_iter().zip(row) {
        let what = format!("a {access} view of {what}");
        let (read, write) = match access {
            R | ReadExecute => (true, false),
            W => (false, true),
            ReadWrite | CopyOnWrite | ReadWriteExecute => (true, true),
        };
        if let Some(view) = check(map.create_view_accessor_with(0, 0, access), allowed, access, &what) {
            assert_eq!((view.access(), view.can_read(), view.can_write()), (access, read, write));
            assert_eq!(view.read::<u8>(0).is_ok(), read);
            assert_eq!(view.write(0, 0u8).is_ok(), write);
            view.flush().unwrap();
        }
        if let Some(mut view) = check(map.create_view_stream_with(0, 0, access), allowed, access, &what) {
            assert_eq!((view.access(), view.can_read(), view.can_write()), (access, read, write));
            assert_eq!(view.read(&mut [0]).is_ok(), read);
            assert_eq!(view.write(&[0]).is_ok(), write);
            view.flush().unwrap();
        }
    }
}

#[test]
fn all_30_pairs_of_map_and_view_on_an_anonymous_map() {
    for (access, row) in MAP_BY_VIEW {
        let map = MapOptions::new().access(access).anonymous(4096).unwrap();
        assert_eq!(map.access(), access);
        check_views(&map, row, &format!("an anonymous {access} map"));
    }
}

#[test]
fn all_30_pairs_of_map_and_view_on_a_named_map() {
    let dir = own_dir();
    for (access, row) in MAP_BY_VIEW {
        let map = within(&dir).access(access).create_new("n", 4096).unwrap();
        check_views(&map, row, &format!("a named {access} map"));
    }
}

#[test]
fn all_30_pairs_of_map_and_view_on_a_file() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 4096]).unwrap();
    for (access, row) in MAP_BY_VIEW {
        let map = create_from_file(&path, FileMode::Open, 0, &within(&dir).access(access)).unwrap();
        check_views(&map, row, &format!("a {access} map of a file"));
    }
}

#[test]
fn a_write_only_map_cannot_be_created() {
    let dir = own_dir();
    let options = within(&dir).access(W);
    let expected = (ErrorKind::InvalidArgument, "access");
    assert_eq!(failure(options.anonymous(4096)), expected);
    assert_eq!(failure(options.create_new("n", 4096)), expected);
    assert_eq!(failure(options.create_or_open("n", 4096)), expected);
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 4096]).unwrap();
    assert_eq!(failure(create_from_file(&path, FileMode::Open, 0, &options)), expected);
    assert_eq!(failure(options.from_file(File::open(&path).unwrap(), 0)), expected);
}

#[test]
fn a_file_must_have_been_opened_for_what_the_map_does() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 4096]).unwrap();
    // Read, read-write, copy-on-write, read-execute, read-write-execute.
    let maps = [R, ReadWrite, CopyOnWrite, ReadExecute, ReadWriteExecute];
    let files = [
        ("read-write", OpenOptions::new().read(true).write(true).clone(), [true; 5]),
        ("read", OpenOptions::new().read(true).clone(), [true, false, true, false, false]),
        ("write", OpenOptions::new().write(true).clone(), [false; 5]),
    ];
    for (how, file, row) in files {
        for (access, allowed) in maps.into_iter().zip(row) {
            for capacity in [0, 4096] {
                let map = MapOptions::new().access(access).from_file(file.open(&path).unwrap(), capacity);
                match map {
                    Ok(_) => assert!(allowed, "a {access} map of a file opened for {how}"),
                    Err(error) => {
                        assert!(!allowed, "a {access} map of a file opened for {how}: {error}");
                        assert_eq!(error.kind(), ErrorKind::AccessDenied);
                    }
                }
            }
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_descriptor_that_only_names_a_file_can_not_be_mapped() {
    use std::os::unix::fs::OpenOptionsExt;

    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 4096]).unwrap();
    for access in [R, ReadWrite, CopyOnWrite, ReadExecute, ReadWriteExecute] {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
        let refused = MapOptions::new().access(access).from_file(file, 0);
        assert_eq!(kind(refused), ErrorKind::AccessDenied, "{access}");
    }
}

#[test]
fn rights_of_an_opener_decide_which_views_it_has() {
    let dir = own_dir();
    let creator = within(&dir).create_new("n", 4096).unwrap();
    // Columns: Read, Write, ReadWrite.
    let table = [
        (Rights::COPY_ON_WRITE, [false, false, false]),
        (Rights::WRITE, [false, true, true]),
        (Rights::READ, [true, false, false]),
        (Rights::READ_WRITE, [true, true, true]),
        (Rights::READ_WRITE_EXECUTE, [true, true, true]),
        (Rights::FULL_CONTROL, [true, true, true]),
        (Rights::READ_EXECUTE, [true, false, false]),
        (Rights::EXECUTE, [false, false, false]),
        (Rights::DELETE, [false, false, false]),
        (Rights::READ_PERMISSIONS, [false, false, false]),
        (Rights::CHANGE_PERMISSIONS, [false, false, false]),
        (Rights::TAKE_OWNERSHIP, [false, false, false]),
    ];
    for (rights, row) in table {
        for inheritable in [false, true] {
            for rights in [rights, rights | Rights::READ_PERMISSIONS] {
                let options = within(&dir).rights(rights).inheritable(inheritable);
                let map = options.open_existing("n").unwrap();
                assert!(!map.was_created());
                for (access, allowed) in [R, W, ReadWrite].into_iter().zip(row) {
                    let what = format!("{access} with rights {:#x}", rights.bits());
                    check(map.create_view_accessor_with(0, 0, access), allowed, access, &what);
                    check(map.create_view_stream_with(0, 0, access), allowed, access, &what);
                }
                // The creator's map is read-write, so no right makes it executable.
                for access in [ReadExecute, ReadWriteExecute] {
                    if under_wine() && rights.contains(Rights::EXECUTE) {
                        continue;
                    }
                    assert_eq!(kind(map.create_view_accessor_with(0, 0, access)), ErrorKind::AccessDenied);
                }
            }
        }
    }
    drop(creator);
    assert_eq!(kind(within(&dir).open_existing("n")), ErrorKind::NotFound);
}

#[test]
fn the_creators_access_is_a_ceiling_for_every_opener() {
    if under_wine() {
        skip!("Wine does not record what a section was created for");
    }
    let dir = own_dir();
    for (access, row) in MAP_BY_VIEW {
        let _creator = within(&dir).access(access).create_new("n", 4096).unwrap();
        let opened = within(&dir).rights(Rights::FULL_CONTROL).open_existing("n").unwrap();
        assert_eq!(opened.access(), access);
        check_views(&opened, row, &format!("a {access} map opened with all rights"));
    }
}

#[test]
fn the_audit_right_is_refused_at_opening() {
    let dir = own_dir();
    let _creator = within(&dir).create_new("n", 4096).unwrap();
    let options = within(&dir).rights(Rights::ACCESS_SYSTEM_SECURITY | Rights::READ_WRITE);
    assert_eq!(kind(options.open_existing("n")), ErrorKind::Io);
}

// Names, as far as one process can show them.

fn two_bytes(map: &MemoryMappedFile) -> [u8; 2] {
    map.create_view_accessor_with(0, 0, R).unwrap().read(0).unwrap()
}

fn marked(dir: &TempDir) -> MemoryMappedFile {
    let map = within(dir).create_new("n", 4096).unwrap();
    map.create_view_accessor(0, 0).unwrap().write(0, [7u8, 9]).unwrap();
    map
}

#[test]
fn create_new_under_a_name_in_use_leaves_the_map_untouched() {
    let dir = own_dir();
    let map = marked(&dir);
    assert_eq!(kind(within(&dir).create_new("n", 8192)), ErrorKind::AlreadyExists);
    assert_eq!((two_bytes(&map), map.capacity()), ([7, 9], 4096));
    assert_eq!(two_bytes(&within(&dir).open_existing("n").unwrap()), [7, 9]);
}

#[test]
fn create_or_open_keeps_the_capacity_access_and_bytes_that_are_there() {
    let dir = own_dir();
    let map = marked(&dir);
    for capacity in [1, 4096, 100_000, u64::MAX] {
        for delay in [false, true] {
            let options = within(&dir).delay_allocate_pages(delay);
            let other = options.create_or_open("n", capacity).unwrap();
            assert_eq!((other.capacity(), other.was_created()), (4096, false));
            assert!(other.access() == ReadWrite || under_wine());
            assert_eq!(other.create_view_accessor(0, 0).unwrap().capacity(), 4096);
            assert_eq!(two_bytes(&other), [7, 9]);
        }
    }
    assert_eq!(two_bytes(&map), [7, 9]);
}

#[test]
fn create_or_open_creates_what_is_missing_with_what_was_asked_for() {
    let dir = own_dir();
    let map = within(&dir).access(R).create_or_open("n", 100).unwrap();
    assert_eq!((map.capacity(), map.was_created(), map.access()), (100, true, R));
}

#[test]
fn a_name_is_free_once_its_holder_is_gone_and_starts_from_zeroes() {
    let dir = own_dir();
    drop(marked(&dir));
    assert_eq!(kind(within(&dir).open_existing("n")), ErrorKind::NotFound);
    let again = within(&dir).create_new("n", 100).unwrap();
    assert_eq!((two_bytes(&again), again.capacity()), ([0, 0], 100));
}

#[test]
fn create_or_open_for_writing_only_opens_and_has_write_views() {
    let dir = own_dir();
    let map = marked(&dir);
    let writer = within(&dir).access(W).create_or_open("n", 4096).unwrap();
    writer.create_view_accessor_with(0, 0, W).unwrap().write(0, 3u8).unwrap();
    assert_eq!(two_bytes(&map), [3, 9]);
    assert_eq!(kind(writer.create_view_accessor_with(0, 0, R)), ErrorKind::AccessDenied);
}

#[test]
fn create_or_open_read_write_on_a_read_map_has_read_views_only() {
    if under_wine() {
        skip!("Wine does not record what a section was created for");
    }
    let dir = own_dir();
    let _map = within(&dir).access(R).create_new("n", 4096).unwrap();
    let other = within(&dir).create_or_open("n", 4096).unwrap();
    assert_eq!(kind(other.create_view_accessor(0, 0)), ErrorKind::AccessDenied);
    assert_eq!(two_bytes(&other), [0, 0]);
}

#[test]
fn create_or_open_for_reading_on_a_read_write_map_has_read_views_only() {
    let dir = own_dir();
    let _map = marked(&dir);
    let other = within(&dir).access(R).create_or_open("n", 4096).unwrap();
    assert_eq!(kind(other.create_view_accessor(0, 0)), ErrorKind::AccessDenied);
    assert_eq!(kind(other.create_view_stream_with(0, 0, W)), ErrorKind::AccessDenied);
    assert_eq!(two_bytes(&other), [7, 9]);
}

#[test]
fn create_or_open_opens_a_named_map_on_a_file() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"on disk").unwrap();
    let _map = create_from_file(&path, FileMode::Open, 0, &within(&dir).map_name("n")).unwrap();
    let other = within(&dir).create_or_open("n", 4096).unwrap();
    assert_eq!((other.capacity(), other.was_created()), (7, false));
    assert_eq!(two_bytes(&other), *b"on");
}

// Read-only, write-only, copy-on-write.

#[test]
fn a_read_view_refuses_to_write_and_nothing_changes() {
    let map = MemoryMappedFile::anonymous(64).unwrap();
    let shared = map.create_view_accessor(0, 0).unwrap();
    shared.write(0, 1u8).unwrap();
    let view = map.create_view_accessor_with(0, 0, R).unwrap();
    assert_eq!(kind(view.write(0, 2u8)), ErrorKind::AccessDenied);
    assert_eq!(kind(view.write_bool(0, true)), ErrorKind::AccessDenied);
    assert_eq!(kind(view.write_array(0, &[2u8; 4])), ErrorKind::AccessDenied);
    let mut stream = map.create_view_stream_with(0, 0, R).unwrap();
    assert_eq!(stream.write(&[2]).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(stream.position(), 0);
    assert_eq!(shared.read::<u64>(0).unwrap(), 1);
    // The view's right is checked before the position, but for arrays after it, as in .NET.
    assert_eq!(kind(view.write(64, 2u8)), ErrorKind::AccessDenied);
    assert_eq!(kind(view.write_array(64, &[2u8])), ErrorKind::OutOfRange);
}

#[test]
fn a_write_view_refuses_to_read() {
    let map = MemoryMappedFile::anonymous(64).unwrap();
    let view = map.create_view_accessor_with(0, 0, W).unwrap();
    view.write(0, 5u8).unwrap();
    assert_eq!(kind(view.read::<u8>(0)), ErrorKind::AccessDenied);
    assert_eq!(kind(view.read_bool(0)), ErrorKind::AccessDenied);
    assert_eq!(kind(Decimal::read(&view, 0)), ErrorKind::AccessDenied);
    assert_eq!(kind(view.read_array(0, &mut [0u8; 4])), ErrorKind::AccessDenied);
    assert_eq!(kind(view.load::<std::sync::atomic::AtomicU8>(0)), ErrorKind::AccessDenied);
    assert_eq!(kind(handover_tests::word::<std::sync::atomic::AtomicU8>(&view, 0)), ErrorKind::AccessDenied);
    // The view's right is checked before the position.
    assert_eq!(kind(view.read::<u8>(64)), ErrorKind::AccessDenied);
    assert_eq!(kind(view.read_array(64, &mut [0u8; 4])), ErrorKind::AccessDenied);
    let mut stream = map.create_view_stream_with(0, 0, W).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(stream.fill_buf().unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    stream.write_all(&[6]).unwrap();
    let shared = map.create_view_accessor(0, 0).unwrap();
    assert_eq!(shared.read::<u8>(0).unwrap(), 6);
}

#[test]
fn a_copy_on_write_view_sees_what_was_shared_and_keeps_its_own_writes() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 8192]).unwrap();
    let maps = [
        MemoryMappedFile::anonymous(8192).unwrap(),
        within(&dir).create_new("n", 8192).unwrap(),
        create_from_file(&path, FileMode::Open, 0, &within(&dir)).unwrap(),
    ];
    for map in maps {
        let shared = map.create_view_accessor(0, 0).unwrap();
        shared.write(5000, 0x1111u16).unwrap();
        {
            let private = map.create_view_accessor_with(0, 0, CopyOnWrite).unwrap();
            assert_eq!(private.read::<u16>(5000).unwrap(), 0x1111);
            private.write(5000, 0x2222u16).unwrap();
            private.flush().unwrap();
            assert_eq!(private.read::<u16>(5000).unwrap(), 0x2222);
            assert_eq!(shared.read::<u16>(5000).unwrap(), 0x1111);
            let mut stream = map.create_view_stream_with(0, 0, CopyOnWrite).unwrap();
            stream.seek(std::io::SeekFrom::Start(5000)).unwrap();
            let mut two = [0; 2];
            stream.read_exact(&mut two).unwrap();
            assert_eq!(two, [0x11; 2]);
        }
        let again = map.create_view_accessor_with(0, 0, CopyOnWrite).unwrap();
        assert_eq!(again.read::<u16>(5000).unwrap(), 0x1111);
    }
    assert_eq!(std::fs::read(&path).unwrap()[5000..5002], [0x11; 2]);
}

#[test]
fn a_copy_on_write_map_never_changes_its_file() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"kept").unwrap();
    let read_only = File::open(&path).unwrap();
    let map = MapOptions::new().access(CopyOnWrite).from_file(read_only, 0).unwrap();
    let view = map.create_view_accessor_with(0, 0, CopyOnWrite).unwrap();
    view.write(0, *b"lost").unwrap();
    view.flush().unwrap();
    assert_eq!(view.read::<[u8; 4]>(0).unwrap(), *b"lost");
    drop((view, map));
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
}
