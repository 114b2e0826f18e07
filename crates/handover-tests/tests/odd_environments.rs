//! Names in surroundings that are not a plain machine's: namespaces of users, no /proc, any mask, mounts for
//! reading only, file systems of all kinds and sizes, another root directory. Each works, or fails with an
//! error that names what to change; nothing is left behind.

#![cfg(target_os = "linux")]

mod neighbour;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use handover_tests::cell::{CellCommand, OpenCell, UseCells, wait_until};
use handover_tests::{Command, HANG, How, Obey, Open, Start, files_in, set_mode, skip};
use neighbour::{
    ALICE, BOB, Neighbour, Under, can_mount, failed, file_name, global_of, has_program, map_of, needs_root,
    once, run, scope_of, stage, stage_for_all,
};

const GLOBAL: &str = "Global\\name";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o7777
}

/// Two processes use names and cells together. Both end up without any.
#[track_caller]
fn names_work(one: &mut impl Obey, two: &mut impl Obey) {
    for (name, mode) in [("name", None), (GLOBAL, None), (GLOBAL, Some(0o644)), (GLOBAL, Some(0o666))] {
        let made = one.must_open(&Open { file_mode: mode, ..Open::create_new(name, 100) });
        one.write(made, 0, b"hello");
        let found = two.open_existing(name);
        assert_eq!((found.capacity, two.read(found, 0, 5)), (100, b"hello".to_vec()));
        two.expect_refused(&Open::create_new(name, 100), "AlreadyExists");
        let joined = two.create_or_open(name, 50);
        assert!(!joined.created && joined.capacity == 100);
        two.close(joined);
        one.close(made);
        let again = one.open_existing(name);
        two.close(found);
        one.close(again);
        two.expect_gone(name);
        one.expect_gone(name);
        two.expect_fresh(name, 30);
    }
    for name in ["cell", "Global\\cell"] {
        let written = one.open_cell(&OpenCell::named(name, 1000));
        let read = two.open_cell(&OpenCell::existing(name));
        assert_eq!(one.publish(written, 500, 3), 3);
        let held = two.hold(read);
        two.start_cell(CellCommand::Wait { cell: read, than: 3, limit: HANG, while_written: false });
        assert_eq!(one.publish(written, 700, 1), 4);
        assert_eq!(two.finish_cell(), Some(4));
        assert_eq!(two.on_cell(CellCommand::CheckHeld(held)), Some(3));
        two.on_cell(CellCommand::DropHeld(held));
        one.on_cell(CellCommand::Close(written));
        two.on_cell(CellCommand::Close(read));
        two.expect_gone(name);
    }
}

/// What a dead holder leaves is found by nobody, and goes.
#[track_caller]
fn kills_leave_nothing(dying: Under, other: &mut impl Obey, base: &Path, uid: u32) {
    let mut dying = dying;
    dying.create_new("dead", 100);
    dying.must_open(&Open { file_mode: Some(0o644), ..Open::create_new("Global\\dead", 100) });
    dying.must_open(&Open { file_mode: Some(0o644), ..Open::create_new("Global\\dead too", 100) });
    dying.kill();
    other.expect_gone("dead");
    other.expect_gone("Global\\dead");
    assert_eq!(other.collect_garbage(true), ["dead too"]);
    assert!(other.collect_garbage(false).is_empty());
    for scope in [format!("handover-{uid}"), format!("handover-{uid}-global")] {
        let mut left = other.list_directory(&base.join(scope));
        // A hint for the next sweep, which is nobody's bytes.
        left.retain(|name| name != ".sweep");
        assert!(left.is_empty(), "{left:?}");
    }
}

// ---- Namespaces of users.

