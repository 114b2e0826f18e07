//! The project's own tasks: `cargo xtask help` lists them.
//!
//! A task is a list of steps (`steps`), run in order up to the first that fails. Relies on the standard
//! library and on the tools of the Rust toolchain; what else a step takes, it says (`needs`).

#![allow(clippy::disallowed_methods, reason = "those ways to start a process are disallowed to tests")]

mod bench;
mod budget;
mod commands;
mod comments;
mod csharp;
mod debian;
mod dependencies;
mod instructions;
mod layers;
mod leftovers;
mod macos;
mod missing;
mod needs;
mod portability;
mod process;
mod source;
mod steps;
mod toolchain;
mod tree;
mod windows;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use steps::Step;

/// What `cargo xtask NAME` does. A new task is a line here.
struct Task {
    name: &'static str,
    about: &'static str,
    steps: &'static [Step],
    /// Steps that are taken with `--all`, or where they are named.
    more: &'static [Step],
    /// Runs cargo in the task's way, with arguments given after a `--`.
    cargo: Option<Cargo>,
}

type Cargo = fn(&[String]) -> Result<(), String>;

/// The option that has all steps of a task taken.
const ALL: &str = "--all";

const TASKS: &[Task] = &[
    Task {
        name: "test",
        about: "what can be checked in five minutes with the Rust toolchain alone; with --all, everything",
        steps: steps::TEST,
        more: steps::TEST_MORE,
        cargo: None,
    },
    Task {
        name: "model",
        about: "check the cell's protocol with loom",
        steps: steps::MODEL_ONLY,
        more: &[],
        cargo: None,
    },
    Task {
        name: "soak",
        about: "long runs of the tests with kills, stops and random sequences",
        steps: steps::SOAK,
        more: &[],
        cargo: None,
    },
    Task {
        name: "instructions",
        about: "count the hot paths' instructions (--renew: write their table anew)",
        steps: steps::INSTRUCTIONS_ONLY,
        more: &[],
        cargo: None,
    },
    Task {
        name: "readme",
        about: "run the commands shown in README.md and docs/",
        steps: steps::README,
        more: &[],
        cargo: None,
    },
    Task {
        name: "windows",
        about: "build for Windows and run all tests under Wine",
        steps: steps::WINDOWS_ONLY,
        more: &[],
        cargo: Some(windows::cargo),
    },
    Task {
        name: "macos",
        about: "check types and lints for macOS",
        steps: steps::MACOS_ONLY,
        more: &[],
        cargo: Some(macos::cargo),
    },
    Task {
        name: "csharp",
        about: "hand values between C# and Rust programs, both ways",
        steps: steps::CSHARP_ONLY,
        more: &[],
        cargo: None,
    },
];

/// `cargo xtask fuzz [TARGET] [--minutes N] [--seed S]`.
const FUZZ: &str = "fuzz";

/// `cargo xtask bench [--quick | --beside] [--install]`.
const BENCH: &str = "bench";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let passed_on = arguments.iter().position(|argument| argument == "--").map(|at| {
        let rest = arguments.split_off(at + 1);
        arguments.pop();
        rest
    });
    let all = take(&mut arguments, ALL);
    if take(&mut arguments, missing::INSTALL) || all {
        missing::install_from_now_on();
    }
    let (name, only) = match &arguments[..] {
        [name, ..] if ["help", "--help", "-h"].contains(&name.as_str()) => {
            print!("{}", help());
            return ExitCode::SUCCESS;
        }
        [name, only @ ..] => (name, only),
        [] => {
            eprint!("{}", help());
            return ExitCode::from(2);
        }
    };
    // What takes arguments of its own.
    let own = match &arguments[..] {
        [name, arguments @ ..] if name == FUZZ => Some(steps::fuzz(arguments)),
        [name, arguments @ ..] if name == BENCH => Some(bench::run(arguments)),
        [name, renew] if name == "instructions" && renew == "--renew" => Some(instructions::renew()),
        _ => None,
    };
    if let Some(outcome) = own {
        return match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let Some(task) = TASKS.iter().find(|task| task.name == *name) else {
        eprint!("there is no task {name:?}\n\n{}", help());
        return ExitCode::from(2);
    };
    if let (Some(arguments), Some(cargo)) = (&passed_on, task.cargo) {
        return match cargo(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    match choose(task, only, all) {
        Ok((steps, left_out)) if run(task, &steps, left_out) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}; 'cargo xtask help' lists the steps");
            ExitCode::from(2)
        }
    }
}

/// The steps of a task to take, and those that only `--all` takes.
fn choose<'a>(task: &'a Task, only: &[String], all: bool) -> Result<(Vec<&'a Step>, &'a [Step]), String> {
    let steps = task.steps.iter().chain(task.more);
    if let Some(unknown) = only.iter().find(|only| steps.clone().all(|step| step.name != **only)) {
        return Err(format!("task {} has no step {unknown:?}", task.name));
    }
    match (only, all) {
        (_, true) if task.more.is_empty() => {
            Err(format!("{ALL} is for 'test': the task {} has no more steps", task.name))
        }
        ([_, ..], true) => Err(format!("{ALL} takes all steps: name none, or leave it out")),
        ([], true) => Ok((steps.collect(), &[])),
        ([], false) => Ok((task.steps.iter().collect(), task.more)),
        (only, false) => Ok((steps.filter(|step| only.iter().any(|only| only == step.name)).collect(), &[])),
    }
}

