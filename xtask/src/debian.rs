//! Debian's packages; among them its Rust compiler with the source of its standard library, for targets that
//! no other toolchain at hand has: what `windows` and `macos` share.
//!
//! Debian keeps `rustc-web` at the version that its browsers need, so it is recent also in an old release;
//! and `rust-web-src` is of the same version.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::missing::{self, Missing};
use crate::{process, tree};

/// A package.
#[derive(Clone, Copy)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// A file by which it is known to be there: its path, or the name of a program.
    pub(crate) file: &'static str,
    /// What it takes on the disk, with what it depends on and a machine that can compile C has not.
    pub(crate) megabytes: u32,
}

impl Package {
    pub(crate) fn is_there(&self) -> bool {
        if self.file.contains('/') {
            return Path::new(self.file).exists();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(self.file).exists())
    }
}

pub(crate) const COMPILER: Package = Package { name: "rustc-web", file: RUSTC, megabytes: 490 };
pub(crate) const SOURCE: Package = Package {
    name: "rust-web-src",
    file: "/usr/lib/rustlib/src/rust/library/std/Cargo.toml",
    megabytes: 350,
};
pub(crate) const CLIPPY: Package = Package { name: "rust-web-clippy", file: CARGO_CLIPPY, megabytes: 15 };

const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";
const CARGO_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// Debian's clippy is of another version than the one that judges style in the step `lints`, so here it is
/// asked for what matters in any version.
pub(crate) const LINTS: [&str; 10] = [
    "--deny",
    "warnings",
    "--allow",
    "clippy::pedantic",
    "--allow",
    "clippy::style",
    "--allow",
    "clippy::complexity",
    "--allow",
    "clippy::perf",
];

/// What the running cargo and its toolchain set, and another compiler must not see.
pub(crate) const CLEARED: [&str; 6] = [
    "LD_LIBRARY_PATH",
    "RUSTUP_TOOLCHAIN",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "CARGO_BUILD_TARGET",
];

/// Installs those packages that are missing, if that was asked for.
pub(crate) fn install(packages: &[Package]) -> Result<(), Missing> {
    let absent: Vec<&str> =
        packages.iter().filter(|package| !package.is_there()).map(|package| package.name).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let list = absent.join(", ");
    let not_here =
        |why: &str| Missing::NotHere(format!("Debian's packages {list} are not installed, and {why}"));
    if !Path::new("/etc/debian_version").exists() {
        return Err(not_here("this is not Debian"));
    }
    if !missing::installs() {
        return Err(not_here(&format!("nothing is installed without {}", missing::INSTALL)));
    }
    let user = process::output(Command::new("id").arg("-u")).unwrap_or_default();
    if user.trim() != "0" {
        return Err(not_here("only root can install them"));
    }
    println!("Installing with apt-get, as root: {list}");
    process::run(Command::new("apt-get").args([
        "update",
        "--quiet=2",
        "--option",
        "APT::Update::Error-Mode=any",
    ]))
    .map_err(|e| not_here(&format!("the package lists can't be fetched ({e})")))?;
    process::output(Command::new("apt-cache").args(["show", "--no-all-versions"]).args(&absent))
        .map_err(|e| not_here(&format!("this release has not all of them ({e})")))?;
    process::run(
        Command::new("apt-get")
            // Not at the cost of what somebody else installed.
            .args(["install", "--quiet=2", "--yes", "--no-remove", "--no-install-recommends"])
            .args(&absent)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    Ok(())
}

/// This machine's cargo with Debian's compiler.
pub(crate) fn cargo(command: &str) -> Command {
    let own = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The toolchain's clippy would bring a compiler of its own.
    let mut cargo = Command::new(if command == "clippy" { CARGO_CLIPPY.into() } else { own });
    cargo.arg(command);
    for name in CLEARED {
        cargo.env_remove(name);
    }
    cargo.env("RUSTC", RUSTC).env("RUSTDOC", RUSTDOC);
    cargo
}

/// Differs for compilers that differ.
pub(crate) fn compiler_key() -> Result<String, String> {
    let version = process::output(Command::new(RUSTC).arg("-vV"))?;
    let release = version.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or("unknown");
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    Ok(format!("{release}-{:08x}", hasher.finish() as u32))
}

/// The user's folder for what can be made again.
pub(crate) fn cache() -> PathBuf {
    let folder =
        |name: &str| std::env::var_os(name).filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(tree::build_results)
        .join("handover-xtask")
}
