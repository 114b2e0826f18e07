//! A process is stopped before each system call of each kind of call on a name; others open, create, close,
//! die, sweep or delete the name's file meanwhile; then it goes on, or is killed. Whatever happens: there is
//! at most one living map to a name, its bytes are whole, a name that is held is found and not created again,
//! nobody waits for the stopped process but for one that claims this very name, and at the end a sweep leaves
//! nothing.
//!
//! A case is one place, one doing of others and one end. Which incarnation of the map a process has is told
//! by the capacity, which differs for each creator, and by the bytes, which its creator sets. So the judge
//! knows after each step who holds what for certain, and what the stopped process may hold.
//!
//! `HANDOVER_STOPS` is `all`, or how many of the cases are left out for each that is run; the choice depends
//! on `HANDOVER_STOPS_SEED`. `HANDOVER_STOPS_ONLY` runs the cases whose description contains it, and tells of
//! each.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use handover_tests::trace::{Call, Fate, Stopped, is_claimed, send_traced};
use handover_tests::{Actor, Command, Failure, Map, Obey, Open, Outcome, Reply, Stage, files_in};

/// Where the locks of a map lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// Mode 0600: in the map's file.
    OwnFile,
    /// Mode 0644: in a file beside it.
    LockFile,
}

/// What the stopped process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    OpenExisting,
    CreateNew,
    CreateOrOpen,
    /// Its first creation: it sweeps, and there is something to sweep.
    CreateAndSweep,
    CloseOneOfTwo,
    CloseLast,
    /// It opens a view, and before that looks whether the name is still its own.
    Check,
    CollectGarbage,
}

const ACTS: [Act; 8] = [
    Act::OpenExisting,
    Act::CreateNew,
    Act::CreateOrOpen,
    Act::CreateAndSweep,
    Act::CloseOneOfTwo,
    Act::CloseLast,
    Act::Check,
    Act::CollectGarbage,
];

impl Act {
    /// Whether it has the map before.
    fn has(self) -> bool {
        matches!(self, Self::CloseOneOfTwo | Self::CloseLast | Self::Check)
    }

    fn creates(self) -> bool {
        matches!(self, Self::CreateNew | Self::CreateOrOpen | Self::CreateAndSweep)
    }
}

/// What the name leads to at the start. If the process has the map before, it is its own that is gone, and in
/// whose place a leftover lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Absent,
    Living,
    Leftover,
}

/// What others do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    Open,
    CreateNew,
    CreateOrOpen,
    OpenAndClose,
    OpenTwice,
    CreateAndClose,
    CreateAndDie,
    LastCloses,
    LastClosesAndCreate,
    HolderDies,
    HolderDiesAndOpen,
    HolderDiesAndCreate,
    CollectGarbage,
    Delete,
    DeleteAndCreate,
    /// The lock file, where there is one.
    DeleteLock,
    DeleteDirectory,
    DeleteDirectoryAndCreate,
    MoveDirectoryAndCreate,
}

const MEANWHILE: [Meanwhile; 20] = [
    Meanwhile::Nothing,
    Meanwhile::Open,
    Meanwhile::CreateNew,
    Meanwhile::CreateOrOpen,
    Meanwhile::OpenAndClose,
    Meanwhile::OpenTwice,
    Meanwhile::CreateAndClose,
    Meanwhile::CreateAndDie,
    Meanwhile::LastCloses,
    Meanwhile::LastClosesAndCreate,
    Meanwhile::HolderDies,
    Meanwhile::HolderDiesAndOpen,
    Meanwhile::HolderDiesAndCreate,
    Meanwhile::CollectGarbage,
    Meanwhile::Delete,
    Meanwhile::DeleteAndCreate,
    Meanwhile::DeleteLock,
    Meanwhile::DeleteDirectory,
    Meanwhile::DeleteDirectoryAndCreate,
    Meanwhile::MoveDirectoryAndCreate,
];

