//! Something other than this user's map stands where a name or its directory is expected. It is refused with
//! an error that says what it is and whose, and nothing touches it.

#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use handover_tests::{Actor, Command, How, Obey, Open, Stage, Start, files_in, is_root, set_mode, skip};

const ALICE: u32 = 60001;
const BOB: u32 = 60002;

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

fn stage_for_all() -> Stage {
    Stage::for_all_users(env!("CARGO_BIN_EXE_actor"))
}

/// Everything about a file that an operation could change.
fn picture(path: &Path) -> String {
    let metadata = path.symlink_metadata().expect("it stands there");
    let inside = if metadata.is_file() {
        format!("{:?}", std::fs::read(path).expect("read it"))
    } else if metadata.is_symlink() {
        let target = std::fs::read_link(path).expect("read it");
        let target_is = target.exists().then(|| picture(&target));
        format!("{} {target_is:?}", target.display())
    } else if metadata.is_dir() {
        let inside: Vec<_> = files_in(path).iter().map(|path| (path.clone(), picture(path))).collect();
        format!("{inside:?}")
    } else {
        String::new()
    };
    format!("{} {inside}", handover_tests::attributes(&metadata))
}

/// A file with the bytes of a whole map.
fn map_bytes(stage: &Stage, name: &str) -> Vec<u8> {
    let mut actor = stage.actor();
    actor.create_new(name, 100);
    let file = stage.files().into_iter().next_back().expect("its file");
    std::fs::read(file).expect("read it")
}

fn make_fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).run().expect("run mkfifo");
    assert!(status.success());
}

/// No operation takes or touches what stands at `path` under the expected name.
fn refused(actor: &mut Actor, name: &str, path: &Path, says: &[&str]) {
    let before = picture(path);
    for how in How::BY_NAME {
        match actor.open(&Open::new(how, name, 100)) {
            Err(failure) => {
                assert!(["AccessDenied", "WrongKind"].contains(&&*failure.kind), "{failure:?}");
                for part in says {
                    assert!(failure.message.contains(part), "{part:?} is not in: {}", failure.message);
                }
            }
            Ok(map) => panic!("{how:?} took {before}: {map:?}"),
        }
        assert_eq!(picture(path), before, "{how:?}");
    }
    // Nor does an operation on another name, or a sweep.
    if let Ok(map) = actor.open(&Open::create_or_open("another", 100)) {
        actor.close(map);
    }
    let _ = actor.ask(&Command::CollectGarbage { global: false });
    assert_eq!(picture(path), before);
}

#[test]
fn what_is_no_map_under_the_expected_name() {
    let stage = stage();
    let mut actor = stage.actor();
    let path = stage.file_of("name");
    let user = stage.path().metadata().expect("the stage").uid();
    let owner = format!("of user {user}");
    let whole = map_bytes(&stage, "name");
    actor.collect_garbage(false);
    let elsewhere = stage.path().join("elsewhere");

    let garbage: [&[u8]; 4] = [b"", b"garbage", &[0; 4096], &whole[..whole.len() - 1]];
    for bytes in garbage {
        std::fs::write(&path, bytes).expect("plant a file");
        set_mode(&path, 0o600);
        refused(&mut actor, "name", &path, &[&owner, "a file", "no map"]);
        std::fs::remove_file(&path).expect("remove it");
    }

    // A living map of another name, as if the two had one hash; and a living map with a wrong mode.
    let mut other = stage.actor();
    other.create_new("other", 100);
    let there = stage.files().remove(0);
    std::fs::rename(&there, &path).expect("plant a file");
    refused(&mut actor, "name", &path, &["other", "same hash"]);
    std::fs::rename(&path, &there).expect("put it back");
    set_mode(&there, 0o644);
    refused(&mut actor, "other", &there, &[&owner, "mode 0644"]);
    other.kill();
    actor.collect_garbage(false);

    for mode in [0o644, 0o660, 0o700, 0o4600] {
        std::fs::write(&path, &whole[..200]).expect("plant a file");
        set_mode(&path, mode);
        refused(&mut actor, "name", &path, &[&owner, &format!("mode {mode:04o}")]);
        std::fs::remove_file(&path).expect("remove it");
    }

    std::fs::write(&elsewhere, &whole).expect("write a file");
    set_mode(&elsewhere, 0o600);
    symlink(&elsewhere, &path).expect("plant a link");
    refused(&mut actor, "name", &path, &[&owner, "a symbolic link"]);
    std::fs::remove_file(&path).expect("remove it");

    symlink("nowhere", &path).expect("plant a link");
    refused(&mut actor, "name", &path, &[&owner, "a symbolic link"]);
    std::fs::remove_file(&path).expect("remove it");

    make_fifo(&path);
    set_mode(&path, 0o600);
    refused(&mut actor, "name", &path, &[&owner, "a FIFO"]);
    std::fs::remove_file(&path).expect("remove it");

    std::fs::create_dir(&path).expect("plant a directory");
    std::fs::write(path.join("inside"), b"content").expect("write a file");
    refused(&mut actor, "name", &path, &[&owner, "a directory"]);
    std::fs::remove_dir_all(&path).expect("remove it");

    let _socket = std::os::unix::net::UnixListener::bind(&path).expect("plant a socket");
    set_mode(&path, 0o600);
    refused(&mut actor, "name", &path, &[&owner, "a socket"]);
    std::fs::remove_file(&path).expect("remove it");

    actor.expect_fresh("name", 100);
}

