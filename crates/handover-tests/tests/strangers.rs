//! Something other than this user's map stands where a name or its directory is expected. It is refused with
//! an error that says what it is and whose, and nothing touches it. And users may do nothing with each
//! other's maps in the global scope, unless the owner gave the map a wider mode and the opener names the
//! owner.

#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

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
    format!(
        "{} {:o} {} {} {} {:?} {inside}",
        metadata.ino(),
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.nlink(),
        metadata.modified().expect("a time"),
    )
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

    std::fs::hard_link(&elsewhere, &path).expect("plant a link");
    refused(&mut actor, "name", &path, &[&owner, "2 links"]);
    std::fs::remove_file(&path).expect("remove it");

    make_fifo(&path);
    set_mode(&path, 0o600);
    refused(&mut actor, "name", &path, &[&owner, "a FIFO"]);
    std::fs::remove_file(&path).expect("remove it");

    std::fs::create_dir(&path).expect("plant a directory");
    std::fs::write(path.join("inside"), b"content").expect("write a file");
    refused(&mut actor, "name", &path, &[&owner, "a directory"]);
    std::fs::remove_dir_all(&path).expect("remove it");

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
    let global = stage.global_scope();
    let name = "Global\\name";
    for mode in [0o777, 0o770] {
        std::fs::create_dir(&global).expect("plant a directory");
        set_mode(&global, mode);
        refused(&mut actor, name, &global, &["sticky", &format!("mode {mode:04o}")]);
        std::fs::remove_dir(&global).expect("remove it");
    }
    let elsewhere = stage.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    set_mode(&elsewhere, 0o1777);
    symlink(&elsewhere, &global).expect("plant a link");
    refused(&mut actor, name, &global, &["a symbolic link"]);
    std::fs::remove_file(&global).expect("remove it");
    std::fs::write(&global, b"content").expect("plant a file");
    refused(&mut actor, name, &global, &["a file"]);
}

/// The global directory is first created under another name; what a stranger put there is not opened to all.
#[test]
fn what_stands_where_the_global_directory_is_made() {
    let stage = stage_for_all();
    let user = stage.path().metadata().expect("the stage").uid();
    let aside = stage.path().join(format!(".handover-new-{user}"));
    let elsewhere = stage.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    set_mode(&elsewhere, 0o700);
    symlink(&elsewhere, &aside).expect("plant a link");
    let before = (picture(&aside), picture(&elsewhere));
    assert!(stage.actor().open(&Open::create_new("Global\\name", 100)).is_err());
    assert_eq!((picture(&aside), picture(&elsewhere)), before);
    std::fs::remove_file(&aside).expect("remove it");
    if is_root() {
        std::fs::create_dir(&aside).expect("plant a directory");
        chown(&aside, Some(ALICE), Some(ALICE)).expect("give it away");
        let before = picture(&aside);
        let message = stage.actor().expect_refused(&Open::create_new("Global\\name", 100), "AccessDenied");
        assert!(message.contains("user 60001"), "{message}");
        assert_eq!(picture(&aside), before);
        std::fs::remove_dir(&aside).expect("remove it");
    }
    stage.actor().expect_fresh("Global\\name", 100);
}

const NAME: &str = "Global\\name";

fn expect_others_refused(other: &mut Actor) {
    for how in How::BY_NAME {
        let message = other.expect_refused(&Open::new(how, NAME, 100), "AccessDenied");
        assert!(message.contains("user 60001") && message.contains("owned_by(60001)"), "{message}");
    }
}

fn of_alice() -> Open {
    Open { owned_by: Some(ALICE), ..Open::open_existing(NAME) }
}

#[test]
fn a_global_map_is_its_owners_alone_by_default() {
    if !is_root() {
        skip!("only root can act as other users");
    }
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let map = alice.create_new(NAME, 100);
    alice.write(map, 0, b"secret");
    let mut bob = stage.actor_of(BOB);
    expect_others_refused(&mut bob);
    for open in [of_alice(), Open { read_only: true, ..of_alice() }] {
        let message = bob.expect_refused(&open, "AccessDenied");
        assert!(message.contains("user 60001"), "{message}");
    }
    // Root could, and must not by accident.
    expect_others_refused(&mut stage.actor());
    let mut again = stage.actor_of(ALICE);
    let map = again.open_existing(NAME);
    assert_eq!(again.read(map, 0, 6), b"secret");
}

#[test]
fn a_global_map_that_others_may_read() {
    if !is_root() {
        skip!("only root can act as other users");
    }
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    alice.tell(&Command::Umask(0o077));
    let map = alice.must_open(&Open { file_mode: Some(0o644), ..Open::create_new(NAME, 100) });
    alice.write(map, 0, b"public");
    let mut bob = stage.actor_of(BOB);
    expect_others_refused(&mut bob);
    bob.expect_refused(&of_alice(), "AccessDenied");
    let read = bob.must_open(&Open { read_only: true, ..of_alice() });
    assert_eq!(bob.read(read, 0, 6), b"public");
    let view = bob.ask(&Command::View { map: read.id, read_only: false });
    assert!(view.is_err_and(|failure| failure.kind == "AccessDenied"));

    // A reader holds the name like any other process.
    alice.kill();
    let mut late = stage.actor_of(ALICE);
    let found = late.open_existing(NAME);
    assert_eq!(late.read(found, 0, 6), b"public");
    late.close(found);
    // When the reader closes as the last one, it may not remove the owner's file; the name is gone
    // nevertheless.
    bob.close(read);
    bob.expect_refused(&Open { read_only: true, ..of_alice() }, "NotFound");
    assert_eq!(files_in(&stage.global_scope()).len(), 1);
    late.expect_gone(NAME);
    assert!(files_in(&stage.global_scope()).is_empty());
}

#[test]
fn a_global_map_that_others_may_write() {
    if !is_root() {
        skip!("only root can act as other users");
    }
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    alice.tell(&Command::Umask(0o077));
    let map = alice.must_open(&Open { file_mode: Some(0o666), ..Open::create_new(NAME, 100) });
    let mut bob = stage.actor_of(BOB);
    expect_others_refused(&mut bob);
    let written = bob.must_open(&of_alice());
    bob.write(written, 0, b"from bob");
    assert_eq!(alice.read(map, 0, 8), b"from bob");
    let joined = bob.must_open(&Open { owned_by: Some(ALICE), ..Open::create_or_open(NAME, 5) });
    assert!(!joined.created);
}

#[test]
fn a_leftover_of_another_user_in_the_global_scope() {
    if !is_root() {
        skip!("only root can act as other users");
    }
    for tidy in [0, ALICE] {
        let stage = stage_for_all();
        let mut alice = stage.actor_of(ALICE);
        alice.must_open(&Open { file_mode: Some(0o644), ..Open::create_new(NAME, 100) });
        alice.kill();
        let mut bob = stage.actor_of(BOB);
        let read = Open { read_only: true, ..of_alice() };
        bob.expect_refused(&read, "NotFound");
        let create = Open { how: How::CreateOrOpen, capacity: 100, ..read };
        let message = bob.expect_refused(&create, "AccessDenied");
        assert!(message.contains("leftover") && message.contains("user 60001"), "{message}");
        assert!(bob.collect_garbage(true).is_empty(), "it is not this user's to remove");
        // This user's own names are not affected.
        bob.expect_fresh("Global\\another", 100);
        assert_eq!(files_in(&stage.global_scope()).len(), 1);
        // The owner and root remove it.
        assert_eq!(stage.actor_of(tidy).collect_garbage(true), ["name"]);
        bob.expect_fresh(NAME, 100);
    }
}
