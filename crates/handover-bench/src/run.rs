//! The run: starts the processes of each case, in rounds of random order, and turns their samples into the
//! record.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use crate::clock::percentile;
use crate::folder::{Folder, PREFIX, remove_leftovers};
use crate::payload::SIZES;
use crate::peers::{Redis, Server};
use crate::place::Stage;
use crate::record::{Figure, Kind, Record, Subject};
use crate::subject::{Measure, Outcome, Subject as _};
use crate::subjects::{ALL, Listed};
use crate::worker::{Plan, Role, Samples, Task, make_folder, stage_path};
use crate::{beside, clock, machine, table, targets};

const USAGE: &str = "\
handover-bench [--quick] [--only SUBJECT]… [--beside] [--output FOLDER]

  --quick           a short run, of less than 3 minutes
  --only SUBJECT    measure subjects whose name contains this, and the bare loops
  --beside          measure only what a name costs beside many others
  --output FOLDER   where the report goes; default: target/bench
  --list            the subjects
";

/// With this as its first argument the program is a process of a case; the second argument is its task.
const WORKER: &str = "worker";
/// The prefix of figures of many readers.
const READERS: [u32; 4] = [1, 2, 4, 8];

struct Options {
    quick: bool,
    only: Vec<String>,
    /// Only what a name costs beside others.
    beside: bool,
    output: PathBuf,
}

impl Options {
    /// Whether what a name costs beside others is measured.
    fn measures_beside(&self) -> bool {
        self.beside || self.only.is_empty() || self.only.iter().any(|only| "handover".contains(only.as_str()))
    }
}

/// The program.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [role, task] if role == WORKER => work(task),
        [role, task] if role == beside::PROCESS => beside::work(task).map(|()| true),
        _ => options(&arguments).and_then(|options| options.map_or(Ok(true), |options| bench(&options))),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Outcome<Option<Options>> {
    let mut options =
        Options { quick: false, only: Vec::new(), beside: false, output: "target/bench".into() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n\n{USAGE}"));
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--only" => options.only.push(value()?.clone()),
            "--beside" => options.beside = true,
            "--output" => options.output = value()?.into(),
            "--list" => {
                for subject in ALL {
                    println!("{:<28} {}", subject.name, (subject.what)());
                }
                return Ok(None);
            }
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("unknown argument {other:?}\n\n{USAGE}").into()),
        }
    }
    Ok(Some(options))
}

/// Does the task of one process, and prints its samples.
fn work(task: &str) -> Outcome<bool> {
    let task: Task = serde_json::from_str(task)?;
    let subject = ALL.iter().find(|subject| subject.name == task.subject).ok_or("no such subject")?;
    let samples = (subject.run)(&task)?;
    println!("{}", serde_json::to_string(&samples)?);
    Ok(true)
}

/// A subject with a payload.
struct Case {
    subject: &'static Listed,
    payload: String,
    size: usize,
    plan: Plan,
    /// In how many rounds it is run.
    rounds: usize,
}

impl Case {
    fn new(subject: &'static Listed, payload: &str, size: usize, plan: Plan, rounds: usize) -> Self {
        Self { subject, payload: payload.to_owned(), size, plan, rounds }
    }
}

/// How long a run takes.
struct Length {
    rounds: usize,
    time: Duration,
    most: usize,
    /// For the series of sizes.
    series_rounds: usize,
    series_time: Duration,
    sizes: Vec<usize>,
    /// After this the rounds end, whatever remains of them; the first is always whole.
    limit: Duration,
}

/// Sizes from 8 B to 64 MiB, each `factor` times the one before, and the last.
fn sizes(factor: usize) -> Vec<usize> {
    const LAST: usize = 64 << 20;
    let mut sizes: Vec<usize> =
        std::iter::successors(Some(8), |size| Some(size * factor)).take_while(|size| *size < LAST).collect();
    sizes.push(LAST);
    sizes
}

impl Length {
    fn new(quick: bool) -> Self {
        if quick {
            Self {
                rounds: 3,
                time: Duration::from_millis(10),
                most: 2000,
                series_rounds: 2,
                series_time: Duration::from_millis(4),
                sizes: sizes(8),
                limit: Duration::from_secs(150),
            }
        } else {
            Self {
                rounds: 9,
                time: Duration::from_millis(20),
                most: 2000,
                series_rounds: 4,
                series_time: Duration::from_millis(8),
                sizes: sizes(4),
                limit: Duration::from_secs(570),
            }
        }
    }
}

