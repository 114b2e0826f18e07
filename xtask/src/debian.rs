//! Debian's packages; among them its Rust compiler with the source of its standard library, for targets that no other
//! toolchain at hand has: what `windows` and `macos` share.
//!
//! Debian keeps `rustc-web` at the version that its browsers need, so it is recent also in an old release; and
//! `rust-web-src` is of the same version.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps;

/// A package, and a file by which it is known to be there.
pub(crate) type Package = (&'static str, &'static str);

pub(crate) const COMPILER: Package = ("rustc-web", RUSTC);
pub(crate) const SOURCE: Package = ("rust-web-src", "/usr/lib/rustlib/src/rust/library/std/Cargo.toml");
pub(crate) const CLIPPY: Package = ("rust-web-clippy", CARGO_CLIPPY);

const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";
const CARGO_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// Debian's clippy is of another version than the one that judges style in the step `lints`, so here it is asked for
/// what matters in any version.
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

/// Why a step can't be taken.
#[derive(Clone, Debug)]
pub(crate) enum Missing {
    /// This machine can't have what it needs.
    NotHere(String),
    /// It should have worked.
    Failed(String),
}

impl From<String> for Missing {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotHere(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

impl Missing {
    /// How a step ends that needs it.
    pub(crate) fn end(&self, what: &str) -> Result<(), String> {
        match self {
            Self::NotHere(why) => steps::skip(&format!("{what}: {why}")),
            Self::Failed(why) => Err(why.clone()),
        }
    }
}

/// Installs those packages that are missing.
pub(crate) fn install(packages: &[Package]) -> Result<(), Missing> {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(", ");
    let not_here =
        |why: &str| Missing::NotHere(format!("Debian's packages {list} are not installed, and {why}"));
    if !Path::new("/etc/debian_version").exists() {
        return Err(not_here("this is not Debian"));
    }
    let user = steps::output(Command::new("id").arg("-u")).unwrap_or_default();
    if user.trim() != "0" {
        return Err(not_here("only root can install them"));
    }
    steps::run(Command::new("apt-get").args([
        "update",
        "--quiet=2",
        "--option",
        "APT::Update::Error-Mode=any",
    ]))
    .map_err(|e| not_here(&format!("the package lists can't be fetched ({e})")))?;
    steps::output(Command::new("apt-cache").args(["show", "--no-all-versions"]).args(&missing))
        .map_err(|e| not_here(&format!("this release has not all of them ({e})")))?;
    steps::run(
        Command::new("apt-get")
            // Not at the cost of what somebody else installed.
            .args(["install", "--quiet=2", "--yes", "--no-remove", "--no-install-recommends"])
            .args(&missing)
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
    let version = steps::output(Command::new(RUSTC).arg("-vV"))?;
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
        .unwrap_or_else(build_results)
        .join("handover-xtask")
}

/// This clone's folder for build results.
pub(crate) fn build_results() -> PathBuf {
    // This program lies in a folder of it that is called after the profile.
    let own = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.parent()?.to_owned()));
    own.unwrap_or_else(|| steps::root().join("target"))
}
