//! What users can do to each other through names: what the owner of a name lets them, and no more. Each
//! attack is carried out by a real process of another user.

#![cfg(target_os = "linux")]

mod neighbour;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use handover_tests::cell::{CellCommand, OpenCell, UseCells};
use handover_tests::trace::{Before, send_stopped};
use handover_tests::{Command, How, Obey, Open, Reply, Stage, files_in, set_mode};
use neighbour::{
    ALICE, BOB, CAROL, Found, GROUP, Neighbour, copy_of_actor, failed, file_name, global_of, map_of,
    needs_root, number_in, once, picture, scope_of, stage_for_all,
};

const NAME: &str = "Global\\name";

fn of_alice() -> Open {
    Open { owned_by: Some(ALICE), ..Open::open_existing(NAME) }
}

fn readable(mode: u32) -> Open {
    Open { file_mode: Some(mode), ..Open::create_new(NAME, 100) }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

// ---- Whose name it is.

#[test]
fn a_global_name_is_found_by_its_owner_and_its_text() {
    needs_root!();
    let stage = stage_for_all();
    let (mut alice, mut bob) = (stage.actor_of(ALICE), stage.actor_of(BOB));
    let hers = alice.must_open(&readable(0o644));
    alice.write(hers, 0, b"alice's");
    // Without an owner, a name is one's own.
    bob.expect_gone(NAME);
    let his = bob.create_new(NAME, 200);
    bob.write(his, 0, b"bob's");
    assert_eq!(alice.open_existing(NAME).capacity, 100);
    let read = bob.must_open(&Open { read_only: true, ..of_alice() });
    assert_eq!((read.capacity, bob.read(read, 0, 7)), (100, b"alice's".to_vec()));
    // Also for those who may read and write everything.
    let mut root = stage.actor();
    root.expect_gone(NAME);
    let found = root.must_open(&of_alice());
    assert_eq!(root.read(found, 0, 7), b"alice's");
    let found = root.must_open(&Open { owned_by: Some(BOB), ..of_alice() });
    assert_eq!(root.read(found, 0, 5), b"bob's");
}

#[test]
fn an_owner_can_be_given_by_name() {
    needs_root!();
    let Some(daemon) = number_in("/etc/passwd", "daemon") else {
        handover_tests::skip!("there is no user 'daemon'");
    };
    let stage = stage_for_all();
    let (_holder, made) = map_of(&stage, daemon, &[], &["create_new", NAME, "100", "mode=644", "put=theirs"]);
    made.expect("make a map");
    let (_reader, found) = map_of(&stage, BOB, &[], &["open_existing", NAME, "0", "owner=daemon", "read"]);
    assert_eq!(found.expect("find it"), (false, 100, "theirs".to_owned()));
    let (_reader, found) = map_of(&stage, BOB, &[], &["open_existing", NAME, "0", "owner=no-such-user"]);
    assert!(failed(found, &["InvalidArgument"]).contains("no-such-user"));
}

/// Nobody takes a name before its owner does, and nobody makes anything where another user's names lie.
#[test]
fn nobody_makes_names_of_another_user() {
    needs_root!();
    let stage = stage_for_all();
    let mut bob = stage.actor_of(BOB);
    let his = bob.must_open(&Open { file_mode: Some(0o666), ..Open::create_new(NAME, 5) });
    bob.write(his, 0, b"squat");
    for how in [How::CreateNew, How::CreateOrOpen] {
        let open = Open { owned_by: Some(ALICE), ..Open::new(how, NAME, 100) };
        let message = bob.expect_refused(&open, "AccessDenied");
        assert!(message.contains("only its owner"), "{message}");
    }
    assert!(!global_of(&stage, ALICE).exists(), "made for another user");
    let mut alice = stage.actor_of(ALICE);
    alice.expect_fresh(NAME, 100);

    let _hers = alice.must_open(&readable(0o644));
    let directory = global_of(&stage, ALICE);
    let before = files_in(&directory);
    for how in [How::CreateNew, How::CreateOrOpen] {
        let open = Open { owned_by: Some(ALICE), ..Open::new(how, "Global\\another", 100) };
        bob.expect_refused(&open, "AccessDenied");
    }
    // Nor without this library.
    let file = directory.join("filler");
    failed(once::<()>(&stage, BOB, &["make", text(&file)]), &["PermissionDenied"]);
    let file = directory.join(file_name("another"));
    failed(once::<()>(&stage, BOB, &["make", text(&file)]), &["PermissionDenied"]);
    assert_eq!(files_in(&directory), before);
    let mode = directory.metadata().expect("it is there").permissions().mode() & 0o7777;
    assert_eq!((mode, directory.metadata().expect("it is there").uid()), (0o711, ALICE));
}

#[test]
fn only_the_owner_and_root_list_and_tidy_names() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let _map = alice.must_open(&readable(0o644));
    let mut dead = stage.actor_of(ALICE);
    dead.must_open(&Open { file_mode: Some(0o644), ..Open::create_new("Global\\dead", 100) });
    dead.kill();
    assert!(stage.actor_of(BOB).list_directory(&global_of(&stage, ALICE)).is_empty(), "it can be listed");
    for action in ["list", "gc"] {
        let message = failed(once::<Vec<String>>(&stage, BOB, &[action, "60001"]), &["AccessDenied"]);
        assert!(message.contains("60001"), "{message}");
    }
    for user in [0, ALICE] {
        assert_eq!(once(&stage, user, &["list", "60001"]), Ok(vec!["name".to_owned()]));
    }
    let own: Vec<String> = once(&stage, BOB, &["list"]).expect("one's own");
    assert!(own.is_empty(), "{own:?}");
    assert_eq!(once(&stage, 0, &["gc", "60001"]), Ok(vec!["dead".to_owned()]));
}

