//! What a name can be: any text without a backslash, up to 32,767 characters. Each name is distinct, and
//! other processes find it; `Local\` and `Global\` choose the scope. Two processes share bytes by name, and a
//! third that comes late sees them.

use handover_tests::{How, Obey, Open, Stage, found_capacity};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

#[test]
fn two_processes_share_bytes_and_a_third_comes_late() {
    let stage = stage();
    let (mut first, mut second) = (stage.actor(), stage.actor());
    let made = first.create_new("shared", 10_000);
    assert!(made.created);
    let opened = second.open_existing("shared");
    assert!(!opened.created);
    assert_eq!(opened.capacity, found_capacity(10_000));
    first.write(made, 9_990, b"from first");
    assert_eq!(second.read(opened, 9_990, 10), b"from first");
    second.write(opened, 0, b"from second");
    assert_eq!(first.read(made, 0, 11), b"from second");

    let mut third = stage.actor();
    let late = third.create_or_open("shared", 5);
    assert!(!late.created);
    assert_eq!(late.capacity, found_capacity(10_000), "an existing map keeps its capacity");
    assert_eq!(third.read(late, 0, 11), b"from second");
    assert_eq!(third.read(late, 9_990, 10), b"from first");
    third.expect_refused(&Open::create_new("shared", 5), "AlreadyExists");
}

/// Names that each lead to a separate map.
fn allowed() -> Vec<String> {
    let long = "l".repeat(255);
    let mut names: Vec<String> = [
        " ",
        "   \t ",
        "\n",
        "/",
        "//",
        ".",
        "..",
        "../../escape",
        "/etc/passwd",
        "a/b",
        "a\u{1}b\u{7f}\u{1b}[31m",
        "\r\n",
        "😀",
        "Foo",
        "foo",
        "FOO",
        "é",
        "e\u{301}",
        ".new-1-1",
        "x.map",
        "global/x",
        "Local",
        "Local:x",
        "\u{feff}",
        "\u{fffd}",
        "%00",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend([
        "n".repeat(1_032),
        "n".repeat(32_767),
        "😀".repeat(16_383),
        "ü".repeat(32_767),
        format!("{long}1"),
        format!("{long}2"),
        long,
    ]);
    names
}

#[test]
fn every_text_is_a_name_of_its_own() {
    let stage = stage();
    let (mut producer, mut consumer) = (stage.actor(), stage.actor());
    let mut names = allowed();
    // These belong to the kernel, or are too long with the prefix of a scope, which the kernel counts.
    if cfg!(windows) {
        names.retain(|name| name != "Local" && name.encode_utf16().count() + "Local\\".len() <= 32_766);
    }
    // All live at the same time, so that a mix-up of any two shows.
    let maps: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let map = producer.create_new(name, 100 + index as u64);
            producer.write(map, 0, &[index as u8 + 1; 100]);
            map
        })
        .collect();
    for (index, name) in names.iter().enumerate() {
        let map = consumer.open_existing(name);
        let shown: String = name.chars().take(20).collect();
        assert_eq!(map.capacity, found_capacity(100 + index as u64), "{shown:?}");
        assert_eq!(consumer.read(map, 0, 100), [index as u8 + 1; 100], "{shown:?}");
        consumer.close(map);
    }
    for (name, map) in names.iter().zip(maps) {
        producer.close(map);
        consumer.expect_gone(name);
    }
    #[cfg(unix)]
    {
        // Nothing was made anywhere else.
        assert_eq!(handover_tests::files_in(stage.path()), [stage.scope()]);
        assert!(stage.files().is_empty());
    }
}

#[test]
fn what_is_no_name_is_refused_in_every_way() {
    let stage = stage();
    let mut actor = stage.actor();
    let refused = [
        String::new(),
        "a\\b".to_owned(),
        "\\".to_owned(),
        "\\x".to_owned(),
        "x\\".to_owned(),
        "local\\x".to_owned(),
        "LOCAL\\x".to_owned(),
        "global\\x".to_owned(),
        "Session\\1\\x".to_owned(),
        "Local\\".to_owned(),
        "Global\\".to_owned(),
        "Local\\a\\b".to_owned(),
        "Global\\Local\\x".to_owned(),
        "\0".to_owned(),
        "a\0b".to_owned(),
        "n".repeat(32_768),
        "😀".repeat(16_384),
    ];
    for name in &refused {
        for how in How::BY_NAME {
            let message = actor.expect_refused(&Open::new(how, name, 100), "InvalidArgument");
            assert!(message.contains("name"), "{message}");
        }
    }
    assert!(handover_tests::files_in(stage.path()).is_empty(), "a refused name made something");
}

#[test]
fn prefixes_choose_the_scope() {
    let stage = stage();
    let (mut producer, mut consumer) = (stage.actor(), stage.actor());
    let local = producer.create_new("Local\\x", 100);
    producer.write(local, 0, b"local");
    let same = consumer.open_existing("x");
    assert_eq!(consumer.read(same, 0, 5), b"local");

    consumer.expect_gone("Global\\x");
    let global = producer.create_new("Global\\x", 200);
    producer.write(global, 0, b"global");
    let found = consumer.open_existing("Global\\x");
    assert_eq!((found.capacity, consumer.read(found, 0, 6)), (found_capacity(200), b"global".to_vec()));
    assert_eq!(consumer.read(same, 0, 6), b"local\0");

    // The end of one is not the end of the other.
    producer.close(local);
    consumer.close(same);
    consumer.expect_gone("x");
    consumer.expect_gone("Local\\x");
    let again = producer.open_existing("Global\\x");
    assert_eq!(again.capacity, found_capacity(200));
}

#[test]
#[cfg(windows)]
fn names_that_the_kernel_keeps_for_itself_are_refused() {
    let stage = stage();
    let mut actor = stage.actor();
    actor.expect_refused(&Open::create_new("Local", 100), "WrongKind");
    actor.expect_refused(&Open::create_new(&"n".repeat(32_767), 100), "InvalidArgument");
    actor.create_new(&"n".repeat(32_766 - "Local\\".len()), 100);
}
