//! Each exit code that the help lists, from a cause of its kind.

mod world;

use world::World;

#[test]
fn done_is_0() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    world.run(&["get", "x"]).expect(0);
    if cfg!(unix) {
        world.run(&["ls"]).expect(0);
    }
    world.run(&["stat", "x"]).expect(0);
    world.run(&["gc"]).expect(0);
    world.run(&["--help"]).expect(0);
    world.run(&["--version"]).expect(0);
}

#[test]
fn failures_are_1() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    assert!(world.run(&["put", "x", "2", "--new"]).expect(1).stderr.contains("exists already"));
    assert!(world.run(&["put", "y", "--file", "/no/such/file"]).expect(1).stderr.contains("/no/such/file"));
    let ran = world.run(&["put", "--path", "/no/such/directory/file", "1"]).expect(1);
    assert!(ran.stderr.contains("no such directory"), "{}", ran.stderr);
    world.run(&["put", "y", "1", "--", "/no/such/program"]).expect(1);
    world.run(&["get", "x", "--pointer", "/a"]).expect(1);
    assert_eq!(world.run(&["get", "x"]).text(), "1");
}

#[test]
fn a_file_that_exists_is_1_with_new() {
    let world = World::new();
    let path = world.path("file");
    let path = path.to_str().unwrap();
    world.run(&["put", "--path", path, "1", "--new"]).expect(0);
    assert!(world.run(&["put", "--path", path, "2", "--new"]).expect(1).stderr.contains("exists already"));
    assert_eq!(world.run(&["get", "--path", path]).text(), "1");
}