// ---- Those who may only read.

/// Has a reader take all locks of all files and directories that it can, by name and otherwise.
fn lock_all(stage: &Stage, uid: u32, groups: &[u32], more: &[&Path]) -> Neighbour {
    let directory = global_of(stage, ALICE);
    let mut paths = vec![stage.path().to_owned(), directory.clone()];
    paths.extend(files_in(&directory));
    paths.extend(more.iter().map(|path| (*path).to_owned()));
    let words: Vec<_> = ["lock"].into_iter().chain(paths.iter().map(|path| text(path))).collect();
    let mut reader = Neighbour::of(stage, uid, groups, &words);
    let opened: usize = reader.hear().expect("lock them");
    assert!(opened >= 1, "the base at least");
    reader
}

#[test]
fn a_reader_that_locks_everything_does_not_stop_the_owner() {
    needs_root!();
    for mode in [0o644, 0o640] {
        let stage = stage_for_all();
        // The one who may read by the group; the map has the owner's own.
        let groups = [ALICE];
        let mut alice = stage.actor_of(ALICE);
        let map = alice.must_open(&readable(mode));
        let file = global_of(&stage, ALICE).join(file_name("name"));
        let next = global_of(&stage, ALICE).join(file_name("next"));
        let _reader = lock_all(&stage, BOB, &groups, &[&next]);
        let again = once::<usize>(&stage, BOB, &["lock", text(&file)]);
        assert_eq!(again, Ok(usize::from(mode == 0o644)), "whether it can open the file, without the group");

        // Write, open, close.
        alice.write(map, 0, b"written");
        let mut other = stage.actor_of(ALICE);
        for how in [How::OpenExisting, How::CreateOrOpen] {
            let joined = other.must_open(&Open::new(how, NAME, 100));
            assert_eq!(other.read(joined, 0, 7), b"written");
            other.close(joined);
        }
        other.expect_refused(&Open::create_new(NAME, 100), "AlreadyExists");
        // Create: also what the reader then opens and locks as well.
        for _ in 0..20 {
            let made =
                other.must_open(&Open { file_mode: Some(mode), ..Open::create_new("Global\\next", 100) });
            let joined = alice.open_existing("Global\\next");
            other.write(made, 0, b"next");
            alice.close(joined);
            other.close(made);
            alice.expect_gone("Global\\next");
        }
        // The last one closes in good order, or is killed: the name goes, and so does its file.
        alice.close(map);
        other.expect_gone(NAME);
        assert!(!file.exists(), "mode {mode:o}: the file stays under the reader's locks");
        let mut dying = stage.actor_of(ALICE);
        dying.must_open(&readable(mode));
        let _second = lock_all(&stage, BOB, &groups, &[]);
        dying.kill();
        other.expect_gone(NAME);
        assert!(files_in(&global_of(&stage, ALICE)).is_empty(), "{:?}", files_in(&global_of(&stage, ALICE)));
        other.expect_fresh(NAME, 100);
        // Tidying.
        let mut dying = stage.actor_of(ALICE);
        dying.must_open(&readable(mode));
        let _third = lock_all(&stage, BOB, &groups, &[]);
        dying.kill();
        assert_eq!(other.collect_garbage(true), ["name"]);
        assert!(files_in(&global_of(&stage, ALICE)).is_empty());
    }
}

