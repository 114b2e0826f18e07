//! One racer: does things at random until it is killed or the race is over, and tells the oracle.
//!
//! Relies on the oracle; the director forks it.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use handover::map::{MapOptions, MemoryMappedFile, ViewAccessor, collect_garbage, list};
use handover::{ErrorKind, Step};

use super::oracle::{Before, Chair, HANDLES, NAMES, Oracle, RACERS};
use super::setup::{Dice, Setup};
use crate::How;

/// Small, larger than a page, odd, and so large that a creator takes memory for a while.
const CAPACITIES: [u64; 4] = [64, 4096, 9001, 1 << 17];
/// Offsets of the words in a map that all holders agree on, each set once from zero.
const TOKEN_AT: u64 = 0;
const FILE_AT: u64 = 8;
/// The capacity that the creator asked for.
const CAPACITY_AT: u64 = 16;
const BODY: usize = 24;

/// What is counted, by its index.
pub(super) const COUNTED: [&str; 13] = [
    "created new",
    "existed",
    "created",
    "opened by create_or_open",
    "opened",
    "not found",
    "closed",
    "checked",
    "listed",
    "garbage collected",
    "forked",
    "children killed",
    "views that outlived their handle",
];
const EXISTED: usize = 1;
const NOT_FOUND: usize = 5;
const CLOSED: usize = 6;
const CHECKED: usize = 7;
const LISTED: usize = 8;
const COLLECTED: usize = 9;
const FORKED: usize = 10;
const CHILDREN_KILLED: usize = 11;
const OUTLIVED: usize = 12;
/// Steps are counted after these.
pub(super) const STEPS_AT: usize = 24;

/// What must come about in a race.
pub(super) fn goals(setup: &Setup) -> Vec<usize> {
    let steps = Step::NAMES.map(|step| STEPS_AT + step as usize);
    let always = (0..=COLLECTED).chain([OUTLIVED]).chain(steps);
    always.chain([FORKED, CHILDREN_KILLED].into_iter().filter(|_| setup.forks)).collect()
}

/// The names, without their scope.
pub(super) fn name_of(number: usize) -> String {
    format!("race {number}")
}

/// Where the names lie.
pub(super) fn options(setup: &Setup) -> MapOptions {
    let options = MapOptions::new();
    if setup.readable { options.scope(handover::Scope::Global).file_mode(0o644) } else { options }
}

thread_local! {
    // A process here has one thread.
    static STEPPER: Cell<Option<(&'static Oracle, usize, u64)>> = const { Cell::new(None) };
    /// Whether this child kills itself at one of the next steps.
    static DIES: Cell<bool> = const { Cell::new(false) };
}

/// Pauses at random steps of the library.
pub(super) fn at_step(step: Step) {
    let Some((oracle, seat, state)) = STEPPER.get() else { return };
    let mut dice = Dice(state);
    oracle.count(STEPS_AT + step as usize);
    // What happens here takes two others: they need time.
    let (one_in, longest) = if step == Step::NameRefused { (6, 1500) } else { (16, 400) };
    match dice.roll(one_in) {
        0 => std::thread::sleep(Duration::from_micros(dice.roll(longest))),
        1 => std::thread::yield_now(),
        _ => {}
    }
    if DIES.get() && dice.roll(8) == 0 {
        die(oracle, seat);
    }
    STEPPER.set(Some((oracle, seat, dice.0)));
}

/// Ends a racer's child as a kill does.
fn die(oracle: &Oracle, seat: usize) -> ! {
    oracle.count(CHILDREN_KILLED);
    oracle.release_all(seat);
    // SAFETY: no conditions.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("nobody outlives SIGKILL");
}

/// Runs in a process of its own, from its start to its end.
pub(super) fn run(oracle: &'static Oracle, setup: &Setup, seat: usize, seed: u64) {
    let mut racer = Racer {
        oracle,
        setup,
        seat,
        dice: Dice(seed),
        options: options(setup),
        held: Default::default(),
        outlived: None,
        left: None,
        child: None,
    };
    STEPPER.set(Some((oracle, seat, !seed)));
    loop {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| racer.race()));
        match outcome {
            Ok(Ok(End::Over)) => {}
            // The child goes on as another racer.
            Ok(Ok(End::Fresh)) => continue,
            Ok(Err(what)) => oracle.complain(&what),
            Err(_) => oracle.complain("a racer panicked"),
        }
        return;
    }
}

/// Why a racer does not go on.
enum End {
    Over,
    /// It is a child that has just been forked.
    Fresh,
}

