//! What users can still do to each other, as the list in `docs/design.md` ("Who may do what") says. Each test
//! carries out one attack and shows how far it goes, and that it goes no further.

#![cfg(target_os = "linux")]

mod neighbour;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use handover_tests::cell::{CellCommand, OpenCell, UseCells};
use handover_tests::{Command, How, Obey, Open, Outcome, Reply, Stage, files_in};
use neighbour::{
    ALICE, BOB, CAROL, Neighbour, failed, file_name, global_of, map_of, needs_root, once, scope_of,
    stage_for_all,
};

const NAME: &str = "Global\\name";
/// Where a record has the word that keeps others from joining.
const DEAD_WORD: &str = "52";
/// Where a record has the number of the file for locks.
const TOKEN: usize = 72;
/// Where the bytes of a map with a short name start.
const DATA: &str = "65536";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn writable(name: &str) -> Open {
    Open { file_mode: Some(0o666), ..Open::create_new(name, 100) }
}

/// What comes of these calls, each of an actor of its own: each takes seconds.
fn at_once(stage: &Stage, opens: &[(u32, Open)]) -> Vec<Outcome<Reply>> {
    let mut actors: Vec<_> = opens.iter().map(|(user, _)| stage.actor_of(*user)).collect();
    for (actor, (_, open)) in actors.iter_mut().zip(opens) {
        actor.send(&Command::Open(open.clone()));
    }
    let replies = actors.iter_mut().map(|actor| match actor.reply().expect("it lives") {
        Reply::Failed(failure) => Err(failure),
        reply => Ok(reply),
    });
    replies.collect()
}

/// In a base that all users share, somebody can be first to make the directory of another user. That user has
/// no names there; the error says whose the directory is and how to go elsewhere.
#[test]
fn somebody_else_can_make_a_users_directory_first() {
    needs_root!();
    let stage = stage_for_all();
    let mut bob = stage.actor_of(BOB);
    for directory in [scope_of(&stage, ALICE), global_of(&stage, ALICE)] {
        bob.tell(&Command::WriteFile { path: directory, bytes: Vec::new() });
    }
    let mut alice = stage.actor_of(ALICE);
    for name in ["name", NAME] {
        for how in How::BY_NAME {
            let outcome = alice.open(&Open::new(how, name, 100));
            let message = failed(outcome, &["AccessDenied", "WrongKind"]);
            assert!(message.contains("user 60002") && message.contains("HANDOVER_DIR"), "{message}");
        }
    }
    // What the error says helps.
    let own = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::chown(own.path(), Some(ALICE), None).expect("give it away");
    let value = Some(text(own.path()).to_owned());
    alice.tell(&Command::Environment { name: "HANDOVER_DIR".to_owned(), value });
    alice.expect_fresh("name", 100);
    // Others have their names as before.
    stage.actor_of(CAROL).expect_fresh("name", 100);
}

/// Who may write a map can have its claim, once nobody holds it, for as long as it likes: that name is stuck,
/// and no other.
#[test]
fn a_writer_can_keep_one_name_from_being_made_again() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    alice.must_open(&writable(NAME));
    let file = global_of(&stage, ALICE).join(file_name("name"));
    let mut bob = Neighbour::of(&stage, BOB, &[], &["claim", text(&file)]);
    alice.kill();
    bob.hear::<()>().expect("it has the claim");
    for outcome in at_once(&stage, &How::BY_NAME.map(|how| (ALICE, Open::new(how, NAME, 100)))) {
        let message = failed(outcome, &["TimedOut"]);
        assert!(message.contains("name") && message.contains("5s"), "{message}");
    }
    let mut again = stage.actor_of(ALICE);
    // Other names of that user, and what looks at all of them, go on.
    again.expect_fresh("Global\\another", 100);
    again.must_open(&writable("Global\\third"));
    assert!(again.collect_garbage(true).is_empty());
    let listed: Vec<String> = once(&stage, ALICE, &["list"]).expect("list them");
    assert!(listed.contains(&"third".to_owned()), "{listed:?}");
    bob.kill();
    again.expect_gone(NAME);
    assert!(!file.exists());
    again.expect_fresh(NAME, 100);
}

