//! A race of processes for names, with kills at random moments, and a judge that decides whether all went
//! well.
//!
//! Eight participants each run one worker process after another; most workers are killed at a random moment.
//! A worker opens and closes names and takes notes in shared memory. Every note has the time of a shared
//! clock: a counter that hands out each value once. So the notes prove that
//!
//! - a worker certainly held a map from the note after its call returned to its last note before it closed;
//! - it possibly held one from the note before its call to the note after it closed, or until its death was
//!   known.
//!
//! Workers of one map agree on its token: the first word, set once from zero. Two maps lived under one name
//! if two tokens were certainly held at one time, or if a map was created (or not found) while another was
//! certainly held all the time. A name outlived its holders if it was found when nobody possibly held it. No
//! verdict depends on how fast anything was.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use handover::ErrorKind;
use handover::map::{MemoryMappedFile, ViewAccessor};

#[cfg(windows)]
use crate::Start;
use crate::{How, found_capacity};

/// How many take part.
pub const SLOTS: usize = 8;
/// The names they race for.
const NAMES: [&str; 2] = ["race", "race 2"];
/// Small, larger than a page, and odd.
const CAPACITIES: [u64; 3] = [64, 4096, 9001];
/// The most workers that one participant can have; the last one is not killed.
const LIVES: usize = 1 << 14;

const NEXT_ROUND: usize = 0;
const ROUNDS: usize = 1;
const CLOCK: usize = 2;
const TEXT_LEN: usize = 3;
const TEXT: usize = 4;
const TEXT_WORDS: usize = 124;
const DEATHS: usize = TEXT + TEXT_WORDS;
const EVENTS: usize = DEATHS + SLOTS * LIVES;
const EVENT_WORDS: usize = 10;

/// The shared memory that all take notes in.
#[derive(Debug)]
pub struct Notes {
    path: PathBuf,
    base: *const AtomicU64,
    words: usize,
    rounds: usize,
    /// Keeps the memory. Were it leaked, Windows would not let the test remove the file.
    _view: ViewAccessor,
}

/// A round's notes; 0 is "not yet".
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    slot: usize,
    life: usize,
    name: usize,
    how: How,
    called: u64,
    /// When the call had returned.
    returned: u64,
    result: Outcome,
    token: u64,
    /// The last moment at which it certainly held the map.
    held: u64,
    /// When it had closed the map.
    closed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Outcome {
    #[default]
    Unknown,
    Created,
    Joined,
    NotFound,
    AlreadyExists,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Unknown, Self::Created, Self::Joined, Self::NotFound, Self::AlreadyExists];
}

/// The result of a race.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Calls that created a map.
    pub created: usize,
    /// Calls that opened an existing map.
    pub joined: usize,
    /// Calls that found none.
    pub not_found: usize,
    /// Calls that should create a map and found one.
    pub exists: usize,
    /// Workers that were killed.
    pub killed: usize,
    /// Workers that were killed within a call or holding a map.
    pub killed_busy: usize,
}

impl Notes {
    /// Makes the file for a race of this many rounds. A round is one call, and one close if the call returned
    /// a map.
    pub fn create(path: &Path, rounds: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(((EVENTS + rounds * EVENT_WORDS) * 8) as u64)?;
        drop(file);
        let notes = Self::map(path, rounds)?;
        notes.word(ROUNDS).store(rounds as u64, SeqCst);
        Ok(notes)
    }

    /// Opens it in another process.
    pub fn open(path: &Path) -> io::Result<Self> {
        let words = std::fs::metadata(path)?.len() as usize / 8;
        Self::map(path, (words - EVENTS) / EVENT_WORDS)
    }