struct Racer<'a> {
    oracle: &'static Oracle,
    setup: &'a Setup,
    seat: usize,
    dice: Dice,
    options: MapOptions,
    held: [[Option<Held>; HANDLES]; NAMES],
    /// A view whose handle was closed, and its token.
    outlived: Option<(ViewAccessor, u64)>,
    /// How many things a racer's child still does.
    left: Option<u64>,
    /// The child that this process has forked, until it has waited for it.
    child: Option<libc::pid_t>,
}

struct Held {
    map: MemoryMappedFile,
    view: ViewAccessor,
    token: u64,
}

type Judged<T = ()> = Result<T, String>;

fn said(what: &str) -> impl Fn(handover::Error) -> String + use<'_> {
    move |e| format!("{what}: {:?}: {e}", e.kind())
}

impl Racer<'_> {
    fn race(&mut self) -> Judged<End> {
        loop {
            if self.oracle.is_over() || self.left == Some(0) {
                return self.leave();
            }
            self.left = self.left.map(|left| left - 1);
            match self.dice.roll(64) {
                0 => self.list()?,
                1 => self.collect_garbage()?,
                2..12 => std::thread::sleep(Duration::from_micros(self.dice.roll(2000))),
                12..14 if self.setup.forks => {
                    if let Some(end) = self.fork()? {
                        return Ok(end);
                    }
                }
                _ => self.use_a_chair()?,
            }
            self.reap_child();
        }
    }

    /// Opens, or looks at or closes what it has: mostly closes, so that names come and go.
    fn use_a_chair(&mut self) -> Judged {
        let held: Vec<Chair> = self.chairs().collect();
        if !held.is_empty() && self.dice.roll(8) > 0 {
            let chair = held[self.dice.roll(held.len() as u64) as usize];
            return if self.dice.roll(4) == 0 { self.check(chair) } else { self.close(chair) };
        }
        // Mostly one name: the more racers meet there, the better.
        let name = [0, 0, 0, 1, 1, 2][self.dice.roll(6) as usize];
        let chair = Chair { seat: self.seat, name, handle: self.dice.roll(HANDLES as u64) as usize };
        if self.held[name][chair.handle].is_some() {
            return self.check(chair);
        }
        let how = How::BY_NAME[self.dice.roll(3) as usize];
        self.open(chair, how)
    }

    fn open(&mut self, chair: Chair, how: How) -> Judged {
        let name = name_of(chair.name);
        let capacity = CAPACITIES[self.dice.roll(CAPACITIES.len() as u64) as usize];
        let before = self.oracle.begin(chair);
        let opened = match how {
            How::CreateNew => self.options.create_new(&name, capacity),
            How::CreateOrOpen => self.options.create_or_open(&name, capacity),
            _ => self.options.open_existing(&name),
        };
        match opened {
            Ok(map) => {
                let created = map.was_created();
                self.oracle.count(match (how, created) {
                    (How::CreateNew, _) => 0,
                    (How::CreateOrOpen, true) => 2,
                    (How::CreateOrOpen, false) => 3,
                    _ => 4,
                });
                let held = self.agree(chair, map, &before, created.then_some(capacity))?;
                self.held[chair.name][chair.handle] = Some(held);
                Ok(())
            }
            Err(e) if how == How::OpenExisting && e.kind() == ErrorKind::NotFound => {
                self.oracle.count(NOT_FOUND);
                self.oracle.finish(chair);
                self.oracle.was_absent(&before, "the name was not found")
            }
            Err(e) if how == How::CreateNew && e.kind() == ErrorKind::AlreadyExists => {
                self.oracle.count(EXISTED);
                let judged = self.oracle.somebody_may_have_held(&before, Some(chair), None, "it existed");
                self.oracle.finish(chair);
                judged
            }
            Err(e) => Err(said(&format!("{how:?}"))(e)),
        }
    }

    /// Judges a map that was just opened. `created`: the capacity, if it is new.
    fn agree(
        &self,
        chair: Chair,
        map: MemoryMappedFile,
        before: &Before,
        created: Option<u64>,
    ) -> Judged<Held> {
        let view = map.create_view_accessor(0, 0).map_err(said("a view of a map that was just opened"))?;
        let own = self.oracle.new_token(chair.name);
        let token = once(&view, TOKEN_AT, own)?;
        if token % NAMES as u64 != chair.name as u64 {
            return Err(format!("{chair:?} has bytes of another name: token {token}"));
        }
        self.oracle.hold(chair, token)?;
        if let Some(capacity) = created {
            self.oracle.was_absent(before, &format!("a map ({token}) was created"))?;
            fill(&view, &map, capacity)?;
        } else {
            self.oracle.somebody_may_have_held(before, Some(chair), Some(token), "a map was opened")?;
            let noted = view.load::<AtomicU64>(CAPACITY_AT).map_err(said("the capacity"))?;
            if noted != 0 && noted != map.capacity() {
                return Err(format!("a map of {noted} bytes was opened with {}", map.capacity()));
            }
        }
        let held = Held { map, view, token };
        self.check_path(chair, &held)?;
        Ok(held)
    }

    /// Looks at what it certainly holds.
    fn check(&mut self, chair: Chair) -> Judged {
        let Some(held) = &self.held[chair.name][chair.handle] else { return Ok(()) };
        self.oracle.count(CHECKED);
        let token = held.view.load::<AtomicU64>(TOKEN_AT).map_err(said("the token"))?;
        if token != held.token {
            return Err(format!("{chair:?} held {} and has now {token}", held.token));
        }
        // Among others this asks whether the name was lost.
        let view = held.map.create_view_accessor(0, 8).map_err(said("a view of a map that is held"))?;
        let token = view.load::<AtomicU64>(TOKEN_AT).map_err(said("the token"))?;
        if token != held.token {
            return Err(format!("{chair:?} held {} and a new view has {token}", held.token));
        }
        self.check_path(chair, held)?;
        self.oracle.holds_rightly(chair, held.token)?;
        if let Some((view, token)) = &self.outlived {
            let there = view.load::<AtomicU64>(TOKEN_AT).map_err(said("the token"))?;
            if there != *token {
                return Err(format!("a view without a handle had {token} and has {there}"));
            }
        }
        Ok(())
    }

    /// Judgement 5.
    fn check_path(&self, chair: Chair, held: &Held) -> Judged {
        let path = path_of(self.setup, chair.name);
        let there = std::fs::metadata(&path).map(|metadata| metadata.ino());
        let Ok(there) = there else {
            return Err(self.oracle.describe(
                &format!("{chair:?} holds {} and its path leads nowhere: {there:?}", held.token),
                chair.name,
            ));
        };
        let agreed = once(&held.view, FILE_AT, there)?;
        if agreed != there {
            return Err(self.oracle.describe(
                &format!("{chair:?} holds {} in file {agreed}, and its path leads to {there}", held.token),
                chair.name,
            ));
        }
        Ok(())
    }

    fn close(&mut self, chair: Chair) -> Judged {
        let Some(held) = self.held[chair.name][chair.handle].take() else { return Ok(()) };
        self.oracle.count(CLOSED);
        self.oracle.release(chair);
        let Held { map, view, token } = held;
        if self.dice.roll(2) == 0 {
            drop(view);
            drop(map);
        } else {
            drop(map);
            let there = view.load::<AtomicU64>(TOKEN_AT).map_err(said("the token"))?;
            if there != token {
                return Err(format!("a view had {token} and, after the close of its handle, {there}"));
            }
            self.oracle.count(OUTLIVED);
            self.outlived = Some((view, token));
        }
        self.oracle.finish(chair);
        Ok(())
    }

    fn list(&mut self) -> Judged {
        self.oracle.count(LISTED);
        let before: [_; NAMES] =
            std::array::from_fn(|name| (self.oracle.look(name), self.oracle.holders(name)));
        let maps = list(&self.options).map_err(said("list"))?;
        for (number, (before, holders)) in before.iter().enumerate() {
            if maps.iter().any(|map| map.name == name_of(number)) {
                self.oracle.somebody_may_have_held(before, None, None, "it was listed")?;
            } else if let Some((chair, _)) =
                self.oracle.holders(number).iter().find(|holder| holders.contains(holder))
            {
                let what = format!("a list left out what {chair:?} held throughout");
                return Err(self.oracle.describe(&what, number));
            }
        }
        Ok(())
    }

    fn collect_garbage(&mut self) -> Judged {
        self.oracle.count(COLLECTED);
        let before: [Before; NAMES] = std::array::from_fn(|name| self.oracle.look(name));
        let names = collect_garbage(&self.options).map_err(said("collect_garbage"))?;
        for (number, before) in before.iter().enumerate() {
            if names.contains(&name_of(number)) {
                self.oracle.was_absent(before, "the name was removed as a leftover")?;
            }
        }
        Ok(())
    }

    /// Forks a child that goes on holding. In the child: how to go on.
    fn fork(&mut self) -> Judged<Option<End>> {
        let child = self.seat + RACERS;
        if self.left.is_some() || self.oracle.process(child).load(SeqCst) != 0 {
            return Ok(None);
        }
        // Either the director sees this, or this process sees that it was chosen.
        self.oracle.forking(self.seat).store(1, SeqCst);
        if self.oracle.is_doomed(self.seat) {
            self.oracle.forking(self.seat).store(0, SeqCst);
            return Ok(None);
        }
        let chairs: Vec<Chair> = self.chairs().collect();
        for from in &chairs {
            self.oracle.bequeath(*from, Chair { seat: child, ..*from });
        }
        let seed = self.dice.roll(u64::MAX);
        // SAFETY: this process has one thread, so the child has everything it needs.
        match unsafe { libc::fork() } {
            0 => {
                self.seat = child;
                self.dice = Dice(seed);
                self.left = Some(self.dice.roll(60));
                self.child = None;
                STEPPER.set(Some((self.oracle, child, !seed)));
                for from in chairs {
                    let chair = Chair { seat: child, ..from };
                    if let Some(held) = &self.held[chair.name][chair.handle] {
                        self.oracle.hold(chair, held.token)?;
                    }
                }
                return Ok(Some(End::Fresh));
            }
            -1 => return Err(format!("fork: {}", std::io::Error::last_os_error())),
            process => {
                self.child = Some(process);
                self.oracle.process(child).store(process as u64, SeqCst);
            }
        }
        self.oracle.count(FORKED);
        self.oracle.forking(self.seat).store(0, SeqCst);
        Ok(None)
    }

    /// Waits for its child, if that has ended. A child whose parent was killed is the director's.
    fn reap_child(&mut self) {
        let Some(process) = self.child else { return };
        let mut status = 0;
        // SAFETY: `status` is valid for a write.
        let ended = unsafe { libc::waitpid(process, &raw mut status, libc::WNOHANG) };
        if ended == process {
            self.child = None;
            judge_child(self.oracle, status);
            self.oracle.finish_all(self.seat + RACERS);
            self.oracle.process(self.seat + RACERS).store(0, SeqCst);
        }
    }

    fn chairs(&self) -> impl Iterator<Item = Chair> {
        self.held.iter().enumerate().flat_map(move |(name, handles)| {
            let held = handles.iter().enumerate().filter(|(_, held)| held.is_some());
            held.map(move |(handle, _)| Chair { seat: self.seat, name, handle })
        })
    }

    /// Ends: by closing everything, or, a child, in any other way.
    fn leave(&mut self) -> Judged<End> {
        if self.left.is_some() {
            match self.dice.roll(4) {
                0 => die(self.oracle, self.seat),
                1 => {
                    self.oracle.release_all(self.seat);
                    // SAFETY: no conditions.
                    unsafe { libc::_exit(0) };
                }
                2 => DIES.set(true),
                _ => {}
            }
        }
        let chairs: Vec<Chair> = self.chairs().collect();
        for chair in chairs {
            self.close(chair)?;
        }
        Ok(End::Over)
    }
}

