//! A file that somebody has mapped is not cut under them: emptying it is refused, and it stays as it was.

use std::fs::File;
use std::path::Path;

use handover::cell::CellOptions;
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{MapOptions, MemoryMappedFile};
use handover::{ErrorKind, Result};

fn empty(path: &Path) -> Result<MemoryMappedFile> {
    create_from_file(path, FileMode::Create, 100, &MapOptions::new())
}

fn expect_refused(path: &Path, why: &str) {
    let before = std::fs::read(path).unwrap();
    let error = empty(path).expect_err(why);
    assert_eq!(error.kind(), ErrorKind::SharingViolation, "{why}: {error}");
    assert!(std::fs::read(path).unwrap() == before, "{why}: the file is another");
}

#[test]
fn a_file_is_not_emptied_while_a_handle_or_a_view_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map");
    let map = MemoryMappedFile::create_new(&path, 10_000).unwrap();
    expect_refused(&path, "a handle");
    let view = map.create_view_accessor(0, 0).unwrap();
    view.write(9_999, 7_u8).unwrap();
    expect_refused(&path, "a handle and a view");
    let other = MemoryMappedFile::open_existing(&path).unwrap();
    drop(map);
    expect_refused(&path, "another handle");
    drop(other);
    // macOS does not keep a lock for a view alone.
    if cfg!(not(target_os = "macos")) {
        expect_refused(&path, "a view");
    }
    assert_eq!(view.read::<u8>(9_999).unwrap(), 7);
    drop(view);
    assert_eq!(empty(&path).unwrap().capacity(), 100);
    assert_eq!(std::fs::read(&path).unwrap(), [0; 100]);
}

#[test]
fn a_file_that_was_emptied_is_shared_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map");
    for _ in 0..3 {
        let emptied = empty(&path).unwrap();
        let other = MemoryMappedFile::open_existing(&path).unwrap();
        assert_eq!(other.capacity(), 100);
        expect_refused(&path, "two handles");
        drop((emptied, other));
    }
}

#[test]
fn a_file_that_was_opened_elsewhere_and_mapped_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map");
    std::fs::write(&path, [3; 5000]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let map = MemoryMappedFile::from_file(file, 0).unwrap();
    expect_refused(&path, "a map of an open file");
    drop(map);
    drop(empty(&path).unwrap());
}

#[test]
fn a_cell_on_a_file_keeps_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cell");
    let cell = CellOptions::new().capacity(10_000).create_new(&path).unwrap();
    cell.try_writer().unwrap().unwrap().publish(b"kept").unwrap();
    expect_refused(&path, "a cell");
    assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"kept");
}

/// One empties it while another maps it: either comes first, and nobody sees less than a whole file. Windows
/// cuts no file that is mapped, but has no lock that covers emptying a file and growing it again.
#[test]
#[cfg(unix)]
fn nobody_maps_a_file_that_is_being_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map");
    std::fs::write(&path, vec![3; 100_000]).unwrap();
    std::thread::scope(|scope| {
        let empties = || {
            for _ in 0..300 {
                match create_from_file(&path, FileMode::Create, 100_000, &MapOptions::new()) {
                    Ok(map) => drop(map.create_view_accessor(0, 0).unwrap()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::SharingViolation, "{error}"),
                }
            }
        };
        let maps = || {
            for _ in 0..300 {
                match MemoryMappedFile::open_existing(&path) {
                    Ok(map) => {
                        assert_eq!(map.capacity(), 100_000);
                        let view = map.create_view_accessor(0, 0).unwrap();
                        view.read::<u8>(99_999).unwrap();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::SharingViolation, "{error}"),
                }
            }
        };
        let threads = [scope.spawn(empties), scope.spawn(empties), scope.spawn(maps), scope.spawn(maps)];
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