#[test]
fn a_reader_that_locks_everything_does_not_stop_a_cell() {
    needs_root!();
    let stage = stage_for_all();
    let (mut writer, mut reader) = (stage.actor_of(ALICE), stage.actor_of(ALICE));
    let open = OpenCell { file_mode: Some(0o644), ..OpenCell::named(NAME, 10_000) };
    let written = writer.open_cell(&open);
    writer.publish(written, 1000, 1);
    let _locks = lock_all(&stage, BOB, &[], &[]);
    let read = reader.open_cell(&OpenCell::existing(NAME));
    // Pins, and writes beside them.
    let held = reader.hold(read);
    assert!(writer.lock(written), "somebody else is the writer");
    let version = writer.publish(written, 2000, 50);
    writer.on_cell(CellCommand::Unlock(written));
    assert_eq!(reader.on_cell(CellCommand::CheckHeld(held)), Some(1));
    assert_eq!(reader.on_cell(CellCommand::Load(read)), Some(version));
    reader.on_cell(CellCommand::DropHeld(held));
    // A writer that comes later, and one after a writer that was killed.
    let mut killed = stage.actor_of(ALICE);
    let cell = killed.open_cell(&OpenCell::existing(NAME));
    assert!(killed.lock(cell));
    killed.kill();
    let _more = lock_all(&stage, BOB, &[], &[]);
    assert_eq!(reader.publish(read, 500, 1), version + 1);
    assert_eq!(writer.on_cell(CellCommand::Load(written)), Some(version + 1));
    // Guests read and wait as before, beside the one that locks.
    let mut guest = stage.actor_of(BOB);
    let seen = guest.open_cell(&OpenCell { owned_by: Some(ALICE), ..OpenCell::read_only(NAME) });
    assert_eq!(guest.on_cell(CellCommand::Copy(seen)), Some(version + 1));
    guest.start_cell(CellCommand::Wait {
        cell: seen,
        than: version + 1,
        limit: handover_tests::HANG,
        while_written: false,
    });
    assert_eq!(writer.publish(written, 500, 1), version + 2);
    assert_eq!(guest.finish_cell(), Some(version + 2));
    // It is given up as if nobody else were there.
    reader.on_cell(CellCommand::Close(read));
    writer.on_cell(CellCommand::Close(written));
    writer.expect_gone(NAME);
    assert!(files_in(&global_of(&stage, ALICE)).is_empty());
}

#[test]
fn who_may_only_read_keeps_its_bytes_and_no_name() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let map = alice.must_open(&readable(0o644));
    alice.write(map, 0, b"public");
    let mut bob = stage.actor_of(BOB);
    let read = bob.must_open(&Open { read_only: true, ..of_alice() });
    let view = match bob.ask(&Command::View { map: read.id, read_only: true }) {
        Ok(Reply::Number(view)) => view as u32,
        other => panic!("{other:?}"),
    };
    assert!(bob.ask(&Command::View { map: read.id, read_only: false }).is_err(), "it can write");
    alice.kill();
    // Nor does one guest keep it up for another.
    stage.actor_of(CAROL).expect_refused(&Open { read_only: true, ..of_alice() }, "NotFound");
    let mut again = stage.actor_of(ALICE);
    again.expect_gone(NAME);
    assert!(files_in(&global_of(&stage, ALICE)).is_empty());
    bob.expect_refused(&Open { read_only: true, ..of_alice() }, "NotFound");
    again.expect_fresh(NAME, 100);
    // That is the end of the name and no loss: the bytes are there as long as the guest is.
    assert_eq!(bob.read(read, 0, 6), b"public");
    assert_eq!(bob.read_view(view, 0, 6), b"public");
    bob.close(read);
    assert_eq!(bob.read_view(view, 0, 6), b"public");
}

