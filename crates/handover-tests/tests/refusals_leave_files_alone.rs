//! Proves that every refusal about a map on a file leaves the file as it was, with the same bytes or absent,
//! and that undoing a refused call never takes bytes from somebody who has mapped them.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile};
use handover::{ErrorKind, Result};
use tempfile::TempDir;

const OLD: &[u8] = b"the bytes that were there";
const MORE: u64 = 100_000;

type Call = (&'static str, fn(&MapOptions, &Path, u64) -> Result<MemoryMappedFile>);

/// Everything that maps an existing file and may grow or empty it.
const ON_A_FILE: [Call; 5] = [
    ("create_or_open", |options, path, capacity| options.create_or_open(path, capacity)),
    ("from_file", |options, path, capacity| options.from_file(read_write(path), capacity)),
    ("Open", |options, path, capacity| create_from_file(path, FileMode::Open, capacity, options)),
    ("OpenOrCreate", |options, path, capacity| {
        create_from_file(path, FileMode::OpenOrCreate, capacity, options)
    }),
    ("Create", |options, path, capacity| create_from_file(path, FileMode::Create, capacity, options)),
];

/// Everything that creates a file.
const ON_NO_FILE: [Call; 5] = [
    ("create_new", |options, path, capacity| options.create_new(path, capacity)),
    ("create_or_open", |options, path, capacity| options.create_or_open(path, capacity)),
    ("CreateNew", |options, path, capacity| create_from_file(path, FileMode::CreateNew, capacity, options)),
    ("OpenOrCreate", |options, path, capacity| {
        create_from_file(path, FileMode::OpenOrCreate, capacity, options)
    }),
    ("Create", |options, path, capacity| create_from_file(path, FileMode::Create, capacity, options)),
];

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Options whose names live in a directory that only this test uses, where names live in directories.
fn within(dir: &TempDir) -> MapOptions {
    let options = MapOptions::new();
    if cfg!(unix) { options.directory(dir.path()) } else { options }
}

/// A name that only this test uses, on systems where names live in the kernel too.
fn own_name(test: &str) -> String {
    format!("refusals {test} {}", std::process::id())
}

fn file_in(dir: &TempDir) -> PathBuf {
    dir.path().join("file")
}

/// Makes every call, on an existing and on a missing file, with what must be refused.
#[track_caller]
fn all_leave_the_file_alone(dir: &TempDir, options: &MapOptions, capacity: u64, kinds: &[ErrorKind]) {
    let path = file_in(dir);
    for (call, make) in ON_A_FILE {
        std::fs::write(&path, OLD).unwrap();
        let error = make(options, &path, capacity).expect_err(call);
        assert!(kinds.contains(&error.kind()), "{call}: {error}");
        assert!(error.subject().is_some(), "{call}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), OLD, "{call}: {error}");
    }
    std::fs::remove_file(&path).unwrap();
    for (call, make) in ON_NO_FILE {
        let error = make(options, &path, capacity).expect_err(call);
        assert!(kinds.contains(&error.kind()), "{call}: {error}");
        assert!(!path.exists(), "{call}: {error}");
    }
}

/// Makes every call, on an existing and on a missing file, with options that no file is needed to refuse.
#[track_caller]
fn all_find_it_invalid(dir: &TempDir, options: &MapOptions) {
    let path = file_in(dir);
    for (call, make) in ON_A_FILE {
        std::fs::write(&path, OLD).unwrap();
        assert_eq!(make(options, &path, MORE).unwrap_err().kind(), ErrorKind::InvalidArgument, "{call}");
        assert_eq!(std::fs::read(&path).unwrap(), OLD, "{call}");
    }
    std::fs::remove_file(&path).unwrap();
    for (call, make) in ON_NO_FILE {
        assert_eq!(make(options, &path, MORE).unwrap_err().kind(), ErrorKind::InvalidArgument, "{call}");
        assert!(!path.exists(), "{call}");
    }
}

#[test]
fn a_name_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let name = own_name("in use");
    let holder = within(&dir).create_new(&name, 100).unwrap();
    for delay in [false, true] {
        let options = within(&dir).map_name(&name).delay_allocate_pages(delay);
        all_leave_the_file_alone(&dir, &options, MORE, &[ErrorKind::AlreadyExists]);
    }
    assert!(within(&dir).open_existing(&name).unwrap().capacity() >= holder.capacity());
}

#[test]
#[cfg(unix)]
fn a_mode_that_no_name_of_the_scope_has() {
    // Nothing but the name itself refuses it.
    let dir = tempfile::tempdir().unwrap();
    let options = within(&dir).map_name(own_name("mode")).file_mode(0o644);
    all_find_it_invalid(&dir, &options);
}

#[test]
fn a_directory_for_names_that_can_not_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let options = MapOptions::new().directory(dir.path().join("missing")).map_name(own_name("directory"));
    let kinds = [ErrorKind::NotFound, ErrorKind::AccessDenied, ErrorKind::Unsupported, ErrorKind::Io];
    let path = file_in(&dir);
    for (call, make) in ON_A_FILE {
        std::fs::write(&path, OLD).unwrap();
        let error = make(&options, &path, MORE).expect_err(call);
        assert!(kinds.contains(&error.kind()), "{call}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), OLD, "{call}: {error}");
    }
}

#[test]
fn a_capacity_that_no_file_can_have() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = [ErrorKind::OutOfRange, ErrorKind::NoSpace];
    for delay in [false, true] {
        let named = within(&dir).map_name(own_name("capacity")).delay_allocate_pages(delay);
        for options in [within(&dir).delay_allocate_pages(delay), named] {
            all_leave_the_file_alone(&dir, &options, u64::MAX, &kinds);
        }
    }
}