fn cases(options: &Options, length: &Length) -> Vec<Case> {
    let mut cases = Vec::new();
    let wanted = |subject: &&Listed| {
        options.only.is_empty()
            || subject.kind == Kind::Bare
            || options.only.iter().any(|only| subject.name.contains(only.as_str()))
    };
    for subject in ALL.iter().filter(wanted) {
        for (payload, size) in SIZES {
            let measures = (subject.measures)(size);
            if !measures.is_empty() {
                cases.push(Case::new(subject, payload, size, Plan::Payload, length.rounds));
            }
            if measures.contains(&Measure::Readers) {
                for readers in READERS {
                    cases.push(Case::new(subject, payload, size, Plan::Readers(readers), length.rounds));
                }
            }
            if measures.contains(&Measure::NoSystemCall) {
                cases.push(Case::new(subject, payload, size, Plan::NoSystemCall, 1));
            }
        }
        for size in &length.sizes {
            if !(subject.series)(*size).is_empty() {
                let payload = size.to_string();
                cases.push(Case::new(subject, &payload, *size, Plan::Series, length.series_rounds));
            }
        }
    }
    cases
}

/// What samples belong to: subject, payload, figure.
type Key = (&'static str, String, String);

/// What a run found.
#[derive(Default)]
struct Found {
    samples: BTreeMap<Key, Vec<f64>>,
    sizes: BTreeMap<String, usize>,
    /// Whether publishing made no system call.
    no_system_call: Option<bool>,
    failures: Vec<String>,
}

struct Runner<'a> {
    length: &'a Length,
    folder: PathBuf,
    program: PathBuf,
    processors: Vec<usize>,
    nanos_per_tick: f64,
    cases_run: usize,
}

fn bench(options: &Options) -> Outcome<bool> {
    if cfg!(debug_assertions) {
        eprintln!("this is a build without optimisation: its figures say nothing");
    }
    let begun = Instant::now();
    let date = machine::date();
    let machine = machine::describe()?;
    let processors = machine::processors()?;
    if processors.len() < 2 {
        return Err("two processors are needed: one for the producer and one for the consumer".into());
    }
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    remove_leftovers(&base);
    let folder = Folder(base.join(format!("{PREFIX}{}", std::process::id())));
    make_folder(&folder.0)?;
    let length = Length::new(options.quick);
    let mut all = if options.beside { Vec::new() } else { cases(options, &length) };
    // If it is missing, it is left out and everything else is measured.
    let server = (!options.beside).then(|| Server::start(&folder.0));
    if let Some(Err(error)) = &server {
        eprintln!("Redis is not measured: {error}");
        all.retain(|case| case.subject.name != Redis::NAME);
    }
    let mut runner = Runner {
        length: &length,
        folder: folder.0.clone(),
        program: std::env::current_exe()?,
        processors,
        nanos_per_tick: clock::nanos_per_tick(),
        cases_run: 0,
    };
    let mut found = Found::default();
    let mut random = fastrand::Rng::new();
    let total: usize = all.iter().map(|case| case.rounds).sum();
    let mut progress = Progress::new(total);
    'rounds: for round in 0..length.rounds {
        let mut order: Vec<&Case> = all.iter().filter(|case| round < case.rounds).collect();
        random.shuffle(&mut order);
        for case in order {
            if round > 0 && begun.elapsed() > length.limit {
                progress.line(&format!("the time is up in round {} of {}", round + 1, length.rounds));
                break 'rounds;
            }
            progress.step(&format!(
                "round {}/{}: {} {}",
                round + 1,
                length.rounds,
                case.subject.name,
                case.payload
            ));
            found.sizes.insert(case.payload.clone(), case.size);
            if let Err(error) = runner.run(case, &mut found) {
                let failure = format!("{} {} ({:?}): {error}", case.subject.name, case.payload, case.plan);
                progress.line(&failure);
                found.failures.push(failure);
            }
        }
    }
    progress.end();
    drop(server);
    let (beside, together) = if options.measures_beside() {
        let run = beside::Run {
            program: &runner.program,
            folder: &folder.0,
            processor: runner.processors[0],
            nanos_per_tick: runner.nanos_per_tick,
            quick: options.quick,
        };
        run.all(|what| progress.line(what)).unwrap_or_else(|error| {
            found.failures.push(format!("beside other names: {error}"));
            (Vec::new(), None)
        })
    } else {
        (Vec::new(), None)
    };
    let figures = figures(&found);
    let measured = |subject: &&Listed| figures.iter().any(|figure| figure.subject == subject.name);
    let subjects = ALL.iter().filter(measured).map(|subject| Subject {
        name: subject.name.to_owned(),
        version: (subject.version)(),
        what: (subject.what)(),
        kind: subject.kind,
    });
    let mut targets = targets::all(&figures, found.no_system_call, machine.processors);
    targets.extend(targets::beside(&beside, together));
    let record = Record {
        machine,
        command: format!(
            "cargo xtask bench{}{}",
            if options.quick { " --quick" } else { "" },
            if options.beside { " --beside" } else { "" }
        ),
        quick: options.quick,
        date,
        subjects: subjects.collect(),
        figures,
        beside,
        together,
        targets,
    };
    fs::create_dir_all(&options.output)?;
    let path = options.output.join("report.json");
    fs::write(&path, serde_json::to_string_pretty(&record)?)?;
    crate::report::write(&record, &options.output)?;
    print!("{}", table::summary(&record));
    println!("\n{} in {:.0} s", path.display(), begun.elapsed().as_secs_f64());
    for failure in &found.failures {
        eprintln!("not measured: {failure}");
    }
    Ok(found.failures.is_empty())
}