impl Meanwhile {
    fn needs_holder(self) -> bool {
        matches!(
            self,
            Self::LastCloses
                | Self::LastClosesAndCreate
                | Self::HolderDies
                | Self::HolderDiesAndOpen
                | Self::HolderDiesAndCreate
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    act: Act,
    start: Start,
    place: usize,
    meanwhile: Meanwhile,
    killed: bool,
}

/// One life of the name. Its capacity is 100 more than this, and its bytes have this value or, until its
/// creator has set them, are zero.
type Life = u8;

const VICTIMS: Life = 200;

/// Where a directory of names is moved to.
const ASIDE: &str = "aside";

/// Longer than an operation takes that nobody holds up. Where this is too short because the machine is busy,
/// the operation goes on beside the one that was stopped, and all that is promised holds all the same.
const HELD_UP: Duration = Duration::from_millis(10);

/// Longer than a handle goes without looking whether its name is its own: 50 ms.
const LOOKS_AGAIN: Duration = Duration::from_millis(60);

/// A process and what it has.
struct Person {
    actor: Actor,
    maps: Vec<(Map, Life)>,
}

struct World {
    stage: Stage,
    variant: Variant,
    /// Whether the process that is stopped makes its files under a name from the start.
    by_name: bool,
    /// What it was about to do.
    stopped_before: Option<Call>,
    /// The file name of the map.
    file: PathBuf,
    holder: Person,
    others: [Person; 2],
    /// Who looks at the end what there is.
    prober: Person,
    /// What the stopped process holds for certain.
    kept: Option<Life>,
    /// Lives whose file was deleted from outside.
    lost: Vec<Life>,
    /// What the stopped process may hold.
    may: Vec<Life>,
    /// Which life somebody held for certain, after each step.
    history: Vec<Option<Life>>,
    next: Life,
    /// Whether anybody was killed or anything deleted.
    disturbed: bool,
    /// A life that the deletion from outside may have ended although it came later, or so it seems:
    ///
    /// - the lock file was deleted of the map that the stopped process makes;
    /// - the stopped process has claimed a file and seen that the name leads to it: nobody who keeps the
    ///   rules can change that, but somebody else has. It goes on to take the name away, from whatever is
    ///   there by now.
    doubtful: Option<Life>,
}

impl Person {
    fn new(stage: &Stage) -> Self {
        Self { actor: stage.actor(), maps: Vec::new() }
    }

    /// Checks what it was given, and sets the bytes of what it has created.
    fn take(&mut self, map: Map, own: Life) -> Life {
        let life = (map.capacity - 100) as Life;
        let bytes = self.actor.read(map, 0, map.capacity);
        let is = |value| bytes.iter().all(|byte| *byte == value);
        if map.created {
            assert_eq!(life, own, "created with another capacity");
            assert!(is(0), "a new map starts with old bytes");
            self.actor.write(map, 0, &vec![own; map.capacity as usize]);
        } else {
            assert!(is(0) || is(life), "the bytes of life {life} are torn: {bytes:?}");
        }
        self.maps.push((map, life));
        life
    }

    fn close_all(&mut self) {
        for (map, _) in self.maps.drain(..) {
            self.actor.close(map);
        }
    }
}

impl World {
    fn new(variant: Variant, by_name: bool) -> Self {
        let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
        let others = [Person::new(&stage), Person::new(&stage)];
        let mut world = Self {
            variant,
            by_name,
            stopped_before: None,
            file: PathBuf::new(),
            holder: Person::new(&stage),
            prober: Person::new(&stage),
            kept: None,
            stage,
            others,
            lost: Vec::new(),
            may: Vec::new(),
            history: Vec::new(),
            next: 1,
            disturbed: false,
            doubtful: None,
        };
        world.create(0);
        world.file = world.files().into_iter().find(|file| is_map(file)).expect("a map has a file");
        world.others[0].close_all();
        world
    }

    fn name(&self, name: &str) -> String {
        match self.variant {
            Variant::OwnFile => name.to_owned(),
            Variant::LockFile => format!("Global\\{name}"),
        }
    }

    fn to_create(&self, open: fn(&str, u64) -> Open, name: &str, life: Life) -> Open {
        let file_mode = (self.variant == Variant::LockFile).then_some(0o644);
        Open { file_mode, ..open(&self.name(name), 100 + u64::from(life)) }
    }

    fn to_open(&self) -> Open {
        Open::open_existing(&self.name("name"))
    }

    /// The files of all scopes.
    fn files(&self) -> Vec<PathBuf> {
        let is_scope = |path: &PathBuf| !path.ends_with(ASIDE);
        files_in(self.stage.path())
            .iter()
            .filter(|path| is_scope(path))
            .flat_map(|scope| files_in(scope))
            .collect()
    }

    /// What somebody holds for certain.
    fn held(&self) -> Option<Life> {
        let people = self.others.iter().chain([&self.holder, &self.prober]);
        let lives = people.flat_map(|person| &person.maps).map(|(_, life)| *life).chain(self.kept);
        let mut lives: Vec<_> = lives.filter(|life| !self.lost.contains(life)).collect();
        lives.dedup();
        assert!(lives.len() < 2, "two maps live under one name: {lives:?}");
        lives.first().copied()
    }

    fn note(&mut self) {
        self.history.push(self.held());
    }

    fn new_life(&mut self) -> Life {
        self.next += 1;
        self.next - 1
    }

    /// One of the others asks for the name, and what it is told is judged.
    fn ask(&mut self, who: usize, open: &Open, own: Life) {
        let outcome = self.others[who].actor.open(open);
        self.judge(who, open, own, outcome);
        self.note();
    }

    fn judge(&mut self, who: usize, open: &Open, own: Life, outcome: Outcome<Map>) {
        use handover_tests::How;
        let held = self.held();
        let life = match outcome {
            Ok(map) => {
                let life = self.others[who].take(map, own);
                assert!(!self.lost.contains(&life), "found the lost life {life}");
                (map.created, life)
            }
            Err(failure) => match (open.how, &*failure.kind, held) {
                (How::OpenExisting, "NotFound", None) | (How::CreateNew, "AlreadyExists", Some(_)) => return,
                (How::CreateNew, "AlreadyExists", None) if !self.may.is_empty() => return,
                _ => panic!("{:?} beside {held:?}: {}", open.how, failure.message),
            },
        };
        match (life, held) {
            ((true, _), None) => {}
            ((false, life), Some(held)) => assert_eq!(life, held),
            ((false, life), None) => assert!(self.may.contains(&life), "found life {life}, which has ended"),
            ((true, _), Some(held)) => panic!("created although life {held} is held"),
        }
    }

    fn create(&mut self, who: usize) {
        let own = self.new_life();
        let open = self.to_create(Open::create_or_open, "name", own);
        self.ask(who, &open, own);
    }

    fn create_new(&mut self, who: usize) {
        let own = self.new_life();
        let open = self.to_create(Open::create_new, "name", own);
        self.ask(who, &open, own);
    }

    fn open(&mut self, who: usize) {
        self.ask(who, &self.to_open(), 0);
    }

    /// Somebody creates the name and dies.
    fn leave_behind(&mut self) {
        self.create(1);
        let dead = std::mem::replace(&mut self.others[1], Person::new(&self.stage));
        dead.actor.kill();
        self.disturbed = true;
        self.note();
    }

    /// Deletes the name's file from outside.
    fn delete(&mut self) {
        self.lose();
        let _ = std::fs::remove_file(&self.file);
        self.note();
    }

    /// Notes that the life is lost that the name leads to.
    fn lose(&mut self) {
        self.disturbed = true;
        if let Some(life) = self.life_there() {
            self.lost.push(life);
            self.may.retain(|may| *may != life);
        }
    }

    /// The life that the name leads to, held or not.
    fn life_there(&self) -> Option<Life> {
        // The bytes start at a multiple of a page.
        Some((self.file.metadata().ok()?.len() % 4096).wrapping_sub(100) as Life)
    }

    fn meanwhile(&mut self, meanwhile: Meanwhile) {
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Open => self.open(0),
            Meanwhile::CreateNew => self.create_new(0),
            Meanwhile::CreateOrOpen => self.create(0),
            Meanwhile::OpenAndClose => {
                self.open(0);
                self.others[0].close_all();
            }
            Meanwhile::OpenTwice => {
                self.open(0);
                self.open(1);
            }
            Meanwhile::CreateAndClose => {
                self.create(0);
                self.others[0].close_all();
            }
            Meanwhile::CreateAndDie => self.leave_behind(),
            Meanwhile::LastCloses | Meanwhile::LastClosesAndCreate => {
                self.holder.close_all();
            }
            Meanwhile::HolderDies | Meanwhile::HolderDiesAndOpen | Meanwhile::HolderDiesAndCreate => {
                std::mem::replace(&mut self.holder, Person::new(&self.stage)).actor.kill();
                self.disturbed = true;
            }
            Meanwhile::CollectGarbage => {
                let global = self.variant == Variant::LockFile;
                self.others[0].actor.collect_garbage(global);
            }
            Meanwhile::Delete | Meanwhile::DeleteAndCreate => self.delete(),
            Meanwhile::DeleteDirectory | Meanwhile::DeleteDirectoryAndCreate => {
                self.lose();
                let _ = std::fs::remove_dir_all(self.file.parent().expect("it lies in a directory"));
            }
            Meanwhile::MoveDirectoryAndCreate => {
                self.lose();
                let aside = self.stage.path().join(ASIDE);
                let _ = std::fs::remove_dir_all(&aside);
                std::fs::rename(self.file.parent().expect("it lies in a directory"), aside).expect("move it");
            }
            Meanwhile::DeleteLock => {
                let mut locks = self.files();
                locks.retain(|file| is_lock(file));
                for lock in &locks {
                    std::fs::remove_file(lock).expect("delete the lock file");
                }
                if !locks.is_empty() {
                    self.doubtful = Some(VICTIMS);
                    self.lose();
                }
            }
        }
        self.note();
        match meanwhile {
            Meanwhile::HolderDiesAndOpen => self.open(0),
            Meanwhile::LastClosesAndCreate
            | Meanwhile::HolderDiesAndCreate
            | Meanwhile::DeleteAndCreate
            | Meanwhile::DeleteDirectoryAndCreate
            | Meanwhile::MoveDirectoryAndCreate => self.create(0),
            _ => {}
        }
    }

    /// Whether a process has the claim of a name: others wait for it.
    fn is_claimed(&self) -> bool {
        self.files().iter().any(|file| is_claimed(file))
    }
}

fn is_map(file: &std::path::Path) -> bool {
    file.extension().is_some_and(|extension| extension == "map")
}

fn is_lock(file: &std::path::Path) -> bool {
    file.extension().is_some_and(|extension| extension == "lock")
}

/// The process that is stopped.
struct Victim {
    person: Person,
    command: Command,
}

impl World {
    /// Sets the stage for a case.
    fn prepare(&mut self, act: Act, start: Start) -> Victim {
        let mut person = Person::new(&self.stage);
        if matches!(act, Act::CreateNew | Act::CreateOrOpen) {
            let map = person.actor.must_open(&self.to_create(Open::create_new, "another", 0));
            person.actor.close(map);
        }
        if act == Act::CreateAndSweep {
            let mut dead = self.stage.actor();
            for name in ["a", "b", "c"] {
                dead.must_open(&self.to_create(Open::create_new, name, 0));
            }
            dead.kill();
        }
        if act.has() || start == Start::Living {
            let own = self.new_life();
            let open = self.to_create(Open::create_new, "name", own);
            if act == Act::CloseLast {
                let map = person.actor.must_open(&open);
                person.take(map, own);
            } else {
                let map = self.holder.actor.must_open(&open);
                self.holder.take(map, own);
                if act.has() {
                    let map = person.actor.must_open(&self.to_open());
                    person.take(map, own);
                }
            }
            match act {
                _ if start != Start::Living => self.delete(),
                Act::CollectGarbage => {}
                Act::Check => self.kept = Some(own),
                _ => self.may = vec![own],
            }
        }
        if start == Start::Leftover {
            self.leave_behind();
        }
        self.history.clear();
        self.note();
        if act.creates() {
            self.may.push(VICTIMS);
        }
        let global = self.variant == Variant::LockFile;
        let command = match act {
            Act::OpenExisting => Command::Open(self.to_open()),
            Act::CreateNew => Command::Open(self.to_create(Open::create_new, "name", VICTIMS)),
            Act::CreateOrOpen | Act::CreateAndSweep => {
                Command::Open(self.to_create(Open::create_or_open, "name", VICTIMS))
            }
            Act::CloseOneOfTwo | Act::CloseLast => Command::Close { map: person.maps[0].0.id },
            Act::Check => Command::View { map: person.maps[0].0.id, read_only: true },
            Act::CollectGarbage => Command::CollectGarbage { global },
        };
        if act == Act::Check {
            std::thread::sleep(LOOKS_AGAIN);
        }
        Victim { person, command }
    }

