//! Every system call of opening, creating, closing, listing and sweeping is refused once, or from then on,
//! with each error that it can meet. Then the operation finds another way or fails with an error of the right
//! kind that says to which map it happened; nothing half-made is seen, nothing is left, no descriptor and no
//! lock stays behind, a name that is held stays, and the next operation of the same process works.
//!
//! `HANDOVER_REFUSALS_ONLY` runs the cases whose description contains it, and tells of each.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use handover_tests::trace::{Call, Fate, send_traced};
use handover_tests::{Actor, Command, Failure, Map, Obey, Open, Reply, Stage, files_in};

/// Bytes of a map: more than are filled without taking care.
const CAPACITY: u64 = 70_000;
/// The first bytes of a map that somebody holds.
const CONTENT: &[u8] = b"content";

/// What the process does whose calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Open,
    CreateNew,
    CreateOrOpen,
    CloseOneOfTwo,
    CloseLast,
    View,
    List,
    CollectGarbage,
}

/// What the name leads to at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Nothing, and its directory is not there either.
    Nowhere,
    Absent,
    Living,
    Leftover,
}

const CASES: [(Act, &[Start]); 8] = [
    (Act::Open, &[Start::Nowhere, Start::Absent, Start::Living, Start::Leftover]),
    (Act::CreateNew, &[Start::Nowhere, Start::Absent, Start::Living, Start::Leftover]),
    (Act::CreateOrOpen, &[Start::Absent, Start::Living, Start::Leftover]),
    (Act::CloseOneOfTwo, &[Start::Living]),
    (Act::CloseLast, &[Start::Living]),
    (Act::View, &[Start::Living]),
    (Act::List, &[Start::Absent, Start::Living, Start::Leftover]),
    (Act::CollectGarbage, &[Start::Absent, Start::Living, Start::Leftover]),
];

/// How often it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Once,
    /// Each call of the same number from the first on.
    EachTime,
}

/// Longer than a handle goes without looking whether its name is its own: 50 ms.
const LOOKS_AGAIN: std::time::Duration = std::time::Duration::from_millis(60);
/// A call can be interrupted again and again, but not for ever.
const INTERRUPTIONS: usize = 5;

/// How many calls are refused: in the end a list asks `/proc` for the holders.
fn most_calls(act: Act) -> usize {
    if act == Act::List { 30 } else { usize::MAX }
}

/// The errors that a call can meet.
#[allow(non_upper_case_globals, clippy::enum_glob_use, reason = "the system's own names")]
fn errors(call: &Call) -> &'static [i32] {
    use libc::*;
    let flags = call.arguments[2] as i32;
    match call.number {
        SYS_openat if flags & O_TMPFILE == O_TMPFILE => {
            &[EINTR, EMFILE, ENFILE, ENOMEM, EIO, EACCES, ENOSPC, EROFS, EOPNOTSUPP, EISDIR, ENOSYS]
        }
        SYS_openat if flags & O_CREAT != 0 => {
            &[EINTR, EMFILE, ENFILE, ENOMEM, EIO, EACCES, ENOSPC, EROFS, EDQUOT]
        }
        SYS_openat if flags & O_ACCMODE != O_RDONLY => &[EINTR, EMFILE, ENFILE, ENOMEM, EIO, EACCES, EROFS],
        SYS_openat => &[EINTR, EMFILE, ENFILE, ENOMEM, EIO, EACCES],
        SYS_stat | SYS_lstat | SYS_newfstatat => &[ENOMEM, EIO, EACCES],
        SYS_statx => &[ENOMEM, EIO, EACCES, ENOSYS],
        SYS_fstat | SYS_fstatfs => &[ENOMEM, EIO],
        SYS_fcntl if [F_OFD_SETLK, F_OFD_SETLKW, F_OFD_GETLK].contains(&(call.arguments[1] as i32)) => {
            &[EINTR, ENOLCK, EIO, ENOMEM]
        }
        SYS_fcntl if call.arguments[1] as i32 == F_DUPFD_CLOEXEC => &[EMFILE],
        SYS_dup | SYS_dup3 => &[EMFILE, EINTR],
        SYS_flock => &[EINTR, ENOLCK, EIO],
        SYS_fchmod | SYS_fchmodat | SYS_chmod | SYS_fchown => &[EIO, EPERM, EROFS, ENOMEM],
        SYS_ftruncate => &[EINTR, EIO, ENOSPC, EDQUOT, EPERM],
        SYS_fallocate => &[EINTR, EIO, ENOSPC, EOPNOTSUPP, ENOSYS],
        SYS_write | SYS_pwrite64 | SYS_pwritev => &[EINTR, EIO, ENOSPC, EDQUOT],
        SYS_read | SYS_pread64 | SYS_preadv => &[EINTR, EIO],
        SYS_mmap => &[ENOMEM, EAGAIN, EPERM],
        SYS_mkdir | SYS_mkdirat => &[EIO, ENOSPC, EDQUOT, EACCES, EROFS, ENOMEM],
        SYS_link | SYS_linkat => &[EIO, ENOSPC, EDQUOT, EACCES, EPERM, ENOENT, EROFS, ENOMEM, EMLINK],
        SYS_unlink | SYS_unlinkat | SYS_rmdir => &[EIO, EACCES, EPERM, EROFS, EBUSY, ENOMEM],
        SYS_rename | SYS_renameat2 => &[EIO, ENOSPC, EACCES, EROFS, ENOSYS, EINVAL],
        SYS_getdents64 => &[EIO, ENOMEM],
        SYS_readlink | SYS_readlinkat => &[EIO, EACCES, ENOENT],
        // The standard library ends a program that can't close a directory for another reason.
        SYS_close => &[EINTR],
        _ => &[],
    }
}