    fn map(path: &Path, rounds: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let map = MemoryMappedFile::from_file(file, 0)?;
        let view = map.create_view_accessor(0, 0)?;
        let words = EVENTS + rounds * EVENT_WORDS;
        let base = view.as_ptr().cast_const().cast();
        Ok(Self { path: path.to_owned(), base, words, rounds, _view: view })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.words);
        // SAFETY: within the mapping, which stays as long as this, and aligned as the mapping is; all
        // accesses are atomic.
        unsafe { &*self.base.wrapping_add(at) }
    }

    fn tick(&self) -> u64 {
        self.word(CLOCK).fetch_add(1, SeqCst) + 1
    }

    /// Writes down what must not happen; the first one stays. Ends the race.
    fn complain(&self, what: &str) {
        let bytes = &what.as_bytes()[..what.len().min(TEXT_WORDS * 8)];
        if self.word(TEXT_LEN).compare_exchange(0, bytes.len() as u64, SeqCst, SeqCst).is_ok() {
            for (index, chunk) in bytes.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.word(TEXT + index).store(u64::from_ne_bytes(word), SeqCst);
            }
        }
        self.word(NEXT_ROUND).store(self.rounds as u64, SeqCst);
    }

    fn complaint(&self) -> Option<String> {
        let len = self.word(TEXT_LEN).load(SeqCst) as usize;
        let bytes = (0..TEXT_WORDS).flat_map(|at| self.word(TEXT + at).load(SeqCst).to_ne_bytes());
        (len > 0).then(|| String::from_utf8_lossy(&bytes.take(len).collect::<Vec<u8>>()).into_owned())
    }

    fn event(&self, round: usize) -> EventNotes<'_> {
        EventNotes { notes: self, at: EVENTS + round * EVENT_WORDS }
    }
}

struct EventNotes<'a> {
    notes: &'a Notes,
    at: usize,
}

impl EventNotes<'_> {
    fn set(&self, field: usize, value: u64) {
        self.notes.word(self.at + field).store(value, SeqCst);
    }

    fn get(&self, field: usize) -> u64 {
        self.notes.word(self.at + field).load(SeqCst)
    }

    /// Writes the current time into a field.
    fn tick(&self, field: usize) {
        self.set(field, self.notes.tick());
    }

    /// `None` for a round that ended before it began.
    fn read(&self) -> Option<Event> {
        let called = self.get(Self::CALLED);
        (called > 0).then(|| Event {
            slot: self.get(Self::SLOT) as usize,
            life: self.get(Self::LIFE) as usize,
            name: self.get(Self::NAME) as usize,
            how: How::BY_NAME[self.get(Self::HOW) as usize],
            called,
            returned: self.get(Self::RETURNED),
            result: Outcome::ALL[self.get(Self::RESULT) as usize],
            token: self.get(Self::TOKEN),
            held: self.get(Self::HELD),
            closed: self.get(Self::CLOSED),
        })
    }

    const SLOT: usize = 0;
    const LIFE: usize = 1;
    const NAME: usize = 2;
    const HOW: usize = 3;
    const CALLED: usize = 4;
    const RETURNED: usize = 5;
    const RESULT: usize = 6;
    const TOKEN: usize = 7;
    const HELD: usize = 8;
    const CLOSED: usize = 9;
}

/// Random numbers (`SplitMix64`), good enough for choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// Takes part until all rounds are done: runs workers and kills them. The process must have one thread.
pub fn take_part(notes: &Notes, slot: usize) -> io::Result<()> {
    let mut dice = Dice(slot as u64 ^ u64::from(std::process::id()) << 32);
    for life in 0..LIVES {
        let mut worker = Worker::start(notes, slot, life)?;
        if life + 1 < LIVES {
            // When to kill it: there is nothing to wait for.
            std::thread::sleep(Duration::from_micros(500 + dice.roll(Worker::LONGEST_LIFE)));
            worker.kill();
        }
        let end = worker.wait()?;
        notes.word(DEATHS + slot * LIVES + life).store(notes.tick(), SeqCst);
        match end {
            End::Done => return Ok(()),
            End::Killed => {}
            End::Other(what) => notes.complain(&format!("a worker died of {what}")),
        }
    }
    Ok(())
}