#[test]
fn json_that_is_none_is_1_and_says_where() {
    let world = World::new();
    for value in ["{\"secret-key\":", "secret-text", "{} {}", ""] {
        let ran = world.run(&["put", "x", value]).expect(1);
        assert!(ran.stderr.contains("not JSON") && ran.stderr.contains("line 1 column"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--text"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("secret"), "the message quotes the value: {}", ran.stderr);
    }
    let ran = world.run_with(&["put", "x", "-", "--text"], b"\xC3\x28").expect(1);
    assert!(ran.stderr.contains("UTF-8"), "{}", ran.stderr);
    assert_eq!(world.files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_value_that_is_too_large_is_1_and_names_both_numbers() {
    let world = World::new();
    let value = "7".repeat(1234);
    let ran = world.run(&["put", "x", &value, "--capacity", "1000"]).expect(1);
    assert!(ran.stderr.contains("1234") && ran.stderr.contains("1000"), "{}", ran.stderr);
    world.run(&["get", "x"]).expect(3);

    let _producer = world.hold(&["x", "42", "--capacity", "1000"]);
    let ran = world.run(&["put", "x", &value]).expect(1);
    assert!(ran.stderr.contains("1234") && ran.stderr.contains("1000"), "{}", ran.stderr);
    assert_eq!(world.run(&["get", "x"]).text(), "42", "the old value stays");
}

#[test]
fn usage_is_2() {
    let world = World::new();
    let path = world.path("file");
    let path = path.to_str().unwrap();
    let cases: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["put"],
        &["put", "x", "1", "--nonsense"],
        &["put", "x", "1", "--file", path],
        &["put", "x", "1", "--path", path],
        &["put", "--path", path, "1", "--for", "1s"],
        &["put", "x", "1", "--text", "--bytes"],
        &["put", "x", "1", "--for", "soon"],
        &["put", "x", "1", "--for", "1s", "--", "true"],
        &["put", "x", "1", "--capacity", "0"],
        &["put", "x", "1", "--capacity", "64X"],
        &["put", "x", "1", "--mode", "0999"],
        &["put", "x", "1", "--mode", "0644"],
        &["put", "x", "1", "--global", "--mode", "0777"],
        &["put", "x", "1", "--mode", "0600", "--", "true"],
        &["put", "x", "1", "--owner", "0"],
        &["put", "Local\\x", "1", "--owner", "0"],
        &["put", "x", "1", "--group", "0"],
        &["put", "x", "1", "--global", "--group", ""],
        &["put", "x", "1", "--global", "--group", "0", "--mode", "0600"],
        &["put", "--path", path, "1", "--group", "0"],
        &["put", "--path", path, "1", "--owner", "0"],
        &["put", "--path", path, "1", "--mode", "0640"],
        &["get", "x", "--owner", "0"],
        &["get", "--path", path, "--owner", "0"],
        &["take", "x", "--owner", "root"],
        &["watch", "x", "--owner", "0"],
        &["watch", "--path", path, "--follow-name"],
        &["stat", "x", "--owner", "0"],
        &["ls", "--owner", "0"],
        &["gc", "--owner", "0"],
        &["put", "a\\b", "1"],
        &["put", "", "1"],
        &["put", "Local\\x", "1", "--global"],
        &["get"],
        &["get", "a\\b"],
        &["get", "x", "--path", path],
        &["get", "x", "--pointer", "Bearer"],
        &["get", "x", "--wait", "soon"],
        &["get", "x", "--plain", "--newer-than", "1"],
        &["get", "x", "--version", "--json"],
        &["put", "x", "1", "--plain", "--ttl", "1s"],
        &["put", "x", "1", "--plain", "--secret"],
        &["put", "x", "1", "--plain", "--until-taken"],
        &["put", "x", "1", "--until-taken", "--", "true"],
        &["put", "--path", path, "1", "--until-taken"],
        &["put", "x", "1", "--sync"],
        &["take"],
        &["take", "x", "--path", path],
        &["watch"],
        &["watch", "x", "--count", "many"],
        &["stat"],
        &["completions", "nonsense"],
        &["man", "nonsense"],
    ];
    for arguments in cases {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn no_such_map_is_3() {
    let world = World::new();
    let ran = world.run(&["get", "nobody"]).expect(3);
    assert!(ran.stderr.contains("nobody") && ran.stderr.contains("--wait"), "{}", ran.stderr);
    for subcommand in ["stat", "take", "watch"] {
        let ran = world.run(&[subcommand, "nobody"]).expect(3);
        assert_eq!(ran.stderr.contains("--wait"), subcommand != "stat", "{}", ran.stderr);
    }
    world.run(&["get", "nobody", "--plain"]).expect(3);
    world.run(&["get", "--path", "/no/such/file"]).expect(3);
    let _producer = world.hold(&["x", "1"]);
    world.run(&["get", "Global\\x"]).expect(3);
    world.run(&["get", "X"]).expect(3);
}

#[test]
fn timed_out_is_4() {
    let world = World::new();
    let ran = world.run(&["get", "nobody", "--wait", "50ms"]).expect(4);
    assert!(ran.stderr.contains("timed out after 50ms"), "{}", ran.stderr);
    world.run(&["get", "--path", "/no/such/file", "--wait", "50ms"]).expect(4);
    let _empty = world.names_options().create_new("empty", 100).unwrap();
    world.run(&["get", "empty", "--wait", "50ms"]).expect(4);
    world.run(&["get", "empty", "--wait", "50ms", "--plain"]).expect(4);
    let _producer = world.hold(&["x", "1"]);
    for arguments in [
        &["take", "nobody", "--wait", "50ms"][..],
        &["take", "empty", "--wait", "50ms"],
        &["watch", "nobody", "--wait", "50ms"],
        &["watch", "empty", "--wait", "50ms"],
        &["watch", "x", "--timeout", "50ms"],
        &["get", "x", "--newer-than", "1", "--wait", "50ms"],
    ] {
        let ran = world.run(arguments).expect(4);
        assert!(ran.stderr.contains("timed out after 50ms"), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn no_value_yet_is_5() {
    let world = World::new();
    let _empty = world.names_options().create_new("empty", 100).unwrap();
    let ran = world.run(&["get", "empty"]).expect(5);
    assert!(ran.stderr.contains("no value yet") && ran.stderr.contains("--wait"), "{}", ran.stderr);
    assert!(world.run(&["get", "empty", "--plain"]).expect(5).stderr.contains("no value yet"));
    let _producer = world.hold(&["x", "1"]);
    world.run(&["get", "x", "--newer-than", "0"]).expect(0);
    assert!(world.run(&["get", "x", "--newer-than", "1"]).expect(5).stderr.contains("newer than 1"));
    world.run(&["take", "x"]).expect(0);
    for arguments in [&["get", "x"][..], &["get", "x", "--version"], &["get", "x", "--json"], &["take", "x"]]
    {
        assert!(world.run(arguments).expect(5).stderr.contains("no longer"), "{arguments:?}");
    }
    std::fs::write(world.path("file"), "").unwrap();
    world.run(&["get", "--path", world.path("file").to_str().unwrap()]).expect(5);
}

#[test]
#[cfg(unix)]
fn another_kind_is_5() {
    let world = World::new();
    world.hold(&["x", "1"]).kill();
    let left = world.files();
    assert_eq!(left.len(), 1, "{left:?}");
    std::fs::write(&left[0], "this is no map").unwrap();
    assert!(world.run(&["get", "x"]).expect(5).stderr.contains("another kind"));
}

#[test]
fn another_codec_is_5() {
    let world = World::new();
    for (option, name) in [("--text", "text"), ("--bytes", "bytes")] {
        let _producer = world.hold(&["x", "{\"a\":1}", option]);
        let ran = world.run(&["get", "x", "--pointer", "/a"]).expect(5);
        assert!(ran.stderr.contains(name) && ran.stderr.contains("JSON"), "{}", ran.stderr);
    }
}

#[test]
#[cfg(unix)]
fn a_user_or_group_that_is_none_is_2() {
    let world = World::new();
    for arguments in [
        &["get", "Global\\x", "--owner", "no such user"][..],
        &["put", "Global\\x", "1", "--owner", "no such user"],
        &["put", "Global\\x", "1", "--group", "no such group"],
        &["ls", "--global", "--owner", "no such user"],
    ] {
        let ran = world.run(arguments).expect(2);
        assert!(ran.stderr.contains("no such"), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
#[cfg(unix)]
fn a_name_that_another_user_does_not_have_is_3() {
    let world = World::new();
    let _producer = world.hold(&["x", "1", "--global", "--mode", "0644"]);
    assert_eq!(world.run(&["get", "Global\\x"]).text(), "1");
    world.run(&["get", "x", "--global", "--owner", "4242"]).expect(3);
}

#[test]
#[cfg(windows)]
fn what_windows_has_not_is_1() {
    let world = World::new();
    let _producer = world.hold(&["x", "1"]);
    for arguments in [
        &["ls"][..],
        &["put", "y", "1", "--global", "--mode", "0644"],
        &["put", "y", "1", "--global", "--group", "0"],
        &["get", "x", "--global", "--owner", "4242"],
        &["get", "x", "--global", "--owner", "root"],
    ] {
        let ran = world.run(arguments).expect(1);
        assert!(ran.stderr.contains("unsupported"), "{arguments:?}: {}", ran.stderr);
    }
    world.run(&["gc"]).expect(0);
}
