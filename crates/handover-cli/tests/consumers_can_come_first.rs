//! A consumer that starts with `get --wait` before anything is there gets the first value.

mod world;

use std::process::Stdio;

use world::{Running, World};

fn waiting(world: &World, arguments: &[&str]) -> Running {
    let mut command = world.command(&["get", "--wait", "60s"]);
    let mut consumer = Running::start(command.args(arguments).stdout(Stdio::piped()));
    consumer.says("waiting");
    consumer
}

#[test]
fn before_the_producer() {
    let world = World::new();
    let consumers: Vec<Running> = (0..3).map(|_| waiting(&world, &["x", "--pointer", "/Bearer"])).collect();
    let _producer = world.hold(&["x", r#"{"Bearer":"b"}"#]);
    for consumer in consumers {
        assert_eq!(consumer.end().text(), "b");
    }
}

#[test]
fn before_the_first_value() {
    let world = World::new();
    let options = handover::cell::CellOptions::new().map(world.names_options());
    let _empty = options.capacity(100).create_new("x").unwrap();
    let consumer = waiting(&world, &["x"]);
    let _producer = world.hold(&["x", "1"]);
    assert_eq!(consumer.end().text(), "1");
}

#[test]
fn before_the_first_value_of_a_plain_map() {
    let world = World::new();
    let _empty = world.names_options().create_new("x", 100).unwrap();
    let consumer = waiting(&world, &["x", "--plain"]);
    let _producer = world.hold(&["x", "1", "--plain"]);
    assert_eq!(consumer.end().text(), "1");
}

#[test]
fn before_a_version() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    let consumer = waiting(&world, &["x", "--newer-than", "2"]);
    let _second = world.hold(&["x", "2"]);
    let _third = world.hold(&["x", "3"]);
    assert_eq!(consumer.end().text(), "3");
}

#[test]
fn before_the_file() {
    let world = World::new();
    let path = world.path("file");
    let path = path.to_str().unwrap();
    let consumer = waiting(&world, &["--path", path]);
    world.run(&["put", "--path", path, "1"]).expect(0);
    assert_eq!(consumer.end().text(), "1");
}

#[test]
fn one_that_need_not_wait_says_nothing() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    let ran = world.run(&["get", "x", "--wait", "60s"]).expect(0);
    assert_eq!((ran.stdout.as_slice(), ran.stderr.as_str()), (&b"1"[..], ""));
}