    /// Judges what the process was told that was stopped.
    fn judge_victim(&mut self, act: Act, victim: &mut Person, reply: Option<Reply>) {
        let was_free = self.history.contains(&None);
        let was_held = self.history.iter().any(Option::is_some);
        match (act, reply.expect("it lives")) {
            (_, Reply::Map(map)) => {
                let life = (map.capacity - 100) as Life;
                if self.lost.contains(&life) {
                    // Reading may fail.
                    victim.maps.push((map, life));
                } else {
                    victim.take(map, VICTIMS);
                }
                if map.created {
                    assert!(was_free, "created although the name was held all the time");
                } else {
                    assert!(self.history.contains(&Some(life)), "found life {life}, which has ended");
                }
            }
            (Act::OpenExisting, Reply::Failed(Failure { kind, message })) => {
                assert!(kind == "NotFound" && was_free, "{kind}: {message}; {:?}", self.history);
            }
            (Act::CreateNew, Reply::Failed(Failure { kind, message })) => {
                assert!(kind == "AlreadyExists" && was_held, "{kind}: {message}; {:?}", self.history);
            }
            (Act::CloseOneOfTwo | Act::CloseLast, Reply::Done) => victim.maps.clear(),
            (Act::Check, Reply::Number(_)) | (Act::CollectGarbage, Reply::Names(_)) => {}
            (Act::Check, Reply::Failed(Failure { kind, message })) => {
                let life = victim.maps[0].1;
                assert!(kind == "NameLost" && self.lost.contains(&life), "{kind}: {message}");
            }
            (_, other) => panic!("{other:?}"),
        }
    }

