//! What `cargo xtask test` may take from nothing: README.md promises it, so later work must not eat it.
//!
//! A run that begins with an empty folder for build results is measured; in CI each one does. What it leaves
//! on the disk is the same everywhere. What it takes by the clock counts only where the machine had enough
//! processors and nothing else to do, as the kernel tells: otherwise it is shown and proves nothing.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::{process, tree};

/// The limits.
struct Budget {
    seconds: f64,
    /// Of 1,000,000 bytes, in the folder for build results.
    megabytes: u64,
    /// How many processors the time is for.
    processors: usize,
    /// What others may take of the processors' time.
    others: f64,
}

const BUDGET: Budget = Budget { seconds: 300.0, megabytes: 3000, processors: 2, others: 0.05 };

/// A run that is measured.
struct Run {
    start: Instant,
    processors: Option<Ticks>,
    steps: Vec<(&'static str, f32)>,
}

/// Processor time since the machine, or this program, was started.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    /// Of programs that this one started, and those that they started.
    own: u64,
    /// Of all programs.
    busy: u64,
    idle: u64,
}

/// What a run took.
struct Taken {
    seconds: f64,
    megabytes: Option<u64>,
    processors: usize,
    /// The part of the processors' time that went to other programs.
    others: Option<f64>,
}

static RUN: Mutex<Option<Run>> = Mutex::new(None);

/// Begins to measure, if the folder for build results is empty but for this program.
pub(crate) fn begin() {
    let profile = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    if profile.is_some_and(|profile| is_empty(&tree::build_results(), &profile)) {
        let run = Run { start: Instant::now(), processors: ticks(), steps: Vec::new() };
        *RUN.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }
}

/// Takes note of a step's time.
pub(crate) fn took(step: &'static str, seconds: f32) {
    if let Some(run) = &mut *RUN.lock().unwrap_or_else(PoisonError::into_inner) {
        run.steps.push((step, seconds));
    }
}

/// The step that compares the steps before it with the limits.
pub(crate) fn check() -> Result<(), String> {
    let Some(mut run) = RUN.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        println!(
            "Not measured: that takes a run of all steps before, with an empty folder for build results."
        );
        return Ok(());
    };
    run.steps.sort_by(|one, other| other.1.total_cmp(&one.1));
    let steps: Vec<_> = run.steps.iter().take(5).map(|(name, took)| format!("{name} {took:.0} s")).collect();
    let taken = Taken {
        seconds: run.start.elapsed().as_secs_f64(),
        megabytes: megabytes(&tree::build_results()),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        others: run.processors.and_then(|before| Some(others(before, ticks()?))),
    };
    let (told, wrong) = judge(&taken);
    println!("{told}The longest steps: {}.", steps.join(", "));
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}. Make it cheaper, or move a step to those of `--all`; the limits are in xtask/src/budget.rs.",
        wrong.join(", and ")
    ))
}

/// What to tell of a run, and which limits it broke.
fn judge(taken: &Taken) -> (String, Vec<String>) {
    let mut wrong = Vec::new();
    let space = match taken.megabytes {
        Some(megabytes) => format!("{megabytes} MB on the disk"),
        None => "an unknown amount on the disk (there is no 'du')".to_owned(),
    };
    if taken.megabytes.is_some_and(|megabytes| megabytes > BUDGET.megabytes) {
        wrong.push(format!("it left {space}, and {} MB are allowed", BUDGET.megabytes));
    }
    let seconds = taken.seconds;
    let mut told = format!(
        "From nothing, these steps took {seconds:.0} s of {:.0} and {space} of {}.\n",
        BUDGET.seconds, BUDGET.megabytes
    );
    if seconds > BUDGET.seconds {
        let excuse = match taken.others {
            _ if taken.processors < BUDGET.processors => {
                Some("there are fewer than two processors".to_owned())
            }
            None => Some("whether other programs ran is not known".to_owned()),
            Some(others) if others > BUDGET.others => {
                Some(format!("other programs took {:.0} % of the processors' time", others * 100.0))
            }
            Some(_) => None,
        };
        match excuse {
            Some(excuse) => {
                let _ = writeln!(told, "WARNING: that is too long, but proves nothing: {excuse}.");
            }
            None => wrong.push(format!(
                "it took {seconds:.0} s on a machine with nothing else to do, and {:.0} s are allowed",
                BUDGET.seconds
            )),
        }
    }
    (told, wrong)
}

/// The part of the processors' time between two moments that went to other programs.
fn others(before: Ticks, after: Ticks) -> f64 {
    let busy = after.busy.saturating_sub(before.busy);
    let all = busy + after.idle.saturating_sub(before.idle);
    let own = after.own.saturating_sub(before.own);
    busy.saturating_sub(own) as f64 / all.max(1) as f64
}

