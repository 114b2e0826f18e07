//! A process that is killed before any of the system calls that create, open, close or sweep names leaves no
//! half-made map, and no more than `docs/design.md` says ("What a kill leaves"). With its creator dead the
//! name does not exist; with a holder alive it is whole. Whoever asks for the name removes what has it, and a
//! sweep the rest. While the process is stopped at that place and has not claimed the name, others find it
//! whole or not at all.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use handover_tests::trace::{Call, Fate, is_claimed, send_traced};
use handover_tests::{Actor, Command, How, Map, Obey, Open, Reply, Stage, files_in};

/// More than fits into the pages that a new file gets at once.
const CAPACITY: u64 = 70_000;

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// How new files are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// Without a name.
    Unnamed,
    /// Under a name from the start, as where the system has no other files.
    Named,
}

impl Made {
    #[cfg(target_arch = "x86_64")]
    const ALL: &[Self] = &[Self::Unnamed, Self::Named];
    /// Nobody has written code that refuses a call there.
    #[cfg(not(target_arch = "x86_64"))]
    const ALL: &[Self] = &[Self::Unnamed];

    fn fate(self, call: &Call) -> Fate {
        let is_unnamed = call.number == libc::SYS_openat
            && call.arguments[2] as libc::c_int & libc::O_TMPFILE == libc::O_TMPFILE;
        if is_unnamed && self == Self::Named { Fate::Refused(libc::EOPNOTSUPP) } else { Fate::Made }
    }
}

/// Makes a new actor prepare, then stop before each of the system calls of a command, one after the other,
/// and die there. `alive` sees the stage before its death, unless it has claimed a name, and `dead` after it.
fn at_every_call(
    stage: &Stage,
    made: Made,
    prepare: impl Fn(&mut Actor) -> Command,
    mut alive: impl FnMut(),
    mut dead: impl FnMut(),
) {
    for place in 0..10_000 {
        let mut victim = stage.actor();
        let command = prepare(&mut victim);
        let fate = |at, call: &Call| if at == place { Fate::Stopped } else { made.fate(call) };
        if let Some(stopped) = send_traced(&mut victim, &command, fate).1 {
            let scopes = files_in(stage.path());
            if !scopes.iter().flat_map(|scope| files_in(scope)).any(|file| is_claimed(&file)) {
                alive();
            }
            stopped.kill();
            dead();
            continue;
        }
        assert!(place > 5, "{place} system calls");
        let reply = victim.reply();
        assert!(!matches!(reply, None | Some(Reply::Failed(_))), "{reply:?}");
        victim.kill();
        dead();
        return;
    }
    panic!("the command does not end");
}

/// The name does not exist, or leads to zeroes of the right capacity.
fn expect_whole_or_gone(watcher: &mut Actor, name: &str, capacity: u64) -> bool {
    match watcher.open(&Open::open_existing(name)) {
        Ok(map) => {
            assert_eq!(map.capacity, capacity);
            assert_eq!(watcher.read(map, 0, capacity), vec![0; capacity as usize]);
            watcher.close(map);
            true
        }
        Err(failure) => {
            assert_eq!(failure.kind, "NotFound", "{}", failure.message);
            false
        }
    }
}

/// The kinds of files in a directory of names: how many maps, lock files, and files that are being made.
fn kinds(scope: &Path) -> [usize; 3] {
    let files = files_in(scope);
    let name = |file: &PathBuf| file.file_name().expect("a name").to_string_lossy().into_owned();
    let count = |is: fn(&str) -> bool| files.iter().filter(|file| is(&name(file))).count();
    let kinds = [".map", ".lock"].map(|kind| files.iter().filter(|file| name(file).ends_with(kind)).count());
    let made = count(|name| name.starts_with(".new-"));
    assert_eq!(kinds[0] + kinds[1] + made, files.len(), "{files:?}");
    [kinds[0], kinds[1], made]
}

