//! Proves how maps on files behave: which file is created, emptied, grown, kept or deleted; what is refused;
//! and that all views and the file itself show the same bytes.

mod contract_common;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use contract_common::{failure, kind, own_dir, take_alone, within};
use handover::ErrorKind;
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile};

const MODES: [FileMode; 4] = [FileMode::CreateNew, FileMode::Create, FileMode::Open, FileMode::OpenOrCreate];

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

// Modes.

#[test]
fn open_needs_a_file_and_makes_none() {
    let dir = own_dir();
    let path = dir.path().join("file");
    for capacity in [0, 100] {
        assert_eq!(
            kind(create_from_file(&path, FileMode::Open, capacity, &MapOptions::new())),
            ErrorKind::NotFound
        );
        assert!(!path.exists());
    }
    let below = dir.path().join("no directory").join("file");
    for mode in MODES {
        assert_eq!(
            kind(create_from_file(&below, mode, 100, &MapOptions::new())),
            ErrorKind::NotFound,
            "{mode:?}"
        );
    }
}

#[test]
fn the_other_modes_create_a_missing_file_with_the_capacity() {
    let dir = own_dir();
    for mode in [FileMode::CreateNew, FileMode::Create, FileMode::OpenOrCreate] {
        let path = dir.path().join(format!("{mode:?}"));
        let map = create_from_file(&path, mode, 100, &MapOptions::new()).unwrap();
        assert_eq!((map.capacity(), map.was_created(), length(&path)), (100, true, 100), "{mode:?}");
        drop(map);
        assert_eq!(std::fs::read(&path).unwrap(), [0; 100]);
    }
}

#[test]
fn create_new_refuses_an_existing_file_and_leaves_it() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"kept").unwrap();
    for capacity in [0, 4, 100] {
        let map = create_from_file(&path, FileMode::CreateNew, capacity, &MapOptions::new());
        assert_eq!(kind(map), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }
}

#[test]
fn create_empties_a_longer_file_and_extends_it_to_the_capacity() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [7; 1000]).unwrap();
    let map = create_from_file(&path, FileMode::Create, 100, &MapOptions::new()).unwrap();
    assert_eq!((map.capacity(), map.was_created()), (100, false));
    assert_eq!(std::fs::read(&path).unwrap(), [0; 100]);
}

#[test]
fn open_and_open_or_create_keep_the_bytes_of_an_existing_file() {
    let dir = own_dir();
    let path = dir.path().join("file");
    for mode in [FileMode::Open, FileMode::OpenOrCreate] {
        std::fs::write(&path, b"kept").unwrap();
        let map = create_from_file(&path, mode, 0, &MapOptions::new()).unwrap();
        assert_eq!((map.capacity(), map.was_created()), (4, false));
        assert_eq!(map.create_view_accessor(0, 0).unwrap().read::<[u8; 4]>(0).unwrap(), *b"kept");
    }
}

// Failures.

#[test]
fn a_file_that_a_failed_call_created_is_deleted() {
    let dir = own_dir();
    let path = dir.path().join("file");
    for mode in [FileMode::CreateNew, FileMode::Create, FileMode::OpenOrCreate] {
        let empty = create_from_file(&path, mode, 0, &MapOptions::new());
        assert_eq!(failure(empty), (ErrorKind::InvalidArgument, "capacity"), "{mode:?}");
        assert!(!path.exists(), "{mode:?}");
        let beyond = create_from_file(&path, mode, u64::MAX, &MapOptions::new());
        assert_eq!(failure(beyond), (ErrorKind::OutOfRange, "capacity"), "{mode:?}");
        assert!(!path.exists(), "{mode:?}");
    }
    let read = create_from_file(&path, FileMode::OpenOrCreate, 10, &MapOptions::new().access(Access::Read));
    assert_eq!(kind(read), ErrorKind::InvalidArgument);
    assert!(!path.exists());
}

