//! `watch` prints a line of JSON for each version that it finds, sleeps in between, and ends with the last
//! writer; `get` tells the version too.

mod world;

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};

use serde_json::{Value as Json, json};
use world::{Running, World};

struct Watcher {
    running: Running,
    lines: BufReader<ChildStdout>,
}

impl Watcher {
    fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command(&["watch"]);
        let mut running = Running::start(command.args(arguments).stdout(Stdio::piped()));
        let lines = BufReader::new(running.child.stdout.take().unwrap());
        Self { running, lines }
    }

    fn text(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// The next line, which must come without the process ending: it is flushed.
    fn line(&mut self) -> Json {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?}"))
    }
}

#[test]
fn each_as_it_comes_until_the_last_writer_is_gone() {
    let world = World::new();
    let first = world.hold(&["x", "{ \"a\" : [1e400,\n1.50] }"]);
    let mut watcher = Watcher::start(&world, &["x"]);
    assert!(watcher.text().ends_with(",\"value\":{\"a\":[1e400,1.50]}}\n"), "JSON as it was stored");
    let second = world.hold(&["x", "words \"and\"\nlines", "--text"]);
    let line = watcher.line();
    assert_eq!((&line["version"], &line["skipped"]), (&json!(2), &json!(0)));
    assert_eq!((&line["codec"], &line["value"]), (&json!("text"), &json!("words \"and\"\nlines")));
    let third = world.hold_with(&["x", "-", "--bytes", "--ttl", "1h"], b"\xFF\0");
    let line = watcher.line();
    assert_eq!(
        (&line["codec"], &line["encoding"], &line["value"]),
        (&json!("bytes"), &json!("base64"), &json!("/wA="))
    );
    assert!(line["written"].as_str().unwrap() < line["expires"].as_str().unwrap(), "{line}");
    world.run(&["take", "x"]).expect(0);
    let line = watcher.line();
    assert_eq!((&line["version"], &line["codec"], line.get("value")), (&json!(4), &json!(null), None));
    drop((first, second));
    third.kill();
    assert_eq!(watcher.text(), "");
    let ran = watcher.running.end().expect(0);
    assert!(ran.stderr.contains("the last writer of 'x' has gone"), "{}", ran.stderr);
}

#[test]
fn two_watchers_do_not_wait_for_each_other() {
    let world = World::new();
    let producer = world.hold(&["x", "1", "--secret"]);
    let mut watchers = [Watcher::start(&world, &["x"]), Watcher::start(&world, &["x"])];
    for watcher in &mut watchers {
        assert_eq!(watcher.line()["value"], 1);
    }
    producer.kill();
    for watcher in watchers {
        watcher.running.end().expect(0);
    }
}

#[test]
#[cfg(unix)]
fn a_watcher_that_was_stopped_says_what_it_missed() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    let mut watcher = Watcher::start(&world, &["x"]);
    assert_eq!(watcher.line()["version"], 1);
    watcher.running.signal("STOP");
    for value in ["2", "3", "4"] {
        world.run(&["put", "x", value, "--for", "0s"]).expect(0);
    }
    watcher.running.signal("CONT");
    let line = watcher.line();
    assert_eq!((&line["version"], &line["skipped"], &line["value"]), (&json!(4), &json!(2), &json!(4)));
}

#[test]
fn before_there_is_a_map() {
    let world = World::new();
    let mut watcher = Watcher::start(&world, &["x", "--wait", "60s", "--count", "2"]);
    watcher.running.says("waiting");
    let _producer = world.hold(&["x", "1"]);
    assert_eq!(watcher.line()["value"], 1);
    let _second = world.hold(&["x", "2"]);
    assert_eq!(watcher.line()["value"], 2);
    watcher.running.end().expect(0);
}

#[test]
fn an_expiry_is_a_version() {
    let world = World::new();
    let _producer = world.hold(&["x", "1", "--ttl", "500ms"]);
    let mut watcher = Watcher::start(&world, &["x"]);
    assert_eq!(watcher.line()["value"], 1);
    let line = watcher.line();
    assert_eq!((&line["version"], line.get("value")), (&json!(2), None));
}

#[test]
fn nobody_reading_ends_it() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    let mut watcher = Watcher::start(&world, &["x"]);
    watcher.line();
    drop(watcher.lines);
    world.run(&["put", "x", "2", "--for", "0s"]).expect(0);
    let ran = watcher.running.end().expect(0);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn waiting_is_sleeping() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    let mut watcher = Watcher::start(&world, &["x"]);
    watcher.line();
    let wakings = || {
        let path = format!("/proc/{}/status", watcher.running.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = wakings();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let count = wakings() - before;
    assert!(count <= 40, "it woke {count} times in a second; it must sleep for up to 100 ms at a time");
}

#[test]
fn get_tells_the_version() {
    let world = World::new();
    let _first = world.hold(&["x", "{\"a\": 1}"]);
    assert_eq!(world.run(&["get", "x", "--version"]).text(), "1\n");
    let _second = world.hold(&["x", "{\"a\": 2}"]);
    assert_eq!(world.run(&["get", "x", "--version"]).text(), "2\n");
    let json = world.run(&["get", "x", "--json"]).json();
    assert_eq!(
        (&json["version"], &json["codec"], &json["value"]),
        (&json!(2), &json!("JSON"), &json!({ "a": 2 }))
    );
    assert!(json.get("skipped").is_none());
    assert_eq!(world.run(&["get", "x", "--newer-than", "1", "--pointer", "/a"]).text(), "2");
}
