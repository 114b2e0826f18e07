//! The project's own tasks: `cargo xtask help` lists them.
//!
//! A task is a list of steps (`steps`), run in order up to the first that fails. Relies on the standard library
//! and on the tools of the Rust toolchain; one step also on valgrind.

mod bench;
mod commands;
mod csharp;
mod debian;
mod dependencies;
mod instructions;
mod macos;
mod portability;
mod steps;
mod toolchain;
mod windows;

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use steps::Step;

/// What `cargo xtask NAME` does. A new task is a line here.
struct Task {
    name: &'static str,
    about: &'static str,
    steps: &'static [Step],
    /// Runs cargo in the task's way, with arguments given after a `--`.
    cargo: Option<Cargo>,
}

type Cargo = fn(&[String]) -> Result<(), String>;

const NO_SKIP: &str = "--no-skip";

const TASKS: &[Task] = &[
    Task {
        name: "test",
        about: "everything that must pass before a change is accepted",
        steps: steps::TEST,
        cargo: None,
    },
    Task {
        name: "model",
        about: "check the cell's protocol with loom",
        steps: steps::MODEL_ONLY,
        cargo: None,
    },
    Task {
        name: "soak",
        about: "long runs of the tests with kills, stops and random sequences",
        steps: steps::SOAK,
        cargo: None,
    },
    Task {
        name: "instructions",
        about: "count the hot paths' instructions (--renew: write their table anew)",
        steps: steps::INSTRUCTIONS_ONLY,
        cargo: None,
    },
    Task {
        name: "readme",
        about: "run the commands shown in README.md and docs/",
        steps: steps::README,
        cargo: None,
    },
    Task {
        name: "windows",
        about: "build for Windows and run all tests under Wine",
        steps: steps::WINDOWS_ONLY,
        cargo: Some(windows::cargo),
    },
    Task {
        name: "macos",
        about: "check types and lints for macOS",
        steps: steps::MACOS_ONLY,
        cargo: Some(macos::cargo),
    },
    Task {
        name: "csharp",
        about: "hand values between C# and Rust programs, both ways",
        steps: steps::CSHARP_ONLY,
        cargo: None,
    },
];

/// `cargo xtask fuzz [TARGET] [--minutes N] [--seed S]`.
const FUZZ: &str = "fuzz";

/// `cargo xtask bench [--quick]`.
const BENCH: &str = "bench";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let passed_on = arguments.iter().position(|argument| argument == "--").map(|at| {
        let rest = arguments.split_off(at + 1);
        arguments.pop();
        rest
    });
    arguments.retain(|argument| {
        let no_skip = argument == NO_SKIP;
        steps::NO_SKIP.fetch_or(no_skip, Ordering::Relaxed);
        !no_skip
    });
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
    if let Some(unknown) = only.iter().find(|only| task.steps.iter().all(|step| step.name != **only)) {
        eprint!("task {name} has no step {unknown:?}\n\n{}", help());
        return ExitCode::from(2);
    }
    let steps: Vec<&Step> = task
        .steps
        .iter()
        .filter(|step| only.is_empty() || only.iter().any(|only| only == step.name))
        .collect();
    if run(task.name, &steps) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn help() -> String {
    use std::fmt::Write;
    let mut text = format!(
        "cargo xtask TASK [STEP…] [{NO_SKIP}]: run a task, or only some of its steps;\n    \
         with {NO_SKIP}, a step that can't be taken on this machine fails\n\
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
    }
    line(FUZZ, "feed targets with new inputs: fuzz [TARGET…] [--minutes N] [--seed S] (5 minutes for all)");
    line(BENCH, "measure handover beside bare loops and its peers: bench [--quick] (10 minutes, quick: 3)");
    line("help", "this text");
    text
}

/// Runs steps in order; says whether all passed.
fn run(task: &str, steps: &[&Step]) -> bool {
    let start = Instant::now();
    let mut skipped = 0;
    for (at, step) in steps.iter().enumerate() {
        println!("\n== [{}/{}] {}: {}", at + 1, steps.len(), step.name, step.about);
        let _ = std::io::stdout().flush();
        let since = Instant::now();
        let outcome = (step.run)();
        let took = since.elapsed().as_secs_f32();
        match (outcome, steps::skipped()) {
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
    match skipped {
        0 => println!("\n== {task}: all {} steps passed in {took:.1} s", steps.len()),
        _ => {
            println!("\n== {task}: {} steps passed in {took:.1} s, {skipped} SKIPPED", steps.len() - skipped);
        }
    }
    true
}
