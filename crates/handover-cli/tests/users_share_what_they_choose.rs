//! Users of one machine: each has global names of their own, others find them by the owner, and what those
//! may do is what the owner chose. Needs root, to be several users.

#![cfg(target_os = "linux")]

mod world;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use handover_test_support::Start;
use serde_json::json;
use world::{Ran, Running, World};

/// A user: uid, which is the gid too, and a further group.
#[derive(Clone, Copy)]
struct User(u32, u32);

/// Every Linux has this user and this group by number and name.
const ALICE: User = User(1, 1);
const ALICE_NAME: &str = "daemon";
/// Of alice's group.
const BOB: User = User(60_002, 1);
/// A stranger.
const EVE: User = User(60_003, 60_003);

/// A world whose names and whose command are there for everybody.
struct Shared(World);

impl Shared {
    /// `None` where this process can't be other users.
    fn new() -> Option<Self> {
        let world = World::new();
        if std::fs::metadata(world.names()).unwrap().uid() != 0 {
            eprintln!("skipped: needs root, to be other users");
            return None;
        }
        let set =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        set(world.names().parent().unwrap(), 0o755);
        set(&world.names(), 0o1777);
        // Not by this process: a child that another test starts meanwhile would have the copy open for
        // writing.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_handover")).arg(world.path("handover"));
        assert!(copy.run().unwrap().success());
        set(&world.path("handover"), 0o755);
        Some(Self(world))
    }