/// What the kernel says of processor time; nothing where it is not Linux.
fn ticks() -> Option<Ticks> {
    parse_ticks(&fs::read_to_string("/proc/stat").ok()?, &fs::read_to_string("/proc/self/stat").ok()?)
}

/// See proc(5) for both files.
fn parse_ticks(machine: &str, own: &str) -> Option<Ticks> {
    let line = machine.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; what follows is part of the first two.
    let numbers: Vec<u64> = line.split_whitespace().take(8).map_while(|number| number.parse().ok()).collect();
    let &[user, nice, system, idle, iowait, ref more @ ..] = &numbers[..] else { return None };
    // The name, which may hold anything, ends with the last parenthesis; then comes the third field.
    let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Ticks {
        own: (14..=17).map(field).sum::<Option<u64>>()?,
        busy: user + nice + system + more.iter().sum::<u64>(),
        idle: idle + iowait,
    })
}

/// What a folder takes on the disk; `du` counts a file with two names once, as cargo's programs have.
fn megabytes(folder: &Path) -> Option<u64> {
    let told = process::output(Command::new("du").arg("-sk").arg(folder)).ok()?;
    let kilobytes: u64 = told.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024 / 1_000_000)
}

/// Whether a folder for build results has this program's in a profile's folder, and nothing else.
fn is_empty(results: &Path, profile: &Path) -> bool {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let only_this_profile = entries(results).all(|entry| !entry.path().is_dir() || entry.path() == profile);
    let only_this_program = entries(&profile.join(".fingerprint"))
        .all(|entry| entry.file_name().to_string_lossy().starts_with("xtask-"));
    only_this_profile && only_this_program
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Taken = Taken { seconds: 299.0, megabytes: Some(2999), processors: 2, others: Some(0.01) };

    #[test]
    fn too_much_on_the_disk_is_wrong_on_every_machine() {
        assert!(judge(&FINE).1.is_empty());
        for taken in [
            Taken { megabytes: Some(3001), ..FINE },
            Taken { megabytes: Some(3001), processors: 1, others: None, ..FINE },
        ] {
            let (_, wrong) = judge(&taken);
            assert_eq!(wrong, ["it left 3001 MB on the disk, and 3000 MB are allowed"]);
        }
        assert!(judge(&Taken { megabytes: None, ..FINE }).1.is_empty());
    }

    #[test]
    fn too_long_is_wrong_only_on_an_idle_machine_with_two_processors() {
        let long = Taken { seconds: 301.0, ..FINE };
        assert!(judge(&long).1[0].starts_with("it took 301 s"));
        assert!(!judge(&FINE).0.contains("WARNING"));
        for (excused, why) in [
            (Taken { processors: 1, ..long }, "fewer than two"),
            (Taken { others: None, ..long }, "not known"),
            (Taken { others: Some(0.2), ..long }, "took 20 %"),
        ] {
            let (told, wrong) = judge(&excused);
            assert!(wrong.is_empty() && told.contains("WARNING") && told.contains(why), "{told}");
        }
    }

    #[test]
    fn processor_time_is_read_as_the_kernel_writes_it() {
        let machine = "cpu  100 5 30 400 50 1 2 3 70 0\ncpu0 1 2 3\n";
        let own = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 200 0 0 7 3 20 10 20 0 1 0 12345 0 0";
        let before = parse_ticks(machine, own).unwrap();
        assert_eq!(before, Ticks { own: 40, busy: 141, idle: 450 });
        assert_eq!(parse_ticks("", own), None);
        assert_eq!(parse_ticks(machine, "42 (a) S"), None);
        let after = Ticks { own: before.own + 70, busy: before.busy + 80, idle: before.idle + 20 };
        assert!((others(before, after) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_folder_with_other_results_than_this_programs_is_not_empty() {
        let results = std::env::temp_dir().join(format!("handover-xtask-budget-{}", std::process::id()));
        let profile = results.join("debug");
        let make = |path: &Path| fs::create_dir_all(path).unwrap();
        make(&profile.join(".fingerprint/xtask-0123"));
        fs::write(results.join("CACHEDIR.TAG"), "").unwrap();
        let mut outcomes = vec![is_empty(&results, &profile)];
        make(&results.join("release"));
        outcomes.push(is_empty(&results, &profile));
        fs::remove_dir(results.join("release")).unwrap();
        make(&profile.join(".fingerprint/serde-4567"));
        outcomes.push(is_empty(&results, &profile));
        fs::remove_dir_all(&results).unwrap();
        assert_eq!(outcomes, [true, false, false]);
    }
}
