//! What `put` stored, `get` prints, byte for byte.

mod world;

use world::World;

#[test]
fn json_is_not_reformatted() {
    let world = World::new();
    for value in ["{ \"b\" : 1.0,\t\"a\":[ ] }", "null", "-5", "\"text\"", "1e400", "[1,\n2]\n"] {
        let _producer = world.hold(&["x", value]);
        assert_eq!(world.run(&["get", "x"]).text(), value);
    }
}

#[test]
fn text_stays_text() {
    let world = World::new();
    for value in ["no json", " spaces \n", "日本語 😀", "-"] {
        let _producer = world.hold_with(&["x", "-", "--text"], value.as_bytes());
        assert_eq!(world.run(&["get", "x"]).text(), value);
    }
}

#[test]
fn any_bytes_at_all() {
    let world = World::new();
    let every: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for value in [&every[..], b"", b"\0x", b"x\0", b"\0\0\0", b"\xFFx", b"HANDCELL"] {
        let _producer = world.hold_with(&["x", "-", "--bytes"], value);
        assert_eq!(world.run(&["get", "x"]).expect(0).stdout, value);
        assert_eq!(world.run(&["stat", "x", "--json"]).json()["used"], value.len());
        assert_eq!(world.run(&["take", "x"]).expect(0).stdout, value);
    }
    let _producer = world.hold_with(&["x", "-", "--text"], b"");
    assert_eq!(world.run(&["get", "x"]).text(), "", "no text is a value");
}

#[test]
fn bytes_of_any_kind_that_the_plain_layout_can_hold() {
    let world = World::new();
    let value: Vec<u8> = (1..=255).chain((0..=255).rev()).chain([7]).collect();
    let _producer = world.hold_with(&["x", "--bytes", "--plain"], &value);
    assert_eq!(world.run(&["get", "x", "--plain"]).expect(0).stdout, value);
}

#[test]
fn bytes_that_the_plain_layout_would_change_are_refused() {
    let world = World::new();
    let cell = [b"HANDCELL".as_slice(), &1u32.to_ne_bytes(), &0x0A0B_0C0Du32.to_ne_bytes()].concat();
    for value in [&b"\0x"[..], b"x\0", b"\xFFx", b"", &cell] {
        let ran = world.run_with(&["put", "x", "-", "--bytes", "--plain"], value).expect(1);
        assert!(ran.stderr.contains("layout can't hold"), "{}", ran.stderr);
    }
}

