//! Builds and runs the benchmark, which is a workspace of its own: its peers are heavy.
//!
//! One of the peers is a server, Redis. Where it is missing, `--install` installs it from Debian's packages;
//! the benchmark leaves it out otherwise.

use crate::debian::{self, Package};
use crate::process;

const MANIFEST: &str = "crates/handover-bench/Cargo.toml";
const SERVER: Package = Package { name: "redis-server", file: "/usr/bin/redis-server", megabytes: 10 };

/// `cargo xtask bench [--quick | --beside]`, and the other arguments of the benchmark.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if let Err(why) = debian::install(&[SERVER]) {
        eprintln!("Redis is not measured: {why}");
    }
    let mut line = vec!["run", "--release", "--quiet", "--manifest-path", MANIFEST, "--"];
    line.extend(arguments.iter().map(String::as_str));
    process::cargo(&line, &[])
}
