//! The steps that tasks consist of.
//!
//! A step either passes or says in one line why it did not; a few can be skipped where a machine lacks what they need.
//! What a tool prints goes straight to the terminal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::{commands, csharp, dependencies, instructions, macos, portability, toolchain, windows};

/// One thing to check.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn() -> Result<(), String>,
}

const COMMANDS: Step = Step {
    name: "commands",
    about: "the commands shown in README.md and docs/ do what is shown",
    run: commands::check,
};

const MODEL: Step = Step {
    name: "model",
    about: "the cell's protocol under loom, with and without each known fault",
    run: || {
        cargo(
            &["test", "--package", "handover", "--lib", "--release", "--no-default-features", "cell::model"],
            // Other flags build everything anew, so it has a folder of its own.
            &[("RUSTFLAGS", "--cfg handover_model"), ("CARGO_TARGET_DIR", "target/model")],
        )
    },
};

const WINDOWS_SETUP: Step = Step {
    name: "windows-setup",
    about: "what building for Windows and running under Wine needs",
    run: windows::prepare,
};

const WINDOWS_LINTS: Step =
    Step { name: "windows-lints", about: "cargo clippy for Windows, warnings denied", run: windows::lints };

const WINDOWS_TESTS: Step =
    Step { name: "windows-tests", about: "cargo test for Windows, under Wine", run: windows::tests };

const WINDOWS_DOCTESTS: Step = Step {
    name: "windows-doctests",
    about: "the documentation's examples for Windows, under Wine",
    run: windows::doctests,
};

const MACOS: Step = Step {
    name: "macos",
    about: "cargo clippy for macOS, warnings denied; nothing is run",
    run: macos::check,
};

const CSHARP: Step =
    Step { name: "csharp", about: "values go between C# and Rust programs in files", run: csharp::linux };

const CSHARP_WINDOWS: Step = Step {
    name: "csharp-windows",
    about: "values go between C# and Rust programs by name, under Wine",
    run: csharp::wine,
};

pub(crate) const CSHARP_ONLY: &[Step] = &[CSHARP, CSHARP_WINDOWS];

pub(crate) const WINDOWS_ONLY: &[Step] = &[WINDOWS_SETUP, WINDOWS_LINTS, WINDOWS_TESTS, WINDOWS_DOCTESTS];

pub(crate) const MACOS_ONLY: &[Step] = &[MACOS];

const INSTRUCTIONS: Step = Step {
    name: "instructions",
    about: "the hot paths take no more instructions than before, as callgrind counts them",
    run: instructions::check,
};

pub(crate) const README: &[Step] = &[COMMANDS];

pub(crate) const INSTRUCTIONS_ONLY: &[Step] = &[INSTRUCTIONS];

pub(crate) const MODEL_ONLY: &[Step] = &[MODEL];

/// About ten minutes on two processors. A variable that is set already stays as it is.
pub(crate) const SOAK: &[Step] = &[
    Step {
        name: "kills",
        about: "writers and readers killed and stopped at random moments",
        run: || soak("cell_random_kills", &[("HANDOVER_KILL_ROUNDS", "15000")]),
    },
    Step {
        name: "stops",
        about: "readers stopped every 200 µs beside a writer that never pauses",
        run: || soak("cell_stopped_reader", &[("HANDOVER_STOP_SECONDS", "60")]),
    },
    Step {
        name: "once",
        about: "values taken once, additions not lost, while processes die",
        run: || soak("cell_once", &[("HANDOVER_ONCE_ROUNDS", "10000")]),
    },
    Step {
        name: "wakes",
        about: "versions handed to and fro between sleepers",
        run: || soak("cell_wakes", &[("HANDOVER_WAKE_ROUNDS", "200000")]),
    },
    Step {
        name: "names",
        about: "a race for names, with kills",
        run: || soak("races", &[("HANDOVER_RACE_ROUNDS", "200000")]),
    },
    Step {
        name: "sequences",
        about: "sequences of operations beside a model in private memory",
        run: || soak("state_machine", &[("HANDOVER_SEQUENCES", "20000")]),
    },
];