/// How a worker ended.
enum End {
    /// All rounds are over.
    Done,
    Killed,
    Other(String),
}

/// A forked child: it starts at once.
#[cfg(target_os = "linux")]
struct Worker(libc::pid_t);

#[cfg(target_os = "linux")]
impl Worker {
    /// Microseconds.
    const LONGEST_LIFE: u64 = 12_000;

    fn start(notes: &Notes, slot: usize, life: usize) -> io::Result<Self> {
        // SAFETY: this process has one thread, so the child has everything it needs.
        let worker = unsafe { libc::fork() };
        if worker < 0 {
            return Err(io::Error::last_os_error());
        }
        if worker == 0 {
            work_or_complain(notes, slot, life);
            // SAFETY: no conditions.
            unsafe { libc::_exit(0) };
        }
        Ok(Self(worker))
    }

    fn kill(&mut self) {
        // SAFETY: nobody has waited for this child, so the id is its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    fn wait(self) -> io::Result<End> {
        let mut status = 0;
        // SAFETY: `status` is valid for a write.
        let ended = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        if ended != self.0 {
            return Err(io::Error::last_os_error());
        }
        Ok(if libc::WIFEXITED(status) {
            End::Done
        } else if libc::WTERMSIG(status) == libc::SIGKILL {
            End::Killed
        } else {
            End::Other(format!("signal {} (7 is SIGBUS)", libc::WTERMSIG(status)))
        })
    }
}

/// This program once more; see [`be_worker`].
#[cfg(windows)]
struct Worker(std::process::Child);

#[cfg(windows)]
const WORKER: &str = "race-worker";

/// The exit code of a process that another killed (`TerminateProcess`), as Rust's library has it.
#[cfg(windows)]
const KILLED: i32 = 1;

#[cfg(windows)]
impl Worker {
    /// Microseconds; starting takes about half of this.
    const LONGEST_LIFE: u64 = 150_000;

    fn start(notes: &Notes, slot: usize, life: usize) -> io::Result<Self> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.arg(WORKER).arg(notes.path()).args([slot, life].map(|number| number.to_string()));
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.start().map(Self)
    }

    fn kill(&mut self) {
        // Fails if it has ended.
        let _ = self.0.kill();
    }

    fn wait(mut self) -> io::Result<End> {
        let status = self.0.wait()?;
        Ok(match status.code() {
            Some(0) => End::Done,
            Some(KILLED) => End::Killed,
            _ => End::Other(status.to_string()),
        })
    }
}

/// Does a worker's part if this process was started as one. Returns whether it was.
#[cfg(windows)]
pub fn be_worker() -> bool {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [kind, path, slot, life] = &arguments[..] else { return false };
    if kind != WORKER {
        return false;
    }
    let notes = Notes::open(Path::new(path)).expect("the notes");
    let number = |text: &String| text.parse().expect("a number");
    work_or_complain(&notes, number(slot), number(life));
    true
}

fn work_or_complain(notes: &Notes, slot: usize, life: usize) {
    if std::panic::catch_unwind(|| work(notes, slot, life)).is_err() {
        notes.complain("a worker panicked");
    }
}