#[test]
fn a_file_that_was_there_is_kept_when_the_call_fails() {
    let dir = own_dir();
    let path = dir.path().join("file");
    for mode in [FileMode::Open, FileMode::OpenOrCreate, FileMode::Create] {
        File::create(&path).unwrap();
        let map = create_from_file(&path, mode, 0, &MapOptions::new());
        assert_eq!(failure(map), (ErrorKind::InvalidArgument, "capacity"), "{mode:?}");
        assert!(path.exists());
    }
    std::fs::write(&path, b"old").unwrap();
    assert_eq!(
        kind(create_from_file(&path, FileMode::Create, 0, &MapOptions::new())),
        ErrorKind::InvalidArgument
    );
    // .NET empties the file first. Here a refusal leaves it as it was.
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_capacity_that_the_disk_cannot_have_leaves_the_file_as_it_was() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"old").unwrap();
    let huge = i64::MAX as u64;
    match create_from_file(&path, FileMode::Open, huge, &MapOptions::new()) {
        // Some file systems can have such a file.
        Ok(map) => assert_eq!((map.capacity(), length(&path)), (huge, huge)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
        }
    }
}

// Sizes.

#[test]
fn a_larger_capacity_makes_the_file_grow_to_exactly_it_and_stay_so() {
    let dir = own_dir();
    let path = dir.path().join("file");
    for delay in [false, true] {
        for capacity in [512, 1024, 5000] {
            std::fs::write(&path, b"start").unwrap();
            let options = MapOptions::new().delay_allocate_pages(delay);
            let map = create_from_file(&path, FileMode::Open, capacity, &options).unwrap();
            assert_eq!(length(&path), capacity);
            let view = map.create_view_accessor(0, 0).unwrap();
            view.write(capacity - 1, b'!').unwrap();
            drop((view, map));
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, capacity);
            assert_eq!((&bytes[..5], bytes[capacity as usize - 1]), (&b"start"[..], b'!'));
            assert!(bytes[5..bytes.len() - 1].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_capacity_below_the_length_is_out_of_range() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [1; 100]).unwrap();
    for mode in [FileMode::Open, FileMode::OpenOrCreate] {
        let map = create_from_file(&path, mode, 99, &MapOptions::new());
        assert_eq!(failure(map), (ErrorKind::OutOfRange, "capacity"));
        assert_eq!(std::fs::read(&path).unwrap(), [1; 100]);
    }
}

#[test]
fn a_file_that_is_open_for_reading_cannot_grow() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [1; 100]).unwrap();
    let open = |access, capacity| {
        let file = File::open(&path).unwrap();
        MapOptions::new().access(access).from_file(file, capacity)
    };
    assert_eq!(failure(open(Access::Read, 101)), (ErrorKind::InvalidArgument, "capacity"));
    assert_eq!(kind(open(Access::CopyOnWrite, 101)), ErrorKind::AccessDenied);
    assert_eq!(open(Access::CopyOnWrite, 100).unwrap().capacity(), 100);
    let by_path = |access| create_from_file(&path, FileMode::Open, 101, &MapOptions::new().access(access));
    assert_eq!(failure(by_path(Access::Read)), (ErrorKind::InvalidArgument, "capacity"));
    assert_eq!(kind(by_path(Access::ReadExecute)), ErrorKind::AccessDenied);
    assert_eq!(length(&path), 100);
}

// Sharing.

#[test]
fn a_file_that_somebody_has_alone_is_a_sharing_violation() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"kept").unwrap();
    let alone = take_alone(&path).unwrap();
    for access in [Access::Read, Access::ReadWrite, Access::CopyOnWrite] {
        for mode in [FileMode::Open, FileMode::OpenOrCreate] {
            let map = create_from_file(&path, mode, 0, &MapOptions::new().access(access));
            assert_eq!(kind(map), ErrorKind::SharingViolation, "{access} {mode:?}");
        }
    }
    // A refused call empties nothing.
    assert_eq!(
        kind(create_from_file(&path, FileMode::Create, 4, &MapOptions::new())),
        ErrorKind::SharingViolation
    );
    drop(alone);
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    assert!(create_from_file(&path, FileMode::Open, 0, &MapOptions::new()).is_ok());
}

