//! A mapper's reader lends the newest value, decoded once for each version, and never one that is gone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handover::{ErrorKind, MapperOptions, MemoryMapper};
use handover_tests::{OwnDir, names_in, own_dir};

fn mapper(directory: &OwnDir) -> MemoryMapper<String> {
    MapperOptions::new().map(names_in(directory)).create("n", 1000).unwrap()
}

#[test]
fn a_value_is_decoded_once_for_each_version() {
    let directory = own_dir();
    let mapper = mapper(&directory);
    let mut reader = mapper.reader().unwrap();
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
    let mut reader = mapper.reader().unwrap();
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
    // Lent for as long as it may be, and not longer: however this thread is delayed, both hold.
    loop {
        let before = SystemTime::now();
        let Some(value) = reader.get().unwrap() else { break };
        assert!(value == "brief" && before < soon, "lent after its time");
    }
    assert!(SystemTime::now() >= soon, "gone before its time");
    assert_eq!(mapper.version().unwrap(), 6, "what has expired is removed");
}

#[test]
fn the_plain_layout_has_no_reader() {
    let directory = own_dir();
    let mapper: MemoryMapper<String> =
        MapperOptions::new().map(names_in(&directory)).plain().create("n", 1000).unwrap();
    assert_eq!(mapper.reader().unwrap_err().kind(), ErrorKind::Unsupported);
}
