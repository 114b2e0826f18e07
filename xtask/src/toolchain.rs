//! Checks the minimum Rust version that `Cargo.toml` states.
//!
//! Clippy's `incompatible_msrv` (in the previous step) finds items of the standard library that are newer.
//! This checks that no dependency needs a newer version and that this machine's toolchain is not older. If
//! rustup has exactly that version installed, it checks everything with it.

use std::process::Command;

use crate::{process, tree};

/// Major and minor version.
type Version = (u32, u32);

pub(crate) fn check() -> Result<(), String> {
    let manifest = std::fs::read_to_string(tree::root().join("Cargo.toml")).map_err(|e| e.to_string())?;
    let stated = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .and_then(|value| version(value.trim_matches('"')))
        .ok_or("Cargo.toml states no rust-version")?;
    let own = process::output(Command::new("rustc").arg("--version"))?;
    let own = own.split(' ').nth(1).and_then(version).ok_or("rustc does not report its version")?;
    if own < stated {
        return Err(format!("this toolchain is {}, and at least {} is needed", shown(own), shown(stated)));
    }
    dependencies(stated)?;
    let wanted = shown(stated);
    let Some(toolchain) = installed(&wanted) else {
        println!(
            "Rust {wanted} is not installed: compiled with {} only. For {wanted} there are clippy's check of the \
             standard library's items and the dependencies' own statements.",
            shown(own)
        );
        return Ok(());
    };
    process::run(
        Command::new("rustup")
            .args(["run", &toolchain, "cargo", "check", "--workspace", "--all-targets", "--all-features"])
            // Otherwise the toolchain that runs this task would be used.
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN"),
    )
}

/// Checks that no dependency needs more than `stated`.
fn dependencies(stated: Version) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata =
        process::output(Command::new(cargo).args(["metadata", "--format-version", "1", "--locked"]))?;
    // In each package's description its manifest's path comes before its Rust version; the standard library
    // has no JSON reader, and this much can be done without.
    let mut count = 0;
    let mut pieces = metadata.split("\"rust_version\":\"");
    let mut before = pieces.next().unwrap_or_default();
    for piece in pieces {
        let package = before.rsplit("\"manifest_path\":\"").next().and_then(|rest| rest.split('"').next());
        before = piece;
        let Some(needs) = version(piece) else { continue };
        count += 1;
        if needs > stated {
            let package = package.unwrap_or("a package");
            return Err(format!("{package} needs Rust {}, and {} is stated", shown(needs), shown(stated)));
        }
    }
    println!("{count} packages state a version, none above {}", shown(stated));
    Ok(())
}

/// The name of the installed toolchain with this version.
fn installed(wanted: &str) -> Option<String> {
    let list = process::output(Command::new("rustup").args(["toolchain", "list"])).ok()?;
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| {
            name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.') || rest.starts_with('-'))
        })
        .map(str::to_owned)
}

fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn shown((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("1.88"), Some((1, 88)));
        assert_eq!(version("1.95.0\",…"), Some((1, 95)));
        assert!(version("1.100") > version("1.88"));
        assert_eq!(version("stable"), None);
    }
}
