//! `ls` and `stat`: names, scopes, sizes, owners, holders and age.

mod world;

use serde_json::json;
use world::World;

#[test]
#[cfg(unix)]
fn json_has_every_field() {
    let world = World::new();
    let producer = world.hold(&["x", r#"{"Bearer":"b"}"#, "--capacity", "8K"]);
    let second = world.hold(&["Global\\y", "22", "--mode", "0640"]);
    let maps = world.run(&["ls", "--json"]).json();
    assert_eq!(maps.as_array().unwrap().len(), 2);
    let x = &maps[0];
    assert_eq!(
        (&x["name"], &x["scope"], &x["layout"], &x["state"], &x["used"], &x["capacity"], &x["mode"]),
        (
            &json!("x"),
            &json!("user"),
            &json!("cell"),
            &json!("value"),
            &json!(14),
            &json!(8192),
            &json!("0600")
        )
    );
    assert!(x["reserved"].as_u64().unwrap() >= 16384, "{x}");
    assert!(x["owner"].is_u64() && x["age_seconds"].is_u64() && x["created"].is_string(), "{x}");
    let y = &maps[1];
    assert_eq!(
        (&y["name"], &y["scope"], &y["used"], &y["mode"]),
        (&json!("y"), &json!("global"), &json!(2), &json!("0640"))
    );
    if cfg!(target_os = "linux") {
        assert_eq!(x["holders"], json!([producer.child.id()]));
        assert_eq!(y["holders"], json!([second.child.id()]));
    }
    let mut stat = world.run(&["stat", "x", "--json"]).json();
    stat["age_seconds"] = x["age_seconds"].clone();
    assert_eq!(stat, *x, "stat and ls agree");
    assert_eq!(world.run(&["ls", "--json", "--global"]).json().as_array().unwrap().len(), 1);
    assert_eq!(world.run(&["stat", "Global\\y", "--json"]).json()["name"], "y");
    assert_eq!(world.run(&["stat", "y", "--global", "--json"]).json()["name"], "y");
}

#[test]
#[cfg(unix)]
fn nothing_held_is_an_empty_array() {
    let world = World::new();
    assert_eq!(world.run(&["ls", "--json"]).json(), json!([]));
}

#[test]
#[cfg(unix)]
fn text_for_programs_is_fifteen_columns_between_tabs() {
    let world = World::new();
    let _producer = world.hold(&["a name with spaces", "123", "--capacity", "4K"]);
    let text = world.run(&["ls"]).text();
    let columns: Vec<&str> = text.trim_end().split('\t').collect();
    assert_eq!(columns.len(), 15, "{text:?}");
    assert_eq!(columns[..7], ["a name with spaces", "user", "cell", "1", "JSON", "3", "4096"]);
    assert_eq!((columns[8..10].join(" "), columns[14]), ("yes 0".to_owned(), "-"));
    let stat = world.run(&["stat", "a name with spaces"]).text();
    assert!(stat.contains("used\t3\n") && stat.contains("state\tvalue\n"), "{stat}");
}

#[test]
#[cfg(unix)]
fn names_stay_on_one_line() {
    let world = World::new();
    let _producer = world.hold(&["a\nb\tc\u{1b}[31m", "1"]);
    let text = world.run(&["ls"]).text();
    assert!(text.starts_with("a\\nb\\tc\\u{1b}[31m\tuser\t"), "{text:?}");
    assert_eq!(world.run(&["ls", "--json"]).json()[0]["name"], "a\nb\tc\u{1b}[31m");
}

#[test]
fn sizes_are_right_around_the_edges() {
    let world = World::new();
    for (size, capacity) in
        [(1, 1), (4096, 4096), (65535, 65536), (65536, 65536), (65537, 70000), (70000, 200_000)]
    {
        let value = "x".repeat(size);
        let producer =
            world.hold_with(&["x", "-", "--text", "--capacity", &capacity.to_string()], value.as_bytes());
        let stat = world.run(&["stat", "x", "--json"]).json();
        assert_eq!((&stat["used"], &stat["capacity"]), (&json!(size), &json!(capacity)));
        drop(producer);
        let arguments = ["x", "-", "--text", "--plain", "--capacity", &capacity.to_string()];
        let _producer = world.hold_with(&arguments, value.as_bytes());
        let stat = world.run(&["stat", "x", "--json"]).json();
        // A section of Windows has whole pages.
        let found = if cfg!(windows) { u64::next_multiple_of(capacity, 4096) } else { capacity };
        assert_eq!((&stat["used"], &stat["capacity"]), (&json!(size), &json!(found)));
        assert_eq!(stat["layout"], "plain");
    }
}

#[test]
#[cfg(unix)]
fn maps_without_a_value_say_so() {
    let world = World::new();
    let options = world.names_options();
    let _empty = options.create_new("empty", 100_000).unwrap();
    let half = options.create_new("half", 100_000).unwrap();
    half.create_view_accessor(0, 0).unwrap().write(0, 0xFFu8).unwrap();
    let maps = world.run(&["ls", "--json"]).json();
    assert_eq!((&maps[0]["state"], &maps[0]["used"]), (&json!("empty"), &json!(0)));
    assert_eq!((&maps[1]["state"], &maps[1]["used"]), (&json!("incomplete"), &json!(null)));
}

#[test]
#[cfg(unix)]
fn a_look_takes_no_memory_for_pages_nobody_wrote() {
    let world = World::new();
    let options = world.names_options().delay_allocate_pages(true);
    let _sparse = options.create_new("sparse", 1 << 40).unwrap();
    let before = world.run(&["ls", "--json"]).json();
    let after = world.run(&["stat", "sparse", "--json"]).json();
    assert_eq!((&before[0]["used"], &after["used"]), (&json!(null), &json!(null)));
    assert_eq!(before[0]["reserved"], after["reserved"]);
}

#[test]
fn what_a_cell_tells() {
    let world = World::new();
    let _first = world.hold(&["x", "1"]);
    let second = world.hold(&["x", "words", "--text", "--ttl", "1h"]);
    let stat = world.run(&["stat", "x", "--json"]).json();
    let fields = (&stat["version"], &stat["codec"], &stat["type"], &stat["has_writer"], &stat["readers"]);
    assert_eq!(fields, (&json!(2), &json!("text"), &json!(null), &json!(true), &json!(0)));
    let time = |field: &str| stat[field].as_str().unwrap()[..19].to_owned();
    assert!(time("written") < time("expires"), "{stat}");
    if cfg!(unix) {
        assert!(time("created") <= time("written"), "{stat}");
    }

    let map = world.names_options();
    let options = handover::MapperOptions::new().map(map).named::<handover::Auth>();
    let program: handover::MemoryMapper<handover::Auth> = options.open_existing("x").unwrap();
    program.set(&handover::Auth::new("b")).unwrap();
    let mut reader = program.cell().reader();
    assert!(reader.load().unwrap().is_some());
    let stat = world.run(&["stat", "x", "--json"]).json();
    let fields = (&stat["version"], &stat["codec"], &stat["type"], &stat["readers"], &stat["expires"]);
    assert_eq!(fields, (&json!(3), &json!("JSON"), &json!("handover.Auth"), &json!(1), &json!(null)));
    assert!(world.run(&["stat", "x"]).text().contains("type\thandover.Auth\n"));

    drop(second);
    program.clear().unwrap();
    let stat = world.run(&["stat", "x", "--json"]).json();
    let fields = (&stat["version"], &stat["codec"], &stat["state"], &stat["used"]);
    assert_eq!(fields, (&json!(4), &json!(null), &json!("empty"), &json!(0)));
}

#[test]
fn a_map_that_nobody_writes_to_any_more_says_so() {
    let world = World::new();
    let producer = world.hold(&["x", "1"]);
    let _holder = world.names_options().open_existing("x").unwrap();
    producer.kill();
    let stat = world.run(&["stat", "x", "--json"]).json();
    assert_eq!((&stat["has_writer"], &stat["state"]), (&json!(false), &json!("value")));
}

#[test]
#[cfg(unix)]
fn a_look_changes_nothing() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    let bytes = || world.files().iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>();
    let before = bytes();
    world.run(&["ls", "--json"]).expect(0);
    world.run(&["stat", "x"]).expect(0);
    world.run(&["get", "x"]).expect(0);
    assert!(bytes() == before);
}