    /// All have done what they do: now everything is certain.
    fn judge_all(&mut self, victim: Option<&mut Person>) {
        self.may.clear();
        self.kept = None;
        let global = self.variant == Variant::LockFile;
        if self.doubtful.is_some() && self.doubtful != self.life_there() {
            self.lost.extend(self.doubtful);
        }
        if victim.is_some() && self.life_there() == Some(VICTIMS) {
            // It saw that its map was lost, and made another one.
            self.lost.retain(|life| *life != VICTIMS);
        }
        let mut held = self.held();
        let victims = victim.iter().flat_map(|victim| &victim.maps).map(|(_, life)| *life);
        for life in victims.filter(|life| !self.lost.contains(life)) {
            assert_eq!(*held.get_or_insert(life), life, "two maps live under one name");
        }
        if !self.disturbed && held.is_none() {
            assert_eq!(self.files(), Vec::<PathBuf>::new(), "left without a kill, before anybody asks");
        }
        match (held, self.prober.actor.open(&self.to_open())) {
            (Some(life), Ok(map)) => assert_eq!(self.prober.take(map, 0), life),
            (None, Err(failure)) if failure.kind == "NotFound" => {}
            // Its lock file is missing.
            (Some(life), Err(failure)) if failure.kind == "NotFound" && self.doubtful == Some(life) => {
                held = None;
                self.lost.push(life);
            }
            (held, other) => panic!("{held:?} is held and {other:?} found"),
        }
        let listed = match self.prober.actor.ask(&Command::List { global }) {
            Ok(Reply::Names(names)) => names,
            other => panic!("{other:?}"),
        };
        assert_eq!(listed.len(), usize::from(held.is_some()), "listed {listed:?}");
        for person in self.others.iter_mut().chain([&mut self.holder]).chain(victim) {
            for (map, life) in person.maps.clone() {
                let view = match person.actor.ask(&Command::View { map: map.id, read_only: true }) {
                    Ok(Reply::Number(view)) => view as u32,
                    Err(failure) if failure.kind == "NameLost" && self.lost.contains(&life) => continue,
                    other => panic!("a view of life {life}: {other:?}"),
                };
                let bytes = person.actor.read_view(view, 0, map.capacity);
                let is = |value| bytes.iter().all(|byte| *byte == value);
                // The creator may have been killed before it set them.
                assert!(is(life) || life == VICTIMS && is(0), "the bytes of life {life}: {bytes:?}");
                person.actor.tell(&Command::CloseView { view });
            }
            person.close_all();
        }
        self.prober.close_all();
        if !self.disturbed {
            assert_eq!(self.files(), Vec::<PathBuf>::new(), "left without a kill");
        }
        self.prober.actor.expect_gone(&self.name("name"));
        self.prober.actor.collect_garbage(global);
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "left by a sweep");
        let life = self.new_life();
        let map = self.prober.actor.must_open(&self.to_create(Open::create_new, "name", life));
        self.prober.take(map, life);
        self.prober.close_all();
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "left by the next life");
    }

    fn reset(&mut self) {
        self.lost.clear();
        self.may.clear();
        self.next = 1;
        self.disturbed = false;
        self.doubtful = None;
    }

    /// Returns whether the stopped process had the claim.
    fn run(&mut self, case: Case) -> bool {
        self.reset();
        self.disturbed = case.killed || case.act == Act::CreateAndSweep;
        let Victim { mut person, command } = self.prepare(case.act, case.start);
        let by_name = self.by_name;
        let fate = |at, call: &Call| if at == case.place { Fate::Stopped } else { refused(by_name, call) };
        let Some(stopped) = send_traced(&mut person.actor, &command, fate).1 else {
            let reply = person.actor.reply();
            self.judge_victim(case.act, &mut person, reply);
            self.meanwhile(case.meanwhile);
            self.judge_all(Some(&mut person));
            return false;
        };
        self.stopped_before = Some(stopped.call);
        let claims = self.is_claimed();
        let end = |stopped: Stopped<'_>| {
            if case.killed {
                stopped.kill();
            } else {
                drop(stopped);
            }
        };
        if claims {
            let (done, is_done) = channel();
            std::thread::scope(|scope| {
                let world = &mut *self;
                let others = scope.spawn(move || {
                    world.meanwhile(case.meanwhile);
                    let _ = done.send(());
                });
                let _ = is_done.recv_timeout(HELD_UP);
                end(stopped);
                others.join().unwrap_or_else(|panic| resume_unwind(panic));
            });
        } else {
            self.meanwhile(case.meanwhile);
            end(stopped);
        }
        if claims && case.meanwhile == Meanwhile::DeleteAndCreate {
            self.doubtful = self.held();
        }
        if case.killed {
            self.judge_all(None);
        } else {
            let reply = person.actor.reply();
            self.judge_victim(case.act, &mut person, reply);
            self.note();
            self.judge_all(Some(&mut person));
        }
        claims
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A number that looks random, from one that does not.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn at_every_place(variant: Variant, by_name: bool) {
    let all = std::env::var("HANDOVER_STOPS").is_ok_and(|stops| stops == "all");
    let left_out = if all { 0 } else { number("HANDOVER_STOPS").unwrap_or(9) };
    let seed = number("HANDOVER_STOPS_SEED").unwrap_or(1);
    let only = std::env::var("HANDOVER_STOPS_ONLY").ok();
    let mut world = World::new(variant, by_name);
    let (mut cases, mut run, mut claims) = (0, 0, 0);
    let mut faults = BTreeMap::new();
    for act in ACTS {
        if by_name && !act.creates() {
            continue;
        }
        for start in [Start::Absent, Start::Living, Start::Leftover] {
            let places = count(&mut world, act, start);
            for meanwhile in MEANWHILE {
                let has_holder = start == Start::Living || matches!(act, Act::CloseOneOfTwo | Act::Check);
                if meanwhile.needs_holder() && !(has_holder && act != Act::CloseLast)
                    || meanwhile == Meanwhile::DeleteLock && variant == Variant::OwnFile
                {
                    continue;
                }
                for (place, killed) in (0..places).flat_map(|place| [(place, false), (place, true)]) {
                    cases += 1;
                    let case = Case { act, start, place, meanwhile, killed };
                    let description = format!("{variant:?} {case:?}");
                    match &only {
                        Some(only) if !description.contains(only) => continue,
                        Some(_) => eprintln!("{description}"),
                        None if !mixed(cases ^ seed << 32).is_multiple_of(left_out + 1) => continue,
                        None => {}
                    }
                    run += 1;
                    match catch_unwind(AssertUnwindSafe(|| world.run(case))) {
                        Ok(claimed) => claims += usize::from(claimed),
                        Err(panic) => {
                            let what = match panic.downcast::<String>() {
                                Ok(what) => *what,
                                Err(panic) => panic.downcast_ref::<&str>().map_or("?", |what| *what).into(),
                            };
                            let before = world.stopped_before.map(|call| call.number);
                            faults.insert(description, format!("before call {before:?}: {what}"));
                            world = World::new(variant, by_name);
                        }
                    }
                }
            }
        }
    }
    let faulty = faults.len();
    eprintln!("{variant:?}, by name {by_name}: {run} of {cases} cases, {claims} claimed, {faulty} faults");
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(only.is_some() || run > 100 && claims > 0);
}

