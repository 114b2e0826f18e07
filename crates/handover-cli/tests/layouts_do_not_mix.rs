//! The command never takes a map in one layout for one in the other, and never overwrites it; the message
//! says which option helps.

mod world;

use world::World;

#[test]
fn a_cell_is_left_alone_by_plain() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    for arguments in [&["get", "x", "--plain"][..], &["put", "x", "2", "--plain"]] {
        let ran = world.run(arguments).expect(5);
        assert!(
            ran.stderr.contains("found a cell") && ran.stderr.contains("leave out --plain"),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(world.run(&["get", "x"]).text(), "1");
}

#[test]
fn a_plain_map_is_left_alone_without_it() {
    let world = World::new();
    for capacity in ["100", "64K"] {
        let _producer = world.hold(&["x", "1", "--plain", "--capacity", capacity]);
        for arguments in [&["get", "x"][..], &["put", "x", "2"]] {
            let ran = world.run(arguments).expect(5);
            assert!(ran.stderr.contains("give --plain"), "{arguments:?}: {}", ran.stderr);
        }
        for arguments in [&["take", "x"][..], &["watch", "x"]] {
            let ran = world.run(arguments).expect(5);
            assert!(ran.stderr.contains("'handover get --plain'"), "{arguments:?}: {}", ran.stderr);
        }
        assert_eq!(world.run(&["get", "x", "--plain"]).text(), "1");
    }
}

#[test]
fn a_wait_for_a_cell_ends_when_a_plain_map_comes() {
    let world = World::new();
    let mut command = world.command(&["get", "x", "--wait", "60s"]);
    let mut consumer = world::Running::start(command.stdout(std::process::Stdio::piped()));
    consumer.says("waiting");
    let _producer = world.hold(&["x", "1", "--plain"]);
    consumer.end().expect(5);
}

#[test]
fn a_file_of_somebody_s_is_not_overwritten() {
    let world = World::new();
    let path = world.path("diary.txt");
    std::fs::write(&path, "dear diary").unwrap();
    world.run(&["put", "--path", path.to_str().unwrap(), "1"]).expect(5);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear diary");
}
