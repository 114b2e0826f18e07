//! Proves who may read a file that a map creates: this user alone unless the options say otherwise, exactly what
//! they say, and nothing else for files that are there; and that a map opened by the name of a file keeps off,
//! and is kept off by, those who want the file alone.

#![cfg(unix)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use handover::codec::Json;
use handover::{CellOptions, ErrorKind, MapOptions, MapperOptions, MemoryMappedFile, MemoryMapper, OpenMode};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

fn own_dir() -> TempDir {
    tempfile::Builder::new().prefix("handover-test-").tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn creating() -> MapOptions {
    MapOptions::new().open_mode(OpenMode::OpenOrCreate)
}

#[test]
fn a_new_file_is_this_users_alone() {
    let dir = own_dir();
    for (number, open_mode) in
        [OpenMode::CreateNew, OpenMode::Create, OpenMode::OpenOrCreate].into_iter().enumerate()
    {
        let path = dir.path().join(format!("map {number}"));
        let _map = MapOptions::new().open_mode(open_mode).create_from_file(&path, 100).unwrap();
        assert_eq!(mode(&path), 0o600, "{open_mode:?}");
    }
    let path = dir.path().join("cell");
    let _cell = CellOptions::new().create_on_file(&path, 100, &MapOptions::new()).unwrap();
    assert_eq!(mode(&path), 0o600);
    for (name, options) in [("mapper", MapperOptions::new()), ("plain", MapperOptions::new().plain())] {
        let path = dir.path().join(name);
        let _mapper: MemoryMapper<u32, Json> = options.create_on_file(&path, 100).unwrap();
        assert_eq!(mode(&path), 0o600, "{name}");
    }
}

#[test]
fn a_given_mode_is_taken_as_it_is_whatever_the_mask() {
    let dir = own_dir();
    for bits in [0o600, 0o640, 0o644, 0o660, 0o666, 0o606, 0o400, 0o444] {
        let path = dir.path().join(format!("{bits:o}"));
        let _map = creating().file_mode(bits).create_from_file(&path, 100).unwrap();
        assert_eq!(mode(&path), bits, "{bits:#o}");
        if bits & 0o600 != 0o600 {
            continue;
        }
        let path = dir.path().join(format!("mapper {bits:o}"));
        let options = MapperOptions::new().map(MapOptions::new().file_mode(bits));
        let _mapper: MemoryMapper<u32, Json> = options.create_on_file(&path, 100).unwrap();
        assert_eq!(mode(&path), bits, "{bits:#o}");
    }
}

#[test]
fn modes_that_allow_more_than_reading_and_writing_are_refused() {
    let dir = own_dir();
    let path = dir.path().join("map");
    for bits in [0o700, 0o601, 0o777, 0o1600, 0o4600, 0o2660, 0o10_600, u32::MAX] {
        let error = creating().file_mode(bits).create_from_file(&path, 100).unwrap_err();
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
    for open_mode in [OpenMode::Open, OpenMode::OpenOrCreate, OpenMode::Create] {
        let _map = MapOptions::new().open_mode(open_mode).create_from_file(&path, 100).unwrap();
        let _map =
            MapOptions::new().open_mode(open_mode).file_mode(0o666).create_from_file(&path, 100).unwrap();
        assert_eq!(mode(&path), 0o644, "{open_mode:?}");
    }
}

// ---- those who want the file alone: .NET's FileShare.None is an exclusive flock.

fn named(dir: &TempDir) -> (MapOptions, std::path::PathBuf) {
    let path = dir.path().join("file");
    fs::write(&path, [1; 100]).unwrap();
    (MapOptions::new().directory(dir.path()), path)
}

/// A name for a file without sharing it: made from an open file.
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
