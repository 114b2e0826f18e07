//! A map that a version before 0.2 made is told as that, and no call touches it.

#![cfg(target_os = "linux")]

mod neighbour;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use handover_tests::cell::{CellCommand, OpenCell, UseCells};
use handover_tests::{Actor, Command, How, Obey, Open, Reply, Stage, files_in, set_mode};
use neighbour::{Neighbour, failed, file_name, picture, stage};

/// Where the name starts in a record of version 1.
const FIXED: usize = 80;
const DATA: u64 = 65_536;

/// A whole record of version 1, of a map of 100 bytes.
fn record(name: &str, kind: u32, path: &str) -> Vec<u8> {
    let mut bytes = b"HANDOVER".to_vec();
    let word = |bytes: &mut Vec<u8>, number: u32| bytes.extend(number.to_le_bytes());
    let long = |bytes: &mut Vec<u8>, number: u64| bytes.extend(number.to_le_bytes());
    word(&mut bytes, 1);
    word(&mut bytes, kind);
    long(&mut bytes, if kind == 1 { DATA } else { 0 });
    long(&mut bytes, 100);
    word(&mut bytes, 0);
    word(&mut bytes, name.len() as u32);
    long(&mut bytes, 1_700_000_000_000_000_000);
    word(&mut bytes, path.len() as u32);
    word(&mut bytes, 0);
    long(&mut bytes, 0);
    long(&mut bytes, 0);
    long(&mut bytes, 0);
    assert_eq!(bytes.len(), FIXED);
    bytes.extend(name.bytes());
    bytes.extend(path.bytes());
    bytes
}

fn plant(directory: &Path, name: &str, kind: u32) -> PathBuf {
    let path = directory.join(file_name(name));
    let file = std::fs::File::create_new(&path).expect("plant a file");
    let record = record(name, kind, if kind == 2 { "/etc/hostname" } else { "" });
    file.write_all_at(&record, 0).expect("write it");
    if kind == 1 {
        file.write_all_at(&[7; 100], DATA).expect("write it");
    }
    set_mode(&path, 0o600);
    path
}

#[track_caller]
fn is_told_and_left(stage: &Stage, actor: &mut Actor, name: &str, path: &Path) {
    let before = picture(path);
    for read_only in [false, true] {
        for how in How::BY_NAME {
            let open = Open { read_only, ..Open::new(how, name, 100) };
            let outcome = actor.open(&open);
            let message = failed(outcome, &["WrongKind", "Unsupported"]);
            assert!(message.contains("0.2") && message.contains("left"), "{message}");
            assert_eq!(picture(path), before, "{open:?}");
        }
    }
    let outcome = actor.try_cell(CellCommand::Open(OpenCell::named(name, 100)));
    assert!(failed(outcome, &["WrongKind", "Unsupported"]).contains("0.2"));
    for global in [false, true] {
        assert!(actor.collect_garbage(global).is_empty());
        match actor.ask(&Command::List { global }) {
            Ok(Reply::Names(names)) => assert!(names.iter().all(|name| name == "living"), "{names:?}"),
            other => panic!("{other:?}"),
        }
    }
    // The sweeps of others: the first map of a process, and one in 16.
    for _ in 0..3 {
        let mut other = stage.actor();
        for number in 0..40 {
            let map = other.create_new(&format!("other {number}"), 100);
            other.close(map);
            let map = other.create_new(&format!("Global\\other {number}"), 100);
            other.close(map);
        }
    }
    assert_eq!(picture(path), before);
}

#[test]
fn a_map_of_a_version_before_0_2_is_told_and_left() {
    let stage = stage();
    let user = stage.path().metadata().expect("the stage").uid();
    let mut actor = stage.actor();
    let _living = actor.create_new("living", 100);
    let _global = actor.create_new("Global\\living", 100);
    let global = files_in(stage.path()).into_iter().find(|path| path.to_string_lossy().ends_with("-global"));
    let global = global.expect("the directory of global names");
    for kind in [1, 2] {
        for (directory, name) in [(stage.scope(), "old"), (global.clone(), "Global\\old")] {
            let path = plant(&directory, "old", kind);
            is_told_and_left(&stage, &mut actor, name, &path);
            // Also while a program of that version holds it.
            let mut holder = Neighbour::of(&stage, user, &[], &["life", path.to_str().expect("text")]);
            holder.hear::<()>().expect("lock it");
            is_told_and_left(&stage, &mut actor, name, &path);
            drop(holder);
            std::fs::remove_file(path).expect("remove it");
            actor.expect_fresh(name, 100);
        }
    }
}

/// As a version after this one may write it.
#[test]
fn a_map_of_a_later_version_is_left() {
    let stage = stage();
    let mut actor = stage.actor();
    actor.create_new("name", 100);
    let path = stage.scope().join(file_name("name"));
    let mut bytes = std::fs::read(&path).expect("a whole map");
    actor.kill();
    bytes[8] = 3;
    std::fs::write(&path, &bytes).expect("plant a file");
    let before = picture(&path);
    let mut actor = stage.actor();
    for how in How::BY_NAME {
        let message = failed(actor.open(&Open::new(how, "name", 100)), &["WrongKind", "Unsupported"]);
        assert!(message.contains("version"), "{message}");
    }
    assert!(actor.collect_garbage(false).is_empty());
    actor.expect_fresh("another", 100);
    assert_eq!(picture(&path), before);
}
