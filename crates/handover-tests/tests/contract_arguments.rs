//! Proves that arguments are checked in .NET's order: where two are bad, the error is about the one that .NET
//! checks first. So a program moved from .NET meets the same error for the same mistake.

mod contract_common;

use std::fs::File;

use contract_common::{failure, kind, own_dir, within};
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile, Rights};
use handover::{ErrorKind, Scope};

const NAME: (ErrorKind, &str) = (ErrorKind::InvalidArgument, "name");
const CAPACITY_RANGE: (ErrorKind, &str) = (ErrorKind::OutOfRange, "capacity");
const CAPACITY: (ErrorKind, &str) = (ErrorKind::InvalidArgument, "capacity");
const ACCESS: (ErrorKind, &str) = (ErrorKind::InvalidArgument, "access");

#[test]
fn create_new_checks_name_then_capacity_then_access() {
    let dir = own_dir();
    let write_only = within(&dir).access(Access::Write);
    assert_eq!(failure(write_only.create_new("", 0)), NAME);
    assert_eq!(failure(write_only.create_new("n", 0)), CAPACITY_RANGE);
    assert_eq!(failure(write_only.create_new("n", 1)), ACCESS);
    // All of these come before the check that the name is free.
    let _holder = within(&dir).create_new("n", 1).unwrap();
    assert_eq!(failure(write_only.create_new("n", 0)), CAPACITY_RANGE);
    assert_eq!(failure(write_only.create_new("n", 1)), ACCESS);
    assert_eq!(kind(within(&dir).create_new("n", 1)), ErrorKind::AlreadyExists);
}

#[test]
fn create_or_open_checks_name_then_capacity_then_access() {
    let dir = own_dir();
    let write_only = within(&dir).access(Access::Write);
    assert_eq!(failure(write_only.create_or_open("", 0)), NAME);
    assert_eq!(failure(write_only.create_or_open("n", 0)), CAPACITY_RANGE);
    // There is nothing to open, and a write-only map can't be created.
    assert_eq!(failure(write_only.create_or_open("n", 1)), ACCESS);
    let _holder = within(&dir).create_new("n", 1).unwrap();
    assert_eq!(failure(write_only.create_or_open("n", 0)), CAPACITY_RANGE);
    assert!(write_only.create_or_open("n", 1).is_ok());
}

#[test]
fn open_existing_checks_name_then_rights_then_existence() {
    let dir = own_dir();
    let audit = within(&dir).rights(Rights::ACCESS_SYSTEM_SECURITY | Rights::READ);
    assert_eq!(failure(audit.open_existing("")), NAME);
    assert_eq!(kind(audit.open_existing("n")), ErrorKind::Io);
    assert_eq!(kind(within(&dir).open_existing("n")), ErrorKind::NotFound);
    let _holder = within(&dir).create_new("n", 1).unwrap();
    assert_eq!(kind(audit.open_existing("n")), ErrorKind::Io);
}

#[test]
fn an_anonymous_map_checks_capacity_then_access() {
    let write_only = MapOptions::new().access(Access::Write);
    assert_eq!(failure(write_only.anonymous(0)), CAPACITY_RANGE);
    assert_eq!(failure(write_only.anonymous(1)), ACCESS);
}

#[test]
fn a_name_and_its_options_must_agree_before_anything_else() {
    let dir = own_dir();
    let options = within(&dir).scope(Scope::Global);
    assert_eq!(failure(options.create_new("Local\\n", 0)), NAME);
    assert_eq!(failure(options.create_or_open("Local\\n", 0)), NAME);
    assert_eq!(failure(options.open_existing("Local\\n")), NAME);
}

#[test]
fn create_from_file_checks_name_then_access_then_opens() {
    let dir = own_dir();
    let missing = dir.path().join("missing");
    let write_only = within(&dir).access(Access::Write);
    assert_eq!(
        failure(create_from_file(&missing, FileMode::Open, 1, &write_only.clone().map_name(""))),
        NAME
    );
    assert_eq!(failure(create_from_file(&missing, FileMode::Open, 1, &write_only)), ACCESS);
    assert_eq!(kind(create_from_file(&missing, FileMode::Open, 1, &within(&dir))), ErrorKind::NotFound);
    // An argument that is refused leaves no file behind, whatever the mode.
    for mode in [FileMode::CreateNew, FileMode::Create, FileMode::OpenOrCreate] {
        assert_eq!(failure(create_from_file(&missing, mode, 1, &write_only)), ACCESS);
        assert!(!missing.exists(), "{mode:?}");
    }
}

