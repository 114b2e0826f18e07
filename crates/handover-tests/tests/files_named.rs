//! A map on a file can have a name. Other processes open the file's bytes by it, the name ends with its last
//! holder, and the file stays.

use handover_tests::{Obey, Open, Stage};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

#[test]
fn another_process_opens_a_file_by_name() {
    let stage = stage();
    let (mut first, mut second, mut third) = (stage.actor(), stage.actor(), stage.actor());
    let path = stage.path().join("file");
    std::fs::write(&path, b"content").expect("write a file");
    let map = first.must_open(&Open::from_file(&path, "named", 100));
    let found = second.open_existing("named");
    assert_eq!((found.capacity, second.read(found, 0, 8)), (100, b"content\0".to_vec()));
    second.write(found, 0, b"changed");
    assert_eq!(first.read(map, 0, 7), b"changed");
    third.expect_refused(&Open::from_file(&path, "named", 0), "AlreadyExists");
    third.expect_refused(&Open::create_new("named", 5), "AlreadyExists");
    assert!(!third.create_or_open("named", 5).created);

    // Holders end in any way; the last one takes the name, not the file.
    first.kill();
    let late = second.open_existing("named");
    second.close(late);
    third.exit();
    second.close(found);
    second.expect_gone("named");
    assert!(stage.files().is_empty());
    let bytes = std::fs::read(&path).expect("the file stays");
    assert_eq!((bytes.len(), &bytes[..7]), (100, &b"changed"[..]));
}

#[test]
fn the_name_of_a_killed_holder_is_free() {
    let stage = stage();
    let path = stage.path().join("file");
    std::fs::write(&path, b"content").expect("write a file");
    let mut holder = stage.actor();
    holder.must_open(&Open::from_file(&path, "named", 0));
    holder.kill();
    let mut watcher = stage.actor();
    watcher.expect_gone("named");
    // The name is not tied to the file.
    watcher.expect_fresh("named", 50);
    assert_eq!(std::fs::read(&path).expect("the file stays"), b"content");
    let again = watcher.must_open(&Open::from_file(&path, "named", 0));
    assert_eq!(watcher.read(again, 0, 7), b"content");
}

#[test]
#[cfg(unix)] // Windows lets nobody replace or cut a file that is mapped.
fn a_file_that_was_replaced_or_cut_is_refused() {
    let stage = stage();
    let path = stage.path().join("file");
    std::fs::write(&path, [1; 100]).expect("write a file");
    let (mut holder, mut watcher) = (stage.actor(), stage.actor());
    let map = holder.must_open(&Open::from_file(&path, "named", 0));
    let aside = stage.path().join("aside");
    std::fs::rename(&path, &aside).expect("move it");
    std::fs::write(&path, [2; 100]).expect("write another");
    let message = watcher.expect_refused(&Open::open_existing("named"), "WrongKind");
    assert!(message.contains(&*path.to_string_lossy()), "{message}");
    std::fs::rename(&aside, &path).expect("put it back");
    let found = watcher.open_existing("named");
    watcher.close(found);
    let file = std::fs::File::options().write(true).open(&path).expect("open it");
    file.set_len(10).expect("cut it");
    watcher.expect_refused(&Open::open_existing("named"), "WrongKind");
    file.set_len(100).expect("as before");
    holder.close(map);
}

#[test]
fn views_on_a_file_keep_the_bytes_but_not_the_name() {
    let stage = stage();
    let path = stage.path().join("file");
    std::fs::write(&path, [0; 100]).expect("write a file");
    let mut holder = stage.actor();
    let map = holder.must_open(&Open::from_file(&path, "named", 0));
    let view = holder.view(map);
    holder.close(map);
    stage.actor().expect_gone("named");
    holder.write_view(view, 0, b"late");
    assert_eq!(&std::fs::read(&path).expect("read it")[..4], b"late");
}