#[test]
fn a_file_that_others_share_can_be_mapped_and_cannot_be_taken_alone() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"bytes").unwrap();
    let other = File::open(&path).unwrap();
    other.lock_shared().unwrap();
    let map = create_from_file(&path, FileMode::Open, 0, &MapOptions::new()).unwrap();
    drop(other);
    assert!(take_alone(&path).is_none());
    drop(map);
    assert!(take_alone(&path).is_some());
}

#[test]
fn two_maps_by_path_share_their_bytes() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 100]).unwrap();
    let maps = [(); 2].map(|()| create_from_file(&path, FileMode::Open, 0, &MapOptions::new()).unwrap());
    let views = maps.each_ref().map(|map| map.create_view_accessor(0, 0).unwrap());
    views[0].write(3, 0x1234u16).unwrap();
    assert_eq!(views[1].read::<u16>(3).unwrap(), 0x1234);
    views[1].write(3, 0x4321u16).unwrap();
    assert_eq!(views[0].read::<u16>(3).unwrap(), 0x4321);
    let read = MapOptions::new().access(Access::Read);
    let readers = [(); 2].map(|()| create_from_file(&path, FileMode::Open, 0, &read).unwrap());
    for map in readers {
        let view = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
        assert_eq!(view.read::<u16>(3).unwrap(), 0x4321);
    }
}

#[test]
fn two_maps_of_one_open_file_share_their_bytes_with_it() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 100]).unwrap();
    let file = read_write(&path);
    let maps = [(); 2].map(|()| MemoryMappedFile::from_file(file.try_clone().unwrap(), 0).unwrap());
    let views = maps.each_ref().map(|map| map.create_view_accessor(10, 20).unwrap());
    views[0].write(0, *b"first").unwrap();
    assert_eq!(views[1].read::<[u8; 5]>(0).unwrap(), *b"first");
    let mut five = [0; 5];
    let mut file = file;
    file.seek(SeekFrom::Start(10)).unwrap();
    file.read_exact(&mut five).unwrap();
    assert_eq!(five, *b"first");
    file.seek(SeekFrom::Start(10)).unwrap();
    file.write_all(b"third").unwrap();
    assert_eq!(views[1].read::<[u8; 5]>(0).unwrap(), *b"third");
}

// Things that are not files.

#[test]
#[cfg(target_os = "linux")] // rustix makes no FIFOs on macOS.
fn a_fifo_is_unsupported_and_never_waits() {
    let dir = own_dir();
    let path = dir.path().join("fifo");
    let kind_of_file = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind_of_file, rustix::fs::Mode::RWXU, 0).unwrap();
    for capacity in [0, 1] {
        for access in [Access::Read, Access::ReadWrite, Access::CopyOnWrite] {
            for mode in [FileMode::Open, FileMode::OpenOrCreate] {
                let map = create_from_file(&path, mode, capacity, &MapOptions::new().access(access));
                assert_eq!(kind(map), ErrorKind::Unsupported, "{access} {mode:?} {capacity}");
            }
        }
        let map = create_from_file(&path, FileMode::Create, capacity, &MapOptions::new());
        assert_eq!(kind(map), ErrorKind::Unsupported);
        assert!(path.exists());
    }
}

#[test]
fn both_ends_of_a_pipe_are_unsupported() {
    #[cfg(unix)]
    type Owned = std::os::fd::OwnedFd;
    #[cfg(windows)]
    type Owned = std::os::windows::io::OwnedHandle;

    for capacity in [0, 1] {
        for access in [Access::Read, Access::ReadWrite] {
            let (reader, writer) = std::io::pipe().unwrap();
            let options = MapOptions::new().access(access);
            let reader = options.from_file(Owned::from(reader).into(), capacity);
            assert_eq!(kind(reader), ErrorKind::Unsupported);
            let writer = options.from_file(Owned::from(writer).into(), capacity);
            assert_eq!(kind(writer), ErrorKind::Unsupported);
        }
    }
}