// ---- Groups.

#[test]
fn a_group_can_be_given_a_map_to_write() {
    needs_root!();
    let stage = stage_for_all();
    let make = ["create_new", NAME, "100", "mode=660", "group=60100", "put=for the group"];
    let (_holder, made) = map_of(&stage, ALICE, &[GROUP], &make);
    assert!(made.expect("make a map").0);
    let file = global_of(&stage, ALICE).join(file_name("name")).metadata().expect("its file");
    assert_eq!((file.uid(), file.gid(), file.permissions().mode() & 0o777), (ALICE, GROUP, 0o660));
    let open = ["open_existing", NAME, "0", "owner=60001"];
    let (_member, found) = map_of(&stage, BOB, &[GROUP], &[&open[..], &["put=from bob, group"]].concat());
    assert_eq!(found.expect("open it").2, "from bob, group\0".trim_end_matches('\0'));
    let (_owner, found) = map_of(&stage, ALICE, &[], &["open_existing", NAME, "0"]);
    assert!(found.expect("open it").2.starts_with("from bob"));
    for reads in [&[][..], &["read"]] {
        let (_other, found) = map_of(&stage, CAROL, &[], &[&open[..], reads].concat());
        failed(found, &["AccessDenied"]);
    }
}

#[test]
fn a_group_can_be_given_a_map_to_read() {
    needs_root!();
    let stage = stage_for_all();
    let make = ["create_new", NAME, "100", "mode=640", "group=60100", "put=read me"];
    let (_holder, made) = map_of(&stage, ALICE, &[GROUP], &make);
    made.expect("make a map");
    let open = ["open_existing", NAME, "0", "owner=60001"];
    let reads = [&open[..], &["read"]].concat();
    let (_member, found) = map_of(&stage, BOB, &[GROUP], &reads);
    assert_eq!(found, Ok::<Found, _>((false, 100, "read me".to_owned())));
    let (_member, found) = map_of(&stage, BOB, &[GROUP], &open);
    failed(found, &["AccessDenied"]);
    let (_other, found) = map_of(&stage, CAROL, &[], &reads);
    failed(found, &["AccessDenied"]);
}

#[test]
fn a_group_can_be_given_by_name() {
    needs_root!();
    let Some(games) = number_in("/etc/group", "games") else {
        handover_tests::skip!("there is no group 'games'");
    };
    let stage = stage_for_all();
    let make = ["create_new", NAME, "100", "mode=660", "group=games", "put=hello"];
    let (_holder, made) = map_of(&stage, ALICE, &[games], &make);
    made.expect("make a map");
    let file = global_of(&stage, ALICE).join(file_name("name"));
    assert_eq!(file.metadata().expect("its file").gid(), games);
    let open = ["open_existing", NAME, "0", "owner=60001"];
    let (_member, found) = map_of(&stage, BOB, &[games], &open);
    assert_eq!(found.expect("open it").2, "hello");
    let make = ["create_new", "Global\\other", "100", "mode=660", "group=no-such-group"];
    let (_nobody, found) = map_of(&stage, ALICE, &[games], &make);
    assert!(failed(found, &["InvalidArgument"]).contains("no-such-group"));
}

#[test]
fn a_group_that_the_creator_is_not_in_is_a_clear_error() {
    needs_root!();
    let stage = stage_for_all();
    for mode in ["mode=660", "mode=640"] {
        let make = ["create_new", NAME, "100", mode, "group=60100"];
        let (_holder, made) = map_of(&stage, ALICE, &[], &make);
        let message = failed(made, &["AccessDenied", "InvalidArgument"]);
        assert!(message.contains("60100") && message.contains("group"), "{message}");
        assert!(files_in(&global_of(&stage, ALICE)).is_empty());
    }
    // The scope of one user has no groups.
    let (_holder, made) = map_of(&stage, ALICE, &[GROUP], &["create_new", "name", "100", "group=60100"]);
    failed(made, &["InvalidArgument"]);
}

