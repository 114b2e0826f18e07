//! When memory runs out, creating a map is an error and leaves nothing. No process dies of it, neither then
//! nor when it writes to a map that it has. A process's limit on the size of files counts too.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use handover_tests::{Actor, Command, How, Obey, Open, Reply, Stage, is_root, skip};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// An actor whose names lie on a file system of this many bytes, which only it sees, and the path of that
/// file system.
fn with_memory(stage: &Stage, size: u64) -> (Actor, PathBuf) {
    let small = stage.path().join("small");
    std::fs::create_dir_all(&small).expect("a directory");
    let mut actor = stage.actor();
    actor.tell(&Command::PrivateMounts);
    actor.tell(&Command::MountTmpfs { path: small.clone(), options: format!("size={size},mode=700") });
    let value = Some(small.to_string_lossy().into_owned());
    actor.tell(&Command::Environment { name: "HANDOVER_DIR".to_owned(), value });
    (actor, small)
}

/// What lies in a scope, as the actor sees it.
fn files(actor: &mut Actor, base: &Path) -> Vec<String> {
    actor.list_directory(&base.join("handover-0"))
}

#[test]
fn a_map_that_does_not_fit_is_an_error_at_creation() {
    if !is_root() {
        skip!("only root can mount a small file system");
    }
    let stage = stage();
    let (mut actor, small) = with_memory(&stage, 1 << 20);
    for how in [How::CreateNew, How::CreateOrOpen] {
        let message = actor.expect_refused(&Open::new(how, "large", 2 << 20), "NoSpace");
        assert!(message.contains("2097152 bytes") && message.contains("large"), "{message}");
        assert!(files(&mut actor, &small).is_empty());
        actor.expect_gone("large");
    }
    // What fits has memory to the last byte.
    let map = actor.create_new("fits", 900_000);
    actor.write(map, 899_000, &[1; 1000]);
    actor.close(map);
    actor.expect_fresh("fits", 900_000);
}

#[test]
fn maps_that_fill_the_memory_can_all_be_written() {
    if !is_root() {
        skip!("only root can mount a small file system");
    }
    let stage = stage();
    let (mut actor, small) = with_memory(&stage, 1 << 20);
    let mut maps = Vec::new();
    let failure = loop {
        match actor.open(&Open::create_new(&format!("map {}", maps.len()), 100_000)) {
            Ok(map) => maps.push(map),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.kind, "NoSpace", "{}", failure.message);
    assert!(maps.len() > 4);
    assert_eq!(files(&mut actor, &small).len(), maps.len());
    for map in &maps {
        actor.write(*map, 0, &vec![0xFF; 100_000]);
    }
    // The next map can use the memory that a map gives back.
    let freed = maps.pop().expect("some");
    actor.close(freed);
    actor.expect_fresh("next", 100_000);
}

#[test]
fn room_for_the_first_name_is_missing() {
    if !is_root() {
        skip!("only root can mount a small file system");
    }
    let stage = stage();
    let (mut actor, small) = with_memory(&stage, 4096);
    // Not even the record of a name fits.
    let path = small.join("filler");
    actor.tell(&Command::WriteFile { path, bytes: vec![1; 4096] });
    actor.expect_refused(&Open::create_new("name", 1), "NoSpace");
    actor.expect_refused(&Open { delay: true, ..Open::create_new("name", 1) }, "NoSpace");
    assert!(files(&mut actor, &small).is_empty());
}

#[test]
fn delayed_pages_are_not_reserved() {
    if !is_root() {
        skip!("only root can mount a small file system");
    }
    let stage = stage();
    let (mut actor, _) = with_memory(&stage, 1 << 20);
    let map = actor.must_open(&Open { delay: true, ..Open::create_new("sparse", 64 << 20) });
    assert_eq!(map.capacity, 64 << 20);
    actor.write(map, (64 << 20) - 1000, &[1; 1000]);
    assert_eq!(actor.read(map, 1 << 20, 10), [0; 10]);
}

#[test]
fn a_file_that_can_not_grow_keeps_its_length() {
    if !is_root() {
        skip!("only root can mount a small file system");
    }
    let stage = stage();
    let (mut actor, small) = with_memory(&stage, 1 << 20);
    let path = small.join("file");
    actor.tell(&Command::WriteFile { path: path.clone(), bytes: b"content".to_vec() });
    for name in ["", "named"] {
        actor.expect_refused(&Open::from_file(&path, name, 2 << 20), "NoSpace");
        let length = actor.ask(&Command::FileLength(path.clone()));
        assert!(matches!(length, Ok(Reply::Number(7))), "{length:?}");
    }
    let map = actor.must_open(&Open::from_file(&path, "", 0));
    assert_eq!(actor.read(map, 0, 7), b"content");
    // A file that the call itself created is gone again.
    let new = small.join("new");
    actor.expect_refused(&Open::from_file(&new, "", 2 << 20), "NoSpace");
    assert!(actor.ask(&Command::FileLength(new)).is_err());
}

#[test]
fn the_limit_on_file_sizes_is_an_error_and_no_signal() {
    let stage = stage();
    let mut actor = stage.actor();
    actor.tell(&Command::LimitFileSize(200_000));
    for delay in [false, true] {
        let open = Open { delay, ..Open::create_new("large", 300_000) };
        let message = actor.expect_refused(&open, "NoSpace");
        assert!(message.contains("RLIMIT_FSIZE"), "{message}");
        assert!(stage.files().is_empty());
    }
    actor.expect_fresh("small", 1000);
    let path = stage.path().join("file");
    std::fs::write(&path, b"content").expect("write a file");
    actor.expect_refused(&Open::from_file(&path, "", 300_000), "NoSpace");
    assert_eq!(std::fs::read(&path).expect("read it"), b"content");
}

#[test]
fn a_name_for_a_file_needs_room_for_its_record_under_the_limit() {
    let stage = stage();
    let path = stage.path().join("file");
    std::fs::write(&path, b"content").expect("write a file");
    for limit in [0, 10, 90] {
        let mut actor = stage.actor();
        actor.tell(&Command::LimitFileSize(limit));
        let message = actor.expect_refused(&Open::from_file(&path, "named", 0), "NoSpace");
        assert!(message.contains("RLIMIT_FSIZE"), "{message}");
        assert!(stage.files().is_empty());
        actor.must_open(&Open::from_file(&path, "", 0));
    }
    assert_eq!(std::fs::read(&path).expect("read it"), b"content");
}
