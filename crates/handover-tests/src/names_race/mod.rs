//! A race of processes for names, with kills and stops at random moments, and an oracle in shared memory that
//! sees at once what must never be.
//!
//! A director forks eight racers. Each opens, creates and closes a few names at random, with random pauses
//! at the library's named steps; one in some forks a child that goes on holding what its parent held. The
//! director kills (SIGKILL) and stops (SIGSTOP) random ones every few milliseconds and starts others in their
//! place. [`oracle`] says what is written down, what is judged, why that gives no false alarm, and what it
//! can't see.
//!
//! [`race`](crate::race) judges the same promises from complete notes afterwards, on Windows too. This one
//! runs without an end, knows of a holder that is stopped or about to be killed, and ends at the first fault.

mod director;
pub mod oracle;
mod racer;
mod setup;

use std::process::{Command, Stdio};

use handover_test_support::Start;

pub use director::direct;
pub use setup::{Fault, Report, Setup};

/// Runs a race in a process of its own, with this directory as `HANDOVER_DIR`. `program` is
/// `env!("CARGO_BIN_EXE_racer")`.
pub fn run(program: &str, directory: &std::path::Path, setup: &Setup) -> Report {
    let mut command = Command::new(program);
    command.arg(serde_json::to_string(setup).expect("JSON")).env("HANDOVER_DIR", directory);
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).stdout(Stdio::piped());
    let output = command.run_for_output().expect("start a race");
    assert!(output.status.success(), "the director ended: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("a report")
}