/// Who may write a map can mark it as dead: nobody joins it any more. Those who hold it go on, and the name
/// is free again once they have gone.
#[test]
fn a_writer_can_keep_others_from_joining_one_map() {
    needs_root!();
    let stage = stage_for_all();
    let (mut alice, mut other) = (stage.actor_of(ALICE), stage.actor_of(ALICE));
    let map = alice.must_open(&writable(NAME));
    let file = global_of(&stage, ALICE).join(file_name("name"));
    let joined = other.open_existing(NAME);
    once::<()>(&stage, BOB, &["write", text(&file), DEAD_WORD, "01000000"]).expect("it may write");
    let mut opens: Vec<_> = How::BY_NAME.map(|how| (ALICE, Open::new(how, NAME, 50))).into();
    opens.push((CAROL, Open { owned_by: Some(ALICE), read_only: true, ..Open::open_existing(NAME) }));
    for outcome in at_once(&stage, &opens) {
        failed(outcome, &["TimedOut"]);
    }
    let mut late = stage.actor_of(ALICE);
    // The two have one map still.
    alice.write(map, 0, b"shared");
    assert_eq!(other.read(joined, 0, 6), b"shared");
    late.expect_fresh("Global\\another", 100);
    alice.close(map);
    other.close(joined);
    late.expect_gone(NAME);
    late.expect_fresh(NAME, 50);
}

/// Who may write a map can have the locks of the cell in it: that cell gets no more values. Those that it has
/// can be read, and other cells go on.
#[test]
fn a_writer_can_keep_others_from_writing_to_one_cell() {
    needs_root!();
    let stage = stage_for_all();
    let (mut alice, mut other) = (stage.actor_of(ALICE), stage.actor_of(ALICE));
    let cell = alice.open_cell(&OpenCell { file_mode: Some(0o666), ..OpenCell::named(NAME, 1000) });
    assert_eq!(alice.publish(cell, 500, 1), 1);
    let file = global_of(&stage, ALICE).join(file_name("name"));
    let mut bob = Neighbour::of(&stage, BOB, &[], &["lock", text(&file)]);
    assert_eq!(bob.hear(), Ok(1), "it may open the file");
    assert!(!alice.lock(cell), "this is the limit");
    let joined = other.open_cell(&OpenCell::existing(NAME));
    assert_eq!(other.on_cell(CellCommand::Copy(joined)), Some(1));
    let second = OpenCell { file_mode: Some(0o666), ..OpenCell::named("Global\\another", 1000) };
    let second = other.open_cell(&second);
    assert_eq!(other.publish(second, 500, 1), 1);
    bob.kill();
    assert_eq!(alice.publish(cell, 500, 1), 2);
}

/// Whoever may read a cell on a file, which has no name and so no file for locks, can keep its writers out.
/// Reading goes on.
#[test]
fn a_reader_can_keep_others_from_writing_to_a_cell_on_a_file() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let path = stage.path().join("cell");
    let cell = alice.open_cell(&OpenCell { file_mode: Some(0o644), ..OpenCell::on_file(&path, 1000) });
    assert_eq!(alice.publish(cell, 500, 1), 1);
    let mut bob = Neighbour::of(&stage, BOB, &[], &["lock", text(&path)]);
    assert_eq!(bob.hear(), Ok(1), "it may read the file");
    assert!(!alice.lock(cell), "this is the limit");
    assert_eq!(alice.on_cell(CellCommand::Copy(cell)), Some(1));
    bob.kill();
    assert_eq!(alice.publish(cell, 500, 1), 2);
}

