//! What the racers write down in shared memory, and what must never be seen in it.
//!
//! # What is written
//!
//! The memory is anonymous and shared by the director and all that descend from it. A *seat* is a place for
//! one process at a time: one for each racer, one for each racer's child. A *chair* is a place of a seat for
//! one handle of one name. All words are written and read in one order that all processes agree on
//! (`SeqCst`). A *tick* is a value of a counter that gives each value once.
//!
//! Of each chair:
//!
//! - `STARTED`: the tick at which its process *may* have begun to hold the name, written before the call that
//!   opens it. Cleared after that call failed, or after the close returned. Of a process that was killed: by
//!   whoever waited for it, after `waitpid` returned, when the kernel has released its locks.
//! - `TOKEN`: which incarnation it holds, as soon as it knows: the map's first word, set once from zero, to a
//!   value that no other map has.
//! - `CERTAIN`: a tick, while the process *certainly* holds the name: written after the call that opened it
//!   returned, cleared before the close begins. Each hold has another tick.
//! - `LAST_START`, `LAST_TOKEN`, `LAST_END`: the last such time that is over.
//!
//! Of each seat, `LIFE`: odd from before its process is killed until all its chairs are cleared.
//!
//! Of each name, `ABSENT`: the latest tick before a call that showed that the name led nowhere at some
//! moment.
//!
//! # What is judged
//!
//! 1. Two incarnations: a process that certainly holds one sees a chair that certainly holds another.
//! 2. An incarnation that lives although the name led nowhere since. A call that does not find the name, that
//!    creates a map, or that removes it as a leftover shows that the name led nowhere at some moment of the
//!    call. So whatever lived before the call must not live after it: neither an incarnation that somebody
//!    held all the while, nor one that somebody joined meanwhile or later. A list that leaves the name out
//!    shows less, since it removes nothing: when a last holder dies, somebody who was already joining may
//!    still hold what it left. Nobody must certainly hold it throughout.
//! 3. A map that was opened, or a name that existed or was listed, although no chair can have held this
//!    incarnation, or any, at any moment of the call.
//! 4. Wrong bytes: a token of another name; a new map with bytes that are not zero; a capacity that is not
//!    the creator's; a token that changes under a hold, or under a view that outlives its handle.
//! 5. A name that was lost: its path does not lead to the file to which it led for all other holders of this
//!    incarnation, or the library says so.
//! 6. Any error that the contract does not allow; a racer that dies of anything but a kill; a file that stays
//!    when all have ended and garbage was collected.
//! 7. Where nobody is killed: a name's file that stays when nobody can hold the name.
//!
//! # Why there is no false alarm
//!
//! *Certain* (1, 2, 5). While `CERTAIN` is set and its process lives, the process holds. It is set only while
//! that is so, but a process that is killed does not clear it. So whoever is about to kill makes `LIFE` odd
//! first, and makes it even again only when all chairs are clear. A reader that sees the same even `LIFE`
//! before and after it read `CERTAIN` has therefore read it while that process was alive. `TOKEN` changes
//! only while `CERTAIN` is clear: read between two equal readings of it (a hold's tick is never given again),
//! it belongs to that hold. For 1, the reader itself holds at the moment of the reading, since it is alive
//! and has not begun to close.
//!
//! *Absent* (2). A token is a tick, drawn by a process that holds the map: so an incarnation whose token is
//! below the tick before a call lived before that call. Whoever holds writes `CERTAIN` and then reads
//! `ABSENT`; whoever found the name absent writes `ABSENT`, after the call, and then reads all `CERTAIN`. So
//! one of them sees the other, and what it sees is an older incarnation held at a moment after the call. For
//! a list: the same `CERTAIN` and the same even `LIFE` before and after the call are one hold that lasted.
//!
//! *Possible* (3). `STARTED` is set before the library is called, and cleared after it can't hold any more.
//! So a chair that held at some moment between the ticks `from` and `to` either has a `STARTED` below `to`,
//! or its last time that is over ended after `from`, or more than one ended since; then its `LAST_START` lies
//! after `from`. That the words are not read at once does no harm: a time that is over is written to `LAST_…`
//! before `STARTED` is cleared, `LAST_START` first and `LAST_END` last, and is read in the opposite order,
//! after `STARTED`. An unknown token can be any.
//!
//! *Tidy* (7). `STARTS` counts, for each name, how often a `STARTED` was about to be set. If it is the same
//! before and after, and all `STARTED` were clear in between, then nobody held, opened or closed when the
//! file was looked for.
//!
//! *Paths* (5). A certain holder's path leads to its file, by the rule. Of one incarnation all agree on the
//! file's number, which stands in the map.
//!
//! # What it can't see
//!
//! A wrong state is seen by a process that lives and takes part in it. Two incarnations are seen by whoever
//! was the later to say so, if the other has not begun to close by then; and by each at every later look.
//! What happens between a call's inner steps is seen only in what it leads to. In judgement 3 a chair whose
//! last time began after `from` counts as having held (it may have had another time before), so a name found
//! without a holder may pass where such a chair exists. All of this makes a fault slower to be found, not
//! impossible: the seeded faults show how fast.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

