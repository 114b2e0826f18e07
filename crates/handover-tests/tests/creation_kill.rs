//! A process that is killed before any of the system calls that create, open or close a name leaves no
//! half-made map. With its creator dead the name does not exist; with a holder alive it is whole; and one
//! operation on the scope removes every file left behind. While the process is stopped at that place without
//! the directory's lock, others find the name whole or not at all.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use handover_tests::trace::{Before, send_stopped};
use handover_tests::{Actor, Command, How, Map, Obey, Open, Reply, Stage, files_in};

const CAPACITY: u64 = 70_000;
/// So small that the creator makes it without releasing the directory's lock.
const SMALL: u64 = 7_000;

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// Makes a new actor prepare, then stop before each of the system calls of a command, one after the other,
/// and die there. `check` sees the stage before and after its death, and learns whether the actor is still
/// there.
fn at_every_call(
    stage: &Stage,
    prepare: impl Fn(&mut Actor) -> Command,
    mut alive: impl FnMut(bool),
    mut dead: impl FnMut(),
) {
    let mut locked = 0;
    for place in 0..10_000 {
        let mut victim = stage.actor();
        let command = prepare(&mut victim);
        if let Some(stopped) = send_stopped(&mut victim, &command, Before::Call(place)) {
            locked += usize::from(stopped.has_lock);
            alive(stopped.has_lock);
            stopped.kill();
        } else {
            assert!(place > 10 && locked > 3, "{place} system calls, {locked} of them with the lock");
            let reply = victim.reply();
            assert!(!matches!(reply, None | Some(Reply::Failed(_))), "{reply:?}");
            victim.kill();
            dead();
            return;
        }
        dead();
    }
    panic!("the command does not end");
}

/// The name does not exist, or leads to zeroes of the right capacity.
fn expect_whole_or_gone(watcher: &mut Actor, name: &str, capacity: u64) -> bool {
    match watcher.open(&Open::open_existing(name)) {
        Ok(map) => {
            assert_eq!(map.capacity, capacity);
            assert_eq!(watcher.read(map, 0, capacity), vec![0; capacity as usize]);
            watcher.close(map);
            true
        }
        Err(failure) => {
            assert_eq!(failure.kind, "NotFound", "{}", failure.message);
            false
        }
    }
}

fn created(open: &Open, prepare: impl Fn(&Stage)) {
    let stage = stage();
    let global = open.name.starts_with("Global\\");
    let scope: PathBuf = if global { stage.global_scope() } else { stage.scope() };
    let mut found = 0;
    at_every_call(
        &stage,
        |_| {
            prepare(&stage);
            Command::Open(open.clone())
        },
        |has_lock| {
            if !has_lock {
                found += usize::from(expect_whole_or_gone(&mut stage.actor(), &open.name, open.capacity));
            }
        },
        || {
            let mut watcher = stage.actor();
            watcher.expect_gone(&open.name);
            assert!(files_in(&scope).is_empty(), "left {:?}", files_in(&scope));
            watcher.expect_fresh(&open.name, 300);
            assert_eq!(files_in(stage.path()), [scope.as_path()], "left beside the scope");
            assert!(files_in(&scope).is_empty());
        },
    );
    assert!(found > 0, "the name was never there");
}

fn remove(directory: &Path) {
    for file in files_in(directory) {
        std::fs::remove_file(file).expect("remove a file");
    }
    if directory.exists() {
        std::fs::remove_dir(directory).expect("remove a directory");
    }
}

#[test]
fn creator_of_a_name() {
    created(&Open::create_new("name", CAPACITY), |_| {});
    created(&Open::create_new("name", SMALL), |_| {});
}

#[test]
fn creator_of_a_name_that_was_left_by_the_dead() {
    created(&Open::create_or_open("name", CAPACITY), |stage| {
        let mut holder = stage.actor();
        let map = holder.create_new("name", CAPACITY);
        holder.write(map, 0, &[0xFF; 1000]);
        holder.kill();
    });
}

#[test]
fn creator_of_a_name_and_of_the_users_directory() {
    created(&Open::create_or_open("name", CAPACITY), |stage| remove(&stage.scope()));
}

#[test]
fn creator_of_a_name_and_of_the_global_directory() {
    created(&Open::create_new("Global\\name", SMALL), |stage| remove(&stage.global_scope()));
}