/// Who may write a map can write nonsense into its bytes and its record. It has no say over any other map,
/// not even through the number of a lock file.
#[test]
fn a_writer_can_spoil_one_map_and_no_other() {
    needs_root!();
    let stage = stage_for_all();
    let (mut alice, mut other) = (stage.actor_of(ALICE), stage.actor_of(ALICE));
    let map = alice.must_open(&writable(NAME));
    let kept = other.must_open(&Open { file_mode: Some(0o644), ..Open::create_new("Global\\kept", 100) });
    other.write(kept, 0, b"kept");
    let directory = global_of(&stage, ALICE);
    let [file, kept_file] = ["name", "kept"].map(|name| directory.join(file_name(name)));
    let spoil = |offset: &str, bytes: &[u8]| {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        once::<()>(&stage, BOB, &["write", text(&file), offset, &hex]).expect("it may write");
    };
    spoil(DATA, b"spoilt");
    assert_eq!(alice.read(map, 0, 6), b"spoilt", "this is the limit");
    let whole = std::fs::read(&file).expect("read the record");
    let token = std::fs::read(&kept_file).expect("read the record")[TOKEN..][..8].to_vec();
    assert_ne!(token, [0; 8]);
    let read = Open { owned_by: Some(ALICE), read_only: true, ..Open::open_existing("Global\\kept") };
    // The kind, the place of the bytes, the capacity, the access, lengths, the number of a lock file that is
    // another map's, or of none.
    let nonsense: [(usize, &[u8]); 8] = [
        (12, &[2]),
        (16, &[1]),
        (24, &[0xFF; 8]),
        (32, &[9]),
        (36, &[0xFF; 4]),
        (48, &[16]),
        (TOKEN, &token),
        (TOKEN, &[7; 8]),
    ];
    for (offset, bytes) in nonsense {
        spoil(&offset.to_string(), bytes);
        let mut late = stage.actor_of(ALICE);
        for how in How::BY_NAME {
            let outcome = late.open(&Open::new(how, NAME, 100));
            let joined = outcome.as_ref().is_ok_and(|map| !map.created && map.capacity == 100);
            let kinds = ["WrongKind", "AlreadyExists", "TimedOut"];
            let told = outcome.as_ref().is_err_and(|failure| kinds.contains(&&*failure.kind));
            assert!(joined || told, "{offset}: {outcome:?}");
        }
        assert!(late.collect_garbage(true).is_empty(), "{offset}");
        late.expect_fresh("Global\\third", 100);
        // The other map lives, is found and is kept.
        let found = stage.actor_of(BOB).must_open(&read);
        assert_eq!(found.capacity, 100);
        assert_eq!(late.open_existing("Global\\kept").capacity, 100);
        spoil(&offset.to_string(), &whole[offset..offset + bytes.len()]);
    }
    // Whoever comes to the spoilt one keeps nothing of the other's.
    spoil(&TOKEN.to_string(), &token);
    let mut joiner = stage.actor_of(ALICE);
    let _ = joiner.open(&Open::open_existing(NAME));
    alice.kill();
    let listed: Vec<String> = once(&stage, ALICE, &["list"]).expect("list them");
    assert_eq!(listed, ["kept"]);
    let mut late = stage.actor_of(ALICE);
    let _ = late.open(&Open::open_existing(NAME));
    late.collect_garbage(true);
    assert_eq!(other.read(kept, 0, 4), b"kept");
    let found = late.open_existing("Global\\kept");
    late.close(found);
    other.kill();
    late.expect_gone("Global\\kept");
    assert!(!kept_file.exists());
    late.collect_garbage(true);
    assert!(files_in(&directory).is_empty(), "{:?}", files_in(&directory));
}

/// The owner of the directory that holds those of all users can move them. Holders are told.
#[test]
fn the_owner_of_the_base_can_take_names_away() {
    needs_root!();
    let stage = stage_for_all();
    for name in ["name", NAME] {
        let (mut holder, made) = map_of(&stage, ALICE, &[], &["create_new", name, "100", "put=one"]);
        made.expect("make a map");
        let directory = if name == NAME { global_of(&stage, ALICE) } else { scope_of(&stage, ALICE) };
        std::fs::rename(&directory, stage.path().join(format!("elsewhere {}", name.len()))).expect("move it");
        failed(holder.put("two"), &["NameLost"]);
        stage.actor_of(ALICE).expect_fresh(name, 100);
    }
}

/// Who may write a map can make its file shorter. A process that then touches what is missing dies.
#[test]
fn a_writer_can_cut_a_map_under_its_holders() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let map = alice.must_open(&writable(NAME));
    let view = alice.view(map);
    let file = global_of(&stage, ALICE).join(file_name("name"));
    once::<()>(&stage, BOB, &["cut", text(&file), "0"]).expect("it may write");
    alice.send(&Command::Read { view, offset: 0, len: 10 });
    assert!(alice.reply().is_none(), "it read what is not there");
    assert_eq!(alice.wait().signal(), Some(libc::SIGBUS));
    // Who comes later finds no map in it, and is told so.
    let mut late = stage.actor_of(ALICE);
    failed(late.open(&Open::open_existing(NAME)), &["WrongKind", "NotFound"]);
    late.expect_fresh("Global\\another", 100);
}

/// After all holders were killed, one who may read can pretend to other readers that somebody lives. Whoever
/// may write isn't fooled, and ends it.
#[test]
fn a_reader_can_keep_up_a_dead_name_for_other_readers() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let map = alice.must_open(&Open { file_mode: Some(0o644), ..Open::create_new(NAME, 100) });
    alice.write(map, 0, b"stale");
    let file = global_of(&stage, ALICE).join(file_name("name"));
    let mut bob = Neighbour::of(&stage, BOB, &[], &["life", text(&file)]);
    bob.hear::<()>().expect("it may read");
    alice.kill();
    let open = ["open_existing", NAME, "0", "owner=60001", "read"];
    let (carol, found) = map_of(&stage, CAROL, &[], &open);
    assert_eq!(found.expect("this is the limit").2, "stale");
    let mut again = stage.actor_of(ALICE);
    again.expect_gone(NAME);
    assert!(files_in(&global_of(&stage, ALICE)).is_empty());
    let (_, found) = map_of(&stage, CAROL, &[], &open);
    failed(found, &["NotFound"]);
    drop((carol, bob));
}