fn work(notes: &Notes, slot: usize, life: usize) {
    let mut dice = Dice((slot as u64) << 32 | (life as u64) << 8 | u64::from(std::process::id()) << 40);
    loop {
        let round = notes.word(NEXT_ROUND).fetch_add(1, SeqCst) as usize;
        if round >= notes.rounds {
            return;
        }
        let event = notes.event(round);
        // Mostly one name: the more workers meet there, the better.
        let name = usize::from(dice.roll(4) == 0);
        let how = [0, 1, 1, 2, 2][dice.roll(5) as usize];
        let capacity = CAPACITIES[dice.roll(3) as usize];
        event.set(EventNotes::SLOT, slot as u64);
        event.set(EventNotes::LIFE, life as u64);
        event.set(EventNotes::NAME, name as u64);
        event.set(EventNotes::HOW, how as u64);
        event.tick(EventNotes::CALLED);
        let opened = match How::BY_NAME[how] {
            How::CreateNew => MemoryMappedFile::create_new(NAMES[name], capacity),
            How::CreateOrOpen => MemoryMappedFile::create_or_open(NAMES[name], capacity),
            _ => MemoryMappedFile::open_existing(NAMES[name]),
        };
        event.tick(EventNotes::RETURNED);
        let result = match (&opened, How::BY_NAME[how]) {
            (Ok(map), _) if map.was_created() => Outcome::Created,
            (Ok(_), _) => Outcome::Joined,
            (Err(e), How::OpenExisting) if e.kind() == ErrorKind::NotFound => Outcome::NotFound,
            (Err(e), How::CreateNew) if e.kind() == ErrorKind::AlreadyExists => Outcome::AlreadyExists,
            (Err(e), how) => {
                notes.complain(&format!("{how:?}: {e}"));
                return;
            }
        };
        event.set(EventNotes::RESULT, result as u64);
        let Ok(map) = opened else { continue };
        match hold(&map, result == Outcome::Created, capacity, round as u64 + 1, |token| {
            event.set(EventNotes::TOKEN, token);
            event.tick(EventNotes::HELD);
        }) {
            Ok(()) => {}
            Err(what) => {
                notes.complain(&what);
                return;
            }
        }
        for _ in 0..dice.roll(4) {
            std::thread::yield_now();
            event.tick(EventNotes::HELD);
        }
        event.tick(EventNotes::HELD);
        drop(map);
        event.tick(EventNotes::CLOSED);
    }
}

/// Checks that a map is whole, agrees on its token, and leaves bytes in it that a later map must not have.
fn hold(
    map: &MemoryMappedFile,
    created: bool,
    capacity: u64,
    own_token: u64,
    agreed: impl Fn(u64),
) -> Result<(), String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    if created && map.capacity() != capacity {
        return Err(format!("a map of {capacity} bytes was created with {}", map.capacity()));
    }
    let view = map.create_view_accessor(0, 0).map_err(|e| said(&e))?;
    let token = crate::word::<AtomicU64>(&view, 0).map_err(|e| said(&e))?;
    let token = match token.compare_exchange(0, own_token, SeqCst, SeqCst) {
        Ok(_) => own_token,
        Err(there) => there,
    };
    agreed(token);
    // Whoever comes first sets the token; the creator alone sets everything else.
    let mut stream = map.create_view_stream(8, 0).map_err(|e| said(&e))?;
    let mut bytes = vec![0; map.capacity() as usize - 8];
    stream.read_exact(&mut bytes).map_err(|e| said(&e))?;
    if created {
        if bytes.iter().any(|byte| *byte != 0) {
            return Err("a new map has bytes that are not zero".to_owned());
        }
        bytes.fill(0xA5);
        bytes[..8].copy_from_slice(&map.capacity().to_ne_bytes());
        stream.rewind().map_err(|e| said(&e))?;
        stream.write_all(&bytes).map_err(|e| said(&e))?;
    } else {
        let noted = view.load::<AtomicU64>(8).map_err(|e| said(&e))?;
        if noted != 0 && found_capacity(noted) != map.capacity() {
            return Err(format!("a map of {noted} bytes was opened with {}", map.capacity()));
        }
    }
    Ok(())
}