#[test]
fn when_a_user_of_the_group_ends_as_the_last_holder_the_name_is_gone_at_once() {
    needs_root!();
    let make = ["create_new", NAME, "100", "mode=660", "group=60100", "put=old bytes"];
    let open = ["open_existing", NAME, "0", "owner=60001"];
    for (killed, tidies) in
        [(false, "open"), (true, "open"), (false, "create"), (true, "create"), (false, "gc")]
    {
        let stage = stage_for_all();
        let (holder, made) = map_of(&stage, ALICE, &[GROUP], &make);
        made.expect("make a map");
        let (member, found) = map_of(&stage, BOB, &[GROUP], &open);
        found.expect("join");
        // The member keeps the name as every holder does.
        holder.kill();
        let (late, found) = map_of(&stage, ALICE, &[], &["open_existing", NAME, "0"]);
        assert_eq!(found.expect("it lives").2, "old bytes");
        late.end();
        if killed {
            member.kill();
        } else {
            member.end();
        }
        let (_, found) = map_of(&stage, CAROL, &[GROUP], &open);
        failed(found, &["NotFound"]);
        let (_, found) = map_of(&stage, BOB, &[GROUP], &open);
        failed(found, &["NotFound"]);
        match tidies {
            "open" => {
                let (_, found) = map_of(&stage, ALICE, &[], &["open_existing", NAME, "0"]);
                failed(found, &["NotFound"]);
            }
            "create" => {
                let (fresh, found) = map_of(&stage, ALICE, &[], &["create_or_open", NAME, "7"]);
                assert_eq!(found, Ok((true, 7, String::new())), "old bytes");
                fresh.end();
            }
            _ => assert_eq!(once(&stage, ALICE, &["gc"]), Ok(vec!["name".to_owned()])),
        }
        assert!(files_in(&global_of(&stage, ALICE)).is_empty(), "killed: {killed}, then {tidies}");
    }
}

/// The owner's next map takes away the bytes that a foreign last holder had to leave.
#[test]
fn the_owners_next_map_removes_what_others_left() {
    needs_root!();
    let stage = stage_for_all();
    let (holder, made) =
        map_of(&stage, ALICE, &[GROUP], &["create_new", NAME, "100", "mode=660", "group=60100"]);
    made.expect("make a map");
    let (member, found) = map_of(&stage, BOB, &[GROUP], &["open_existing", NAME, "0", "owner=60001"]);
    found.expect("join");
    holder.end();
    member.end();
    let (other, made) = map_of(&stage, ALICE, &[], &["create_new", "Global\\another", "100"]);
    made.expect("make a map");
    assert_eq!(files_in(&global_of(&stage, ALICE)), [global_of(&stage, ALICE).join(file_name("another"))]);
    other.end();
}

/// The last holder, who may not delete the owner's file, lets go while another one is joining, and a third
/// one is told that the name is gone.
#[test]
fn nobody_joins_what_others_were_told_is_gone() {
    needs_root!();
    let mut told = 0;
    for place in 0.. {
        let stage = stage_for_all();
        let mut alice = stage.actor_of(ALICE);
        alice.must_open(&Open { file_mode: Some(0o666), ..Open::create_new(NAME, 100) });
        let (mut bob, mut carol, mut third) =
            (stage.actor_of(BOB), stage.actor_of(CAROL), stage.actor_of(CAROL));
        let last = bob.must_open(&of_alice());
        alice.kill();
        let join = Command::Open(of_alice());
        let Some(stopped) = send_stopped(&mut carol, &join, Before::Call(place)) else {
            assert!(place > 5 && told > 0, "{told} of {place} were told");
            break;
        };
        bob.close(last);
        let is_gone = third.open(&of_alice());
        drop(stopped);
        let outcome = carol.reply();
        if let Err(failure) = is_gone {
            assert_eq!(failure.kind, "NotFound", "{}", failure.message);
            told += 1;
            match outcome {
                Some(Reply::Failed(failure)) => assert_eq!(failure.kind, "NotFound", "{}", failure.message),
                other => panic!("stopped before call {place}, joined what was gone: {other:?}"),
            }
        }
    }
}