#[test]
fn a_directory_is_denied() {
    let dir = own_dir();
    for access in [Access::Read, Access::ReadWrite] {
        for mode in [FileMode::Open, FileMode::OpenOrCreate] {
            let map = create_from_file(dir.path(), mode, 100, &MapOptions::new().access(access));
            assert_eq!(kind(map), ErrorKind::AccessDenied, "{access} {mode:?}");
        }
    }
    assert_eq!(
        kind(create_from_file(dir.path(), FileMode::Create, 100, &MapOptions::new())),
        ErrorKind::AccessDenied
    );
}

#[test]
#[cfg(unix)]
fn a_link_that_leads_nowhere_is_refused_and_left() {
    let dir = own_dir();
    let path = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
    for mode in [FileMode::OpenOrCreate, FileMode::Create] {
        assert_eq!(kind(create_from_file(&path, mode, 100, &MapOptions::new())), ErrorKind::WrongKind);
    }
    assert_eq!(
        kind(create_from_file(&path, FileMode::CreateNew, 100, &MapOptions::new())),
        ErrorKind::AlreadyExists
    );
    assert_eq!(kind(create_from_file(&path, FileMode::Open, 100, &MapOptions::new())), ErrorKind::NotFound);
    assert!(path.is_symlink());
    // A link that leads somewhere is followed.
    std::fs::write(dir.path().join("nowhere"), b"here").unwrap();
    assert_eq!(create_from_file(&path, FileMode::Open, 0, &MapOptions::new()).unwrap().capacity(), 4);
}

#[test]
#[cfg(unix)]
fn the_device_of_zeroes_can_be_mapped_with_a_capacity() {
    for access in [Access::Read, Access::ReadWrite] {
        let options = MapOptions::new().access(access);
        assert_eq!(
            kind(create_from_file("/dev/zero", FileMode::Open, 0, &options)),
            ErrorKind::InvalidArgument
        );
        let map = create_from_file("/dev/zero", FileMode::Open, 4096, &options).unwrap();
        assert_eq!(map.capacity(), 4096);
        match map.create_view_accessor_with(0, 0, access) {
            Ok(view) => assert_eq!(view.read::<[u64; 4]>(0).unwrap(), [0; 4]),
            // macOS maps no devices.
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::AccessDenied | ErrorKind::Unsupported), "{error}");
            }
        }
    }
}

#[test]
fn a_file_that_must_not_be_written_is_mapped_for_reading_only() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"kept").unwrap();
    let writable = std::fs::metadata(&path).unwrap().permissions();
    let mut permissions = writable.clone();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let open = |access| create_from_file(&path, FileMode::Open, 0, &MapOptions::new().access(access));
    assert!(open(Access::Read).is_ok());
    if OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("not proven as root, whom permissions do not bind: read-write maps are denied");
        return;
    }
    assert_eq!(kind(open(Access::ReadWrite)), ErrorKind::AccessDenied);
    assert_eq!(kind(open(Access::CopyOnWrite)), ErrorKind::AccessDenied);
    // Otherwise Windows would not delete it.
    std::fs::set_permissions(&path, writable).unwrap();
}

// Flushing.

#[test]
fn what_is_written_is_in_the_file_after_flush_and_after_drop() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 10_000]).unwrap();
    let map = create_from_file(&path, FileMode::Open, 0, &MapOptions::new()).unwrap();
    let view = map.create_view_accessor(4095, 3).unwrap();
    view.write(0, *b"abc").unwrap();
    view.flush().unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[4095..4098], *b"abc");
    view.write(0, *b"xyz").unwrap();
    drop((view, map));
    assert_eq!(std::fs::read(&path).unwrap()[4095..4098], *b"xyz");
    assert_eq!(length(&path), 10_000);
}

/// Kilobytes of the mapping around `address` that were written and not yet flushed.
#[cfg(target_os = "linux")]
fn dirty(address: usize) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let bounds = range.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)));
        !matches!(bounds, Some((Ok(from), Ok(to))) if (from..to).contains(&address))
    });
    let fields: Vec<&str> = lines.by_ref().skip(1).take_while(|line| !line.starts_with("VmFlags")).collect();
    let of = |name: &str| {
        let field = fields.iter().find_map(|line| line.strip_prefix(name)).unwrap();
        field.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    of("Shared_Dirty:") + of("Private_Dirty:")
}

