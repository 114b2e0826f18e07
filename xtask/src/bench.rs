//! Builds and runs the benchmark, which is a workspace of its own: its peers are heavy.
//!
//! One of the peers is a server, Redis. Where it is missing it is installed from Debian's packages, if this user
//! may do that; the benchmark leaves it out otherwise.

use std::process::{Command, Stdio};

use crate::steps;

const MANIFEST: &str = "crates/handover-bench/Cargo.toml";
const SERVER: &str = "redis-server";

/// `cargo xtask bench [--quick]`, and the other arguments of the benchmark.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if let Err(why) = install_server() {
        eprintln!("{SERVER} is missing, so Redis is not measured: {why}");
    }
    let mut line = vec!["run", "--release", "--quiet", "--manifest-path", MANIFEST, "--"];
    line.extend(arguments.iter().map(String::as_str));
    steps::cargo(&line, &[])
}

fn there_is(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

fn install_server() -> Result<(), String> {
    if there_is(SERVER) {
        return Ok(());
    }
    if !there_is("apt-get") {
        return Err(format!("this system has no apt-get; install {SERVER} as it does that"));
    }
    let is_root = steps::output(Command::new("id").arg("-u"))?.trim() == "0";
    let call = |arguments: &[&str]| {
        let mut command = if is_root {
            Command::new("apt-get")
        } else {
            // Asks for no password.
            let mut command = Command::new("sudo");
            command.args(["-n", "apt-get"]);
            command
        };
        steps::run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install = ["install", "--yes", "--no-install-recommends", SERVER];
    let installed = call(&install).or_else(|_| {
        // The list of packages may be missing or old.
        call(&["update"])?;
        call(&install)
    });
    installed.map_err(|why| format!("{why}; install it yourself: apt-get install {SERVER}"))
}