impl Runner<'_> {
    /// Runs a case once, and adds its samples.
    fn run(&mut self, case: &Case, found: &mut Found) -> Outcome<()> {
        self.cases_run += 1;
        let folder = Folder(self.folder.join(self.cases_run.to_string()));
        make_folder(&folder.0)?;
        Stage::create(&stage_path(&folder.0))?;
        let readers = match case.plan {
            Plan::Readers(readers) => readers,
            Plan::NoSystemCall => 0,
            Plan::Payload | Plan::Series => 1,
        };
        let time = if case.plan == Plan::Series { self.length.series_time } else { self.length.time };
        let roles = std::iter::once(Role::Producer).chain((0..readers).map(Role::Consumer));
        let mut processes = Vec::new();
        for (index, role) in roles.enumerate() {
            let processor = match role {
                Role::Producer => self.processors[0],
                // The first reader has a processor without the producer, and all share evenly.
                Role::Consumer(reader) => self.processors[(reader as usize + 1) % self.processors.len()],
            };
            let task = Task {
                subject: case.subject.name.to_owned(),
                size: case.size,
                plan: case.plan,
                role,
                parties: readers + 1,
                folder: folder.0.clone(),
                processor: Some(processor),
                nanos_per_tick: self.nanos_per_tick,
                time,
                most: self.length.most,
            };
            processes.push(self.start(&task, &folder.0, index)?);
        }
        let outcome = wait(&mut processes);
        if case.plan == Plan::NoSystemCall {
            // The filter ends the process with this signal; any other end means that there was no filter.
            let found_one = matches!(&outcome, Err(why) if why.to_string().contains("signal 31"));
            if found_one || outcome.is_ok() {
                found.no_system_call = Some(!found_one);
                return Ok(());
            }
        }
        outcome?;
        let mut rate = 0.0;
        for process in &processes {
            let samples: Vec<Samples> = serde_json::from_str(&fs::read_to_string(&process.out)?)?;
            for Samples { figure, samples } in samples {
                if matches!(case.plan, Plan::Readers(_)) {
                    rate += samples.iter().sum::<f64>();
                } else {
                    let key = (case.subject.name, case.payload.clone(), figure);
                    found.samples.entry(key).or_default().extend(samples);
                }
            }
        }
        if matches!(case.plan, Plan::Readers(_)) {
            let key = (case.subject.name, case.payload.clone(), format!("readers_{readers}"));
            found.samples.entry(key).or_default().push(1.0 / rate);
        }
        Ok(())
    }

    fn start(&self, task: &Task, folder: &Path, index: usize) -> Outcome<Process> {
        let [out, error] = ["out", "error"].map(|name| folder.join(format!("{name}-{index}")));
        let child = Command::new(&self.program)
            .args([WORKER, &serde_json::to_string(task)?])
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&error)?)
            .spawn()?;
        let id = Pid::from_raw(child.id() as i32).ok_or("a process without a number")?;
        Ok(Process { id, out, error, ended: false })
    }
}

/// A process of a case.
struct Process {
    id: Pid,
    out: PathBuf,
    error: PathBuf,
    ended: bool,
}

