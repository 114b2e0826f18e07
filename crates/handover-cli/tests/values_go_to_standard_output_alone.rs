//! Standard output carries what was asked for and nothing else; messages go to standard error; a reader that
//! has gone is not an error.

mod world;

use std::io::Read;
use std::process::Stdio;

use handover_test_support::Start;
use world::{Running, World};

#[test]
fn put_talks_on_standard_error_only() {
    let world = World::new();
    let producer = world.hold(&["x", "1"]);
    assert!(producer.said.starts_with("holding map 'x' in scope user until Ctrl-C"), "{}", producer.said);
    let ran = producer.stop();
    assert!(ran.stdout.is_empty());
}

#[test]
fn failures_talk_on_standard_error_only() {
    let world = World::new();
    for arguments in [
        &["get", "nobody"][..],
        &["take", "nobody"],
        &["watch", "nobody"],
        &["stat", "nobody"],
        &["put", "x", "nonsense"],
    ] {
        let ran = world.run(arguments);
        assert!(ran.stdout.is_empty() && ran.stderr.starts_with("handover: "), "{ran:?}");
    }
    let ran = world.run(&["ls"]).expect(u8::from(cfg!(windows)).into());
    assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
    let ran = world.run(&["gc"]).expect(0);
    assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
}

#[test]
fn no_colours_where_no_terminal_is() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    for arguments in [&["ls"][..], &["stat", "x"], &["demo"], &["--help"], &["get", "nobody"]] {
        let ran = world.run(arguments);
        assert!(!ran.stdout.contains(&0x1B) && !ran.stderr.contains('\x1B'), "{ran:?}");
    }
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let world = World::new();
    // More than a pipe holds.
    let value = "x".repeat(1 << 20);
    let _producer = world.hold_with(&["x", "-", "--text"], value.as_bytes());
    let mut consumer = Running::start(world.command(&["get", "x"]).stdout(Stdio::piped()));
    let mut first = [0];
    let mut out = consumer.child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let ran = consumer.end().expect(0);
    assert_eq!((first, ran.stderr.as_str()), (*b"x", ""));
}

#[test]
fn nobody_reading_at_all_is_no_error() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    for arguments in [
        &["get", "x"][..],
        &["get", "x", "--json"],
        &["watch", "x"],
        &["ls"],
        &["ls", "--json"],
        &["stat", "x"],
        &["gc", "--json"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["demo"],
    ] {
        // Closed before the command starts.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let running = Running::start(world.command(arguments).stdout(writer));
        let ran = running.end();
        if cfg!(windows) && arguments[0] == "ls" {
            continue;
        }
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn talk_that_nobody_reads_is_no_error() {
    let world = World::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let put = ["put", "x", "1", "--"].map(str::to_owned);
    let mut command = world.command(&[&put[..], &world::script(&[], 0)].concat());
    assert_eq!(command.stderr(writer).run().unwrap().code(), Some(0));
}