// ---- Paths that another user chose.

#[test]
fn a_global_name_lies_on_no_file() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let path = stage.path().join("file");
    alice.tell(&Command::WriteFile { path: path.clone(), bytes: vec![7; 100] });
    alice.must_open(&Open::from_file(&path, "name", 0));
    let outcome = alice.open(&Open::from_file(&path, NAME, 0));
    let message = failed(outcome, &["Unsupported", "InvalidArgument"]);
    assert!(message.contains("scope"), "{message}");
    assert!(files_in(&global_of(&stage, ALICE)).is_empty());
}

/// A record that says its bytes are those of a file which another user chose.
#[test]
fn a_forged_path_in_a_global_name_is_not_followed() {
    needs_root!();
    let stage = stage_for_all();
    // A real record of a name on a file, of a file whose path is as long as that of the victim.
    let mut bob = stage.actor_of(BOB);
    let (own, victim) = (stage.path().join("bobs-own"), stage.path().join("victim-s"));
    bob.tell(&Command::WriteFile { path: own.clone(), bytes: vec![1; 8192] });
    let map = bob.must_open(&Open::from_file(&own, "name", 0));
    let genuine = scope_of(&stage, BOB).join(file_name("name"));
    let mut record = std::fs::read(&genuine).expect("a record");
    std::fs::write(&victim, vec![b'v'; 8192]).expect("write the victim");
    set_mode(&victim, 0o600);
    let (from, to) = (own.metadata().expect("stat"), victim.metadata().expect("stat"));
    replace(&mut record, text(&own).as_bytes(), text(&victim).as_bytes());
    replace(&mut record, &from.ino().to_le_bytes(), &to.ino().to_le_bytes());
    bob.close(map);

    let mode = genuine_mode(&stage, &mut bob);
    let forged = global_of(&stage, BOB).join(file_name("name"));
    std::fs::write(&forged, &record).expect("plant a record");
    chown(&forged, Some(BOB), Some(BOB)).expect("give it away");
    set_mode(&forged, mode);
    let mut life = Neighbour::of(&stage, BOB, &[], &["life", text(&forged)]);
    life.hear::<()>().expect("lock it");
    let before = (picture(&victim), picture(&forged));
    for user in [0, ALICE, BOB] {
        let mut actor = stage.actor_of(user);
        for read_only in [true, false] {
            for how in [How::OpenExisting, How::CreateOrOpen] {
                let open = Open { owned_by: Some(BOB), read_only, ..Open::new(how, NAME, 8192) };
                let message = match actor.open(&open) {
                    Err(failure) => failure.message,
                    Ok(map) => panic!("{user} took it: {map:?} {:?}", actor.read(map, 0, 8)),
                };
                assert!(!message.contains("victim-s"), "tells a path that another chose: {message}");
            }
        }
        assert_eq!((picture(&victim), picture(&forged)), before);
    }
    let listed: Vec<String> = once(&stage, BOB, &["list"]).expect("list them");
    assert!(listed.is_empty(), "{listed:?}");
}

/// The mode bits that a map for all has; makes the directory.
fn genuine_mode(stage: &Stage, bob: &mut handover_tests::Actor) -> u32 {
    let open = Open { file_mode: Some(0o666), ..Open::create_new("Global\\genuine", 100) };
    let map = bob.must_open(&open);
    let file = global_of(stage, BOB).join(file_name("genuine"));
    let mode = file.metadata().expect("its file").permissions().mode() & 0o7777;
    bob.close(map);
    mode
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
    bytes[at..at + to.len()].copy_from_slice(to);
}

// ---- What others put where a user's directory is expected.