/// Waits for all, asleep. When one fails, ends the others.
fn wait(processes: &mut [Process]) -> Outcome<()> {
    let mut failed = None;
    while processes.iter().any(|process| !process.ended) {
        // Waits for any child: unlike polling, this takes nothing from the processes that measure.
        let Some((id, status)) = waitpid(None, WaitOptions::empty())? else { continue };
        let Some(process) = processes.iter_mut().find(|process| process.id == id) else { continue };
        process.ended = true;
        if status.exit_status() == Some(0) || failed.is_some() {
            continue;
        }
        failed = Some(why(process, status));
        for other in processes.iter().filter(|process| !process.ended) {
            let _ = kill_process(other.id, Signal::KILL);
        }
    }
    failed.map_or(Ok(()), |why| Err(why.into()))
}

fn why(process: &Process, status: WaitStatus) -> String {
    let said = fs::read_to_string(&process.error).unwrap_or_default();
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("note: ")).map(str::trim).collect();
    let said = said.join(" ");
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => format!("ended by signal {signal}; {said}"),
        (Some(code), _) if said.is_empty() => format!("ended with {code}"),
        _ => said,
    }
}

/// Shows how far the run is: one changing line on a terminal, otherwise a line for each tenth.
struct Progress {
    total: usize,
    done: usize,
    start: Instant,
    is_terminal: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, done: 0, start: Instant::now(), is_terminal: std::io::stderr().is_terminal() }
    }

    fn step(&mut self, what: &str) {
        let percent = self.done * 100 / self.total.max(1);
        let seconds = self.start.elapsed().as_secs();
        if self.is_terminal {
            eprint!("\r\x1b[K{percent:3} % {seconds:4} s  {what}");
            let _ = std::io::stderr().flush();
        } else if self.done * 10 / self.total != (self.done.max(1) - 1) * 10 / self.total || self.done == 0 {
            eprintln!("{percent:3} % after {seconds} s");
        }
        self.done += 1;
    }

    fn line(&self, text: &str) {
        eprintln!("{}{text}", if self.is_terminal { "\r\x1b[K" } else { "" });
    }

    fn end(&self) {
        if self.total == 0 {
            return;
        }
        self.line(&format!("{} cases in {} s", self.total, self.start.elapsed().as_secs()));
    }
}

fn figures(found: &Found) -> Vec<Figure> {
    let mut figures: Vec<Figure> = found
        .samples
        .iter()
        .map(|((subject, payload, figure), samples)| {
            let mut sorted = samples.clone();
            sorted.sort_by(f64::total_cmp);
            let round = |value: f64| (value * 1000.0).round() / 1000.0;
            let percentiles: Vec<f64> =
                (0..=100).map(|at| round(percentile(&sorted, f64::from(at) / 100.0))).collect();
            Figure {
                subject: (*subject).to_owned(),
                payload: payload.clone(),
                bytes: found.sizes.get(payload).map_or(0, |size| *size as u64),
                figure: figure.clone(),
                samples: sorted.len() as u64,
                min: percentiles[0],
                median: percentiles[50],
                p99: percentiles[99],
                // The series of sizes is drawn from its medians.
                percentiles: if sorted.len() >= 20 && payload.parse::<usize>().is_err() {
                    percentiles
                } else {
                    Vec::new()
                },
                bare: None,
                ratio: None,
            }
        })
        .collect();
    let medians: BTreeMap<Key, f64> = figures
        .iter()
        .filter_map(|figure| {
            let subject = ALL.iter().find(|subject| subject.name == figure.subject)?;
            Some(((subject.name, figure.payload.clone(), figure.figure.clone()), figure.median))
        })
        .collect();
    for figure in &mut figures {
        let is_bare = ALL.iter().any(|subject| subject.name == figure.subject && subject.kind == Kind::Bare);
        let Some(bare) = targets::bare(&figure.figure, figure.bytes).filter(|_| !is_bare) else { continue };
        // The bare loops ignore sleeping readers.
        let same = if figure.figure == "publish_unread" { "publish" } else { &figure.figure };
        if let Some(median) = medians.get(&(bare, figure.payload.clone(), same.to_owned())) {
            figure.bare = Some(bare.to_owned());
            figure.ratio = Some((figure.median / median * 1000.0).round() / 1000.0);
        }
    }
    let order = |figure: &Figure| {
        let subject = ALL.iter().position(|subject| subject.name == figure.subject);
        (subject, figure.payload.parse::<u64>().is_ok(), figure.bytes)
    };
    figures.sort_by_key(order);
    figures
}
