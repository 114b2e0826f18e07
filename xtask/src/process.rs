//! Tools, run in the workspace's root. What a tool prints goes straight to the terminal.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::tree;

pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    run(Command::new(program).args(arguments).envs(environment.iter().copied()))
}

/// The variable that tells tests which run of this program they belong to.
const RUN: &str = "HANDOVER_TEST_RUN";

/// What is in it.
pub(crate) fn run_number() -> String {
    std::process::id().to_string()
}

/// Runs a tool in the workspace's root, without standard input.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command
        .current_dir(tree::root())
        .env(RUN, run_number())
        .stdin(Stdio::null())
        .status()
        .map_err(|e| format!("'{shown}' could not be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("'{shown}' ended with {status}")) }
}

/// Runs a tool in the workspace's root and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let output = command
        .current_dir(tree::root())
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
    String::from_utf8(output.stdout).map_err(|e| format!("'{shown}' wrote something that is not text: {e}"))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