/// Racers.
pub const RACERS: usize = 8;
/// Racers and, after them, a child of each.
pub const SEATS: usize = 2 * RACERS;
/// The names that they race for.
pub const NAMES: usize = 3;
/// How many handles of one name a process has at most.
pub const HANDLES: usize = 2;

const CHAIRS: usize = SEATS * NAMES * HANDLES;
/// A cache line.
const CHAIR_WORDS: usize = 8;
const SEAT_WORDS: usize = 8;
const TEXT_WORDS: usize = 1024;
const COUNTERS: usize = 64;

const CLOCK: usize = 0;
const OVER: usize = 8;
const ABSENT: usize = 16;
const STARTS: usize = ABSENT + NAMES;
const TEXT_LEN: usize = 24;
const TEXT: usize = 32;
const COUNTS: usize = TEXT + TEXT_WORDS;
const SEATS_AT: usize = COUNTS + COUNTERS;
const CHAIRS_AT: usize = SEATS_AT + SEATS * SEAT_WORDS;
const WORDS: usize = CHAIRS_AT + CHAIRS * CHAIR_WORDS;

const LIFE: usize = 0;
const FORKING: usize = 1;
const PROCESS: usize = 2;

const CERTAIN: usize = 0;
const TOKEN: usize = 1;
const STARTED: usize = 2;
const LAST_START: usize = 3;
const LAST_TOKEN: usize = 4;
const LAST_END: usize = 5;

/// The shared memory.
#[derive(Debug)]
pub struct Oracle {
    base: *const AtomicU64,
}

// SAFETY: all accesses are atomic, and the memory stays for ever.
unsafe impl Sync for Oracle {}
// SAFETY: as above.
unsafe impl Send for Oracle {}

/// A place for one handle of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chair {
    /// Of which process.
    pub seat: usize,
    /// Of which name, by number.
    pub name: usize,
    /// The handle's number.
    pub handle: usize,
}

impl Chair {
    fn at(self, field: usize) -> usize {
        CHAIRS_AT + ((self.name * SEATS + self.seat) * HANDLES + self.handle) * CHAIR_WORDS + field
    }

    fn all_of(name: usize) -> impl Iterator<Item = Self> {
        (0..SEATS).flat_map(move |seat| (0..HANDLES).map(move |handle| Self { seat, name, handle }))
    }
}

/// What was known before a call.
#[derive(Debug)]
pub struct Before {
    tick: u64,
    name: usize,
}