/// Things that another user can make in a shared base. `make` makes one at a path; root does it, and gives it
/// away.
type Plant = (&'static str, fn(&Path));

const PLANTS: [Plant; 7] = [
    ("a directory", |path| std::fs::create_dir(path).expect("a directory")),
    ("a symbolic link", |path| symlink("/etc", path).expect("a link")),
    ("a symbolic link", |path| symlink("nowhere", path).expect("a link")),
    ("a file", |path| std::fs::write(path, b"content").expect("a file")),
    ("a FIFO", |path| make_node(path, libc::S_IFIFO, 0)),
    ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"))),
    ("a device", |path| make_node(path, libc::S_IFCHR, libc::makedev(1, 5))),
];

fn make_node(path: &Path, kind: u32, device: u64) {
    let path = std::ffi::CString::new(text(path)).expect("no NUL");
    // SAFETY: a C string.
    let made = unsafe { libc::mknod(path.as_ptr(), kind | 0o666, device) };
    assert_eq!(made, 0, "mknod: {}", std::io::Error::last_os_error());
}

fn remove(path: &Path) {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        std::fs::remove_dir_all(path).expect("remove it");
    } else {
        std::fs::remove_file(path).expect("remove it");
    }
}

#[test]
fn what_others_put_in_place_of_a_users_directory_is_left_alone_and_told() {
    needs_root!();
    let stage = stage_for_all();
    let (mut alice, mut carol) = (stage.actor_of(ALICE), stage.actor_of(CAROL));
    for (what, plant) in PLANTS {
        for (path, prefix) in [(scope_of(&stage, ALICE), ""), (global_of(&stage, ALICE), "Global\\")] {
            plant(&path);
            std::os::unix::fs::lchown(&path, Some(BOB), Some(BOB)).expect("give it away");
            let before = picture(&path);
            let name = format!("{prefix}name");
            for how in How::BY_NAME {
                let message = failed(alice.open(&Open::new(how, &name, 100)), &["AccessDenied", "WrongKind"]);
                assert!(message.contains("user 60002") && message.contains(what), "{message}");
            }
            let tidied = alice.ask(&Command::CollectGarbage { global: !prefix.is_empty() });
            assert!(tidied.is_err(), "{what}: {tidied:?}");
            if !prefix.is_empty() {
                let open = Open { read_only: true, ..of_alice() };
                failed(carol.open(&open), &["AccessDenied", "WrongKind"]);
            }
            assert_eq!(picture(&path), before, "{what}");
            remove(&path);
        }
    }
    alice.expect_fresh("name", 100);
    alice.expect_fresh(NAME, 100);
}

#[test]
fn a_directory_that_others_may_write_to_is_not_trusted() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let map = alice.must_open(&readable(0o644));
    let directory = global_of(&stage, ALICE);
    for mode in [0o733, 0o731, 0o713, 0o1777] {
        set_mode(&directory, mode);
        let open = Open { read_only: true, ..of_alice() };
        let message = stage.actor_of(BOB).expect_refused(&open, "AccessDenied");
        assert!(message.contains("60001"), "{message}");
    }
    set_mode(&directory, 0o711);
    alice.close(map);
}

/// Under the name of a map of another user lies something else, made by that user.
#[test]
fn what_another_user_puts_under_a_name_is_never_followed() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    alice.expect_fresh(NAME, 100);
    let path = global_of(&stage, ALICE).join(file_name("name"));
    for (what, plant) in PLANTS {
        plant(&path);
        std::os::unix::fs::lchown(&path, Some(ALICE), Some(ALICE)).expect("give it away");
        let before = picture(&path);
        for user in [0, BOB] {
            for read_only in [true, false] {
                let open = Open { read_only, ..of_alice() };
                let outcome = stage.actor_of(user).open(&open);
                failed(outcome, &["AccessDenied", "WrongKind", "NotFound"]);
                assert_eq!(picture(&path), before, "{what}");
            }
        }
        for action in ["list", "gc"] {
            assert_eq!(once(&stage, 0, &[action, "60001"]), Ok(Vec::<String>::new()), "{what}");
            assert_eq!(picture(&path), before, "{what}");
        }
        remove(&path);
    }
}