/// Which kind an error has that comes of such a refusal.
fn kinds(error: i32) -> &'static [&'static str] {
    match error {
        libc::EINTR => &[],
        libc::ENOSPC | libc::ENOMEM | libc::EDQUOT => &["NoSpace"],
        libc::EACCES | libc::EPERM | libc::EROFS => &["AccessDenied"],
        libc::EOPNOTSUPP | libc::ENOSYS => &["Unsupported", "Io"],
        _ => &["Io"],
    }
}

struct World {
    stage: Stage,
    global: bool,
    holder: Actor,
    prober: Actor,
}

impl World {
    fn new(global: bool) -> Self {
        let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
        Self { global, holder: stage.actor(), prober: stage.actor(), stage }
    }

    fn to_create(&self, open: fn(&str, u64) -> Open) -> Open {
        Open { file_mode: self.global.then_some(0o644), ..open(self.name(), CAPACITY) }
    }

    fn name(&self) -> &'static str {
        if self.global { "Global\\the name" } else { "the name" }
    }

    fn files(&self) -> Vec<PathBuf> {
        files_in(self.stage.path()).iter().flat_map(|scope| files_in(scope)).collect()
    }

    fn create(open: &Open, actor: &mut Actor) -> Map {
        let map = actor.must_open(open);
        assert!(map.created);
        actor.write(map, 0, CONTENT);
        map
    }

    /// Sets the stage. Returns the process, what it is told, and the map that somebody else has.
    fn prepare(&mut self, act: Act, start: Start) -> (Actor, Command, Option<Map>) {
        let create = self.to_create(Open::create_new);
        let mut victim = self.stage.actor();
        // From then on it has started.
        victim.list_directory(self.stage.path());
        let (mut held, mut own) = (None, None);
        match start {
            Start::Nowhere => {
                for scope in files_in(self.stage.path()) {
                    std::fs::remove_dir_all(scope).expect("remove the directory");
                }
            }
            Start::Absent => {}
            Start::Living if act == Act::CloseLast => own = Some(Self::create(&create, &mut victim)),
            Start::Living => held = Some(Self::create(&create, &mut self.holder)),
            Start::Leftover => {
                let mut dead = self.stage.actor();
                Self::create(&create, &mut dead);
                dead.kill();
            }
        }
        if matches!(act, Act::CloseOneOfTwo | Act::View) {
            own = Some(victim.open_existing(self.name()));
        }
        let own = own.map_or(0, |map| map.id);
        let command = match act {
            Act::Open => Command::Open(Open::open_existing(self.name())),
            Act::CreateNew => Command::Open(create),
            Act::CreateOrOpen => Command::Open(self.to_create(Open::create_or_open)),
            Act::CloseOneOfTwo | Act::CloseLast => Command::Close { map: own },
            Act::View => {
                std::thread::sleep(LOOKS_AGAIN);
                Command::View { map: own, read_only: false }
            }
            Act::List => Command::List { global: self.global },
            Act::CollectGarbage => Command::CollectGarbage { global: self.global },
        };
        (victim, command, held)
    }

    /// How much a process has open. `/dev/null`, or `/` in its place, is kept open for the children of forks.
    fn descriptors(actor: &Actor) -> usize {
        let descriptors = files_in(format!("/proc/{}/fd", actor.id()).as_ref());
        let leads = |fd: &PathBuf| {
            std::fs::read_link(fd).is_ok_and(|to| !["/dev/null", "/"].contains(&&*to.to_string_lossy()))
        };
        descriptors.iter().filter(|fd| leads(fd)).count()
    }

    fn is_whole(actor: &mut Actor, map: Map) -> bool {
        assert_eq!(map.capacity, CAPACITY);
        let bytes = actor.read(map, 0, 2 * CONTENT.len() as u64);
        assert!(bytes[CONTENT.len()..].iter().all(|byte| *byte == 0), "{bytes:?}");
        bytes.starts_with(CONTENT)
    }

    /// Judges a failure.
    fn judge(&self, act: Act, start: Start, error: Option<i32>, failure: &Failure) {
        let Failure { kind, message } = failure;
        let natural = match (act, start) {
            (Act::Open, Start::Nowhere | Start::Absent | Start::Leftover) => Some("NotFound"),
            (Act::CreateNew, Start::Living) => Some("AlreadyExists"),
            _ => None,
        };
        if natural == Some(kind) {
            return;
        }
        assert!(!matches!(act, Act::CloseOneOfTwo | Act::CloseLast), "closing fails: {message}");
        let allowed = error.map_or(&[][..], kinds);
        assert!(allowed.contains(&&**kind), "{kind} and not {allowed:?}: {message}");
        let path = self.stage.path().to_string_lossy();
        let is_named = message.contains("the name") || message.contains(&*path);
        assert!(is_named, "says not to what it happened: {message}");
        if error == Some(libc::ENOLCK) {
            assert!(message.contains("HANDOVER_DIR"), "says not what to change: {message}");
        }
        if error == Some(libc::EMFILE) {
            let tells = message.contains("descriptors") && message.contains(|c: char| c.is_ascii_digit());
            assert!(tells, "says not that descriptors ran out: {message}");
        }
    }

    /// Refuses one call. Returns what the process said of it.
    fn run(
        &mut self,
        act: Act,
        start: Start,
        call: (usize, i64),
        error: i32,
        times: Times,
    ) -> Option<Failure> {
        let (place, number) = call;
        let (mut victim, command, held) = self.prepare(act, start);
        let before = Self::descriptors(&victim);
        let mut count = 0;
        send_traced(&mut victim, &command, |at, call| {
            let most = match (times, error) {
                (Times::Once, _) => 1,
                (Times::EachTime, libc::EINTR) => INTERRUPTIONS,
                (Times::EachTime, _) => usize::MAX,
            };
            match at {
                _ if count == most || at >= most_calls(act) => Fate::AllMade,
                _ if at >= place && call.number == number => {
                    count += 1;
                    Fate::Refused(error)
                }
                _ => Fate::Made,
            }
        });
        let reply = victim.reply().expect("it died");
        let after = Self::descriptors(&victim);
        let (mut own, mut failure) = (None, None);
        match reply {
            Reply::Failed(failed) => {
                self.judge(act, start, (count > 0).then_some(error), &failed);
                assert_eq!(after, before, "descriptors stay open after: {}", failed.message);
                failure = Some(failed);
            }
            Reply::Map(map) => {
                assert_eq!(map.created, start != Start::Living, "created, or not");
                assert!(act != Act::CreateNew || map.created);
                assert_eq!(Self::is_whole(&mut victim, map), !map.created);
                own = Some(map);
            }
            Reply::Done => assert!(matches!(act, Act::CloseOneOfTwo | Act::CloseLast)),
            Reply::Number(view) => {
                assert_eq!(act, Act::View);
                victim.tell(&Command::CloseView { view: view as u32 });
            }
            // What can't be looked at is left out.
            Reply::Names(names) if act == Act::List => {
                let living = usize::from(start == Start::Living);
                assert!(names.len() == living || names.is_empty() && error != libc::EINTR, "{names:?}");
            }
            Reply::Names(_) => assert_eq!(act, Act::CollectGarbage),
            other => panic!("{other:?}"),
        }
        // What others see now.
        let open = Open::open_existing(self.name());
        match self.prober.open(&open) {
            Ok(map) => {
                assert!(held.is_some() || own.is_some(), "half-made, or kept");
                assert_eq!(Self::is_whole(&mut self.prober, map), held.is_some());
                self.prober.close(map);
            }
            Err(gone) => {
                assert_eq!(gone.kind, "NotFound", "{}", gone.message);
                assert!(held.is_none() && own.is_none(), "a name that is held is not found");
            }
        }
        // What the process can do now.
        let map = victim.must_open(&self.to_create(Open::create_or_open));
        assert_eq!(map.created, held.is_none() && own.is_none());
        assert_eq!(Self::is_whole(&mut victim, map), held.is_some());
        victim.close(map);
        if let Some(own) = own {
            victim.close(own);
        }
        if matches!(act, Act::View) {
            let Command::View { map, .. } = command else { unreachable!("it opens a view") };
            victim.tell(&Command::Close { map });
        }
        if let Some(held) = held {
            self.prober.open(&open).map(|map| self.prober.close(map)).expect("it is held");
            self.holder.close(held);
        }
        // It lives, and keeps nothing.
        self.prober.expect_gone(self.name());
        self.prober.collect_garbage(self.global);
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "left by a sweep");
        failure
    }
}