/// How to become a user and start a program in a namespace of users.
fn in_namespace(uid: u32, how: &[&'static str]) -> Vec<String> {
    let become_user = [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()];
    let start = ["setpriv".to_owned()].into_iter().chain(become_user);
    start.chain(["unshare".to_owned()]).chain(how.iter().map(|word| (*word).to_owned())).collect()
}

fn start_in_namespace(base: &Path, uid: u32, how: &[&'static str]) -> Option<Under> {
    let words = in_namespace(uid, how);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    run(&[&words[..], &["true"]].concat()).ok()?;
    Some(Under::start(base, &words))
}

const MAPPED: [&[&str]; 3] = [
    &["--user", "--map-root-user"],
    &["--user", "--map-current-user"],
    &["--user", "--map-user=5000", "--map-group=5000"],
];

#[test]
fn a_user_shares_names_inside_and_outside_of_a_namespace_of_users() {
    needs_root!();
    // The base belongs to root, as /dev/shm does; inside it belongs to a user without a number.
    for (uid, how) in MAPPED.iter().flat_map(|how| [(ALICE, *how), (0, *how)]) {
        let stage = stage_for_all();
        let Some(mut inside) = start_in_namespace(stage.path(), uid, how) else {
            skip!("this system makes no namespace of users for {uid} with {how:?}");
        };
        let mut outside = stage.actor_of(uid);
        names_work(&mut inside, &mut outside);
        names_work(&mut outside, &mut inside);
        let mut found = files_in(stage.path());
        found.retain(|path| ![scope_of(&stage, uid), global_of(&stage, uid)].contains(path));
        assert!(found.is_empty(), "user {uid} with {how:?} made {found:?}");
        // Another user reads what was made inside.
        let made = inside.must_open(&Open { file_mode: Some(0o644), ..Open::create_new(GLOBAL, 100) });
        inside.write(made, 0, b"inside");
        let owner = format!("owner={uid}");
        let (_reader, seen) = map_of(&stage, BOB, &[], &["open_existing", GLOBAL, "0", &owner, "read"]);
        assert_eq!(seen.expect("read it").2, "inside");
        inside.close(made);
        let dying = start_in_namespace(stage.path(), uid, how).expect("as before");
        kills_leave_nothing(dying, &mut outside, stage.path(), uid);
    }
}

/// The machine's own shared memory, as programs find it by themselves.
#[test]
fn in_a_namespace_of_users_names_lie_in_the_machines_shared_memory() {
    if !can_mount() || !Path::new("/dev/shm").is_dir() {
        skip!("only root can mount file systems, and there must be a /dev/shm");
    }
    let stage = stage_for_all();
    let become_alice = in_namespace(ALICE, &[])[..4].join(" ");
    let script = format!("mount -t tmpfs -o mode=1777 none /dev/shm; exec {become_alice} \"$@\"");
    let mut outside = Under::mounted(stage.path(), &script);
    if start_in_namespace(stage.path(), ALICE, MAPPED[0]).is_none() || !outside.runs() {
        skip!("this system makes no namespaces of users");
    }
    for how in MAPPED {
        let enter = ["nsenter", "--mount", "--target", &outside.id().to_string()].map(str::to_owned);
        let words: Vec<_> = enter.into_iter().chain(in_namespace(ALICE, how)).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let mut inside = Under::start(stage.path(), &words);
        for actor in [&mut outside, &mut inside] {
            actor.tell(&Command::Environment { name: "HANDOVER_DIR".to_owned(), value: None });
        }
        names_work(&mut inside, &mut outside);
        names_work(&mut outside, &mut inside);
        let made = outside.list_directory(Path::new("/dev/shm"));
        assert_eq!(made, ["handover-60001", "handover-60001-global"], "{how:?}");
    }
}

/// A user who has no number in the namespace can make no files: the system refuses.
#[test]
fn without_a_number_in_the_namespace_of_users_the_error_says_so() {
    needs_root!();
    let stage = stage_for_all();
    let Some(mut inside) = start_in_namespace(stage.path(), ALICE, &["--user"]) else {
        skip!("this system makes no namespaces of users");
    };
    // With and without names of that user's outside.
    for with_names in [false, true] {
        let mut outside = stage.actor_of(ALICE);
        if with_names {
            outside.create_new("name", 100);
        }
        for name in ["name", GLOBAL] {
            for how in [How::CreateNew, How::CreateOrOpen] {
                let outcome = inside.open(&Open::new(how, name, 100));
                let message = failed(outcome, &["AccessDenied", "Unsupported"]);
                assert!(message.contains("namespace"), "{message}");
            }
        }
        let found = files_in(stage.path());
        let own = [scope_of(&stage, ALICE)];
        assert_eq!(found, if with_names { &own[..] } else { &[] });
    }
}

/// A namespace within another one: the outer number is one of the namespace between, which may be anybody's.
#[test]
fn a_namespace_within_a_namespace_works_or_says_whose_directory_it_found() {
    needs_root!();
    for beside_root in [false, true] {
        let stage = stage_for_all();
        let mut root = stage.actor();
        if beside_root {
            root.create_new("name", 100);
        }
        let nested = ["--user", "--map-root-user", "unshare", "--user", "--map-root-user"];
        let Some(mut inside) = start_in_namespace(stage.path(), ALICE, &nested) else {
            skip!("this system makes no namespaces of users");
        };
        match inside.open(&Open::create_new("name", 50)) {
            Ok(map) => {
                inside.write(map, 0, b"own");
                inside.close(map);
                inside.expect_gone("name");
            }
            Err(failure) => {
                assert_eq!(failure.kind, "AccessDenied", "{}", failure.message);
                assert!(failure.message.contains("user 65534"), "{}", failure.message);
                assert!(failure.message.contains("HANDOVER_DIR"), "{}", failure.message);
            }
        }
        if beside_root {
            assert_eq!(root.open_existing("name").capacity, 100);
        }
    }
}

/// A namespace of users with a range of numbers, as containers have it; ends with the value.
#[derive(Debug)]
struct Container(std::process::Child);

impl Container {
    /// Users 0 to 999 in it are 100,000 and on outside.
    fn new() -> Option<Self> {
        let mut program = std::process::Command::new("unshare");
        let child = program.args(["--user", "sleep", "1000"]).start().ok()?;
        let container = Self(child);
        let proc = Path::new("/proc").join(container.0.id().to_string());
        let own = std::fs::read_link("/proc/self/ns/user").ok()?;
        wait_until("the namespace is not made", || {
            std::fs::read_link(proc.join("ns/user")).is_ok_and(|namespace| namespace != own) || !proc.exists()
        });
        for table in ["uid_map", "gid_map"] {
            std::fs::write(proc.join(table), "0 100000 1000").ok()?;
        }
        Some(container)
    }

    /// An actor of a user in it.
    fn actor(&self, base: &Path, uid: u32) -> Under {
        let target = self.0.id().to_string();
        let (user, group) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        let enter = ["nsenter", "--user", "--target", &target];
        Under::start(base, &[&enter[..], &["setpriv", &user, &group, "--clear-groups"]].concat())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn users_of_a_container_have_the_names_of_their_numbers_outside() {
    if !can_mount() {
        skip!("only root can enter namespaces");
    }
    let stage = stage_for_all();
    let Some(container) = Container::new() else { skip!("this system makes no namespaces of users") };
    let mut inside = container.actor(stage.path(), 5);
    if !inside.runs() {
        skip!("this system lets nobody enter a namespace of users");
    }
    let (mut neighbour, mut root) = (container.actor(stage.path(), 7), container.actor(stage.path(), 0));
    let mut outside = stage.actor_of(100_005);
    names_work(&mut inside, &mut outside);
    names_work(&mut outside, &mut inside);
    // The same number outside is somebody else.
    let mut other = stage.actor_of(5);
    let made = inside.must_open(&Open { file_mode: Some(0o644), ..Open::create_new(GLOBAL, 100) });
    inside.write(made, 0, b"inside");
    other.expect_gone(GLOBAL);
    // Users of the container find each other by their numbers in it.
    let read = Open { owned_by: Some(5), read_only: true, ..Open::open_existing(GLOBAL) };
    for reader in [&mut neighbour, &mut root] {
        let found = reader.must_open(&read);
        assert_eq!(reader.read(found, 0, 6), b"inside");
        reader.close(found);
    }
    other.expect_refused(&read, "NotFound");
    // A user whom the container has no number for can't be told from others.
    let message = failed(inside.open(&Open { owned_by: Some(2000), ..read }), &["Unsupported"]);
    assert!(message.contains("2000") && message.contains("namespace"), "{message}");
    inside.close(made);
    kills_leave_nothing(container.actor(stage.path(), 5), &mut outside, stage.path(), 100_005);
    let found = files_in(stage.path());
    assert_eq!(found, [scope_of(&stage, 100_005), global_of(&stage, 100_005)], "others were made");
}

// ---- No /proc; another root directory.

#[test]
fn names_work_without_proc() {
    if !can_mount() {
        skip!("only root can mount file systems");
    }
    let stage = stage();
    let mut without = Under::mounted(stage.path(), "mount -t tmpfs none /proc");
    // `nsenter` needs one.
    let mut other = stage.actor();
    names_work(&mut without, &mut other);
    names_work(&mut other, &mut without);
    let dying = Under::mounted(stage.path(), "mount -t tmpfs none /proc");
    kills_leave_nothing(dying, &mut without, stage.path(), 0);
}

#[test]
fn a_user_without_rights_has_names_without_proc() {
    needs_root!();
    let stage = stage_for_all();
    let script = "mount -t tmpfs none /proc";
    let become_alice =
        format!("{script}; exec setpriv --reuid={ALICE} --regid={ALICE} --clear-groups \"$@\"");
    let mut without = Under::mounted(stage.path(), &become_alice);
    let mut other = stage.actor_of(ALICE);
    names_work(&mut without, &mut other);
    names_work(&mut other, &mut without);
    // Repairing the directory too.
    for directory in [scope_of(&stage, ALICE), global_of(&stage, ALICE)] {
        set_mode(&directory, 0);
    }
    names_work(&mut without, &mut other);
    assert_eq!(mode(&scope_of(&stage, ALICE)), 0o700);
}

/// Makes another root directory with the system's programs, the base and the actor in it, and goes there.
const CHROOT: &str = r#"
    root=SCRATCH; mount -t tmpfs none "$root"
    for part in usr bin lib lib64 etc; do
        if [ -L /$part ]; then cp -P /$part "$root/"
        elif [ -e /$part ]; then mkdir "$root/$part"; mount --bind /$part "$root/$part"; fi
    done
    for part in "$HANDOVER_DIR" "$(dirname "$1")"; do mkdir -p "$root$part"; mount --bind "$part" "$root$part"; done
    umask 022; exec chroot "$root" "$@"
"#;

#[test]
fn names_work_in_another_root_directory() {
    if !can_mount() || !has_program("chroot") {
        skip!("only root can change the root directory");
    }
    let stage = stage();
    let scratch = tempfile::tempdir().expect("a directory");
    let script = CHROOT.replace("SCRATCH", text(scratch.path()));
    let mut inside = Under::mounted(stage.path(), &script);
    let mut outside = stage.actor();
    assert!(inside.list_directory(Path::new("/proc")).is_empty(), "it is another root directory");
    names_work(&mut inside, &mut outside);
    names_work(&mut outside, &mut inside);
    let dying = Under::mounted(stage.path(), &script);
    kills_leave_nothing(dying, &mut outside, stage.path(), 0);
}

/// A server that opens its maps and then locks itself in has its names as before: it can't see them any more,
/// and that is not to have lost them.
#[test]
fn a_holder_that_changes_its_root_directory_keeps_its_name() {
    needs_root!();
    let stage = stage();
    let jail = tempfile::tempdir().expect("an empty directory");
    let mut holder = Neighbour::of(&stage, 0, &[], &["jail", "name", text(jail.path())]);
    holder.hear::<()>().expect("make a map, and go");
    let (mut other, mut third) = (stage.actor(), stage.actor());
    let seen = other.open_cell(&OpenCell::existing("name"));
    let version = other.info(seen).version;
    other.start_cell(CellCommand::Wait { cell: seen, than: version, limit: HANG, while_written: false });
    for value in ["one", "two"] {
        assert_eq!(holder.put(value), Ok(value.to_owned()));
    }
    assert!(other.finish_cell() > Some(version));
    third.expect_refused(&Open::create_new("name", 100), "AlreadyExists");
    other.on_cell(CellCommand::Close(seen));
    assert_eq!(holder.put("three"), Ok("three".to_owned()));
    holder.end();
    other.expect_gone("name");
    assert!(files_in(&stage.scope()).iter().all(|path| !path.ends_with(file_name("name"))));
}

// ---- Masks and modes.

#[test]
fn names_work_under_every_mask() {
    needs_root!();
    for mask in [0o177, 0o777, 0, 0o022, 0o077, 0o400] {
        let stage = stage_for_all();
        let (mut one, mut two) = (stage.actor_of(ALICE), stage.actor_of(ALICE));
        one.tell(&Command::Umask(mask));
        names_work(&mut one, &mut two);
        assert_eq!(mode(&scope_of(&stage, ALICE)), 0o700, "mask {mask:o}");
        assert_eq!(mode(&global_of(&stage, ALICE)), 0o711, "mask {mask:o}");
        // The mode of a map is the one that was given.
        for bits in [0o600, 0o640, 0o644, 0o660, 0o666] {
            let made = one.must_open(&Open { file_mode: Some(bits), ..Open::create_new(GLOBAL, 100) });
            assert_eq!(mode(&global_of(&stage, ALICE).join(file_name("name"))) & 0o777, bits);
            if bits & 0o004 != 0 {
                let (_reader, seen) =
                    map_of(&stage, BOB, &[], &["open_existing", GLOBAL, "0", "owner=60001", "read"]);
                seen.expect("read it");
            }
            one.close(made);
        }
    }
}

/// As a program leaves it that was killed between making it and giving it its mode, or one that tidies.
#[test]
fn a_directory_of_ones_own_with_too_few_rights_is_repaired() {
    needs_root!();
    for bits in [0, 0o600, 0o400, 0o200, 0o500, 0o100] {
        let stage = stage_for_all();
        let mut alice = stage.actor_of(ALICE);
        for (name, directory, right) in
            [("name", scope_of(&stage, ALICE), 0o700), (GLOBAL, global_of(&stage, ALICE), 0o711)]
        {
            // Empty, with a name that lives, with a leftover: each kind of call can be the one that meets it.
            std::fs::create_dir(&directory).expect("make it");
            chown(&directory, Some(ALICE), Some(ALICE)).expect("give it away");
            set_mode(&directory, bits);
            alice.expect_gone(name);
            set_mode(&directory, bits);
            let map = alice.create_new(name, 100);
            assert_eq!(mode(&directory), right, "it was {bits:o}");
            for how in [How::OpenExisting, How::CreateOrOpen] {
                set_mode(&directory, bits);
                let found = stage.actor_of(ALICE).must_open(&Open::new(how, name, 100));
                assert!(!found.created, "it was {bits:o}");
                assert_eq!(mode(&directory), right, "it was {bits:o}");
            }
            set_mode(&directory, bits);
            let global = name == GLOBAL;
            assert!(stage.actor_of(ALICE).collect_garbage(global).is_empty());
            set_mode(&directory, bits);
            // Closing too.
            alice.close(map);
            alice.expect_gone(name);
            assert!(files_in(&directory).iter().all(|path| !path.ends_with(file_name("name"))));
            assert_eq!(mode(&directory), right, "it was {bits:o}");
        }
    }
}

/// Rights that the owner took away from a global directory, so that other users can't reach it.
#[test]
fn a_global_directory_that_others_can_not_enter_is_repaired_by_its_owner() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let _map = alice.must_open(&Open { file_mode: Some(0o644), ..Open::create_new(GLOBAL, 100) });
    set_mode(&global_of(&stage, ALICE), 0o700);
    let open = ["open_existing", GLOBAL, "0", "owner=60001", "read"];
    let (_reader, seen) = map_of(&stage, BOB, &[], &open);
    let message = failed(seen, &["AccessDenied"]);
    assert!(message.contains("60001"), "{message}");
    alice.must_open(&Open { file_mode: Some(0o644), ..Open::create_new("Global\\next", 100) });
    let (_reader, seen) = map_of(&stage, BOB, &[], &open);
    seen.expect("read it");
}

// ---- Mounts for reading only.

/// The base as it is, for reading only, and no right to change that.
fn read_only(base: &Path, uid: u32) -> Under {
    let script = format!(
        "mount --bind \"$HANDOVER_DIR\" \"$HANDOVER_DIR\"; mount -o remount,bind,ro \"$HANDOVER_DIR\"; \
         exec setpriv --reuid={uid} --regid={uid} --clear-groups \"$@\""
    );
    Under::mounted(base, &script)
}

#[test]
fn a_mount_for_reading_only_serves_readers() {
    if !can_mount() {
        skip!("only root can mount file systems");
    }
    for (owner, uid) in [(0, 0), (ALICE, ALICE), (ALICE, BOB)] {
        let stage = stage_for_all();
        let names: &[&str] = if owner == uid { &["name", GLOBAL] } else { &[GLOBAL] };
        for name in names {
            let owned_by = (*name == GLOBAL).then_some(owner);
            let mut holder = stage.actor_of(owner);
            let file_mode = (*name == GLOBAL).then_some(0o644);
            let map = holder.must_open(&Open { file_mode, ..Open::create_new(name, 100) });
            holder.write(map, 0, b"hello");
            let mut reader = read_only(stage.path(), uid);
            let read = Open { read_only: true, owned_by, ..Open::open_existing(name) };
            let found = reader.must_open(&read);
            assert_eq!(reader.read(found, 0, 5), b"hello");
            reader.close(found);
            // Reading and waiting in a cell.
            let cell = format!("{name} cell");
            let written = holder.open_cell(&OpenCell { file_mode, ..OpenCell::named(&cell, 1000) });
            let seen = reader.open_cell(&OpenCell { owned_by, ..OpenCell::read_only(&cell) });
            let wait = CellCommand::Wait { cell: seen, than: 0, limit: HANG, while_written: false };
            reader.start_cell(wait);
            assert_eq!(holder.publish(written, 500, 1), 1);
            assert_eq!(reader.finish_cell(), Some(1));
            assert_eq!(reader.on_cell(CellCommand::Copy(seen)), Some(1));
            reader.on_cell(CellCommand::Close(seen));
            // Writing and creating is an error that names the reason.
            for open in [
                Open { owned_by, ..Open::open_existing(name) },
                Open { owned_by, ..Open::create_or_open("another", 100) },
                Open { owned_by, ..Open::create_new("another", 100) },
            ] {
                let open = if open.name == "another" && owned_by.is_some() {
                    Open { name: "Global\\another".to_owned(), ..open }
                } else {
                    open
                };
                let message = failed(reader.open(&open), &["AccessDenied"]);
                let others = ["60001", "only its owner"].iter().any(|part| message.contains(part));
                let told = message.contains("ead-only") || owner != uid && others;
                assert!(told, "{open:?}: {message}");
            }
            // What a dead holder left is found by nobody, and stays until somebody can write.
            holder.kill();
            reader.expect_refused(&read, "NotFound");
            let mut tidy = stage.actor_of(owner);
            tidy.expect_gone(name);
        }
    }
}

/// A reader of the same user keeps the name as every holder does, although it can't remove it.
#[test]
fn a_reader_on_a_mount_for_reading_only_keeps_its_users_name() {
    if !can_mount() {
        skip!("only root can mount file systems");
    }
    let stage = stage_for_all();
    let mut holder = stage.actor_of(ALICE);
    let map = holder.create_new("name", 100);
    holder.write(map, 0, b"hello");
    let mut reader = read_only(stage.path(), ALICE);
    let read = reader.must_open(&Open { read_only: true, ..Open::open_existing("name") });
    holder.kill();
    let mut other = stage.actor_of(ALICE);
    let found = other.open_existing("name");
    assert_eq!(other.read(found, 0, 5), b"hello");
    other.close(found);
    reader.close(read);
    other.expect_gone("name");
    assert!(files_in(&scope_of(&stage, ALICE)).iter().all(|path| !path.ends_with(file_name("name"))));
}

// ---- File systems.

/// Names on a file system of its own, which a shell mounts at `$HANDOVER_DIR`. `scratch` is a directory for
/// what it needs.
fn names_on(script: &str) {
    if !can_mount() {
        skip!("only root can mount file systems");
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let script = script.replace("SCRATCH", text(scratch.path()));
    let stage = stage();
    let try_it = format!("set -e; export HANDOVER_DIR={}; {script}", stage.path().display());
    if let Err(why) = run(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &try_it]) {
        skip!("no such file system here: {why}");
    }
    let mut one = Under::mounted(stage.path(), &format!("{{ {script}; }} >&2"));
    assert!(one.runs(), "it was mounted a moment ago");
    let mut two = one.beside(stage.path());
    names_work(&mut one, &mut two);
    names_work(&mut two, &mut one);
    let dying = one.beside(stage.path());
    kills_leave_nothing(dying, &mut two, stage.path(), 0);
    let outside = files_in(stage.path());
    assert!(outside.is_empty(), "the names lay elsewhere: {outside:?}");
}

/// As [`names_on`], on a disk of this size that `mkfs` makes.
fn names_on_a_disk(size: &str, mkfs: &str) {
    names_on(&format!(
        "truncate -s {size} SCRATCH/image; {mkfs} SCRATCH/image; \
         mount -o loop SCRATCH/image \"$HANDOVER_DIR\"; chmod 1777 \"$HANDOVER_DIR\"",
    ));
}

#[test]
fn names_work_on_ext4() {
    names_on_a_disk("64M", "mkfs.ext4 -q -F");
}

#[test]
fn names_work_on_btrfs() {
    names_on_a_disk("256M", "mkfs.btrfs -q -f");
}

#[test]
fn names_work_on_xfs() {
    names_on_a_disk("512M", "mkfs.xfs -q -f");
}

/// As in a container's root file system: the directories of names, and a leftover in one of them, come from
/// the layer below.
#[test]
fn names_work_on_overlayfs() {
    names_on(
        "mount -t tmpfs none SCRATCH; cd SCRATCH; mkdir lower upper work; \
         mkdir -m 700 lower/handover-0; mkdir -m 711 lower/handover-0-global; \
         mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none \"$HANDOVER_DIR\"; \
         chmod 1777 \"$HANDOVER_DIR\"; cd /",
    );
}

/// What an image was made with while a program held a name is a leftover in each container of it.
#[test]
fn a_leftover_in_the_layer_below_is_found_by_nobody() {
    if !can_mount() {
        skip!("only root can mount file systems");
    }
    // An image's layer is on a disk.
    let stage = stage();
    let mut holder = stage.actor();
    let map = holder.create_new("name", 100);
    holder.write(map, 0, b"old");
    let scratch = tempfile::tempdir().expect("a directory");
    let lower = scratch.path().join("lower");
    run(&["cp", "-a", text(stage.path()), text(&lower)]).expect("make an image");
    holder.close(map);
    let script = format!(
        "cd {}; mkdir -p upper work; mount -t tmpfs none work; mkdir work/upper work/work; \
         mount -t overlay -o lowerdir=lower,upperdir=work/upper,workdir=work/work none \"$HANDOVER_DIR\"; cd /",
        scratch.path().display()
    );
    let mut inside = Under::mounted(stage.path(), &script);
    if !inside.runs() {
        skip!("no overlayfs here");
    }
    let file = stage.scope().join(file_name("name"));
    assert_eq!(inside.list_directory(&stage.scope()).len(), 1, "the image has the file");
    inside.expect_gone("name");
    inside.expect_fresh("name", 50);
    assert!(inside.ask(&Command::FileLength(file)).is_err(), "it is still there");
}

#[test]
fn a_file_system_of_64_kib_has_room_for_a_name_or_is_told_as_full() {
    if !can_mount() {
        skip!("only root can mount file systems");
    }
    let stage = stage();
    let mut one = Under::mounted(stage.path(), "mount -t tmpfs -o size=64k,mode=1777 none \"$HANDOVER_DIR\"");
    let mut two = one.beside(stage.path());
    for name in ["name", GLOBAL] {
        let map = one.create_new(name, 4096);
        let found = two.open_existing(name);
        one.write(map, 0, &[7; 4096]);
        assert_eq!(two.read(found, 4095, 1), [7]);
        for how in [How::CreateNew, How::CreateOrOpen] {
            one.expect_refused(&Open::new(how, &format!("{name} large"), 64 << 10), "NoSpace");
        }
        two.expect_gone(&format!("{name} large"));
        one.close(map);
        two.close(found);
    }
    let cell = two.open_cell(&OpenCell::named("cell", 1000));
    assert_eq!(two.publish(cell, 1000, 10), 10);
    two.on_cell(CellCommand::Close(cell));
    // All of it is free again.
    one.expect_fresh("name", 40_000);
    for scope in ["handover-0", "handover-0-global"] {
        let mut left = one.list_directory(&stage.path().join(scope));
        left.retain(|name| name != ".sweep");
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_full_file_system_is_told_as_that_and_nothing_is_left() {
    if !can_mount() {
        skip!("only root can mount file systems");
    }
    for options in ["size=64k", "size=1m,nr_inodes=4"] {
        let stage = stage();
        let script = format!("mount -t tmpfs -o {options},mode=1777 none \"$HANDOVER_DIR\"");
        let mut actor = Under::mounted(stage.path(), &script);
        // The directories are there; then it is full, of bytes or of files.
        actor.expect_fresh("name", 100);
        actor.expect_fresh(GLOBAL, 100);
        let filler = stage.path().join("filler");
        let full = (0..64).any(|number| {
            let path = filler.with_extension(number.to_string());
            actor.ask(&Command::WriteFile { path, bytes: vec![1; 4096] }).is_err()
        });
        assert!(full, "{options}");
        let before = actor.list_directory(&stage.path().join("handover-0"));
        for name in ["name", GLOBAL] {
            for how in [How::CreateNew, How::CreateOrOpen] {
                for file_mode in [None, Some(0o644)] {
                    let file_mode = file_mode.filter(|_| name == GLOBAL);
                    let open = Open { file_mode, ..Open::new(how, name, 100) };
                    let message = actor.expect_refused(&open, "NoSpace");
                    assert!(message.contains("name"), "{message}");
                }
            }
            actor.expect_gone(name);
        }
        assert_eq!(actor.list_directory(&stage.path().join("handover-0")), before, "{options}");
        let mut left = actor.list_directory(&stage.path().join("handover-0-global"));
        left.retain(|name| name != ".sweep");
        assert!(left.is_empty(), "{options}: {left:?}");
    }
}

#[test]
fn files_of_a_stranger_in_ones_own_directory_are_left_alone() {
    needs_root!();
    // As after an administrator's `sudo` with another user's HOME, or a copy that kept no owners.
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    alice.expect_fresh("name", 100);
    let path = scope_of(&stage, ALICE).join(file_name("name"));
    let map = {
        let mut root = stage.actor();
        root.create_new("name", 100);
        std::fs::read(stage.scope().join(file_name("name"))).expect("a whole map")
    };
    std::fs::write(&path, map).expect("plant a file");
    set_mode(&path, 0o600);
    let inode = path.metadata().expect("it is there").ino();
    for how in How::BY_NAME {
        let message = failed(alice.open(&Open::new(how, "name", 100)), &["AccessDenied"]);
        assert!(message.contains("user 0"), "{message}");
    }
    let tidied: Vec<String> = once(&stage, ALICE, &["gc"]).expect("tidy up");
    assert!(tidied.is_empty());
    assert_eq!(path.metadata().expect("it is there").ino(), inode);
}