/// Whether an option is given; it is then taken away.
fn take(arguments: &mut Vec<String>, option: &str) -> bool {
    let before = arguments.len();
    arguments.retain(|argument| argument != option);
    arguments.len() < before
}

fn help() -> String {
    use std::fmt::Write;
    let install = missing::INSTALL;
    let mut text = format!(
        "cargo xtask TASK [STEP…] [{install}]: run a task, or only some of its steps;\n    \
         a step that lacks something is skipped, which is said at the end; with {install}, what is missing is\n    \
         told and installed before the first step, as root on Debian, and no step is skipped\n\
         cargo xtask test {ALL}: the steps marked with a + too, with {install}\n\
         cargo xtask windows|macos -- ARGUMENTS: cargo for that system, such as 'test --package handover'\n\n"
    );
    let mut line = |name: &str, about: &str| {
        let _ = writeln!(text, "  {name:<12} {about}");
    };
    for task in TASKS {
        line(task.name, task.about);
        for step in task.steps {
            line("", &format!("- {}: {}", step.name, step.about));
        }
        for step in task.more {
            line("", &format!("+ {}: {}", step.name, step.about));
        }
    }
    line(FUZZ, "feed targets with new inputs: fuzz [TARGET…] [--minutes N] [--seed S] (5 minutes for all)");
    line(
        BENCH,
        "measure handover beside bare loops and its peers: bench [--quick | --beside] (10 minutes, quick: 3; --beside: only names beside many others)",
    );
    line("help", "this text");
    text
}

/// Runs steps in order; says whether all passed.
fn run(task: &Task, steps: &[&Step], left_out: &[Step]) -> bool {
    if missing::installs() {
        let needs: Vec<_> = steps.iter().flat_map(|step| step.needs).copied().flatten().copied().collect();
        if let Err(why) = needs::install(&needs) {
            eprintln!("{why}");
            return false;
        }
    }
    if task.steps.iter().all(|step| steps.iter().any(|taken| taken.name == step.name)) {
        budget::begin();
    }
    let start = Instant::now();
    let mut skipped = 0;
    for (at, step) in steps.iter().enumerate() {
        println!("\n== [{}/{}] {}: {}", at + 1, steps.len(), step.name, step.about);
        let _ = std::io::stdout().flush();
        let since = Instant::now();
        let outcome = (step.run)();
        let took = since.elapsed().as_secs_f32();
        budget::took(step.name, took);
        match (outcome, missing::skipped()) {
            (Ok(()), Some(why)) => {
                skipped += 1;
                println!("== {} SKIPPED: {why}", step.name);
            }
            (Ok(()), None) => println!("== {} passed in {took:.1} s", step.name),
            (Err(why), _) => {
                println!("== {} FAILED after {took:.1} s: {why}", step.name);
                return false;
            }
        }
    }
    let took = start.elapsed().as_secs_f32();
    let task = task.name;
    match skipped {
        0 => println!("\n== {task}: all {} steps passed in {took:.1} s", steps.len()),
        _ => {
            println!("\n== {task}: {} steps passed in {took:.1} s, {skipped} SKIPPED", steps.len() - skipped);
        }
    }
    if !left_out.is_empty() {
        let names: Vec<_> = left_out.iter().map(|step| step.name).collect();
        println!("Only 'cargo xtask {task} {ALL}' takes the steps {}.", names.join(", "));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_with(only: &[&str], all: bool) -> Result<(Vec<&'static str>, usize), String> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let task = TASKS.iter().find(|task| task.name == "test").unwrap();
        let (steps, left_out) = choose(task, &only, all)?;
        Ok((steps.iter().map(|step| step.name).collect(), left_out.len()))
    }

    #[test]
    fn only_with_all_are_steps_taken_that_may_install_something() {
        let (quick, left_out) = test_with(&[], false).unwrap();
        let needy = |name: &&str| steps::TEST_MORE.iter().any(|step| step.name == *name);
        assert!(!quick.iter().any(needy) && left_out == steps::TEST_MORE.len());
        assert!(steps::TEST.iter().all(|step| step.needs.is_empty()));
        let (every, left_out) = test_with(&[], true).unwrap();
        assert!(
            every.starts_with(&quick) && every.len() == quick.len() + steps::TEST_MORE.len() && left_out == 0
        );
    }

    #[test]
    fn steps_of_both_kinds_can_be_named_and_no_others() {
        assert_eq!(test_with(&["model", "lints"], false).unwrap(), (vec!["lints", "model"], 0));
        assert!(test_with(&["nothing"], false).unwrap_err().contains("\"nothing\""));
        assert!(test_with(&["lints"], true).is_err());
        let task = TASKS.iter().find(|task| task.name == "windows").unwrap();
        assert!(choose(task, &[], true).is_err());
    }
}
