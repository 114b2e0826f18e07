//! Proves what ends when a map is dropped and what stays: views outlive it and share, the name goes with the
//! last map, and the file behind it is closed.

mod contract_common;

use std::fs::File;
use std::io::{Read, Seek, Write};

use contract_common::{kind, own_dir, take_alone, within};
use handover::ErrorKind;
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MemoryMappedFile};
use handover_tests::under_wine;

#[test]
fn views_outlive_their_map_and_share_with_each_other() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 100]).unwrap();
    let maps = [
        MemoryMappedFile::anonymous(100).unwrap(),
        within(&dir).create_new("n", 100).unwrap(),
        create_from_file(&path, FileMode::Open, 0, &within(&dir)).unwrap(),
    ];
    for map in maps {
        let accessor = map.create_view_accessor(0, 0).unwrap();
        let mut stream = map.create_view_stream(50, 10).unwrap();
        let reader = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
        drop(map);
        accessor.write(50, *b"accessor..").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "accessor..");
        stream.rewind().unwrap();
        stream.write_all(b"stream").unwrap();
        stream.flush().unwrap();
        accessor.flush().unwrap();
        assert_eq!(reader.read::<[u8; 6]>(50).unwrap(), *b"stream");
        assert_eq!((accessor.capacity(), stream.len()), (100, 10));
    }
}

#[test]
fn the_name_goes_with_the_last_map_while_views_live() {
    let dir = own_dir();
    let first = within(&dir).create_new("n", 100).unwrap();
    let second = within(&dir).open_existing("n").unwrap();
    let view = second.create_view_accessor(0, 0).unwrap();
    view.write(0, 1u8).unwrap();
    // The creator may go first: the other holder keeps the name.
    drop(first);
    let third = within(&dir).open_existing("n").unwrap();
    drop(second);
    assert!(within(&dir).open_existing("n").is_ok());
    drop(third);
    assert_eq!(kind(within(&dir).open_existing("n")), ErrorKind::NotFound);
    // The view has the old bytes, and a new map of the name is another one.
    let fresh = within(&dir).create_new("n", 100).unwrap();
    let fresh_view = fresh.create_view_accessor(0, 0).unwrap();
    assert_eq!(fresh_view.read::<u8>(0).unwrap(), 0);
    fresh_view.write(0, 2u8).unwrap();
    assert_eq!(view.read::<u8>(0).unwrap(), 1);
}

#[test]
#[cfg(unix)]
fn nothing_of_a_name_is_left_in_its_directory() {
    let dir = own_dir();
    let map = within(&dir).create_new("n", 100).unwrap();
    let _view = map.create_view_accessor(0, 0).unwrap();
    let files = || {
        let scopes = std::fs::read_dir(dir.path()).unwrap();
        scopes.map(|scope| std::fs::read_dir(scope.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    assert_eq!(files(), 1);
    drop(map);
    assert_eq!(files(), 0);
}

#[test]
fn the_name_of_a_map_on_a_file_goes_and_the_file_stays() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 100]).unwrap();
    let map = create_from_file(&path, FileMode::Open, 0, &within(&dir).map_name("n")).unwrap();
    let view = map.create_view_accessor(0, 0).unwrap();
    view.write(0, 1u8).unwrap();
    drop(map);
    assert_eq!(kind(within(&dir).open_existing("n")), ErrorKind::NotFound);
    view.write(1, 2u8).unwrap();
    drop(view);
    assert_eq!(std::fs::read(&path).unwrap()[..3], [1, 2, 0]);
}

#[test]
fn a_map_by_path_lets_go_of_its_file_at_once_even_with_views_alive() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 100]).unwrap();
    let map = create_from_file(&path, FileMode::Open, 0, &within(&dir)).unwrap();
    assert!(take_alone(&path).is_none(), "the map shares its file with readers only");
    let view = map.create_view_accessor(0, 0).unwrap();
    drop(map);
    assert!(take_alone(&path).is_some() || under_wine(), "the file is still held");
    view.write(0, 1u8).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn descriptors_are_closed_with_the_map_even_with_views_alive() {
    use std::os::unix::fs::MetadataExt;

    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, [0; 100]).unwrap();
    let wanted = std::fs::metadata(&path).unwrap().ino();
    let open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        // Other tests open and close theirs meanwhile.
        let found = descriptors.filter_map(|descriptor| std::fs::metadata(descriptor.path()).ok());
        found.filter(|metadata| metadata.ino() == wanted).count()
    };
    assert_eq!(open(), 0);
    let by_path = create_from_file(&path, FileMode::Open, 0, &within(&dir)).unwrap();
    let by_file = within(&dir).map_name("n").access(Access::Read);
    let by_file = by_file.from_file(File::open(&path).unwrap(), 0).unwrap();
    assert!(open() >= 2);
    let views = [
        by_path.create_view_accessor_with(0, 0, Access::Read).unwrap(),
        by_file.create_view_accessor_with(0, 0, Access::Read).unwrap(),
    ];
    drop((by_path, by_file));
    assert_eq!(open(), 0);
    assert_eq!(views.map(|view| view.read::<u8>(99).unwrap()), [0, 0]);
}

#[test]
fn a_file_that_was_cloned_beforehand_stays_open() {
    let dir = own_dir();
    let path = dir.path().join("file");
    std::fs::write(&path, b"bytes").unwrap();
    let mut kept = File::open(&path).unwrap();
    let map = within(&dir).access(Access::Read).from_file(kept.try_clone().unwrap(), 0).unwrap();
    drop(map);
    let mut text = String::new();
    kept.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bytes");
}