/// Complains where a racer's child ended in a way that is no kill.
pub(super) fn judge_child(oracle: &Oracle, status: libc::c_int) {
    if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) != libc::SIGKILL {
        oracle.complain(&format!("a racer's child died of signal {} (7 is SIGBUS)", libc::WTERMSIG(status)));
    }
}

/// Sets a word once from zero. What it is then.
fn once(view: &ViewAccessor, at: u64, value: u64) -> Judged<u64> {
    let word = crate::word::<AtomicU64>(view, at).map_err(said("a word"))?;
    Ok(match word.compare_exchange(0, value, SeqCst, SeqCst) {
        Ok(_) => value,
        Err(there) => there,
    })
}

/// Checks that a new map is all zeroes, but for what others may have set already, and leaves bytes in it that
/// a later map must not have.
fn fill(view: &ViewAccessor, map: &MemoryMappedFile, capacity: u64) -> Judged {
    if map.capacity() != capacity {
        return Err(format!("a map of {capacity} bytes was created with {}", map.capacity()));
    }
    let mut body = vec![0_u8; capacity as usize - BODY];
    view.read_array(BODY as u64, &mut body).map_err(said("the bytes"))?;
    let noted = view.load::<AtomicU64>(CAPACITY_AT).map_err(said("the capacity"))?;
    if noted != 0 || body.iter().any(|byte| *byte != 0) {
        return Err("a new map has bytes that are not zero".to_owned());
    }
    body.fill(0xA5);
    view.write_array(BODY as u64, &body).map_err(said("writing"))?;
    crate::word::<AtomicU64>(view, CAPACITY_AT).map_err(said("a word"))?.store(capacity, SeqCst);
    Ok(())
}

/// The file that a name leads to, worked out from docs/design.md.
pub(super) fn path_of(setup: &Setup, number: usize) -> PathBuf {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in name_of(number).bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    scope_of(setup).join(format!("{hash:032x}.map"))
}

/// The directory that the names lie in.
pub(super) fn scope_of(setup: &Setup) -> PathBuf {
    let base = PathBuf::from(std::env::var_os("HANDOVER_DIR").expect("HANDOVER_DIR is set"));
    // SAFETY: no conditions.
    let user = unsafe { libc::geteuid() };
    base.join(format!("handover-{user}{}", if setup.readable { "-global" } else { "" }))
}