/// The file for locks of another user's map is something else, put there by that user: nobody waits for it,
/// nor follows it.
#[test]
fn what_another_user_puts_in_place_of_a_lock_file_is_never_followed() {
    needs_root!();
    for (what, plant) in PLANTS {
        let stage = stage_for_all();
        let mut alice = stage.actor_of(ALICE);
        let map = alice.must_open(&readable(0o644));
        let files = files_in(&global_of(&stage, ALICE));
        let lock = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "lock"));
        let lock = lock.expect("its file for locks");
        remove(lock);
        plant(lock);
        std::os::unix::fs::lchown(lock, Some(ALICE), Some(ALICE)).expect("give it away");
        let before = picture(lock);
        for user in [BOB, 0, ALICE] {
            for read_only in [true, false] {
                // Whatever comes of it, it comes.
                let _ = stage.actor_of(user).open(&Open { read_only, ..of_alice() });
            }
            let _ = once::<Vec<String>>(&stage, user, &["list", "60001"]);
            let _ = once::<Vec<String>>(&stage, user, &["gc", "60001"]);
            // An unlocked file of the owner's is what a lock file without a holder looks like.
            assert!(what == "a file" || picture(lock) == before, "{what}: user {user} changed it");
        }
        // Other names go on.
        alice.expect_fresh("Global\\another", 100);
        alice.close(map);
    }
}

/// A hard link to another user's map, made where the system allows that, harms nobody.
#[test]
fn a_second_link_to_a_map_changes_nothing() {
    needs_root!();
    let stage = stage_for_all();
    let (mut alice, mut bob) = (stage.actor_of(ALICE), stage.actor_of(BOB));
    let map = alice.must_open(&Open { file_mode: Some(0o666), ..Open::create_new(NAME, 100) });
    alice.write(map, 0, b"linked");
    let file = global_of(&stage, ALICE).join(file_name("name"));
    // In the base, and as a name of another user's with the same text.
    bob.expect_fresh(NAME, 100);
    let links = [stage.path().join("link"), global_of(&stage, BOB).join(file_name("name"))];
    for link in &links {
        std::fs::hard_link(&file, link).expect("link it");
    }
    for how in [How::OpenExisting, How::CreateOrOpen] {
        let found = stage.actor_of(ALICE).must_open(&Open::new(how, NAME, 100));
        assert!(!found.created);
    }
    let found = bob.must_open(&of_alice());
    assert_eq!(bob.read(found, 0, 6), b"linked");
    bob.close(found);
    // In a directory of another owner it is not that owner's map.
    let outcome = bob.open(&Open::open_existing(NAME));
    failed(outcome, &["AccessDenied", "WrongKind", "NotFound"]);
    alice.close(map);
    alice.expect_gone(NAME);
    assert!(!file.exists(), "a link keeps the name");
    alice.expect_fresh(NAME, 100);
    assert!(links.iter().all(|link| link.exists()), "removed what is no name of this user");
}

// ---- Programs that run with another user's rights.

#[test]
fn a_set_user_id_program_does_not_look_where_its_caller_says() {
    needs_root!();
    // Set-user-id, set-group-id, and neither, whose caller has every right to say it.
    for (mode, scope, obeys) in
        [(0o4755, "handover-0", false), (0o2755, "handover-60002", false), (0o755, "handover-60002", true)]
    {
        let (_program, copy) = copy_of_actor(mode);
        let stage = Stage::new(text(&copy));
        let mut actor = stage.actor();
        actor.tell(&Command::PrivateMounts);
        actor.tell(&Command::MountTmpfs { path: "/dev/shm".into(), options: "mode=1777".to_owned() });
        actor.tell(&Command::Become { uid: BOB, gid: BOB });
        let said = tempfile::tempdir().expect("a directory");
        set_mode(said.path(), 0o1777);
        let value = Some(text(said.path()).to_owned());
        actor.tell(&Command::Environment { name: "HANDOVER_DIR".to_owned(), value });
        actor.tell(&Command::Exec);
        let map = actor.create_new("name", 100);
        let (there, elsewhere) = (actor.list_directory(said.path()), Path::new("/dev/shm"));
        if obeys {
            assert_eq!((there, actor.list_directory(elsewhere)), (vec![scope.to_owned()], Vec::new()));
        } else {
            assert!(there.is_empty(), "mode {mode:o} made {there:?}");
            assert_eq!(actor.list_directory(elsewhere), [scope], "mode {mode:o}");
        }
        actor.close(map);
    }
}
