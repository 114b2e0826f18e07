//! What a name costs beside many others: opening, creating, closing and finding nothing.
//!
//! Each situation has a directory of its own, filled by processes that hold the other names (or held them and
//! were killed). One process then measures by turns in that directory and in an empty one, so that whatever
//! else the machine does hits both alike; the ratio of the two medians counts. At the end many processes open
//! one name at once.

use std::fs;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use handover::Scope;
use handover::map::MapOptions;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, now, percentile};
use crate::folder::Folder;
use crate::record::{Beside, Others, Together};
use crate::subject::Outcome;
use crate::worker::make_folder;

/// With this as its first argument the program is one of the processes here; the second is its task.
pub(crate) const PROCESS: &str = "beside";

/// What is measured, in the order of the report.
pub(crate) const OPERATIONS: [&str; 5] = ["open", "create", "close", "close, the last", "find nothing"];

/// The least map.
const CAPACITY: u64 = 4096;
/// One process holds at most so many names.
const MOST_HELD: u64 = 15_000;
/// How many processes open one name at once.
const TOGETHER: usize = 200;
/// Operations of each kind in one turn.
const TURN: usize = 100;
/// The user that has the other user's names: nobody.
const NOBODY: u32 = 65_534;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Task {
    /// Makes names and holds them until the input ends.
    Hold { directory: PathBuf, others: Others, count: u64 },
    /// Measures by turns in both directories.
    Measure { directories: [PathBuf; 2], turns: usize, processor: usize, nanos_per_tick: f64 },
    /// Opens the name when the input ends.
    Open { directory: PathBuf },
}

/// Times of each operation, in nanoseconds.
type Times = [Vec<f64>; OPERATIONS.len()];