/// Has it make files under a name, as where the system has none without.
fn refused(by_name: bool, call: &Call) -> Fate {
    let is_unnamed = call.number == libc::SYS_openat
        && call.arguments[2] as libc::c_int & libc::O_TMPFILE == libc::O_TMPFILE;
    if by_name && is_unnamed { Fate::Refused(libc::EOPNOTSUPP) } else { Fate::Made }
}

/// How many system calls it makes.
fn count(world: &mut World, act: Act, start: Start) -> usize {
    world.reset();
    let Victim { mut person, command } = world.prepare(act, start);
    let by_name = world.by_name;
    let (calls, _) = send_traced(&mut person.actor, &command, |_, call| refused(by_name, call));
    let reply = person.actor.reply();
    world.judge_victim(act, &mut person, reply);
    world.disturbed = true;
    world.judge_all(Some(&mut person));
    calls.len()
}

#[test]
fn with_locks_in_the_maps_own_file() {
    at_every_place(Variant::OwnFile, false);
}

#[test]
fn with_locks_in_a_file_beside() {
    at_every_place(Variant::LockFile, false);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn with_files_that_have_a_name_from_the_start() {
    at_every_place(Variant::OwnFile, true);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn with_files_that_have_a_name_from_the_start_and_locks_beside() {
    at_every_place(Variant::LockFile, true);
}