#[test]
fn a_file_and_standard_input_are_values() {
    let world = World::new();
    std::fs::write(world.path("value.json"), r#"{"Bearer":"from a file"}"#).unwrap();
    let producer = world.hold(&["x", "--file", world.path("value.json").to_str().unwrap()]);
    assert_eq!(world.run(&["get", "x"]).text(), r#"{"Bearer":"from a file"}"#);
    drop(producer);
    let _producer = world.hold_with(&["x"], br#"{"Bearer":"from standard input"}"#);
    assert_eq!(world.run(&["get", "x"]).text(), r#"{"Bearer":"from standard input"}"#);
}

#[test]
fn a_large_value_makes_its_room() {
    let world = World::new();
    let value = format!("\"{}\"", "x".repeat(300_000));
    let _producer = world.hold_with(&["x", "-"], value.as_bytes());
    assert_eq!(world.run(&["get", "x"]).text(), value);
}

#[test]
fn a_second_put_replaces_the_value_and_leaves_no_tail() {
    let world = World::new();
    let _first = world.hold(&["x", "\"a long first value\""]);
    let second = world.hold(&["x", "22"]);
    assert!(second.said.contains("existed already"), "{}", second.said);
    assert_eq!(world.run(&["get", "x"]).text(), "22");
    drop(second);
    assert_eq!(world.run(&["get", "x"]).text(), "22", "the first process still holds the map");
}

#[test]
fn a_file_keeps_its_value_and_returns_at_once() {
    let world = World::new();
    let path = world.path("kept");
    let path = path.to_str().unwrap();
    let ran = world.run(&["put", "--path", path, r#"{"level":3}"#]).expect(0);
    assert!(ran.stdout.is_empty());
    assert_eq!(world.run(&["get", "--path", path]).text(), r#"{"level":3}"#);
    world.run(&["put", "--path", path, "4"]).expect(0);
    assert_eq!(world.run(&["get", "--path", path]).text(), "4");
    world.run(&["put", "--path", path, "5", "--sync"]).expect(0);
    assert_eq!(world.run(&["get", "--path", path, "--version"]).text(), "3\n");
    if cfg!(unix) {
        assert!(world.run(&["ls"]).text().is_empty(), "a file has no name");
    }
}

#[test]
fn a_plain_file_grows_to_the_capacity() {
    let world = World::new();
    let path = world.path("kept");
    let path = path.to_str().unwrap();
    world.run(&["put", "--path", path, "4", "--plain"]).expect(0);
    world.run_with(&["put", "--path", path, "-", "--plain", "--capacity", "1M"], b"5").expect(0);
    assert_eq!(std::fs::metadata(path).unwrap().len(), 1 << 20);
    assert_eq!(world.run(&["get", "--path", path, "--plain"]).text(), "5");
}

#[test]
fn a_pointer_leads_to_a_part() {
    let world = World::new();
    let _producer = world.hold(&["x", r#"{"Bearer":"a \"b\"\n","list":[1,{"a/b":true}],"none":null,"":0}"#]);
    for (pointer, part) in [
        ("/Bearer", "a \"b\"\n"),
        ("/list", r#"[1,{"a/b":true}]"#),
        ("/list/0", "1"),
        ("/list/1/a~1b", "true"),
        ("/none", "null"),
        ("/", "0"),
    ] {
        assert_eq!(world.run(&["get", "x", "--pointer", pointer]).text(), part, "{pointer}");
    }
    assert!(world.run(&["get", "x", "--pointer", "/no"]).expect(1).stderr.contains("nothing at \"/no\""));
}

#[test]
fn what_is_stored_is_the_plain_layout() {
    let world = World::new();
    let _producer = world.hold(&["x", r#"{"Bearer":"b"}"#, "--plain", "--capacity", "100"]);
    let map = world.names_options().open_existing("x").unwrap();
    // A section of Windows has whole pages.
    assert_eq!(map.capacity(), if cfg!(windows) { 4096 } else { 100 });
    let mut bytes = [9u8; 100];
    map.create_view_accessor(0, 0).unwrap().read_array(0, &mut bytes).unwrap();
    assert_eq!(&bytes[..14], br#"{"Bearer":"b"}"#);
    assert_eq!(bytes[14..], [0; 86]);
}

#[test]
fn what_is_stored_is_a_cell_that_says_what_it_is() {
    use handover::MemoryMapper;
    use handover::codec::{Bytes, Json, Text};
    let world = World::new();
    let options = handover::MapperOptions::new().map(world.names_options());
    let json = world.hold(&["json", "[1,2]"]);
    let as_json: MemoryMapper<Vec<u8>, Json> = options.open_existing("json").unwrap();
    assert_eq!(as_json.get().unwrap().unwrap(), [1, 2]);
    let as_text: MemoryMapper<String, Text> = options.open_existing("json").unwrap();
    assert_eq!(as_text.get().unwrap_err().kind(), handover::ErrorKind::CodecMismatch);
    let _text = world.hold(&["text", "[1,2]", "--text"]);
    let text: MemoryMapper<String, Text> = options.open_existing("text").unwrap();
    assert_eq!(text.get().unwrap().unwrap(), "[1,2]");
    let _bytes = world.hold(&["bytes", "[1,2]", "--bytes"]);
    let bytes: MemoryMapper<Vec<u8>, Bytes> = options.open_existing("bytes").unwrap();
    assert_eq!(bytes.get().unwrap().unwrap(), b"[1,2]");
    // And what a program stores, the command gets.
    as_json.set(&vec![3]).unwrap();
    drop(as_text);
    assert_eq!(world.run(&["get", "json"]).text(), "[3]");
    drop(json);
}

#[test]
fn a_large_capacity_takes_no_memory() {
    let world = World::new();
    let _producer = world.hold(&["x", "1", "--capacity", "64G"]);
    let stat = world.run(&["stat", "x", "--json"]).json();
    assert_eq!(stat["capacity"], 64u64 << 30);
    // Windows does not tell.
    assert!(cfg!(windows) || stat["reserved"].as_u64().unwrap() < 100_000, "{stat}");
}
