//! A mapper's reader lends the newest value, decoded once for each version, and never one that is gone. A
//! cell's reader copies it to where the caller wants it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handover::cell::{CellOptions, Meta};
use handover::map::Rights;
use handover::{MapperOptions, MemoryMapper};
use handover_tests::{OwnDir, names_in, own_dir};

fn mapper(directory: &OwnDir) -> MemoryMapper<String> {
    MapperOptions::new().map(names_in(directory)).capacity(1000).create_or_open("n").unwrap()
}

#[test]
fn a_value_is_decoded_once_for_each_version() {
    let directory = own_dir();
    let mapper = mapper(&directory);
    let mut reader = mapper.reader();
    assert_eq!(reader.get().unwrap(), None);
    for text in ["one", "two", "two"] {
        mapper.set(&text.to_owned()).unwrap();
        let first = reader.get_shared().unwrap().unwrap().clone();
        assert_eq!(*first, text);
        assert!(Arc::ptr_eq(&first, reader.get_shared().unwrap().unwrap()), "decoded again");
        assert_eq!(reader.get().unwrap().map(String::as_str), Some(text));
    }
    assert_eq!(reader.version(), 3);
}

#[test]
fn what_is_gone_is_not_lent() {
    let directory = own_dir();
    let mapper = mapper(&directory);
    let mut reader = mapper.reader();
    mapper.set(&"kept".to_owned()).unwrap();
    assert!(reader.get().unwrap().is_some());
    mapper.clear().unwrap();
    assert_eq!(reader.get().unwrap(), None);
    mapper.set(&"taken".to_owned()).unwrap();
    assert!(reader.get().unwrap().is_some());
    mapper.take().unwrap();
    assert_eq!(reader.get().unwrap(), None);

    let soon = SystemTime::now() + Duration::from_millis(50);
    mapper.set_expires_at(&"brief".to_owned(), soon).unwrap();
    // The value is lent as long as it may be, and no longer. However this thread is delayed, both hold.
    loop {
        let before = SystemTime::now();
        let Some(value) = reader.get().unwrap() else { break };
        assert!(value == "brief" && before < soon, "lent after its time");
    }
    assert!(SystemTime::now() >= soon, "gone before its time");
    assert_eq!(mapper.version(), 6, "what has expired is removed");
}

#[test]
fn a_value_is_copied_to_the_callers_buffer_as_far_as_there_is_room() {
    let directory = own_dir();
    let cell = CellOptions::new().capacity(1 << 20).map(names_in(&directory)).create_or_open("cell").unwrap();
    let read_only = names_in(&directory).rights(Rights::READ).open_existing("cell").unwrap();
    let mut readers = [cell.reader(), CellOptions::new().open_in(read_only).unwrap().reader()];
    for reader in &mut readers {
        assert_eq!(reader.copy_into(&mut [0; 10]).unwrap(), None);
    }
    // Short values are copied without a pin, long ones under one.
    for length in [0, 1, 1000, 16 << 10, (16 << 10) + 1, 1 << 20] {
        let value: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        cell.try_writer().unwrap().unwrap().publish(&value).unwrap();
        for reader in &mut readers {
            for room in [0, length / 2, length, length + 10] {
                let mut to = vec![0xEE; room];
                assert_eq!(reader.copy_into(&mut to).unwrap(), Some(length));
                let count = room.min(length);
                assert!(to[..count] == value[..count], "{length} bytes into {room}");
                assert!(to[count..].iter().all(|byte| *byte == 0xEE));
            }
        }
    }
    cell.try_writer().unwrap().unwrap().clear().unwrap();
    for reader in &mut readers {
        assert_eq!(reader.copy_into(&mut [0; 10]).unwrap(), None);
    }
}

#[test]
fn bytes_that_nobody_may_read_any_more_are_not_copied() {
    let directory = own_dir();
    let cell = CellOptions::new().capacity(1 << 20).map(names_in(&directory)).create_or_open("cell").unwrap();
    let read_only = names_in(&directory).rights(Rights::READ).open_existing("cell").unwrap();
    let read_only = CellOptions::new().open_in(read_only).unwrap();
    for length in [8, 1 << 20] {
        let expired = Meta { expires: 1, ..Meta::default() };
        cell.try_writer().unwrap().unwrap().publish_as(&expired, &vec![7; length]).unwrap();
        for mut reader in [cell.reader(), read_only.reader()] {
            let mut to = vec![0; length];
            assert_eq!(reader.copy_into(&mut to).unwrap(), None);
            assert!(to.iter().all(|byte| *byte == 0), "{length} bytes were copied");
        }
    }
}
