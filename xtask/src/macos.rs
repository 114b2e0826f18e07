//! Checks types and lints for macOS. Only a Mac can run the result, so nothing is built or run.
//!
//! This checks the standard library along with the project, from Debian's source: see `debian`.

use crate::debian::{self, Package};
use crate::needs::Need;
use crate::{process, tree};

const TARGETS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-apple-darwin"];

const PACKAGES: [Package; 3] = [debian::COMPILER, debian::SOURCE, debian::CLIPPY];

pub(crate) const NEEDS: &[Need] =
    &[Need::Package(PACKAGES[0]), Need::Package(PACKAGES[1]), Need::Package(PACKAGES[2])];

pub(crate) fn check() -> Result<(), String> {
    let checked = ["clippy", "--workspace", "--exclude", "xtask", "--all-targets", "--all-features", "--"];
    cargo(&[&checked[..], &debian::LINTS].concat())
}

/// Runs cargo for both targets.
pub(crate) fn cargo<S: AsRef<str>>(arguments: &[S]) -> Result<(), String> {
    if let Err(missing) = debian::install(&PACKAGES) {
        return missing.end("macOS");
    }
    let Some((first, rest)) = arguments.split_first() else { return Err("cargo needs a command".to_owned()) };
    for target in TARGETS {
        let mut command = debian::cargo(first.as_ref());
        command
            .args(["-Zbuild-std=std,panic_unwind,test", "--target", target])
            .args(rest.iter().map(AsRef::as_ref))
            .env("CARGO_TARGET_DIR", tree::build_results().join("macos"))
            .env("RUSTC_BOOTSTRAP", "1");
        process::run(&mut command)?;
    }
    Ok(())
}
