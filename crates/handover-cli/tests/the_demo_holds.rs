//! The demo succeeds, alone and beside others, and leaves nothing behind.

mod world;

use std::process::Stdio;

use world::{Running, World};

#[test]
fn alone() {
    let world = World::new();
    let story = world.run(&["demo"]).text();
    for part in [
        "token",
        "producer",
        "consumer",
        "signature is good",
        "hand-over took",
        "it was woken and had read version 2",
        "it is the new token",
        "SIGKILL",
        "gone",
        "Every step held",
    ] {
        assert!(story.contains(part), "no '{part}' in: {story}");
    }
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[test]
fn several_at_once() {
    let world = World::new();
    let demos: Vec<Running> =
        (0..6).map(|_| Running::start(world.command(&["demo"]).stdout(Stdio::piped()))).collect();
    for demo in demos {
        let ran = demo.end().expect(0);
        assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    }
    assert!(world.files().is_empty(), "{:?}", world.files());
}

#[test]
#[cfg(unix)]
fn a_demo_that_can_not_hold_fails() {
    let world = World::new();
    let mut command = world.command(&["demo"]);
    let ran = Running::start(command.env("HANDOVER_DIR", "/no/such/directory").stdout(Stdio::piped())).end();
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!String::from_utf8_lossy(&ran.stdout).contains("Every step held"));
}

#[test]
fn a_demo_that_is_killed_leaves_no_process_and_no_name() {
    let world = World::new();
    // There it is always the same moment, after which the consumer waits for ten seconds.
    let rounds = if cfg!(windows) { 1 } else { 10 };
    for _ in 0..rounds {
        let mut demo = Running::start(world.command(&["demo"]).stdout(Stdio::piped()));
        // Once it has said anything, it is killed at a random point.
        let mut out = std::io::BufReader::new(demo.child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        // Windows starts a process in two steps. A demo killed between them leaves a child that never runs
        // its first instruction, so there the demo is cut off once both children run.
        while cfg!(windows) && !line.contains("opened the name and read the token") {
            assert_ne!(std::io::BufRead::read_line(&mut out, &mut line).unwrap(), 0, "{line}");
        }
        demo.child.kill().unwrap();
        // Its children have its standard error: it ends when all of them have.
        demo.end();
    }
    world.run(&["gc"]).expect(0);
    assert!(world.files().is_empty(), "{:?}", world.files());
}