/// The name of an error number.
fn text(error: i32) -> String {
    std::io::Error::from_raw_os_error(error).to_string()
}

fn each_call_is_refused(global: bool) {
    let only = std::env::var("HANDOVER_REFUSALS_ONLY").ok();
    let mut world = World::new(global);
    let (mut run, mut failed) = (0, 0);
    let mut faults = BTreeMap::new();
    let mut messages = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (act, starts) in CASES {
        for &start in starts {
            let (mut victim, command, held) = world.prepare(act, start);
            let (calls, _) = send_traced(&mut victim, &command, |at, _| {
                if at + 1 < most_calls(act) { Fate::Made } else { Fate::AllMade }
            });
            let reply = victim.reply().expect("it lives");
            if let Reply::Failed(failure) = &reply {
                world.judge(act, start, None, failure);
            }
            drop(victim);
            if let Some(held) = held {
                world.holder.close(held);
            }
            for (place, call) in calls.iter().enumerate() {
                if errors(call).is_empty() {
                    unknown.insert(call.number);
                }
                for &error in errors(call) {
                    for times in [Times::Once, Times::EachTime] {
                        let what = text(error);
                        let description =
                            format!("{act:?} {start:?} call {place} ({}): {what}, {times:?}", call.number);
                        match &only {
                            Some(only) if !description.contains(only) => continue,
                            Some(_) => eprintln!("{description}"),
                            None => {}
                        }
                        run += 1;
                        let outcome = catch_unwind(AssertUnwindSafe(|| {
                            world.run(act, start, (place, call.number), error, times)
                        }));
                        match outcome {
                            Ok(None) => {}
                            Ok(Some(failure)) => {
                                failed += 1;
                                messages.insert((failure.kind, failure.message), description);
                            }
                            Err(panic) => {
                                let what = match panic.downcast::<String>() {
                                    Ok(what) => *what,
                                    Err(panic) => {
                                        panic.downcast_ref::<&str>().map_or("?", |what| *what).into()
                                    }
                                };
                                faults.insert(description, what);
                                world = World::new(global);
                            }
                        }
                    }
                }
            }
        }
    }
    eprintln!(
        "{run} cases, {failed} failed as they should, {} faults; not refused: {unknown:?}",
        faults.len()
    );
    if std::env::var_os("HANDOVER_REFUSALS_TOLD").is_some() {
        eprintln!("{messages:#?}");
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(only.is_some() || run > 500 && failed > 100);
}

#[test]
fn of_a_name_of_this_user() {
    each_call_is_refused(false);
}

#[test]
fn of_a_name_that_others_may_read() {
    each_call_is_refused(true);
}
