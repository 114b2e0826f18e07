//! What an actor is told to do with cells, and what it answers: the messages that go between processes.
//!
//! Relies on nothing; `protocol` and everything that speaks of cells relies on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A cell to open: `OpenCell { secret: true, ..OpenCell::named("x", 1000) }`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OpenCell {
    /// The name; empty for a cell on a file.
    pub name: String,
    /// The file, where there is no name.
    pub path: Option<PathBuf>,
    /// To create it for values of so many bytes if it is not there; 0: it is there.
    pub capacity: u64,
    /// For reading only.
    pub read_only: bool,
    /// `CellOptions::secret`
    pub secret: bool,
    /// `MapOptions::file_mode`
    pub file_mode: Option<u32>,
    /// `MapOptions::owned_by`
    pub owned_by: Option<u32>,
}

impl OpenCell {
    /// Created under a name, if it is not there.
    pub fn named(name: &str, capacity: u64) -> Self {
        Self { name: name.to_owned(), capacity, ..Self::default() }
    }

    /// One that is there.
    pub fn existing(name: &str) -> Self {
        Self::named(name, 0)
    }

    /// One that is there, for reading only.
    pub fn read_only(name: &str) -> Self {
        Self { read_only: true, ..Self::existing(name) }
    }

    /// On a file.
    pub fn on_file(path: &Path, capacity: u64) -> Self {
        Self { path: Some(path.to_owned()), capacity, ..Self::default() }
    }
}

/// What to do when a step is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Stop (SIGSTOP) and go on when told to (SIGCONT). Only on Linux: elsewhere nobody can tell when.
    Stop,
    /// Die (SIGKILL).
    Die,
}

/// A step, how often it is passed before, and what to do then.
pub type Trigger = (u32, u32, End);

/// What a thread of an actor does without pause until it is told to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Takes the writers' lock, publishes so many values, lets go of it.
    Publish {
        /// Values under one lease.
        lease: u32,
        /// The shortest.
        shortest: usize,
        /// The longest.
        longest: usize,
    },
    /// Pins the newest version and checks its bytes.
    Load,
    /// Holds up to five versions and checks them again when it lets go of them.
    Hold,
    /// Copies without a pin.
    Copy,
    /// Waits for the next version, then reads it.
    Wait,
    /// Takes values out, and marks them on the board by their counters.
    Take,
    /// Adds 1 to a mapper's [`Sums`], by `update` and by `compare_and_set` in turn.
    Add,
}

/// A value that only grows, by what each of several participants adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// All together.
    pub sum: u64,
    /// For each participant.
    pub each: Vec<u64>,
}

/// What an actor is told to do with cells. `cell`, `held`: the numbers that opening and holding gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CellCommand {
    /// `Reply::Number`
    Open(OpenCell),
    /// Drops the handle, with its writer and reader.
    Close(u32),
    /// `Reply::Cell`
    Info(u32),
    /// Becomes the writer, if there is no other: `Reply::Number` 1 or 0.
    Lock(u32),
    /// Is no writer any more.
    Unlock(u32),
    /// Publishes values of so many bytes, so often: with the lease it has, else with one for all of them.
    /// `Reply::Number`, the last version.
    Publish {
        /// In which cell.
        cell: u32,
        /// How long.
        length: usize,
        /// How many.
        times: u32,
    },
    /// `Reply::Number`
    Clear(u32),
    /// `Reply::Number` or `Reply::Nothing`
    Take(u32),
    /// Loads with the cell's one reader: `Reply::Number` or `Reply::Nothing`.
    Load(u32),
    /// `Reader::read` with the cell's one reader, likewise.
    Read(u32),
    /// `Cell::copy`, likewise.
    Copy(u32),
    /// Pins the newest version with a reader of its own and keeps it: `Reply::Number`.
    Hold(u32),
    /// Checks a held snapshot: `Reply::Number`, its version.
    CheckHeld(u32),
    /// Lets go of one.
    DropHeld(u32),
    /// `wait_newer`, or `wait_newer_while_written`: `Reply::Number` or `Reply::Nothing`.
    Wait {
        /// In which cell.
        cell: u32,
        /// Newer than this.
        than: u64,
        /// For at most this.
        limit: Duration,
        /// `wait_newer_while_written`
        while_written: bool,
    },
    /// Acts when steps are reached: each trigger counts from when the one before it has acted.
    Arm(Vec<Trigger>),
    /// Starts a thread.
    Start {
        /// On which cell; for [`Work::Add`] the mapper under the name `sums`.
        cell: u32,
        /// What it does.
        work: Work,
        /// The board.
        board: PathBuf,
        /// Its line on the board.
        line: usize,
    },
    /// Ends all threads.
    StopAll,
    /// Sets the mapper `sums` to [`Sums`] of 0 for so many participants, and keeps it open.
    MakeSums(usize),
    /// The sums: `Reply::Sums`.
    ReadSums,
    /// Publishes a value and waits until somebody has taken it, so often.
    Feed {
        /// In which cell.
        cell: u32,
        /// How many.
        times: u32,
    },
    /// Answers each version of one cell with a version of the other: `Reply::Number`, how many waits took
    /// longer than the library's bound on a sleep.
    PingPong {
        /// The cell to wait on.
        wait: u32,
        /// The cell to publish in.
        publish: u32,
        /// Whether to publish first.
        first: bool,
        /// How many.
        rounds: u32,
    },
}

/// What [`CellCommand::Info`] gives: see `CellInfo`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CellState {
    /// The newest version.
    pub version: u64,
    /// Its length, if there is a value.
    pub length: Option<u64>,
    /// Bytes that have memory, as the cell counts.
    pub reserved: u64,
    /// Entries of living readers of other handles.
    pub readers: usize,
    /// Whether another handle lives that wrote.
    pub has_writer: bool,
}