pub(crate) const TEST: &[Step] = &[
    Step { name: "format", about: "cargo fmt", run: || cargo(&["fmt", "--all", "--check"], &[]) },
    Step {
        name: "lints",
        about: "cargo clippy, warnings denied",
        run: || {
            cargo(
                &["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"],
                &[],
            )
        },
    },
    Step {
        name: "docs",
        about: "cargo doc, warnings denied",
        run: || {
            cargo(
                &["doc", "--no-deps", "--workspace", "--all-features"],
                &[("RUSTDOCFLAGS", "--deny warnings")],
            )
        },
    },
    Step {
        name: "portability",
        about: "what differs by system stands in src/sys alone",
        run: portability::check,
    },
    Step {
        name: "dependencies",
        about: "docs/dependencies.md gives a reason for each",
        run: dependencies::check,
    },
    Step { name: "rust-version", about: "the stated minimum Rust version is enough", run: toolchain::check },
    Step {
        name: "tests",
        about: "cargo test",
        run: || cargo(&["test", "--workspace", "--all-targets", "--all-features"], &[]),
    },
    MODEL,
    INSTRUCTIONS,
    Step {
        name: "doctests",
        about: "the examples in the documentation and in README.md",
        run: || cargo(&["test", "--workspace", "--doc", "--all-features"], &[]),
    },
    COMMANDS,
    WINDOWS_SETUP,
    WINDOWS_LINTS,
    Step {
        name: "windows-tests",
        about: "cargo test for Windows, under Wine; beside it the task macos, whose output follows",
        run: || beside("macos", windows::tests),
    },
    WINDOWS_DOCTESTS,
    CSHARP,
    CSHARP_WINDOWS,
];

/// Takes a step, and runs a task as a process of its own meanwhile: tests under Wine wait most of the time. What the
/// task prints comes after.
fn beside(task: &'static str, step: fn() -> Result<(), String>) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| format!("this program can't be found: {e}"))?;
    let no_skip = NO_SKIP.load(Ordering::Relaxed).then_some("--no-skip");
    let other =
        std::thread::spawn(move || Command::new(own).arg(task).args(no_skip).stdin(Stdio::null()).output());
    let outcome = step();
    let other = other.join().map_err(|_| format!("the thread that waits for {task} panicked"))?;
    let other = other.map_err(|e| format!("{task} could not be started: {e}"))?;
    print!("{}{}", String::from_utf8_lossy(&other.stdout), String::from_utf8_lossy(&other.stderr));
    outcome?;
    if other.status.success() { Ok(()) } else { Err(format!("the task {task} failed: see above")) }
}

/// Whether a step that is skipped is one that failed.
pub(crate) static NO_SKIP: AtomicBool = AtomicBool::new(false);

static SKIPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How a step ends that can't be taken on this machine.
pub(crate) fn skip(why: &str) -> Result<(), String> {
    if NO_SKIP.load(Ordering::Relaxed) {
        return Err(format!("{why}; and nothing may be skipped here"));
    }
    SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).push(why.to_owned());
    Ok(())
}

/// Why steps were skipped since this was last asked.
pub(crate) fn skipped() -> Option<String> {
    let reasons = std::mem::take(&mut *SKIPPED.lock().unwrap_or_else(PoisonError::into_inner));
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// The workspace's root: as cargo says at run time, because two clones may share one folder for build results.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        PathBuf::from(own).parent().unwrap_or(Path::new(".")).to_owned()
    })
}

pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    run(Command::new(program).args(arguments).envs(environment.iter().copied()))
}

/// Runs the fuzzer, with debug assertions and overflow checks. What crashes or hangs is kept in its corpus, which
/// the tests replay.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), String> {
    let mut line = vec!["run", "--quiet", "--package", "handover-tests", "--bin", "fuzz", "--"];
    line.extend(arguments.iter().map(String::as_str));
    cargo(&line, &[])
}

/// Runs one file of tests with processes in its long form, built as a release is, and shows what it prints.
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

/// Runs a tool in the workspace's root, without standard input.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .map_err(|e| format!("'{shown}' could not be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("'{shown}' ended with {status}")) }
}

/// Runs a tool in the workspace's root and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let output = command
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("'{shown}' could not be started: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "'{shown}' ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("'{shown}' wrote what is no text: {e}"))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The files under `folder` whose names end in `.extension`, sorted; build results are left out.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