/// A link to a whole map that nobody holds is a leftover like any other: it goes, and what it led to stays.
#[test]
fn a_second_link_to_a_leftover_goes_and_the_first_stays() {
    let stage = stage();
    let mut actor = stage.actor();
    let path = stage.file_of("name");
    let whole = map_bytes(&stage, "name");
    actor.collect_garbage(false);
    let elsewhere = stage.path().join("elsewhere");
    std::fs::write(&elsewhere, &whole).expect("write a file");
    set_mode(&elsewhere, 0o600);
    for tidy in [false, true] {
        std::fs::hard_link(&elsewhere, &path).expect("plant a link");
        if tidy {
            assert_eq!(actor.collect_garbage(false), ["name"]);
        } else {
            actor.expect_gone("name");
        }
        assert!(!path.exists());
        assert_eq!(std::fs::read(&elsewhere).expect("it stays"), whole);
    }
    actor.expect_fresh("name", 100);
}

#[test]
fn a_file_of_another_user_under_the_expected_name() {
    if !is_root() {
        skip!("only root can give files to other users");
    }
    let stage = stage();
    let path = stage.file_of("name");
    let whole = map_bytes(&stage, "name");
    stage.actor().collect_garbage(false);
    std::fs::write(&path, whole).expect("plant a file");
    set_mode(&path, 0o600);
    chown(&path, Some(ALICE), Some(ALICE)).expect("give it away");
    let before = picture(&path);
    for how in How::BY_NAME {
        let message = stage.actor().expect_refused(&Open::new(how, "name", 100), "AccessDenied");
        assert!(message.contains("user 60001"), "{message}");
        assert_eq!(picture(&path), before);
    }
}

#[test]
fn what_is_no_directory_of_this_user_in_place_of_the_scopes() {
    let stage = stage();
    let mut actor = stage.actor();
    let scope = stage.scope();
    let user = stage.path().metadata().expect("the stage").uid();
    let owner = format!("of user {user}");

    for mode in [0o755, 0o701, 0o750, 0o1777] {
        std::fs::create_dir(&scope).expect("plant a directory");
        set_mode(&scope, mode);
        refused(&mut actor, "name", &scope, &[&owner, &format!("mode {mode:04o}"), "0700"]);
        std::fs::remove_dir(&scope).expect("remove it");
    }

    std::fs::write(&scope, b"content").expect("plant a file");
    refused(&mut actor, "name", &scope, &[&owner, "a file"]);
    std::fs::remove_file(&scope).expect("remove it");

    let elsewhere = stage.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    set_mode(&elsewhere, 0o700);
    symlink(&elsewhere, &scope).expect("plant a link");
    refused(&mut actor, "name", &scope, &[&owner, "a symbolic link"]);
    std::fs::remove_file(&scope).expect("remove it");

    make_fifo(&scope);
    refused(&mut actor, "name", &scope, &[&owner, "a FIFO"]);
    std::fs::remove_file(&scope).expect("remove it");

    if is_root() {
        // One who may look into it anyway, and one who may not.
        for uid in [0, BOB] {
            let stage = stage_for_all();
            let scope = stage.path().join(format!("handover-{uid}"));
            std::fs::create_dir(&scope).expect("plant a directory");
            set_mode(&scope, 0o700);
            chown(&scope, Some(ALICE), Some(ALICE)).expect("give it away");
            refused(&mut stage.actor_of(uid), "name", &scope, &["directory of user 60001"]);
        }
    }
}

#[test]
fn what_stands_in_place_of_the_global_directory() {
    let stage = stage_for_all();
    let mut actor = stage.actor();
    let global = global_of(&stage);
    let name = "Global\\name";
    for mode in [0o777, 0o770, 0o733, 0o1777] {
        std::fs::create_dir(&global).expect("plant a directory");
        set_mode(&global, mode);
        refused(&mut actor, name, &global, &["others must not write", &format!("mode {mode:04o}"), "0711"]);
        std::fs::remove_dir(&global).expect("remove it");
    }
    let elsewhere = stage.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    set_mode(&elsewhere, 0o711);
    symlink(&elsewhere, &global).expect("plant a link");
    refused(&mut actor, name, &global, &["a symbolic link"]);
    std::fs::remove_file(&global).expect("remove it");
    std::fs::write(&global, b"content").expect("plant a file");
    refused(&mut actor, name, &global, &["a file"]);
}

/// The directory of this user's global names.
fn global_of(stage: &Stage) -> PathBuf {
    let user = stage.path().metadata().expect("the stage").uid();
    stage.path().join(format!("handover-{user}-global"))
}

// What users can do with each other's maps in the global scope: `other_users`.
