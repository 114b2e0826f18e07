//! The steps that tasks consist of.
//!
//! A step either passes or says in one line why it did not. A few can be skipped where a machine lacks what
//! they need. What a tool prints goes straight to the terminal.

use std::process::{Command, Stdio};

use crate::needs::Need;
use crate::process::cargo;
use crate::{
    budget, commands, comments, csharp, dependencies, instructions, layers, leftovers, macos, missing,
    portability, toolchain, windows,
};

/// One thing to check.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn() -> Result<(), String>,
    /// What it needs from outside and may lack.
    pub(crate) needs: &'static [&'static [Need]],
}

/// A step that needs the Rust toolchain and no more.
const fn step(name: &'static str, about: &'static str, run: fn() -> Result<(), String>) -> Step {
    Step { name, about, run, needs: &[] }
}

const FORMAT: Step = step("format", "cargo fmt, and no comment wider than it allows", || {
    cargo(&["fmt", "--all", "--check"], &[])?;
    comments::check()
});

const PORTABILITY: Step =
    step("portability", "what differs by system stands in src/sys alone", portability::check);

const LAYERS: Step =
    step("layers", "imports point down, without circles; no file of the library is too long", layers::check);

const DEPENDENCIES: Step =
    step("dependencies", "docs/dependencies.md gives a reason for each", dependencies::check);

const RUST_VERSION: Step =
    step("rust-version", "the stated minimum Rust version is enough", toolchain::check);

const LINTS: Step = step("lints", "cargo clippy, warnings denied", || {
    cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"], &[])
});

const DOCS: Step = step("docs", "cargo doc, warnings denied", || {
    cargo(&["doc", "--no-deps", "--workspace", "--all-features"], &[("RUSTDOCFLAGS", "--deny warnings")])
});

const TESTS: Step = step("tests", "cargo test, which leaves nothing behind in /dev/shm", || {
    leftovers::none_of(|environment| {
        cargo(&["test", "--workspace", "--all-targets", "--all-features"], environment)
    })
});

const DOCTESTS: Step = step("doctests", "the examples in the documentation and in README.md", || {
    leftovers::none_of(|environment| cargo(&["test", "--workspace", "--doc", "--all-features"], environment))
});

const COMMANDS: Step =
    step("commands", "the commands shown in README.md and docs/ do what is shown", commands::check);

const BUDGET: Step = step("budget", "what the steps before took, if they began with nothing", budget::check);

const MODEL: Step =
    step("model", "the cell's protocol under loom, with and without each known fault", || {
        cargo(
            &["test", "--package", "handover", "--lib", "--release", "--no-default-features", "cell::model"],
            // Other flags rebuild everything, so it has its own folder.
            &[("RUSTFLAGS", "--cfg handover_model"), ("CARGO_TARGET_DIR", "target/model")],
        )
    });

const INSTRUCTIONS: Step = Step {
    name: "instructions",
    about: "the hot paths take no more instructions than before, as callgrind counts them",
    run: instructions::check,
    needs: &[instructions::NEEDS],
};

const WINDOWS_SETUP: Step = Step {
    name: "windows-setup",
    about: "what building for Windows and running under Wine needs",
    run: windows::prepare,
    needs: &[windows::NEEDS],
};

const WINDOWS_LINTS: Step = Step {
    name: "windows-lints",
    about: "cargo clippy for Windows, warnings denied",
    run: windows::lints,
    needs: &[windows::NEEDS],
};

const WINDOWS_TESTS: Step = Step {
    name: "windows-tests",
    about: "cargo test for Windows, under Wine, which leaves nothing behind in /dev/shm",
    run: || leftovers::none_of(|_| windows::tests()),
    needs: &[windows::NEEDS],
};

/// The same beside the task macos.
const WINDOWS_TESTS_AND_MACOS: Step = Step {
    about: "cargo test for Windows, under Wine; beside it the task macos, whose output follows",
    run: || beside("macos", WINDOWS_TESTS.run),
    needs: &[windows::NEEDS, macos::NEEDS],
    ..WINDOWS_TESTS
};

const WINDOWS_DOCTESTS: Step = Step {
    name: "windows-doctests",
    about: "the documentation's examples for Windows, under Wine",
    run: windows::doctests,
    needs: &[windows::NEEDS],
};

const MACOS: Step = Step {
    name: "macos",
    about: "cargo clippy for macOS, warnings denied; nothing is run",
    run: macos::check,
    needs: &[macos::NEEDS],
};

const CSHARP: Step = Step {
    name: "csharp",
    about: "values go between C# and Rust programs in files",
    run: csharp::linux,
    needs: &[csharp::NEEDS_ON_LINUX],
};

const CSHARP_WINDOWS: Step = Step {
    name: "csharp-windows",
    about: "values go between C# and Rust programs by name, under Wine",
    run: csharp::wine,
    needs: &[windows::NEEDS, csharp::NEEDS_UNDER_WINE],
};