/// Does the task of one process.
pub(crate) fn work(task: &str) -> Outcome<()> {
    match serde_json::from_str(task)? {
        Task::Hold { directory, others, count } => hold(&directory, others, count),
        Task::Measure { directories, turns, processor, nanos_per_tick } => {
            let mut set = rustix::thread::CpuSet::new();
            set.set(processor);
            rustix::thread::sched_setaffinity(None, &set)?;
            let measured = measure(&directories, turns, Clock::new(nanos_per_tick))?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        Task::Open { directory } => open(&directory),
    }
}

fn wait_for_the_end_of_input() -> Outcome<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// How many files this process may have open at most.
fn limit_of_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

fn hold(directory: &Path, others: Others, count: u64) -> Outcome<()> {
    let limit = Some(limit_of_files());
    let limit = rustix::process::Rlimit { current: limit, maximum: limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    if others == Others::OtherUser {
        // SAFETY: the call takes a number; this process has one thread.
        if unsafe { libc::setuid(NOBODY) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    let scope = if others == Others::OtherScope { Scope::Global } else { Scope::User };
    // Others cost no memory but for their record.
    let options = MapOptions::new().directory(directory).scope(scope).delay_allocate_pages(true);
    let process = std::process::id();
    let held = (0..count)
        .map(|at| options.create_new(&format!("other {process} {at}"), CAPACITY))
        .collect::<handover::Result<Vec<_>>>()?;
    println!("held {}", held.len());
    wait_for_the_end_of_input()?;
    // It is the run's end, and the directory goes as a whole.
    std::process::exit(0);
}

fn measure(directories: &[PathBuf; 2], turns: usize, clock: Clock) -> Outcome<[Times; 2]> {
    let mut measured: [Times; 2] = Default::default();
    // The first turn of each warms up.
    for turn in 0..=turns {
        for (directory, times) in directories.iter().zip(&mut measured) {
            let done = operations(directory, clock)?;
            if turn > 0 {
                for (times, more) in times.iter_mut().zip(done) {
                    times.extend(more);
                }
            }
        }
    }
    Ok(measured)
}

/// One turn.
fn operations(directory: &Path, clock: Clock) -> Outcome<Times> {
    let options = MapOptions::new().directory(directory);
    let [mut open, mut create, mut close, mut close_last, mut nothing] = Times::default();
    for at in 0..TURN {
        let name = format!("one {at}");
        let start = now();
        let first = options.create_new(&name, CAPACITY)?;
        let created = now();
        let second = options.open_existing(&name)?;
        let opened = now();
        drop(second);
        let closed = now();
        drop(first);
        let gone = now();
        let refused = options.open_existing(&name);
        let refused_at = now();
        if !refused.is_err_and(|error| error.kind() == handover::ErrorKind::NotFound) {
            return Err(format!("{name:?} outlives its holders").into());
        }
        create.push(clock.between(start, created));
        open.push(clock.between(created, opened));
        close.push(clock.between(opened, closed));
        close_last.push(clock.between(closed, gone));
        nothing.push(clock.between(gone, refused_at));
    }
    Ok([open, create, close, close_last, nothing])
}

const ONE: &str = "one for all";

fn open(directory: &Path) -> Outcome<()> {
    println!("ready");
    wait_for_the_end_of_input()?;
    let opened = MapOptions::new().directory(directory).open_existing(ONE);
    match &opened {
        Ok(_) => println!("opened"),
        Err(error) => println!("failed: {error}"),
    }
    Ok(())
}

// ---- the process that starts the others

/// A process of this file, that is to be killed when nobody needs it any more.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(program: &Path, task: &Task, input: Stdio) -> Outcome<Self> {
        let mut child = Command::new(program)
            .args([PROCESS, &serde_json::to_string(task)?])
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("its output was piped")?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("a process ended: {}", self.child.wait()?).into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run is to measure.
pub(crate) struct Run<'a> {
    pub(crate) program: &'a Path,
    /// The run's folder; each situation has one within.
    pub(crate) folder: &'a Path,
    pub(crate) processor: usize,
    pub(crate) nanos_per_tick: f64,
    pub(crate) quick: bool,
}

impl Run<'_> {
    fn situations(&self) -> Vec<(Others, u64)> {
        let many = if self.quick { 10_000 } else { 100_000 };
        let mut situations = vec![
            (Others::Living, 1000),
            (Others::Living, many),
            (Others::Dead, many),
            (Others::OtherScope, many),
        ];
        if rustix::process::geteuid().is_root() {
            situations.push((Others::OtherUser, many));
        }
        situations
    }

    /// Measures all, and gives the lines of the table.
    pub(crate) fn all(&self, mut tell: impl FnMut(&str)) -> Outcome<(Vec<Beside>, Option<Together>)> {
        let mut lines = Vec::new();
        let mut none: Times = Times::default();
        let mut together = None;
        let most = self.situations().into_iter().rfind(|(others, _)| *others == Others::Living);
        for situation @ (others, count) in self.situations() {
            tell(&format!("beside {count} {}", others.told()));
            let folder = Folder(self.folder.join(format!("beside-{count}-{others:?}")));
            make_folder(&folder.0)?;
            let directory = self.room(&folder.0, "filled")?;
            let empty = self.room(&folder.0, "empty")?;
            let holders = self.fill(&directory, others, count)?;
            let turns = if self.quick { 20 } else { 60 };
            let directories = [empty, directory.clone()];
            let task = Task::Measure {
                directories,
                turns,
                processor: self.processor,
                nanos_per_tick: self.nanos_per_tick,
            };
            let mut process = Process::start(self.program, &task, Stdio::null())?;
            let [alone, found]: [Times; 2] = serde_json::from_str(&process.line()?)?;
            lines.extend(lines_of(others, count, &found, Some(&alone)));
            for (all, more) in none.iter_mut().zip(alone) {
                all.extend(more);
            }
            if Some(situation) == most {
                together = Some(self.together(&directory, count)?);
            }
            drop(holders);
        }
        let mut all = lines_of(Others::None, 0, &none, None);
        all.extend(lines);
        Ok((all, together))
    }

    /// A directory for names, where every user may make one.
    fn room(&self, folder: &Path, name: &str) -> Outcome<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let room = folder.join(name);
        fs::create_dir(&room)?;
        for (path, mode) in [(&*room, 0o1777), (folder, 0o711), (self.folder, 0o711)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(room)
    }

    /// Fills a directory with names. Those live as long as what this returns.
    fn fill(&self, directory: &Path, others: Others, count: u64) -> Outcome<Vec<Process>> {
        let each = MOST_HELD.min(limit_of_files().saturating_sub(64) / 2).max(1);
        let mut holders = Vec::new();
        let mut left = count;
        while left > 0 {
            let count = left.min(each);
            let task = Task::Hold { directory: directory.to_owned(), others, count };
            let mut holder = Process::start(self.program, &task, Stdio::piped())?;
            // One after the other: what they do at once says nothing here.
            let held = holder.line()?;
            if held != format!("held {count}") {
                return Err(format!("a process says {held:?}").into());
            }
            holders.push(holder);
            left -= count;
        }
        if others == Others::Dead {
            // All at once: a process that makes names removes what the dead left.
            for holder in &mut holders {
                holder.child.kill()?;
            }
            holders.clear();
        }
        Ok(holders)
    }

    /// Many processes open one name at once.
    fn together(&self, directory: &Path, beside: u64) -> Outcome<Together> {
        let one = MapOptions::new().directory(directory).create_new(ONE, CAPACITY)?;
        let (reader, writer): (_, PipeWriter) = std::io::pipe()?;
        let task = Task::Open { directory: directory.to_owned() };
        let mut processes = Vec::new();
        for _ in 0..TOGETHER {
            processes.push(Process::start(self.program, &task, reader.try_clone()?.into())?);
        }
        for process in &mut processes {
            process.line()?;
        }
        let start = Instant::now();
        drop(writer);
        let mut failures = Vec::new();
        for process in &mut processes {
            let said = process.line()?;
            if said != "opened" {
                failures.push(said);
            }
        }
        let nanoseconds = start.elapsed().as_nanos() as f64;
        drop(one);
        if let Some(first) = failures.first() {
            let _ = writeln!(std::io::stderr(), "of {TOGETHER} processes {} {first}", failures.len());
        }
        Ok(Together { processes: TOGETHER as u64, beside, failed: failures.len() as u64, nanoseconds })
    }
}

fn lines_of(others: Others, names: u64, times: &Times, alone: Option<&Times>) -> Vec<Beside> {
    let sorted = |times: &Vec<f64>| {
        let mut sorted = times.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let mut lines = Vec::new();
    for (at, operation) in OPERATIONS.iter().enumerate() {
        let samples = sorted(&times[at]);
        let median = percentile(&samples, 0.5);
        lines.push(Beside {
            others,
            names,
            operation: (*operation).to_owned(),
            samples: samples.len() as u64,
            min: round(samples[0]),
            median: round(median),
            p99: round(percentile(&samples, 0.99)),
            ratio: alone.map(|alone| round(median / percentile(&sorted(&alone[at]), 0.5))),
        });
    }
    lines
}