impl Oracle {
    /// Makes one. It stays for ever; forked children share it.
    pub fn new() -> io::Result<&'static Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at an address that the system chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), WORDS * 8, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Box::leak(Box::new(Self { base: base.cast_const().cast() })))
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS);
        // SAFETY: within the mapping, which is never unmapped; all accesses are atomic.
        unsafe { &*self.base.wrapping_add(at) }
    }

    fn get(&self, chair: Chair, field: usize) -> u64 {
        self.word(chair.at(field)).load(SeqCst)
    }

    fn set(&self, chair: Chair, field: usize, value: u64) {
        self.word(chair.at(field)).store(value, SeqCst);
    }

    /// A value that no other call gets.
    pub fn tick(&self) -> u64 {
        self.word(CLOCK).fetch_add(1, SeqCst) + 1
    }

    /// A token that no other map has; it tells the name, and the tick before which its map lived.
    pub fn new_token(&self, name: usize) -> u64 {
        self.tick() * NAMES as u64 + name as u64
    }

    /// Counts something.
    pub fn count(&self, what: usize) {
        self.word(COUNTS + what).fetch_add(1, SeqCst);
    }

    /// How often that was counted.
    pub fn counted(&self, what: usize) -> u64 {
        self.word(COUNTS + what).load(SeqCst)
    }

    /// Whether the race is over.
    pub fn is_over(&self) -> bool {
        self.word(OVER).load(SeqCst) != 0
    }

    /// Ends the race.
    pub fn end(&self) {
        self.word(OVER).store(1, SeqCst);
    }

    /// Writes down what must not happen; the first one stays. Ends the race.
    pub fn complain(&self, what: &str) {
        let bytes = &what.as_bytes()[..what.len().min(TEXT_WORDS * 8)];
        if self.word(TEXT_LEN).compare_exchange(0, bytes.len() as u64, SeqCst, SeqCst).is_ok() {
            for (index, chunk) in bytes.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.word(TEXT + index).store(u64::from_ne_bytes(word), SeqCst);
            }
        }
        self.end();
    }

    /// What was written down; asked for when all processes have ended.
    pub fn complaint(&self) -> Option<String> {
        let len = self.word(TEXT_LEN).load(SeqCst) as usize;
        let bytes = (0..TEXT_WORDS).flat_map(|at| self.word(TEXT + at).load(SeqCst).to_ne_bytes());
        (len > 0).then(|| String::from_utf8_lossy(&bytes.take(len).collect::<Vec<u8>>()).into_owned())
    }

    /// Whether its process was chosen to be killed.
    pub fn is_doomed(&self, seat: usize) -> bool {
        !self.seat(seat, LIFE).load(SeqCst).is_multiple_of(2)
    }

    /// Says that the process of a seat will be killed, or was not after all.
    pub fn doom(&self, seat: usize, doomed: bool) {
        let was = self.seat(seat, LIFE).fetch_add(1, SeqCst);
        assert_eq!(was.is_multiple_of(2), doomed);
    }

    /// Set while a racer forks; it is not killed then.
    pub fn forking(&self, seat: usize) -> &AtomicU64 {
        self.seat(seat, FORKING)
    }

    /// The process of a child's seat; 0 while the seat is free.
    pub fn process(&self, seat: usize) -> &AtomicU64 {
        self.seat(seat, PROCESS)
    }

    fn seat(&self, seat: usize, field: usize) -> &AtomicU64 {
        assert!(seat < SEATS);
        self.word(SEATS_AT + seat * SEAT_WORDS + field)
    }

    /// The hold of a chair whose process is certainly alive and holds, and that process's life.
    fn certainly(&self, chair: Chair) -> Option<(u64, u64)> {
        let life = self.seat(chair.seat, LIFE);
        let before = life.load(SeqCst);
        let hold = self.get(chair, CERTAIN);
        (hold != 0 && before.is_multiple_of(2) && life.load(SeqCst) == before).then_some((before, hold))
    }

    /// A call is about to be made that may hold a name through this chair.
    pub fn begin(&self, chair: Chair) -> Before {
        self.word(STARTS + chair.name).fetch_add(1, SeqCst);
        self.set(chair, TOKEN, 0);
        self.set(chair, STARTED, self.tick());
        self.look(chair.name)
    }

    /// A call is about to be made that holds nothing.
    pub fn look(&self, name: usize) -> Before {
        Before { tick: self.tick(), name }
    }

    /// The call failed, or what it had opened is closed again, or its process has died: nothing is held
    /// through this chair.
    pub fn finish(&self, chair: Chair) {
        self.set(chair, CERTAIN, 0);
        let started = self.get(chair, STARTED);
        if started != 0 {
            self.set(chair, LAST_START, started);
            self.set(chair, LAST_TOKEN, self.get(chair, TOKEN));
            self.set(chair, LAST_END, self.tick());
            self.set(chair, STARTED, 0);
        }
    }

    /// The process of this seat has died and was waited for.
    pub fn finish_all(&self, seat: usize) {
        for name in 0..NAMES {
            for handle in 0..HANDLES {
                self.finish(Chair { seat, name, handle });
            }
        }
    }

    /// A child will inherit what a chair of its parent holds.
    pub fn bequeath(&self, from: Chair, to: Chair) {
        self.set(to, TOKEN, self.get(from, TOKEN));
        self.set(to, STARTED, self.tick());
    }

    /// The chair's process holds the map with this token and has not begun to close it.
    pub fn hold(&self, chair: Chair, token: u64) -> Result<(), String> {
        self.set(chair, TOKEN, token);
        self.set(chair, CERTAIN, self.tick());
        self.holds_rightly(chair, token)
    }

    /// The chair's process is about to close its map.
    pub fn release(&self, chair: Chair) {
        self.set(chair, CERTAIN, 0);
    }

    /// No chair of any process of the seat certainly holds any more: it is about to die.
    pub fn release_all(&self, seat: usize) {
        for name in 0..NAMES {
            for handle in 0..HANDLES {
                self.release(Chair { seat, name, handle });
            }
        }
    }

    /// Judgements 1 and 2, from the side of a process that certainly holds.
    pub fn holds_rightly(&self, chair: Chair, token: u64) -> Result<(), String> {
        let absent = self.word(ABSENT + chair.name).load(SeqCst);
        if token / (NAMES as u64) < absent {
            return Err(self.describe(
                &format!("{chair:?} holds {token}, and after {absent} the name led nowhere"),
                chair.name,
            ));
        }
        for other in Chair::all_of(chair.name) {
            if let Some(there) = self.certainly_holds(other)
                && there != token
            {
                return Err(self.describe(
                    &format!("two maps live under one name: {token} in {chair:?}, {there} in {other:?}"),
                    chair.name,
                ));
            }
        }
        Ok(())
    }

    /// Judgement 2, from the side of a process whose call showed that the name led nowhere.
    pub fn was_absent(&self, before: &Before, what: &str) -> Result<(), String> {
        self.word(ABSENT + before.name).fetch_max(before.tick, SeqCst);
        for chair in Chair::all_of(before.name) {
            if let Some(token) = self.certainly_holds(chair)
                && token / (NAMES as u64) < before.tick
            {
                return Err(self.describe(
                    &format!("{what} in a call that began at {}, and {chair:?} holds {token}", before.tick),
                    before.name,
                ));
            }
        }
        Ok(())
    }

    /// Judgement 7: `is_there` finds no file while nobody can hold the name. For races without kills and
    /// forks.
    pub fn is_tidy(&self, name: usize, is_there: impl FnOnce() -> bool) -> Result<(), String> {
        let starts = || self.word(STARTS + name).load(SeqCst);
        let before = starts();
        let is_free = Chair::all_of(name).all(|chair| self.get(chair, STARTED) == 0);
        if is_free && is_there() && starts() == before {
            return Err(self.describe("nobody holds the name, nobody was killed, and its file stays", name));
        }
        Ok(())
    }

    /// A racer that alone holds a name, as far as is certain, if there is one.
    pub fn only_holder(&self) -> Option<usize> {
        (0..NAMES).find_map(|name| {
            let mut seats = Chair::all_of(name).filter(|chair| self.certainly(*chair).is_some());
            let seat = seats.next()?.seat;
            (seat < RACERS && seats.all(|chair| chair.seat == seat)).then_some(seat)
        })
    }

    /// Who certainly holds a name now.
    pub fn holders(&self, name: usize) -> Vec<(Chair, impl PartialEq + use<>)> {
        Chair::all_of(name).filter_map(|chair| Some((chair, self.certainly(chair)?))).collect()
    }

    /// The token of what a chair certainly holds.
    fn certainly_holds(&self, chair: Chair) -> Option<u64> {
        let hold = self.certainly(chair)?;
        let token = self.get(chair, TOKEN);
        (self.certainly(chair) == Some(hold)).then_some(token)
    }

    /// Judgement 3, for the incarnation with this token, or for any. `own`: the chair that asks does not
    /// count.
    pub fn somebody_may_have_held(
        &self,
        before: &Before,
        own: Option<Chair>,
        token: Option<u64>,
        what: &str,
    ) -> Result<(), String> {
        let to = self.tick();
        let fits = |there| there == 0 || token.is_none_or(|token| token == there);
        let possible = Chair::all_of(before.name).filter(|chair| own != Some(*chair)).any(|chair| {
            let started = self.get(chair, STARTED);
            if started != 0 && started < to && fits(self.get(chair, TOKEN)) {
                return true;
            }
            let last_end = self.get(chair, LAST_END);
            let last_token = self.get(chair, LAST_TOKEN);
            let last_start = self.get(chair, LAST_START);
            last_end > before.tick && (fits(last_token) || last_start > before.tick)
        });
        if possible {
            return Ok(());
        }
        Err(self.describe(
            &format!(
                "{what} ({token:?}) in a call from {} to {to}, when nobody can have held it",
                before.tick
            ),
            before.name,
        ))
    }

    /// A complaint with all chairs of the name.
    pub fn describe(&self, what: &str, name: usize) -> String {
        use std::fmt::Write;
        let mut text = what.to_owned();
        for chair in Chair::all_of(name) {
            let words = [CERTAIN, TOKEN, STARTED, LAST_START, LAST_TOKEN, LAST_END];
            let [certain, token, started, last_start, last_token, last_end] =
                words.map(|field| self.get(chair, field));
            if started | last_end == 0 {
                continue;
            }
            let life = self.seat(chair.seat, LIFE).load(SeqCst);
            let _ = write!(
                text,
                "\n  seat {} life {life} handle {}: certain {certain}, started {started} token {token}, \
                 last {last_start} to {last_end} token {last_token}",
                chair.seat, chair.handle
            );
        }
        text
    }
}