#[test]
fn creator_of_a_name_for_a_file() {
    let stage = stage();
    let file = stage.path().join("file");
    std::fs::write(&file, vec![7; 500]).expect("write a file");
    let whole = |watcher: &mut Actor| match watcher.open(&Open::open_existing("on file")) {
        Ok(map) => {
            assert_eq!((map.capacity, watcher.read(map, 0, 500)), (500, vec![7; 500]));
            watcher.close(map);
        }
        Err(failure) => assert_eq!(failure.kind, "NotFound", "{}", failure.message),
    };
    at_every_call(
        &stage,
        |_| Command::Open(Open::from_file(&file, "on file", 0)),
        |has_lock| {
            if !has_lock {
                whole(&mut stage.actor());
            }
        },
        || {
            let mut watcher = stage.actor();
            watcher.expect_gone("on file");
            assert!(stage.files().is_empty(), "left {:?}", stage.files());
            assert_eq!(std::fs::read(&file).expect("the file is there"), vec![7; 500]);
            let map = watcher.must_open(&Open::from_file(&file, "on file", 0));
            watcher.close(map);
        },
    );
}

/// Kills a process that joins a living name: the name stays, and ends with its holder.
#[test]
fn one_who_opens_a_name() {
    for how in [How::OpenExisting, How::CreateOrOpen] {
        let stage = stage();
        let mut watcher = stage.actor();
        let mut holder = stage.actor();
        let held = holder.create_new("name", CAPACITY);
        holder.write(held, 0, b"content");
        at_every_call(
            &stage,
            |_| Command::Open(Open::new(how, "name", 5)),
            |has_lock| {
                if !has_lock {
                    let map = watcher.open_existing("name");
                    watcher.close(map);
                }
            },
            || {
                let mut late = stage.actor();
                let map = late.open_existing("name");
                assert_eq!((map.capacity, late.read(map, 0, 8)), (CAPACITY, b"content\0".to_vec()));
                assert_eq!(stage.files().len(), 1);
            },
        );
        holder.kill();
        watcher.expect_gone("name");
        assert!(stage.files().is_empty());
    }
}

/// Kills the last holder while it closes: the name is gone, and the next operation removes the leftovers.
#[test]
fn last_holder_that_closes() {
    let stage = stage();
    let prepare = |victim: &mut Actor| {
        let Map { id, .. } = victim.create_new("name", CAPACITY);
        Command::Close { map: id }
    };
    at_every_call(
        &stage,
        prepare,
        |has_lock| {
            if !has_lock {
                expect_whole_or_gone(&mut stage.actor(), "name", CAPACITY);
            }
        },
        || {
            let mut watcher = stage.actor();
            watcher.collect_garbage(false);
            assert!(stage.files().is_empty(), "left {:?}", stage.files());
            watcher.expect_gone("name");
            watcher.expect_fresh("name", 300);
        },
    );
}

/// Kills a holder that closes while another one holds the name: the name and its bytes stay.
#[test]
fn holder_that_closes_beside_another() {
    let stage = stage();
    let mut holder = stage.actor();
    let held = holder.create_new("name", CAPACITY);
    holder.write(held, 0, b"content");
    let prepare = |victim: &mut Actor| {
        let Map { id, .. } = victim.open_existing("name");
        Command::Close { map: id }
    };
    at_every_call(
        &stage,
        prepare,
        |_| {},
        || {
            let mut late = stage.actor();
            let map = late.open_existing("name");
            assert_eq!(late.read(map, 0, 8), b"content\0");
            assert_eq!(stage.files().len(), 1);
        },
    );
}

/// Kills a process that sweeps: the leftovers are gone after the next sweep, and the living names stay.
#[test]
fn one_who_collects_garbage() {
    let stage = stage();
    let mut holder = stage.actor();
    holder.create_new("living", 100);
    let prepare = |_: &mut Actor| {
        let mut dead = stage.actor();
        for name in ["a", "b", "c"] {
            dead.create_or_open(name, 100);
        }
        dead.kill();
        Command::CollectGarbage { global: false }
    };
    at_every_call(
        &stage,
        prepare,
        |_| {},
        || {
            let mut late = stage.actor();
            late.collect_garbage(false);
            assert_eq!(stage.files().len(), 1);
            late.open_existing("living");
        },
    );
}