/// They need nothing but the Rust toolchain, and `budget` says what they may take. What is quick to fail
/// comes first.
pub(crate) const TEST: &[Step] = &[
    FORMAT,
    PORTABILITY,
    LAYERS,
    DEPENDENCIES,
    RUST_VERSION,
    LINTS,
    DOCS,
    TESTS,
    DOCTESTS,
    COMMANDS,
    BUDGET,
];

/// The rest, which takes longer, more space, and what may have to be installed.
pub(crate) const TEST_MORE: &[Step] = &[
    MODEL,
    INSTRUCTIONS,
    WINDOWS_SETUP,
    WINDOWS_LINTS,
    WINDOWS_TESTS_AND_MACOS,
    WINDOWS_DOCTESTS,
    CSHARP,
    CSHARP_WINDOWS,
];

pub(crate) const CSHARP_ONLY: &[Step] = &[CSHARP, CSHARP_WINDOWS];

pub(crate) const WINDOWS_ONLY: &[Step] = &[WINDOWS_SETUP, WINDOWS_LINTS, WINDOWS_TESTS, WINDOWS_DOCTESTS];

pub(crate) const MACOS_ONLY: &[Step] = &[MACOS];

pub(crate) const README: &[Step] = &[COMMANDS];

pub(crate) const INSTRUCTIONS_ONLY: &[Step] = &[INSTRUCTIONS];

pub(crate) const MODEL_ONLY: &[Step] = &[MODEL];

/// About a quarter of an hour on two processors. Variables that are already set stay as they are.
pub(crate) const SOAK: &[Step] = &[
    step("kills", "writers and readers killed and stopped at random moments", || {
        soak("cell_random_kills", &[("HANDOVER_KILL_ROUNDS", "15000")])
    }),
    step("stops", "readers stopped every 200 µs beside a writer that never pauses", || {
        soak("cell_stopped_reader", &[("HANDOVER_STOP_SECONDS", "60")])
    }),
    step("once", "values taken once, additions not lost, while processes die", || {
        soak("cell_once", &[("HANDOVER_ONCE_ROUNDS", "10000")])
    }),
    step("wakes", "versions handed to and fro between sleepers", || {
        soak("cell_wakes", &[("HANDOVER_WAKE_ROUNDS", "200000")])
    }),
    step("names", "a race for names, with kills and stops, beside an oracle", || {
        soak("names_race", &[("HANDOVER_RACE_KILLS", "5000")])
    }),
    step("notes", "a race for names, with kills, judged by its notes", || {
        soak("races", &[("HANDOVER_RACE_ROUNDS", "100000")])
    }),
    step("names-stopped", "names, with a process stopped or killed before any of its system calls", || {
        soak("names_stopped_anywhere", &[("HANDOVER_STOPS", "all")])
    }),
    step("sequences", "sequences of operations beside a model in private memory", || {
        soak("state_machine", &[("HANDOVER_SEQUENCES", "20000")])
    }),
];

/// Takes a step, and meanwhile runs a task as a separate process: tests under Wine wait most of the time. The
/// task's output comes afterwards.
fn beside(task: &'static str, step: fn() -> Result<(), String>) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| format!("this program can't be found: {e}"))?;
    let option = missing::installs().then_some(missing::INSTALL);
    let other =
        std::thread::spawn(move || Command::new(own).arg(task).args(option).stdin(Stdio::null()).output());
    let outcome = step();
    let other = other.join().map_err(|_| format!("the thread that waits for {task} panicked"))?;
    let other = other.map_err(|e| format!("{task} could not be started: {e}"))?;
    print!("{}{}", String::from_utf8_lossy(&other.stdout), String::from_utf8_lossy(&other.stderr));
    outcome?;
    if other.status.success() { Ok(()) } else { Err(format!("the task {task} failed: see above")) }
}

/// Runs the fuzzer, with debug assertions and overflow checks. It keeps inputs that crash or hang in its
/// corpus, which the tests replay.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), String> {
    let mut line = vec!["run", "--quiet", "--package", "handover-tests", "--bin", "fuzz", "--"];
    line.extend(arguments.iter().map(String::as_str));
    cargo(&line, &[])
}

/// Runs one file of tests with processes in its long form, built like a release, and shows its output.
fn soak(test: &str, lengths: &[(&str, &str)]) -> Result<(), String> {
    let lengths: Vec<_> =
        lengths.iter().filter(|(name, _)| std::env::var_os(name).is_none()).copied().collect();
    cargo(
        &[
            "test",
            "--release",
            "-p",
            "handover-tests",
            "--test",
            test,
            "--",
            "--nocapture",
            "--test-threads=1",
        ],
        &lengths,
    )
}
