//! Only those who get a value see it: it is not in listings, not in messages, not in the arguments or the
//! environment of processes.

mod world;

use world::World;

const SECRET: &str = "s3cr3t-v4lue";

#[test]
fn not_in_listings_nor_in_talk() {
    let world = World::new();
    let value = format!(r#"{{"Bearer":"{SECRET}"}}"#);
    let producer = world.hold_with(&["x", "-"], value.as_bytes());
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["stat", "x"],
        &["stat", "x", "--json"],
        &["gc"],
        &["put", "x", "1", "--new"],
        &["get", "x", "--pointer", "/nothing"],
        &["get", "x", "--plain"],
        &["get", "x", "--newer-than", "1"],
        &["watch", "x", "--count", "0"],
    ] {
        let ran = world.run(arguments);
        let seen = String::from_utf8_lossy(&ran.stdout).into_owned() + &ran.stderr;
        assert!(!seen.contains(SECRET) && !seen.contains("Bearer"), "{arguments:?}: {seen}");
    }
    assert!(!producer.said.contains(SECRET), "{}", producer.said);
    assert!(!producer.stop().stderr.contains(SECRET));
}

#[test]
fn not_in_messages_about_values_that_are_refused() {
    let world = World::new();
    for value in [format!("\"{SECRET}"), format!("{{\"a\":{SECRET}}}"), format!("{{\"{SECRET}\" 1}}")] {
        let ran = world.run_with(&["put", "x", "-"], value.as_bytes()).expect(1);
        assert!(!ran.stderr.contains(SECRET), "{}", ran.stderr);
    }
    let _producer = world.hold_with(&["x", "-", "--text"], SECRET.as_bytes());
    let ran = world.run(&["get", "x", "--pointer", "/a"]).expect(5);
    assert!(!ran.stderr.contains(SECRET), "{}", ran.stderr);
}

#[test]
#[cfg(unix)] // It looks into the files of names.
fn not_in_memory_once_it_is_taken_or_replaced() {
    let world = World::new();
    let has_secret = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    };
    for remove in [&["take", "x"][..], &["put", "x", "1", "--for", "0s"]] {
        let producer = world.hold_with(&["x", "-", "--text", "--secret"], SECRET.as_bytes());
        assert!(world.files().iter().any(has_secret));
        world.run(remove).expect(0);
        assert!(!world.files().iter().any(has_secret), "{remove:?}");
        drop(producer);
    }
}

#[cfg(target_os = "linux")]
mod on_linux {
    use std::fs;

    use handover_test_support::Start;

    use super::{SECRET, World};

    #[test]
    fn not_in_swap_or_core_dumps() {
        let world = World::new();
        let flags_of = |options: &[&str]| {
            let arguments = [&["x", "-", "--text"], options].concat();
            let producer = world.hold_with(&arguments, SECRET.as_bytes());
            let maps = fs::read_to_string(format!("/proc/{}/smaps", producer.child.id())).unwrap();
            let names = world.names().display().to_string();
            let mapped = maps.split_once(&names).expect("it has the map mapped").1;
            mapped.lines().find(|line| line.starts_with("VmFlags:")).unwrap().to_owned() + " "
        };
        let flags = flags_of(&["--secret"]);
        assert!(flags.contains(" lo ") && flags.contains(" dd "), "{flags}");
        let flags = flags_of(&[]);
        assert!(!flags.contains(" lo ") && !flags.contains(" dd "), "{flags}");
    }

    #[test]
    fn not_in_arguments_or_environment_of_a_child() {
        let world = World::new();
        let script = "tr '\\0' ' ' < /proc/$$/cmdline; env";
        let ran = world.run_with(&["put", "x", "-", "--text", "--", "sh", "-c", script], SECRET.as_bytes());
        let seen = ran.text();
        assert!(seen.contains("HANDOVER_DIR") && !seen.contains(SECRET), "{seen}");
    }

    /// Watches the processes that a demo starts, until both a producer and a consumer were seen.
    #[test]
    fn not_in_arguments_or_environment_of_the_demo_s_children() {
        let world = World::new();
        let (mut producers, mut consumers) = (0, 0);
        while producers == 0 || consumers == 0 {
            let mut demo = world.command(&["demo"]).stdout(std::process::Stdio::null()).start().unwrap();
            let children = format!("/proc/{0}/task/{0}/children", demo.id());
            let status = loop {
                for child in fs::read_to_string(&children).unwrap_or_default().split_whitespace() {
                    let read = |file: &str| fs::read(format!("/proc/{child}/{file}")).unwrap_or_default();
                    let arguments = String::from_utf8_lossy(&read("cmdline")).into_owned();
                    let arguments: Vec<&str> = arguments.split_terminator('\0').collect();
                    let environment = String::from_utf8_lossy(&read("environ")).into_owned();
                    assert!(!environment.contains("eyJ"), "a token in the environment: {environment}");
                    assert!(!arguments.iter().any(|argument| argument.contains("eyJ")), "{arguments:?}");
                    // A child that is about to run its program shows half of its arguments, or the demo's.
                    match arguments.as_slice() {
                        [_, "demo-producer", name] if name.starts_with("demo-") => producers += 1,
                        [_, "demo-consumer", name] if name.starts_with("demo-") => consumers += 1,
                        _ => {}
                    }
                }
                if let Some(status) = demo.try_wait().unwrap() {
                    break status;
                }
            };
            assert!(status.success());
        }
    }
}

#[test]
fn the_demo_shows_no_whole_token() {
    let world = World::new();
    let story = world.run(&["demo"]).text();
    let whole = |word: &str| word.starts_with("eyJ") && word.contains('.');
    assert!(!story.split_whitespace().any(whole), "{story}");
}
