//! The directory of a scope, or the file of a name, is replaced while an operation is under way (somebody
//! tidies up, or means harm). An operation that has not ended goes to the new directory, and no process ends
//! up holding one file and mapping another.

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
    for (command, created) in [
        (Command::Open(Open::create_new("name", 100)), true),
        (Command::Open(Open::create_new("name", 1 << 20)), true),
        (Command::Open(Open::create_or_open("name", 100)), true),
        (Command::Open(Open::create_or_open("held", 100)), false),
    ] {
        let mut elsewhere = 0;
        for place in 0.. {
            let stage = stage();
            let mut watcher = stage.actor();
            watcher.create_new("held", 100);
            let mut creator = stage.actor();
            let Some(stopped) = send_stopped(&mut creator, &command, Before::Call(place)) else {
                assert!(place > 10 + elsewhere, "{command:?}: {place} system calls, {elsewhere} too late");
                break;
            };
            let aside = stage.path().join("aside");
            std::fs::rename(stage.scope(), &aside).expect("move the directory");
            std::fs::create_dir(stage.scope()).expect("make another");
            set_mode(&stage.scope(), 0o700);
            drop(stopped);
            let reply = creator.reply();
            let Some(Reply::Map(map)) = reply else { panic!("{command:?} {place}: {reply:?}") };
            let found = watcher.open(&Open::open_existing(if created { "name" } else { "held" }));
            match found {
                Ok(found) => {
                    creator.write(map, 0, b"one map");
                    assert_eq!(watcher.read(found, 0, 7), b"one map", "{command:?} {place}");
                    assert_eq!(elsewhere, 0, "{command:?} {place}: an earlier stop came too late");
                    // What was prepared in the other directory is gone.
                    let left = files_in(&aside).len();
                    assert!(left <= 1, "{command:?} {place}: left {:?}", files_in(&aside));
                }
                // It was complete before the directory was moved, and nobody looked at it since.
                Err(failure) => {
                    assert_eq!(failure.kind, "NotFound", "{command:?} {place}: {}", failure.message);
                    elsewhere += 1;
                }
            }
        }
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
