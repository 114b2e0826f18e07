//! A name is there while `put` runs and gone when it has ended, however it ended.

mod world;

use world::World;

#[test]
#[cfg(unix)]
fn by_signals_to_stop() {
    let world = World::new();
    for signal in ["TERM", "INT", "HUP"] {
        let producer = world.hold(&["x", "1"]);
        world.run(&["get", "x"]).expect(0);
        producer.signal(signal);
        producer.end().expect(0);
        world.run(&["get", "x"]).expect(3);
        assert!(world.files().is_empty(), "{signal}: {:?}", world.files());
    }
}

#[test]
fn by_time() {
    let world = World::new();
    let producer = world.hold(&["x", "1", "--for", "50ms"]);
    producer.end().expect(0);
    world.run(&["get", "x"]).expect(3);
    assert!(world.files().is_empty());
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_hold_by_time_too() {
    let world = World::new();
    let producer = world.hold(&["x", "1", "--for", "1h"]);
    producer.signal("TERM");
    producer.end().expect(0);
    world.run(&["get", "x"]).expect(3);
}

#[test]
#[cfg(unix)]
fn by_kill_and_gc_removes_what_is_left() {
    let world = World::new();
    let kept = world.hold(&["kept", "1"]);
    world.hold(&["user", "1"]).kill();
    world.hold(&["Global\\all", "2"]).kill();
    assert_eq!(world.files().len(), 3);
    let ran = world.run(&["gc"]).expect(0);
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "user\nall\n");
    assert_eq!(world.files().len(), 1);
    world.run(&["get", "user"]).expect(3);
    assert_eq!(world.run(&["get", "kept"]).text(), "1");
    drop(kept);
    assert_eq!(world.run(&["gc", "--json"]).json(), serde_json::json!([{ "name": "kept", "scope": "user" }]));
    assert_eq!(world.run(&["gc", "--json"]).json(), serde_json::json!([]));
    assert!(world.files().is_empty());
}

#[test]
fn by_the_end_of_a_command_whose_code_it_hands_on() {
    let world = World::new();
    let script = world::script(&["get x --pointer /Bearer"], 7);
    let put = ["put", "x", r#"{"Bearer":"b"}"#, "--"].map(str::to_owned);
    let ran = world.run(&[&put[..], &script].concat()).expect(7);
    assert_eq!(ran.stdout, b"b", "the name is there while the command runs");
    world.run(&["get", "x"]).expect(3);
    world.run(&[&put[..], &world::script(&[], 0)].concat()).expect(0);
    #[cfg(unix)]
    {
        let ran = world.run(&["put", "x", "1", "--", "sh", "-c", "kill -9 $$"]).expect(1);
        assert!(ran.stderr.contains("signal"), "{}", ran.stderr);
    }
    assert!(world.files().is_empty());
}

#[test]
#[cfg(unix)]
fn a_signal_lets_the_command_end_first() {
    let world = World::new();
    let script = "echo ready >&2; read line; exit 9";
    let mut command = world.command(&["put", "x", "1", "--", "sh", "-c", script]);
    let mut producer = world::Running::start(command.stdin(std::process::Stdio::piped()));
    producer.says("ready");
    producer.signal("TERM");
    producer.says("waiting for the command to end");
    world.run(&["get", "x"]).expect(0);
    drop(producer.child.stdin.take());
    producer.end().expect(9);
    world.run(&["get", "x"]).expect(3);
}

#[test]
#[cfg(unix)]
fn a_second_signal_kills_the_command() {
    let world = World::new();
    let mut command = world.command(&["put", "x", "1", "--", "sh", "-c", "echo ready >&2; exec sleep 1000"]);
    let mut producer = world::Running::start(&mut command);
    producer.says("ready");
    producer.signal("TERM");
    producer.says("waiting for the command to end");
    producer.signal("TERM");
    producer.end().expect(1);
    world.run(&["get", "x"]).expect(3);
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_put_that_still_reads_its_value() {
    let world = World::new();
    let mut command = world.command(&["put", "x", "-"]);
    let producer = world::Running::start(command.stdin(std::process::Stdio::piped()));
    producer.signal("TERM");
    assert_ne!(producer.end().code, Some(0));
    world.run(&["get", "x"]).expect(3);
}

#[test]
fn consumers_do_not_hold_it_beyond_their_end() {
    let world = World::new();
    let producer = world.hold(&["x", "1"]);
    for _ in 0..3 {
        world.run(&["get", "x"]).expect(0);
    }
    drop(producer);
    world.run(&["get", "x"]).expect(3);
}
