//! Proves who may read a file that a map creates: only this user, unless the options say otherwise; then
//! exactly what they say. Existing files keep their mode. A map opened by the name of a file excludes, and is
//! excluded by, those who want the file to themselves.

#![cfg(unix)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use handover::cell::CellOptions;
use handover::codec::Json;
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{MapOptions, MemoryMappedFile};
use handover::mapper::PlainOptions;
use handover::{ErrorKind, MapperOptions, MemoryMapper, PlainMapper};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

fn own_dir() -> TempDir {
    tempfile::Builder::new().prefix("handover-test-").tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_file_is_this_users_alone() {
    let dir = own_dir();
    for (number, open_mode) in
        [FileMode::CreateNew, FileMode::Create, FileMode::OpenOrCreate].into_iter().enumerate()
    {
        let path = dir.path().join(format!("map {number}"));
        let _map = create_from_file(&path, open_mode, 100, &MapOptions::new()).unwrap();
        assert_eq!(mode(&path), 0o600, "{open_mode:?}");
    }
    let path = dir.path().join("cell");
    let _cell = CellOptions::new().capacity(100).create_or_open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let path = dir.path().join("mapper");
    let _mapper: MemoryMapper<u32> = MapperOptions::new().capacity(100).create_or_open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let path = dir.path().join("plain");
    let _plain: PlainMapper<u32> = PlainOptions::new().capacity(100).create_or_open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_given_mode_is_taken_as_it_is_whatever_the_mask() {
    let dir = own_dir();
    for bits in [0o600, 0o640, 0o644, 0o660, 0o666, 0o606, 0o400, 0o444] {
        let path = dir.path().join(format!("{bits:o}"));
        let _map = MapOptions::new().file_mode(bits).create_or_open(&path, 100).unwrap();
        assert_eq!(mode(&path), bits, "{bits:#o}");
        if bits & 0o600 != 0o600 {
            continue;
        }
        let path = dir.path().join(format!("mapper {bits:o}"));
        let options = MapperOptions::new().map(MapOptions::new().file_mode(bits));
        let _mapper: MemoryMapper<u32, Json> = options.clone().capacity(100).create_or_open(&path).unwrap();
        assert_eq!(mode(&path), bits, "{bits:#o}");
    }
}

#[test]
fn modes_that_allow_more_than_reading_and_writing_are_refused() {
    let dir = own_dir();
    let path = dir.path().join("map");
    for bits in [0o700, 0o601, 0o777, 0o1600, 0o4600, 0o2660, 0o10_600, u32::MAX] {
        let error = MapOptions::new().file_mode(bits).create_or_open(&path, 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bits:#o}");
        let text = error.to_string();
        assert!(text.contains("file mode") && text.contains("0o666"), "{text}");
        assert!(!path.exists(), "{bits:#o}");
    }
}

#[test]
fn a_file_that_is_there_keeps_its_mode() {
    let dir = own_dir();
    let path = dir.path().join("map");
    fs::write(&path, [1; 100]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    for open_mode in [FileMode::Open, FileMode::OpenOrCreate, FileMode::Create] {
        for options in [MapOptions::new(), MapOptions::new().file_mode(0o666)] {
            let _map = create_from_file(&path, open_mode, 100, &options).unwrap();
        }
        assert_eq!(mode(&path), 0o644, "{open_mode:?}");
    }
}

// ---- those who want the file to themselves: .NET's FileShare.None is an exclusive flock.

fn named(dir: &TempDir) -> (MapOptions, std::path::PathBuf) {
    let path = dir.path().join("file");
    fs::write(&path, [1; 100]).unwrap();
    (MapOptions::new().directory(dir.path()), path)
}

/// A name for a file that is not shared: made from an open file.
fn name_only(options: &MapOptions, path: &Path) -> MemoryMappedFile {
    let file = File::options().read(true).write(true).open(path).unwrap();
    options.clone().map_name("named").from_file(file, 0).unwrap()
}

#[test]
fn a_name_on_a_file_that_somebody_has_alone_is_a_sharing_violation() {
    let dir = own_dir();
    let (options, path) = named(&dir);
    let holder = name_only(&options, &path);
    let alone = File::open(&path).unwrap();
    flock(&alone, FlockOperation::NonBlockingLockExclusive).unwrap();
    for _ in 0..2 {
        let error = options.open_existing("named").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SharingViolation, "{error}");
        assert!(error.to_string().contains("file'"), "{error}");
    }
    flock(&alone, FlockOperation::Unlock).unwrap();
    drop((options.open_existing("named").unwrap(), holder));
}

#[test]
fn a_map_opened_by_the_name_of_a_file_keeps_others_from_having_it_alone() {
    let dir = own_dir();
    let (options, path) = named(&dir);
    let holder = name_only(&options, &path);
    let alone = File::open(&path).unwrap();
    flock(&alone, FlockOperation::NonBlockingLockExclusive).unwrap();
    flock(&alone, FlockOperation::Unlock).unwrap();
    let map = options.open_existing("named").unwrap();
    flock(&alone, FlockOperation::NonBlockingLockExclusive).unwrap_err();
    // Views keep the bytes, not the file.
    let view = map.create_view_accessor(0, 0).unwrap();
    drop(map);
    flock(&alone, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(view.read::<u8>(0).unwrap(), 1);
    drop(holder);
}