    fn command(&self, user: User, arguments: &[&str]) -> Command {
        let User(uid, group) = user;
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={uid}"), format!("--regid={uid}"), format!("--groups={group}")])
            .arg(self.0.path("handover"))
            .args(arguments)
            .env("HANDOVER_DIR", self.0.names())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    fn run(&self, user: User, arguments: &[&str]) -> Ran {
        Running::start(&mut self.command(user, arguments)).end()
    }

    fn hold(&self, user: User, arguments: &[&str]) -> Running {
        let mut running = Running::start(&mut self.command(user, &[&["put"], arguments].concat()));
        running.says("holding");
        running
    }
}

#[test]
fn a_group_reads_what_was_put_for_it_and_nobody_else() {
    let Some(shared) = Shared::new() else { return };
    for group in ["daemon", "1"] {
        let _held = shared.hold(ALICE, &["Global\\x", "7", "--group", group]);
        let stat = shared.run(ALICE, &["stat", "Global\\x", "--json"]).json();
        assert_eq!((&stat["mode"], &stat["owner"]), (&json!("0640"), &json!(ALICE.0)));
        for owner in [ALICE_NAME, "1"] {
            assert_eq!(shared.run(BOB, &["get", "Global\\x", "--owner", owner]).text(), "7");
            assert_eq!(shared.run(BOB, &["get", "x", "--global", "--owner", owner]).text(), "7");
            shared.run(EVE, &["get", "Global\\x", "--owner", owner]).expect(1);
        }
        shared.run(BOB, &["put", "Global\\x", "8", "--owner", "1", "--for", "1ms"]).expect(1);
        shared.run(BOB, &["take", "Global\\x", "--owner", "1"]).expect(1);
        assert_eq!(shared.run(ALICE, &["get", "Global\\x"]).text(), "7");
    }
}

#[test]
fn who_may_only_read_sees_each_version_and_the_end() {
    let Some(shared) = Shared::new() else { return };
    let held = shared.hold(ALICE, &["Global\\x", "1", "--mode", "0644"]);
    let watch = ["watch", "Global\\x", "--owner", ALICE_NAME];
    let mut watchers = [EVE, BOB].map(|user| Running::start(&mut shared.command(user, &watch)));
    for watcher in &mut watchers {
        assert!(watcher.line().contains("\"value\":1"));
    }
    let second = shared.hold(ALICE, &["Global\\x", "2"]);
    for watcher in &mut watchers {
        assert!(watcher.line().contains("\"value\":2"));
    }
    held.stop();
    second.stop();
    for watcher in watchers {
        let ran = watcher.end().expect(0);
        assert!(ran.stderr.contains("the last writer of 'Global\\\\x' has gone"), "{}", ran.stderr);
    }
    // And where nobody says good-bye.
    let held = shared.hold(ALICE, &["Global\\x", "3", "--mode", "0644"]);
    let mut watcher = Running::start(&mut shared.command(EVE, &watch));
    assert!(watcher.line().contains("\"value\":3"));
    held.kill();
    watcher.end().expect(0);
}

#[test]
fn who_may_only_read_can_go_on_with_the_next_holder() {
    let Some(shared) = Shared::new() else { return };
    let first = shared.hold(ALICE, &["Global\\x", "1", "--mode", "0644"]);
    let watch = ["watch", "Global\\x", "--owner", ALICE_NAME, "--follow-name", "--count", "2"];
    let mut watcher = Running::start(&mut shared.command(EVE, &watch));
    assert!(watcher.line().contains("\"value\":1"));
    first.stop();
    watcher.says("the name 'Global\\\\x' leads to this map no more");
    let _second = shared.hold(ALICE, &["Global\\x", "2", "--mode", "0644"]);
    assert!(watcher.line().contains("\"value\":2"));
    watcher.end().expect(0);
}

#[test]
fn who_may_only_read_is_told_that_the_name_is_lost() {
    let Some(shared) = Shared::new() else { return };
    let held = shared.hold(ALICE, &["Global\\x", "1", "--mode", "0644"]);
    // It goes on though its name is lost: what it runs takes its time.
    let watch = ["watch", "Global\\x", "--owner", ALICE_NAME];
    held.signal("STOP");
    let mut watcher = Running::start(&mut shared.command(EVE, &watch));
    assert!(watcher.line().contains("\"value\":1"));
    for file in shared.0.files() {
        std::fs::remove_file(file).unwrap();
    }
    watcher.end().expect(6);
    held.signal("CONT");
    held.end().expect(6);
}

#[test]
fn a_group_that_may_write_takes_and_replaces() {
    let Some(shared) = Shared::new() else { return };
    let _held = shared.hold(ALICE, &["Global\\x", "7", "--group", "daemon", "--mode", "0660"]);
    shared.run(BOB, &["put", "Global\\x", "8", "--owner", "daemon", "--for", "1ms"]).expect(0);
    assert_eq!(shared.run(ALICE, &["get", "Global\\x"]).text(), "8");
    assert_eq!(shared.run(BOB, &["take", "Global\\x", "--owner", "daemon"]).text(), "8");
    shared.run(EVE, &["get", "Global\\x", "--owner", "daemon"]).expect(1);
}

#[test]
fn a_group_that_one_is_not_in_is_refused() {
    let Some(shared) = Shared::new() else { return };
    shared.run(EVE, &["put", "Global\\x", "7", "--group", "daemon", "--for", "1ms"]).expect(1);
    shared.run(EVE, &["get", "Global\\x"]).expect(3);
}

#[test]
fn each_user_has_global_names_of_their_own() {
    let Some(shared) = Shared::new() else { return };
    let _alices = shared.hold(ALICE, &["Global\\x", "1", "--mode", "0644"]);
    let _bobs = shared.hold(BOB, &["Global\\x", "2", "--mode", "0644"]);
    assert_eq!(shared.run(ALICE, &["get", "Global\\x"]).text(), "1");
    assert_eq!(shared.run(BOB, &["get", "Global\\x"]).text(), "2");
    assert_eq!(shared.run(BOB, &["get", "Global\\x", "--owner", ALICE_NAME]).text(), "1");
    assert_eq!(shared.run(EVE, &["get", "Global\\x", "--owner", "60002"]).text(), "2");
    let ran = shared.run(EVE, &["get", "Global\\x"]).expect(3);
    assert!(ran.stderr.contains("--owner USER"), "{}", ran.stderr);
    // Nobody but the owner makes names there.
    shared.run(EVE, &["put", "Global\\y", "3", "--owner", ALICE_NAME, "--for", "1ms"]).expect(1);
    shared.run(ALICE, &["get", "Global\\y"]).expect(3);
}

#[test]
fn a_directory_of_the_owners_is_good_for_the_owners_names() {
    let Some(shared) = Shared::new() else { return };
    // As a service manager makes it for a service.
    std::os::unix::fs::chown(shared.0.names(), Some(ALICE.0), Some(ALICE.0)).unwrap();
    std::fs::set_permissions(shared.0.names(), PermissionsExt::from_mode(0o755)).unwrap();
    let _held = shared.hold(ALICE, &["Global\\x", "1", "--group", "daemon"]);
    assert_eq!(shared.run(BOB, &["get", "Global\\x", "--owner", ALICE_NAME]).text(), "1");
    for arguments in [
        &["get", "Global\\x"][..],
        &["get", "x"],
        &["put", "x", "1"],
        &["get", "Global\\x", "--owner", "60003"],
    ] {
        let ran = shared.run(BOB, arguments).expect(1);
        assert!(ran.stderr.contains("it belongs to user 1"), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn only_the_owner_and_root_list_and_tidy() {
    let Some(shared) = Shared::new() else { return };
    let _held = shared.hold(ALICE, &["Global\\x", "1", "--mode", "0644"]);
    shared.hold(ALICE, &["Global\\left", "2", "--mode", "0644"]).kill();
    let names =
        |ran: Ran| ran.json().as_array().unwrap().iter().map(|map| map["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(shared.run(ALICE, &["ls", "--json"])), ["x"]);
    assert_eq!(names(shared.run(BOB, &["ls", "--json"])), [""; 0]);
    let as_root = |arguments: &[&str]| shared.0.run(&[arguments, &["--global", "--json"]].concat());
    assert_eq!(names(as_root(&["ls", "--owner", ALICE_NAME])), ["x"]);
    assert_eq!(names(as_root(&["ls"])), [""; 0]);
    for command in ["ls", "gc"] {
        let ran = shared.run(BOB, &[command, "--global", "--owner", ALICE_NAME]);
        assert_eq!(ran.code, Some(1), "{command}: {}", ran.stderr);
    }
    // Who may read the map can look at it, though not list it.
    let stat = shared.run(BOB, &["stat", "Global\\x", "--owner", ALICE_NAME, "--json"]).json();
    assert_eq!((&stat["name"], &stat["used"]), (&json!("x"), &json!(1)));
    assert_eq!(names(as_root(&["gc", "--owner", ALICE_NAME])), ["left"]);
    assert_eq!(shared.run(ALICE, &["get", "Global\\x"]).text(), "1");
}

#[test]
fn a_map_that_its_owner_keeps_says_what_the_owner_can_do() {
    let Some(shared) = Shared::new() else { return };
    let _held = shared.hold(ALICE, &["Global\\x", "1"]);
    for command in ["get", "take", "watch", "stat"] {
        let ran = shared.run(BOB, &[command, "Global\\x", "--owner", ALICE_NAME]).expect(1);
        assert!(ran.stderr.contains("--group") && ran.stderr.contains("--mode"), "{}", ran.stderr);
    }
}

#[test]
fn messages_have_the_words_of_the_command() {
    let Some(shared) = Shared::new() else { return };
    let _held = shared.hold(ALICE, &["Global\\x", "1"]);
    for arguments in [
        &["get", "Global\\x"][..],
        &["get", "Global\\x", "--owner", ALICE_NAME],
        &["put", "Global\\y", "1", "--owner", ALICE_NAME],
        &["put", "Global\\y", "1", "--owner", "nobody of this name"],
        &["put", "Global\\y", "1", "--group", "nobody of this name"],
        &["ls", "--global", "--owner", ALICE_NAME],
    ] {
        let ran = shared.run(BOB, arguments);
        assert_ne!(ran.code, Some(0), "{arguments:?}");
        for word in ["owned_by", "0o", "MapOptions", "file mode", "file_mode", "invalid digit"] {
            assert!(!ran.stderr.contains(word), "{arguments:?}: {}", ran.stderr);
        }
    }
}