#[test]
fn a_name_that_is_none_and_an_access_that_can_not_create() {
    let dir = tempfile::tempdir().unwrap();
    for options in [within(&dir).map_name(""), within(&dir).access(Access::Write)] {
        all_find_it_invalid(&dir, &options);
    }
}

#[test]
fn a_capacity_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(&dir);
    // For a file with bytes, 0 means their number; .NET's Create would empty the file first.
    std::fs::write(&path, OLD).unwrap();
    let error = create_from_file(&path, FileMode::Create, 0, &within(&dir)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(std::fs::read(&path).unwrap(), OLD);
    std::fs::remove_file(&path).unwrap();
    for (call, make) in ON_NO_FILE {
        assert_eq!(make(&within(&dir), &path, 0).unwrap_err().kind(), ErrorKind::InvalidArgument, "{call}");
        assert!(!path.exists(), "{call}");
    }
}

#[test]
fn a_file_that_somebody_has_mapped_is_not_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(&dir);
    std::fs::write(&path, OLD).unwrap();
    let holder = within(&dir).open_existing(&path).unwrap();
    for capacity in [1, OLD.len() as u64, MORE] {
        let error = create_from_file(&path, FileMode::Create, capacity, &within(&dir)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SharingViolation, "{error}");
        assert!(std::fs::read(&path).unwrap() == OLD, "{capacity}");
    }
    touch_the_end(&holder);
    drop(holder);
    assert!(create_from_file(&path, FileMode::Create, MORE, &within(&dir)).is_ok());
}

#[test]
fn what_is_not_refused_grows_and_empties() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(&dir);
    for (call, make) in ON_A_FILE {
        for name in [None, Some(own_name("granted"))] {
            std::fs::write(&path, OLD).unwrap();
            let options = name.iter().fold(within(&dir), MapOptions::map_name);
            let map = make(&options, &path, MORE).unwrap();
            assert_eq!((map.capacity(), map.was_created()), (MORE, false), "{call}");
            drop(map);
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, MORE);
            let expected: &[u8] = if call == "Create" { &[0; OLD.len()] } else { OLD };
            assert_eq!(&bytes[..OLD.len()], expected, "{call}");
        }
    }
    // A longer file keeps its length.
    assert_eq!(within(&dir).create_or_open(&path, 10).unwrap().capacity(), MORE);
    assert_eq!(within(&dir).open_existing(&path).unwrap().capacity(), MORE);
    // A file that is emptied in order to become shorter.
    drop(create_from_file(&path, FileMode::Create, 10, &within(&dir)).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), [0; 10]);
}

/// Touches the last byte, which ends the process if the file has become shorter.
fn touch_the_end(map: &MemoryMappedFile) {
    let view = map.create_view_accessor(0, 0).unwrap();
    view.write(view.capacity() - 1, 1u8).unwrap();
}

/// Lets threads begin at the same moment: what they race for takes less time than waking one.
fn start_together(waiting: &AtomicU32) {
    waiting.fetch_sub(1, Ordering::AcqRel);
    while waiting.load(Ordering::Acquire) > 0 {
        std::hint::spin_loop();
    }
}

#[test]
fn of_several_that_make_a_file_grow_nobody_cuts_what_another_has_mapped() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..100u32 {
        let path = dir.path().join(round.to_string());
        std::fs::write(&path, OLD).unwrap();
        let waiting = AtomicU32::new(2);
        let maps: Vec<MemoryMappedFile> = std::thread::scope(|scope| {
            let threads = [1, 4].map(|times| {
                let (path, waiting) = (&path, &waiting);
                let options = within(&dir).delay_allocate_pages(round % 2 == 0);
                scope.spawn(move || {
                    start_together(waiting);
                    options.create_or_open(path, times * MORE).unwrap()
                })
            });
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 * MORE, "round {round}");
        for map in maps {
            touch_the_end(&map);
        }
    }
}

#[test]
#[cfg(unix)]
fn a_refused_call_cuts_nothing_that_another_has_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let mut met = 0;
    for round in 0..100 {
        let path = dir.path().join(round.to_string());
        std::fs::write(&path, OLD).unwrap();
        let waiting = AtomicU32::new(2);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let refused =
                    within(&dir).map_name(own_name("cut")).file_mode(0o644).delay_allocate_pages(true);
                start_together(&waiting);
                assert!(refused.create_or_open(&path, MORE).is_err());
                done.store(true, Ordering::Release);
            });
            start_together(&waiting);
            let mut mapped = None;
            while !done.load(Ordering::Acquire) && mapped.is_none() {
                match within(&dir).open_existing(&path) {
                    Ok(map) => mapped = Some(map).filter(|map| map.capacity() == MORE),
                    // The other one checks whether anybody is there.
                    Err(error) => assert_eq!(error.kind(), ErrorKind::SharingViolation, "{error}"),
                }
            }
            while !done.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            if let Some(map) = mapped {
                met += 1;
                touch_the_end(&map);
            }
        });
    }
    println!("in {met} rounds the file was mapped while it was longer");
}