#[test]
fn a_mode_that_writes_needs_an_access_that_writes() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"kept").unwrap();
    for access in [Access::Read, Access::ReadExecute] {
        for mode in [FileMode::CreateNew, FileMode::Create] {
            let options = within(&dir).access(access);
            let expected = (ErrorKind::InvalidArgument, "file mode");
            assert_eq!(failure(create_from_file(&path, mode, 0, &options)), expected, "{access} {mode:?}");
            let missing = dir.path().join("missing");
            assert_eq!(failure(create_from_file(&missing, mode, 8, &options)), expected, "{access} {mode:?}");
            assert!(!missing.exists());
        }
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"kept");
}

#[test]
fn sizes_of_a_file_are_checked_empty_then_growth_of_a_read_map_then_too_small() {
    let dir = own_dir();
    let empty = dir.path().join("empty");
    File::create(&empty).unwrap();
    let ten = dir.path().join("ten");
    std::fs::write(&ten, [0; 10]).unwrap();
    let read = within(&dir).access(Access::Read);
    assert_eq!(failure(create_from_file(&empty, FileMode::Open, 0, &read)), CAPACITY);
    assert_eq!(failure(create_from_file(&empty, FileMode::Open, 1, &read)), CAPACITY);
    assert_eq!(failure(create_from_file(&ten, FileMode::Open, 11, &read)), CAPACITY);
    assert_eq!(failure(create_from_file(&ten, FileMode::Open, 9, &read)), CAPACITY_RANGE);
    assert_eq!(failure(create_from_file(&ten, FileMode::Open, 9, &within(&dir))), CAPACITY_RANGE);
    // The name is checked last.
    let _holder = within(&dir).create_new("taken", 1).unwrap();
    let named = within(&dir).map_name("taken");
    assert_eq!(failure(create_from_file(&empty, FileMode::Open, 0, &named)), CAPACITY);
    assert_eq!(failure(create_from_file(&ten, FileMode::Open, 9, &named)), CAPACITY_RANGE);
    assert_eq!(kind(create_from_file(&ten, FileMode::Open, 0, &named)), ErrorKind::AlreadyExists);
}

#[test]
fn from_file_checks_name_then_access_then_length_then_what_the_file_may() {
    let dir = own_dir();
    let empty = dir.path().join("empty");
    File::create(&empty).unwrap();
    let ten = dir.path().join("ten");
    std::fs::write(&ten, [0; 10]).unwrap();
    let open = |path| File::open(path).unwrap();
    let write_only = within(&dir).access(Access::Write);
    assert_eq!(failure(write_only.clone().map_name("").from_file(open(&empty), 0)), NAME);
    assert_eq!(failure(write_only.from_file(open(&empty), 0)), ACCESS);
    // These files are read-only and the map is read-write, which is checked last.
    assert_eq!(failure(MemoryMappedFile::from_file(open(&empty), 0)), CAPACITY);
    assert_eq!(failure(MemoryMappedFile::from_file(open(&ten), 9)), CAPACITY_RANGE);
    assert_eq!(kind(MemoryMappedFile::from_file(open(&ten), 0)), ErrorKind::AccessDenied);
    assert_eq!(kind(MemoryMappedFile::from_file(open(&ten), 10)), ErrorKind::AccessDenied);
    assert_eq!(kind(MemoryMappedFile::from_file(open(&ten), 11)), ErrorKind::AccessDenied);
    assert_eq!(std::fs::read(&ten).unwrap(), [0; 10]);
}

#[test]
fn a_view_checks_offset_then_size_then_end_then_access() {
    let map = MapOptions::new().access(Access::Read).anonymous(100).unwrap();
    let refused = |offset, size| {
        let accessor = map.create_view_accessor_with(offset, size, Access::ReadWrite).unwrap_err();
        let stream = map.create_view_stream_with(offset, size, Access::ReadWrite).unwrap_err();
        assert_eq!(accessor.to_string(), stream.to_string());
        accessor
    };
    let huge = i64::MAX as u64;
    assert_eq!(failure::<()>(Err(refused(101, 0))), (ErrorKind::OutOfRange, "offset"));
    assert_eq!(failure::<()>(Err(refused(101, huge))), (ErrorKind::OutOfRange, "offset"));
    assert_eq!(failure::<()>(Err(refused(u64::MAX, u64::MAX))), (ErrorKind::OutOfRange, "offset"));
    assert_eq!(refused(1, huge).kind(), ErrorKind::NoSpace);
    assert_eq!(refused(1, u64::MAX).kind(), ErrorKind::NoSpace);
    // Both are denials; the text tells them apart.
    let beyond = refused(1, 100);
    assert_eq!(beyond.kind(), ErrorKind::AccessDenied);
    assert!(beyond.to_string().contains("beyond"), "{beyond}");
    let access = refused(1, 99);
    assert_eq!(access.kind(), ErrorKind::AccessDenied);
    assert!(access.to_string().contains("read-write view"), "{access}");
}
