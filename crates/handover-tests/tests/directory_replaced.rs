//! The directory of a scope, or the file of a name, is replaced while an operation is under way (somebody
//! tidies up, or means harm). An operation that waited for the lock of a vanished directory goes to the new
//! one, and no process ends up holding one file and mapping another.

#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

use handover_tests::trace::{Before, send_stopped};
use handover_tests::{Actor, Command, How, Obey, Open, Reply, Stage, files_in, set_mode};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

#[test]
fn a_name_is_created_in_the_directory_that_others_look_into() {
    for (capacity, locks) in [(100, 1), (1 << 20, 2)] {
        created_where_others_look(capacity, locks);
    }
}

fn created_where_others_look(capacity: u64, locks: usize) {
    for nth in 0.. {
        let stage = stage();
        let mut watcher = stage.actor();
        watcher.expect_fresh("makes the directory", 100);
        let mut creator = stage.actor();
        let command = Command::Open(Open::create_new("name", capacity));
        let Some(stopped) = send_stopped(&mut creator, &command, Before::Lock(nth)) else {
            assert_eq!(nth, locks, "how often {capacity} bytes take the lock");
            return;
        };
        let aside = stage.path().join("aside");
        std::fs::rename(stage.scope(), &aside).expect("move the directory");
        std::fs::create_dir(stage.scope()).expect("make another");
        set_mode(&stage.scope(), 0o700);
        drop(stopped);
        let reply = creator.reply();
        let Some(Reply::Map(map)) = reply else { panic!("{reply:?}") };
        creator.write(map, 0, b"one map");
        let found = watcher.open_existing("name");
        assert_eq!(watcher.read(found, 0, 7), b"one map");
        // What was prepared in the other directory is gone.
        assert!(files_in(&aside).is_empty(), "left {:?}", files_in(&aside));
    }
}

/// The map files that a process has open.
fn open_files(actor: &Actor, stage: &Stage) -> HashSet<u64> {
    let descriptors = files_in(format!("/proc/{}/fd", actor.id()).as_ref());
    let files = descriptors.iter().filter_map(|fd| Some((std::fs::read_link(fd).ok()?, fd)));
    let ours = files.filter(|(path, _)| path.starts_with(stage.path()));
    ours.filter_map(|(_, fd)| Some(std::fs::metadata(fd).ok()?.ino())).collect()
}

#[test]
fn a_file_that_is_replaced_while_it_is_opened_is_not_mixed_up() {
    for how in [How::OpenExisting, How::CreateOrOpen] {
        for place in 0.. {
            let stage = stage();
            // Two whole maps of one name, with a holder each; the new one has a mode that no map has.
            let mut first = stage.actor();
            let map = first.create_new("name", 100);
            first.write(map, 0, b"first");
            let file = stage.files().remove(0);
            let aside = stage.path().join("aside");
            std::fs::rename(&file, &aside).expect("move the file");
            set_mode(&aside, 0o644);
            let mut second = stage.actor();
            let map = second.create_new("name", 100);
            second.write(map, 0, b"other");

            let mut opener = stage.actor();
            let command = Command::Open(Open::new(how, "name", 100));
            let Some(stopped) = send_stopped(&mut opener, &command, Before::Call(place)) else {
                assert!(place > 10);
                break;
            };
            std::fs::rename(&aside, &file).expect("replace the file");
            drop(stopped);
            match opener.reply() {
                Some(Reply::Map(map)) => {
                    assert_eq!(opener.read(map, 0, 5), b"other", "{how:?} {place}: took what is refused");
                    assert_eq!(open_files(&opener, &stage).len(), 1, "{how:?} {place}: holds another file");
                }
                Some(Reply::Failed(failure)) => {
                    let expected = match &*failure.kind {
                        "AccessDenied" => "mode 0644",
                        "WrongKind" => "replaced",
                        _ => "another kind of error",
                    };
                    assert!(failure.message.contains(expected), "{}", failure.message);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn closing_leaves_alone_a_file_that_is_another_map() {
    let stage = stage();
    let mut first = stage.actor();
    let old = first.create_new("name", 100);
    let file = stage.files().remove(0);
    std::fs::remove_file(&file).expect("remove the file");
    let mut second = stage.actor();
    let new = second.create_new("name", 200);
    first.close(old);
    let mut third = stage.actor();
    assert_eq!(third.open_existing("name").capacity, 200);
    third.kill();

    std::fs::remove_file(&file).expect("remove the file");
    std::fs::write(&file, b"content").expect("write another");
    second.close(new);
    assert_eq!(std::fs::read(&file).expect("it is there"), b"content");
}