fn created(open: &Open, made: Made, prepare: impl Fn(&Stage)) {
    let stage = stage();
    let global = open.name.starts_with("Global\\");
    let scope: PathBuf = if global { stage.global_scope() } else { stage.scope() };
    let (mut found, mut left) = (0, Vec::new());
    at_every_call(
        &stage,
        made,
        |_| {
            prepare(&stage);
            Command::Open(open.clone())
        },
        || found += usize::from(expect_whole_or_gone(&mut stage.actor(), &open.name, open.capacity)),
        || {
            left.push(kinds(&scope));
            let mut watcher = stage.actor();
            watcher.expect_gone(&open.name);
            assert_eq!(kinds(&scope)[0], 0, "a leftover stays although its name was asked for");
            watcher.collect_garbage(global);
            assert!(files_in(&scope).is_empty(), "left {:?}", files_in(&scope));
            watcher.expect_fresh(&open.name, 300);
            assert_eq!(files_in(stage.path()), [scope.as_path()], "left beside the scope");
            assert!(files_in(&scope).is_empty());
        },
    );
    assert!(found > 0, "the name was never there");
    left.sort_unstable();
    left.dedup();
    let has_lock_file = open.file_mode == Some(0o644);
    let allowed: &[[usize; 3]] = match (made, has_lock_file) {
        (Made::Unnamed, false) => &[[0, 0, 0], [1, 0, 0]],
        (Made::Named, false) => &[[0, 0, 0], [0, 0, 1], [1, 0, 0]],
        (Made::Unnamed, true) => &[[0, 0, 0], [0, 1, 0], [1, 1, 0]],
        (Made::Named, true) => &[[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [1, 1, 0]],
    };
    assert!(left.iter().all(|kinds| allowed.contains(kinds)), "{made:?} {open:?}: {left:?}");
    assert!(left.contains(&[1, usize::from(has_lock_file), 0]), "it was never complete: {left:?}");
}

fn remove(directory: &Path) {
    if directory.exists() {
        std::fs::remove_dir_all(directory).expect("remove a directory");
    }
}

/// Names whose locks lie in their own files and in files beside.
fn ways(open: fn(&str, u64) -> Open) -> Vec<(Open, Made)> {
    let own_file = open("name", CAPACITY);
    let lock_file = Open { file_mode: Some(0o644), ..open("Global\\name", CAPACITY) };
    let opens = [own_file, lock_file];
    opens.into_iter().flat_map(|open| Made::ALL.iter().map(move |made| (open.clone(), *made))).collect()
}

#[test]
fn creator_of_a_name() {
    for (open, made) in ways(Open::create_new) {
        created(&open, made, |_| {});
    }
}

#[test]
fn creator_of_a_name_that_was_left_by_the_dead() {
    for (open, made) in ways(Open::create_or_open) {
        created(&open, made, |stage| {
            let mut holder = stage.actor();
            let map = holder.must_open(&open);
            holder.write(map, 0, &[0xFF; 1000]);
            holder.kill();
        });
    }
}

#[test]
fn creator_of_a_name_and_of_its_directory() {
    created(&Open::create_or_open("name", CAPACITY), Made::Unnamed, |stage| remove(&stage.scope()));
    let open = Open::create_new("Global\\name", CAPACITY);
    created(&open, Made::Unnamed, |stage| remove(&stage.global_scope()));
}

#[test]
fn creator_of_a_name_for_a_file() {
    let stage = stage();
    let file = stage.path().join("file");
    std::fs::write(&file, vec![7; 500]).expect("write a file");
    let whole = |watcher: &mut Actor| match watcher.open(&Open::open_existing("on file")) {
        Ok(map) => {
            assert_eq!((map.capacity, watcher.read(map, 0, 500)), (500, vec![7; 500]));
            watcher.close(map);
        }
        Err(failure) => assert_eq!(failure.kind, "NotFound", "{}", failure.message),
    };
    at_every_call(
        &stage,
        Made::Unnamed,
        |_| Command::Open(Open::from_file(&file, "on file", 0)),
        || whole(&mut stage.actor()),
        || {
            let mut watcher = stage.actor();
            watcher.expect_gone("on file");
            assert!(stage.files().is_empty(), "left {:?}", stage.files());
            assert_eq!(std::fs::read(&file).expect("the file is there"), vec![7; 500]);
            let map = watcher.must_open(&Open::from_file(&file, "on file", 0));
            watcher.close(map);
        },
    );
}

/// Kills a process that joins a living name: the name stays, and ends with its holder.
#[test]
fn one_who_opens_a_name() {
    for (create, made) in ways(Open::create_new) {
        if made == Made::Named {
            continue;
        }
        for how in [How::OpenExisting, How::CreateOrOpen] {
            let stage = stage();
            let mut watcher = stage.actor();
            let mut holder = stage.actor();
            let held = holder.must_open(&create);
            holder.write(held, 0, b"content");
            let files = 1 + usize::from(create.file_mode.is_some());
            let scopes = || files_in(stage.path()).iter().map(|scope| files_in(scope).len()).sum::<usize>();
            at_every_call(
                &stage,
                made,
                |_| Command::Open(Open::new(how, &create.name, 5)),
                || {
                    let map = watcher.open_existing(&create.name);
                    watcher.close(map);
                },
                || {
                    let mut late = stage.actor();
                    let map = late.open_existing(&create.name);
                    assert_eq!((map.capacity, late.read(map, 0, 8)), (CAPACITY, b"content\0".to_vec()));
                    assert_eq!(scopes(), files);
                },
            );
            holder.kill();
            watcher.expect_gone(&create.name);
            assert_eq!(scopes(), 0);
        }
    }
}

/// Kills the last holder while it closes: the name is gone, and asking for it removes what was left of it.
#[test]
fn last_holder_that_closes() {
    for (open, made) in ways(Open::create_new) {
        if made == Made::Named {
            continue;
        }
        let global = open.file_mode.is_some();
        let stage = stage();
        let scope = if global { stage.global_scope() } else { stage.scope() };
        let prepare = |victim: &mut Actor| {
            let Map { id, .. } = victim.must_open(&open);
            Command::Close { map: id }
        };
        let mut left = Vec::new();
        at_every_call(
            &stage,
            made,
            prepare,
            || _ = expect_whole_or_gone(&mut stage.actor(), &open.name, CAPACITY),
            || {
                left.push(kinds(&scope));
                let mut watcher = stage.actor();
                watcher.expect_gone(&open.name);
                assert_eq!(kinds(&scope)[0], 0);
                watcher.collect_garbage(global);
                assert!(files_in(&scope).is_empty(), "left {:?}", files_in(&scope));
                watcher.expect_fresh(&open.name, 300);
            },
        );
        left.sort_unstable();
        left.dedup();
        let expected: &[[usize; 3]] =
            if global { &[[0, 0, 0], [0, 1, 0], [1, 1, 0]] } else { &[[0, 0, 0], [1, 0, 0]] };
        assert_eq!(left, expected);
    }
}

/// Kills a holder that closes while another one holds the name: the name and its bytes stay.
#[test]
fn holder_that_closes_beside_another() {
    let stage = stage();
    let mut holder = stage.actor();
    let held = holder.create_new("name", CAPACITY);
    holder.write(held, 0, b"content");
    let late = || {
        let mut late = stage.actor();
        let map = late.open_existing("name");
        assert_eq!(late.read(map, 0, 8), b"content\0");
        assert_eq!(stage.files().len(), 1);
    };
    let prepare = |victim: &mut Actor| {
        let Map { id, .. } = victim.open_existing("name");
        Command::Close { map: id }
    };
    at_every_call(&stage, Made::Unnamed, prepare, late, late);
}

/// Kills a process that sweeps: the leftovers are gone after the next sweep, and the living names stay.
#[test]
fn one_who_collects_garbage() {
    for file_mode in [None, Some(0o644)] {
        let global = file_mode.is_some();
        let stage = stage();
        let scope = if global { stage.global_scope() } else { stage.scope() };
        let create = |actor: &mut Actor, name: &str| {
            let name = if global { format!("Global\\{name}") } else { name.to_owned() };
            actor.must_open(&Open { file_mode, ..Open::create_or_open(&name, 100) });
            name
        };
        let mut holder = stage.actor();
        let living = create(&mut holder, "living");
        let prepare = |_: &mut Actor| {
            let mut dead = stage.actor();
            for name in ["a", "b", "c"] {
                create(&mut dead, name);
            }
            dead.kill();
            Command::CollectGarbage { global }
        };
        at_every_call(
            &stage,
            Made::Unnamed,
            prepare,
            || {
                let mut other = stage.actor();
                let map = other.open_existing(&living);
                other.close(map);
            },
            || {
                let mut late = stage.actor();
                late.collect_garbage(global);
                assert_eq!(files_in(&scope).len(), 1 + usize::from(global));
                late.open_existing(&living);
            },
        );
    }
}
