//! Without `HANDOVER_DIR` names lie in `/dev/shm`, or in `/tmp` where that is missing or unsafe; never in a
//! directory that others can write to without the sticky bit. Each actor sees private file systems there.

#![cfg(target_os = "linux")]

use std::path::Path;

use handover_tests::{Actor, Command, How, Obey, Open, Stage, is_root, set_mode, skip};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// An actor with private, empty file systems and no `HANDOVER_DIR`.
fn actor(stage: &Stage, mounts: &[(&str, &str)]) -> Actor {
    let mut actor = stage.actor();
    actor.tell(&Command::Environment { name: "HANDOVER_DIR".to_owned(), value: None });
    actor.tell(&Command::PrivateMounts);
    for (path, options) in mounts {
        actor.tell(&Command::MountTmpfs { path: path.into(), options: (*options).to_owned() });
    }
    actor
}

fn in_use(actor: &mut Actor, directory: &str, scopes: &[&str]) {
    for (prefix, name) in [("", "handover-0"), ("Global\\", "handover-0-global")] {
        let map = actor.create_new(&format!("{prefix}name"), 100);
        assert_eq!(actor.list_directory(&Path::new(directory).join(name)).len(), 1);
        actor.close(map);
        actor.expect_gone(&format!("{prefix}name"));
    }
    assert_eq!(actor.list_directory(Path::new(directory)), scopes);
}

const BOTH: [&str; 2] = ["handover-0", "handover-0-global"];

#[test]
fn shared_memory_comes_first() {
    if !is_root() {
        skip!("only root can mount file systems");
    }
    let mut actor = actor(&stage(), &[("/dev/shm", "mode=1777"), ("/tmp", "mode=1777")]);
    in_use(&mut actor, "/dev/shm", &BOTH);
    assert!(actor.list_directory(Path::new("/tmp")).is_empty());
}

#[test]
fn without_shared_memory_names_lie_in_tmp() {
    if !is_root() {
        skip!("only root can mount file systems");
    }
    // This covers /dev: there is no /dev/shm any more.
    let mut actor = actor(&stage(), &[("/tmp", "mode=1777"), ("/dev", "mode=755")]);
    in_use(&mut actor, "/tmp", &BOTH);
}

#[test]
fn a_place_that_others_can_write_to_is_passed_over() {
    if !is_root() {
        skip!("only root can mount file systems");
    }
    for unsafe_options in ["mode=0777", "mode=0770", "mode=1777,uid=60001"] {
        let mut actor = actor(&stage(), &[("/tmp", "mode=1777"), ("/dev/shm", unsafe_options)]);
        in_use(&mut actor, "/tmp", &BOTH);
        assert!(actor.list_directory(Path::new("/dev/shm")).is_empty(), "{unsafe_options}");
    }
}

#[test]
fn without_a_safe_place_names_are_refused() {
    if !is_root() {
        skip!("only root can mount file systems");
    }
    for unsafe_options in ["mode=0777", "mode=0775", "mode=1777,uid=60001"] {
        let mut actor = actor(&stage(), &[("/tmp", unsafe_options), ("/dev", "mode=755")]);
        for how in How::BY_NAME {
            for name in ["name", "Global\\name"] {
                let message = actor.expect_refused(&Open::new(how, name, 100), "Unsupported");
                for part in ["/dev/shm", "/tmp", "HANDOVER_DIR"] {
                    assert!(message.contains(part), "{message}");
                }
            }
        }
        assert!(actor.list_directory(Path::new("/tmp")).is_empty());
    }
}

#[test]
fn handover_dir_must_be_safe_too() {
    let stage = stage();
    let mut actor = stage.actor();
    for mode in [0o777, 0o770, 0o707] {
        set_mode(stage.path(), mode);
        for how in How::BY_NAME {
            let message = actor.expect_refused(&Open::new(how, "name", 100), "AccessDenied");
            assert!(message.contains("sticky"), "{message}");
        }
        assert!(handover_tests::files_in(stage.path()).is_empty());
    }
    for mode in [0o1777, 0o755, 0o700] {
        set_mode(stage.path(), mode);
        actor.expect_fresh("name", 100);
    }
}

#[test]
fn handover_dir_of_another_user_is_refused() {
    if !is_root() {
        skip!("only root can act as other users");
    }
    let stage = Stage::for_all_users(env!("CARGO_BIN_EXE_actor"));
    std::os::unix::fs::chown(stage.path(), Some(60001), None).expect("chown");
    let message = stage.actor_of(60002).expect_refused(&Open::create_new("name", 100), "AccessDenied");
    assert!(message.contains("user 60001"), "{message}");
    assert!(handover_tests::files_in(stage.path()).is_empty());
    stage.actor_of(60001).expect_fresh("name", 100);
}
