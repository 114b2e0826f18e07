//! Whoever holds a name is told when somebody takes its file away: at once, with an exit code of its own.

#![cfg(unix)]

mod world;

use std::path::Path;
use std::process::Stdio;

use world::{Running, World};

const LOST: i32 = 6;

/// What it is, and how it is done.
type Way = (&'static str, fn(&World));

/// The ways to take a name away.
const WAYS: [Way; 4] = [
    ("its file is deleted", |world| {
        for file in world.files() {
            std::fs::remove_file(file).unwrap();
        }
    }),
    ("its file is moved", |world| {
        for file in world.files() {
            std::fs::rename(&file, world.path("moved")).unwrap();
        }
    }),
    ("its directory is deleted", |world| {
        std::fs::remove_dir_all(directory(world)).unwrap();
    }),
    ("its directory is moved", |world| {
        std::fs::rename(directory(world), world.path("moved-directory")).unwrap();
    }),
];

fn directory(world: &World) -> std::path::PathBuf {
    world.files()[0].parent().map(Path::to_owned).unwrap()
}

fn started(world: &World, arguments: &[&str]) -> Running {
    Running::start(world.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()))
}

#[test]
fn by_put_however_it_holds() {
    for (way, take_away) in WAYS {
        for arguments in [
            &["x", "1"][..],
            &["x", "1", "--for", "1h"],
            &["x", "1", "--until-taken"],
            &["x", "1", "--plain"],
        ] {
            let world = World::new();
            let holder = world.hold(arguments);
            take_away(&world);
            let ran = holder.end().expect(LOST);
            assert!(ran.stderr.contains("'x'") && ran.stderr.contains("lost"), "{way}: {}", ran.stderr);
            world.run(&["get", "x"]).expect(3);
        }
    }
}

#[test]
fn by_put_while_its_command_runs_and_the_command_goes_on() {
    let world = World::new();
    for (code, script) in [(0, "read line; exit 0"), (7, "read line; exit 7")] {
        let mut command = world.command(&["put", "x", "1", "--", "sh", "-c", script]);
        let mut holder = Running::start(command.stdin(Stdio::piped()));
        holder.says("holding");
        WAYS[0].1(&world);
        holder.says("handover: ");
        assert!(holder.said.contains("lost"), "{}", holder.said);
        holder.says("waiting for the command");
        assert!(
            holder.child.try_wait().unwrap().is_none(),
            "it waits for the command, which ends with {code}"
        );
        drop(holder.child.stdin.take());
        holder.end().expect(LOST);
    }
}

#[test]
fn by_watch_which_ends() {
    for (way, take_away) in WAYS {
        let world = World::new();
        let holder = world.hold(&["x", "1"]);
        let mut watcher = started(&world, &["watch", "x"]);
        let first = watcher.line();
        assert!(first.contains("\"version\":1,"), "{first}");
        take_away(&world);
        let ran = watcher.end().expect(LOST);
        assert!(ran.stderr.contains("--follow-name"), "{way}: {}", ran.stderr);
        holder.end().expect(LOST);
    }
}

#[test]
fn by_watch_which_goes_on_with_the_next_holder_if_told_to() {
    for (way, take_away) in WAYS {
        let world = World::new();
        let first = world.hold(&["x", "\"first\""]);
        let mut watcher = started(&world, &["watch", "x", "--follow-name", "--count", "3"]);
        assert!(watcher.line().contains("first"), "{way}");
        take_away(&world);
        watcher.says("the name 'x' leads to this map no more");
        first.end().expect(LOST);
        let second = world.hold(&["x", "\"second\""]);
        assert!(watcher.line().contains("second"), "{way}");
        second.stop();
        let _third = world.hold(&["x", "\"third\""]);
        let line = watcher.line();
        assert!(line.contains("third"), "{way}: {line}");
        watcher.end().expect(0);
    }
}

#[test]
fn and_nobody_else_is() {
    let world = World::new();
    let lost = world.hold(&["x", "1"]);
    std::fs::remove_file(&world.files()[0]).unwrap();
    lost.end().expect(LOST);
    let _other = world.hold(&["x", "2"]);
    let mut watcher = started(&world, &["watch", "x", "--count", "2"]);
    assert!(watcher.line().contains("\"value\":2"));
    world.run(&["put", "x", "3", "--for", "1ms"]).expect(0);
    watcher.end().expect(0);
}