/// Returns what happened in a finished race, or what went wrong in it.
pub fn judge(notes: &Notes) -> Result<Tally, String> {
    if let Some(complaint) = notes.complaint() {
        return Err(complaint);
    }
    let never = u64::MAX;
    let mut tally = Tally::default();
    // By name and participant, in the order of their calls; a participant does one thing at a time.
    let mut acts: HashMap<(usize, usize), Vec<Act>> = HashMap::new();
    for round in 0..notes.rounds {
        let Some(event) = notes.event(round).read() else { continue };
        let died = match notes.word(DEATHS + event.slot * LIVES + event.life).load(SeqCst) {
            0 => never,
            died => died,
        };
        match event.result {
            Outcome::Unknown => {}
            Outcome::Created => tally.created += 1,
            Outcome::Joined => tally.joined += 1,
            Outcome::NotFound => tally.not_found += 1,
            Outcome::AlreadyExists => tally.exists += 1,
        }
        let holds = matches!(event.result, Outcome::Created | Outcome::Joined);
        tally.killed_busy += usize::from(event.returned == 0 || holds && event.closed == 0);
        acts.entry((event.name, event.slot)).or_default().push(Act {
            round,
            certainly: if holds && event.held > 0 { (event.returned, event.held) } else { (0, 0) },
            possibly: match event.result {
                // The call that should create a map joins the one that it finds, and lets go again.
                Outcome::AlreadyExists => (event.called, event.returned),
                Outcome::NotFound => (0, 0),
                _ => (event.called, if event.closed > 0 { event.closed } else { died }),
            },
            event,
        });
    }
    tally.killed = (0..SLOTS * LIVES).filter(|at| notes.word(DEATHS + at).load(SeqCst) > 0).count() - SLOTS;
    for list in acts.values_mut() {
        list.sort_by_key(|act| act.event.called);
    }
    for ((name, slot), list) in &acts {
        for act in list {
            let others = (0..SLOTS).filter(|other| other != slot);
            let others: Vec<&[Act]> =
                others.filter_map(|other| acts.get(&(*name, other)).map(Vec::as_slice)).collect();
            act.judge(&others)?;
        }
    }
    Ok(tally)
}

#[derive(Debug)]
struct Act {
    round: usize,
    event: Event,
    /// The first and last moment at which it certainly held a map.
    certainly: (u64, u64),
    /// The first and last moment at which it may have held one.
    possibly: (u64, u64),
}

impl Act {
    fn judge(&self, others: &[&[Self]]) -> Result<(), String> {
        let event = &self.event;
        let around = || {
            others.iter().flat_map(|list| {
                // The last event that began before this one ended, and earlier ones that may overlap it.
                let after = list.partition_point(|act| act.event.called < self.end());
                list[..after].iter().rev().take_while(|act| act.end() > event.called)
            })
        };
        let wrong = |what: &str, other: &Self| {
            Err(format!(
                "{what}\n  round {}: {event:?}\n  round {}: {:?}",
                self.round, other.round, other.event
            ))
        };
        for other in around() {
            let both = self.certainly.0.max(other.certainly.0) < self.certainly.1.min(other.certainly.1);
            if both && event.token != other.event.token {
                return wrong("two maps lived under one name", other);
            }
            let throughout = event.returned > 0
                && other.certainly.0 > 0
                && other.certainly.0 < event.called
                && event.returned < other.certainly.1;
            if throughout && event.result == Outcome::Created {
                return wrong("a map was created under a name that another held", other);
            }
            if throughout && event.result == Outcome::NotFound {
                return wrong("a name was not found while another held it", other);
            }
        }
        if matches!(event.result, Outcome::Joined | Outcome::AlreadyExists) {
            let found = around().any(|other| {
                let alive = other.possibly.0 > 0
                    && other.possibly.0 < event.returned
                    && other.possibly.1 > event.called;
                let same = event.token == 0 || other.event.token == 0 || event.token == other.event.token;
                alive && same
            });
            if !found {
                return Err(format!(
                    "{:?} found a name, or bytes of an earlier map, when nobody held it\n  round {}: {event:?}",
                    event.how, self.round
                ));
            }
        }
        Ok(())
    }

    /// After this moment it had no effect.
    fn end(&self) -> u64 {
        self.possibly.1.max(self.event.returned).max(self.event.held)
    }
}
