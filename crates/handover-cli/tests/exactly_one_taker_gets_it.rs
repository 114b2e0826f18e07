//! `take` hands a value over once, and `put --until-taken` knows that it was.

mod world;

use std::process::Stdio;
use std::time::{Duration, Instant};

use world::{Running, World};

#[test]
fn of_many_who_take_at_once() {
    let world = World::new();
    for _ in 0..5 {
        let _producer = world.hold(&["x", "\"v\""]);
        let takers: Vec<Running> =
            (0..8).map(|_| Running::start(world.command(&["take", "x"]).stdout(Stdio::piped()))).collect();
        let ran: Vec<_> = takers.into_iter().map(Running::end).collect();
        let got: Vec<_> = ran.iter().filter(|ran| ran.code == Some(0)).collect();
        assert_eq!(got.len(), 1, "{ran:?}");
        assert_eq!(got[0].stdout, b"\"v\"");
        assert!(ran.iter().all(|ran| ran.code == Some(0) || (ran.code == Some(5) && ran.stdout.is_empty())));
    }
}

#[test]
fn of_many_who_wait_each_gets_another() {
    let world = World::new();
    let takers: Vec<Running> = (0..4)
        .map(|_| {
            let mut command = world.command(&["take", "x", "--wait", "60s"]);
            let mut taker = Running::start(command.stdout(Stdio::piped()));
            taker.says("waiting");
            taker
        })
        .collect();
    for value in ["1", "2", "3", "4"] {
        assert!(world.run(&["put", "x", value, "--until-taken"]).expect(0).stderr.contains("took the value"));
    }
    let mut got: Vec<String> = takers.into_iter().map(|taker| taker.end().text()).collect();
    got.sort();
    assert_eq!(got, ["1", "2", "3", "4"]);
}

#[test]
fn a_put_until_then_ends_at_once() {
    let world = World::new();
    let producer = world.hold(&["x", "1", "--until-taken"]);
    world.run(&["get", "x"]).expect(0);
    assert_eq!(world.run(&["stat", "x", "--json"]).json()["state"], "value", "getting is not taking");
    assert_eq!(world.run(&["take", "x"]).text(), "1");
    let start = Instant::now();
    producer.end().expect(0);
    assert!(start.elapsed() < Duration::from_secs(5));
    world.run(&["get", "x"]).expect(3);
    assert!(world.files().is_empty());
}

#[test]
fn a_put_that_nobody_took_says_so() {
    let world = World::new();
    for option in ["--for", "--ttl"] {
        let ran = world.run(&["put", "x", "1", "--until-taken", option, "100ms"]).expect(4);
        assert!(ran.stderr.contains("timed out after 100ms"), "{option}: {}", ran.stderr);
    }
    #[cfg(unix)]
    {
        let producer = world.hold(&["x", "1", "--until-taken"]);
        producer.signal("TERM");
        producer.end().expect(1);
    }
    assert!(world.files().is_empty());
}

#[test]
fn an_expired_value_that_a_reader_removes_was_not_taken() {
    let world = World::new();
    let producer = world.hold(&["x", "1", "--until-taken", "--ttl", "300ms"]);
    let options = handover::MapperOptions::new().map(world.names_options());
    let reader: handover::MemoryMapper<u8> = options.open_existing("x").unwrap();
    // Reading an expired value removes it.
    while reader.get().unwrap().is_some() {}
    producer.end().expect(4);
}

#[test]
fn a_value_that_replaces_it_is_not_its_end() {
    let world = World::new();
    let first = world.hold(&["x", "1", "--until-taken"]);
    world.run(&["put", "x", "2", "--for", "0s"]).expect(0);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(world.run(&["take", "x"]).text(), "2");
    first.end().expect(0);
}

#[test]
fn from_a_file_too() {
    let world = World::new();
    let path = world.path("kept");
    let path = path.to_str().unwrap();
    world.run(&["put", "--path", path, "1"]).expect(0);
    assert_eq!(world.run(&["take", "--path", path]).text(), "1");
    world.run(&["take", "--path", path]).expect(5);
}
