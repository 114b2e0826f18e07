//! A value put with `--ttl` is gone after that time: unreadable, and wiped by the process that put it.

mod world;

use std::time::Duration;

use world::World;

#[cfg(unix)]
const SECRET: &str = "s3cr3t-v4lue";

#[cfg(unix)]
fn has_secret(world: &World) -> bool {
    let in_file = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    };
    world.files().iter().any(in_file)
}

#[test]
#[cfg(unix)] // It looks into the files of names.
fn the_value_and_its_bytes_and_not_the_name() {
    let world = World::new();
    let mut producer = world.hold(&["x", SECRET, "--text", "--ttl", "1s"]);
    assert_eq!(world.run(&["get", "x"]).text(), SECRET);
    assert!(has_secret(&world));
    producer.says("the value has expired");
    assert!(!has_secret(&world));
    world.run(&["get", "x"]).expect(5);
    world.run(&["take", "x"]).expect(5);
    assert_eq!(world.run(&["stat", "x", "--json"]).json()["state"], "empty");
}

#[test]
fn while_a_command_runs() {
    let world = World::new();
    // Another map that is held for a while, to pass the time.
    let script = world::script(&["put other 1 --for 1s", "stat x"], 0);
    let put = ["put", "x", "1", "--ttl", "200ms", "--"].map(str::to_owned);
    let text = world.run(&[&put[..], &script].concat()).text();
    assert!(text.contains("state\tempty\n"), "{text}");
}

#[test]
fn though_its_producer_was_killed() {
    let world = World::new();
    let producer = world.hold(&["x", "1", "--ttl", "500ms"]);
    let _holder = world.names_options().open_existing("x").unwrap();
    producer.kill();
    std::thread::sleep(Duration::from_millis(600));
    world.run(&["get", "x"]).expect(5);
    assert_eq!(world.run(&["stat", "x", "--json"]).json()["state"], "expired");
}

#[test]
fn not_one_that_replaced_it() {
    let world = World::new();
    let _first = world.hold(&["x", "1", "--ttl", "100ms"]);
    let _second = world.hold(&["x", "2"]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(world.run(&["get", "x"]).text(), "2");
}