#[test]
#[cfg(target_os = "linux")]
fn flush_covers_the_last_bytes_of_a_view_that_starts_inside_a_page() {
    let page = rustix::param::page_size() as u64;
    let dir = own_dir();
    let path = dir.path().join("file");
    // Two bytes on both sides of a boundary that no larger unit of the page cache spans, in a file of holes.
    let boundary = 1u64 << 28;
    File::create(&path).unwrap().set_len(boundary + page).unwrap();
    let map = create_from_file(&path, FileMode::Open, 0, &MapOptions::new()).unwrap();
    let view = map.create_view_accessor(boundary - 1, 2).unwrap();
    assert_eq!(view.pointer_offset(), page - 1);
    let address = view.as_ptr().addr();
    // What a flush of both pages does here: on a file system in memory, pages stay dirty forever.
    view.write(0, [1u8, 2]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    if dirty(address) != 0 {
        eprintln!("not proven, this file system keeps its pages in memory: a flush covers the last bytes");
        return;
    }
    view.write(1, 4u8).unwrap();
    view.flush().unwrap();
    assert_eq!(dirty(address), 0);
}

// Names on files.

#[test]
fn a_named_map_on_a_file_is_opened_by_name_with_the_same_bytes() {
    let dir = own_dir();
    let path = dir.path().join("file");
    let options = within(&dir).map_name("n");
    let map = create_from_file(&path, FileMode::CreateNew, 10_000, &options).unwrap();
    let view = map.create_view_accessor(0, 0).unwrap();
    view.write(4095, *b"bytes").unwrap();
    let other = within(&dir).open_existing("n").unwrap();
    assert_eq!((other.capacity(), other.was_created()), (10_000, false));
    let other_view = other.create_view_accessor(0, 0).unwrap();
    assert_eq!(other_view.read::<[u8; 5]>(4095).unwrap(), *b"bytes");
    other_view.write(0, *b"back").unwrap();
    assert_eq!(view.read::<[u8; 4]>(0).unwrap(), *b"back");
    other_view.flush().unwrap();
    drop((view, map));
    // The name lives on with the other holder.
    assert!(within(&dir).open_existing("n").is_ok());
    drop((other_view, other));
    assert_eq!(kind(within(&dir).open_existing("n")), ErrorKind::NotFound);
    assert_eq!(length(&path), 10_000);
}

#[test]
fn an_open_file_can_have_a_name_too() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"bytes").unwrap();
    let map = within(&dir).map_name("n").from_file(read_write(&path), 0).unwrap();
    let other = within(&dir).open_existing("n").unwrap();
    map.create_view_accessor(0, 0).unwrap().write(0, b'B').unwrap();
    let view = other.create_view_accessor(0, 0).unwrap();
    assert_eq!(view.read::<[u8; 5]>(0).unwrap(), *b"Bytes");
}

#[test]
fn a_name_in_use_is_refused_and_the_created_file_deleted() {
    let dir = own_dir();
    let other_path = dir.path().join("other");
    let in_memory = within(&dir).create_new("memory", 100).unwrap();
    let first = dir.path().join("first");
    let _on_file = create_from_file(first, FileMode::CreateNew, 100, &within(&dir).map_name("file")).unwrap();
    for name in ["memory", "file"] {
        for mode in [FileMode::CreateNew, FileMode::Create, FileMode::OpenOrCreate] {
            let options = within(&dir).map_name(name);
            assert_eq!(kind(create_from_file(&other_path, mode, 50, &options)), ErrorKind::AlreadyExists);
            assert!(!other_path.exists(), "{name} {mode:?}");
        }
    }
    std::fs::write(&other_path, b"kept").unwrap();
    let options = within(&dir).map_name("memory");
    assert_eq!(kind(create_from_file(&other_path, FileMode::Open, 0, &options)), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&other_path).unwrap(), b"kept");
    assert_eq!(in_memory.capacity(), 100);
    // And the other way round.
    assert_eq!(kind(within(&dir).create_new("file", 100)), ErrorKind::AlreadyExists);
}
