//! Builds the workspace for Windows and runs its tests under Wine, on a Debian machine that starts with
//! nothing.
//!
//! No toolchain for the target is needed. Debian's `rustc-web` and `rust-web-src` are one version of the
//! compiler and of the standard library's source, so the library can be built for the target and put into a
//! folder that the compiler takes for its own (a sysroot). With it the project is built like any other: by
//! this machine's cargo, that compiler, and mingw-w64's linker. Wine runs what comes out.
//!
//! What it makes lies in the user's cache folder (the sysroot, which takes a minute to build and serves all
//! clones) and in this clone's folder for build results (Wine's own files, and the builds).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::debian::{self, CLEARED, Package};
use crate::missing::Missing;
use crate::needs::{Folder, Need};
use crate::{process, tree};

const TARGET: &str = "x86_64-pc-windows-gnu";
const LINKER: &str = "x86_64-w64-mingw32-gcc";
const WINE: &str = "/usr/lib/wine/wine64";
const WINE_SERVER: &str = "/usr/lib/wine/wineserver64";

const PACKAGES: [Package; 5] = [
    debian::COMPILER,
    debian::SOURCE,
    debian::CLIPPY,
    Package { name: "gcc-mingw-w64-x86-64", file: "/usr/bin/x86_64-w64-mingw32-gcc", megabytes: 540 },
    Package { name: "wine64", file: WINE, megabytes: 820 },
];

pub(crate) const NEEDS: &[Need] = &[
    Need::Package(PACKAGES[0]),
    Need::Package(PACKAGES[1]),
    Need::Package(PACKAGES[2]),
    Need::Package(PACKAGES[3]),
    Need::Package(PACKAGES[4]),
    Need::Folder(Folder {
        what: "Rust's standard library for Windows, built from Debian's source",
        megabytes: 100,
        place: || sysroot_folder().ok(),
    }),
];

/// In place of a library that Windows has and Wine 8 has not; Rust's standard library takes random numbers
/// from it.
const RANDOM: &str = r"
#include <windows.h>
/* Its name since Windows XP; headers call it RtlGenRandom. */
BOOLEAN WINAPI SystemFunction036(PVOID bytes, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *bytes, SIZE_T length) {
    while (length > 0) {
        ULONG part = length < 0x10000 ? (ULONG)length : 0x10000;
        if (!SystemFunction036(bytes, part))
            return FALSE;
        bytes += part;
        length -= part;
    }
    return TRUE;
}
";

/// What a build for the target needs.
struct Ready {
    sysroot: PathBuf,
    prefix: PathBuf,
}

/// Makes all that is needed, as far as it is not there. The reason where this machine can't have it.
fn ready() -> Result<&'static Ready, Missing> {
    static READY: OnceLock<Result<Ready, Missing>> = OnceLock::new();
    READY
        .get_or_init(|| {
            debian::install(&PACKAGES)?;
            Ok(Ready { sysroot: sysroot()?, prefix: prefix()? })
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// The step that makes all that is needed.
pub(crate) fn prepare() -> Result<(), String> {
    match ready() {
        Ok(_) => Ok(()),
        Err(missing) => missing.end("tests under Wine"),
    }
}

/// What is for Windows too: these tasks, and the program whose instructions callgrind counts, are not.
const CRATES: [&str; 5] = ["--workspace", "--exclude", "xtask", "--exclude", "handover-hot-paths"];

/// The step that checks types and lints.
pub(crate) fn lints() -> Result<(), String> {
    cargo(
        &[&["clippy"][..], &CRATES[..], &["--all-targets", "--all-features", "--"], &debian::LINTS].concat(),
    )
}

/// The step that runs the tests.
pub(crate) fn tests() -> Result<(), String> {
    cargo(&[&["test"][..], &CRATES[..], &["--all-targets", "--all-features", "--no-fail-fast"]].concat())
}

/// The step that runs the examples in the documentation.
pub(crate) fn doctests() -> Result<(), String> {
    cargo(&[&["test"][..], &CRATES[..], &["--doc", "--all-features"]].concat())
}

/// Runs cargo for the target, with what stands before a `--` of its own arguments.
pub(crate) fn cargo<S: AsRef<str>>(arguments: &[S]) -> Result<(), String> {
    let ready = match ready() {
        Ok(ready) => ready,
        Err(missing) => return missing.end("tests under Wine"),
    };
    let server = Server::start(&ready.prefix)?;
    empty_temporary_folders(&ready.prefix);
    let outcome = process::run(&mut cargo_command(ready, arguments)?);
    drop(server);
    outcome
}

/// Cargo for the target.
fn cargo_command<S: AsRef<str>>(ready: &Ready, arguments: &[S]) -> Result<Command, String> {
    let Some((first, rest)) = arguments.split_first() else { return Err("cargo needs a command".to_owned()) };
    let flags = format!("--sysroot\u{1f}{}", utf8(&ready.sysroot)?);
    let mut command = debian::cargo(first.as_ref());
    wine_environment(&mut command, &ready.prefix)
        .args(["--target", TARGET])
        .args(rest.iter().map(AsRef::as_ref))
        .env("CARGO_TARGET_DIR", folder())
        // With a target given they are for what is built for it, not for what runs during the build.
        .env("CARGO_ENCODED_RUSTFLAGS", &flags)
        .env("CARGO_ENCODED_RUSTDOCFLAGS", &flags)
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", LINKER)
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", WINE);
    Ok(command)
}

/// Wine with its server running, for tests that talk to programs one by one.
pub(crate) struct Wine {
    ready: &'static Ready,
    _server: Server,
}

impl Wine {
    pub(crate) fn start() -> Result<Self, Missing> {
        let ready = ready()?;
        Ok(Self { ready, _server: Server::start(&ready.prefix)? })
    }

    /// Runs cargo for the target.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<(), String> {
        process::run(&mut cargo_command(self.ready, arguments)?)
    }

    /// Where cargo puts programs for the target.
    pub(crate) fn binaries() -> PathBuf {
        folder().join(TARGET).join("debug")
    }

    /// A program for Windows, to be started.
    pub(crate) fn program(&self, path: &Path) -> Command {
        let mut command = Command::new(WINE);
        wine_environment(command.arg(path), &self.ready.prefix);
        command
    }
}

/// The folder for what belongs to this clone.
fn folder() -> PathBuf {
    tree::build_results().join("windows")
}

/// Where the standard library for the target is, or will be. Known once its compiler is there.
fn sysroot_folder() -> Result<PathBuf, String> {
    Ok(debian::cache().join(format!("sysroot-{TARGET}-{}", debian::compiler_key()?)))
}

/// The standard library for the target. Built once for each version of the compiler.
fn sysroot() -> Result<PathBuf, String> {
    let sysroot = sysroot_folder()?;
    let parent = debian::cache();
    if sysroot.is_dir() {
        println!("the standard library for {TARGET} is there");
        return Ok(sysroot);
    }
    println!("building the standard library for {TARGET}");
    // Others may be at it too: everybody builds aside, and the first to be done gives it its name.
    let aside = parent.join(format!(".building-{}", std::process::id()));
    let _aside = Removed(aside.clone());
    let write = |path: &Path, text: &str| {
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(path, text))
            .map_err(at(path))
    };
    write(
        &aside.join("Cargo.toml"),
        "[package]\nname = \"nothing\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n",
    )?;
    write(&aside.join("src/lib.rs"), "")?;
    let mut build = debian::cargo("build");
    build
        .args(["--quiet", "--release", "--target", TARGET])
        // `test` is for test programs, and both kinds of panic so that a profile can choose.
        .arg("-Zbuild-std=std,panic_abort,panic_unwind,test")
        .arg("--manifest-path")
        .arg(aside.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", aside.join("target"))
        .env("RUSTC_BOOTSTRAP", "1")
        // Else a project's own copy of a crate that std uses too could get the very same hash.
        .env("__CARGO_DEFAULT_LIB_METADATA", "sysroot");
    process::run(&mut build)?;
    let built = aside.join("target").join(TARGET).join("release/deps");
    let whole = aside.join("sysroot");
    let libraries = whole.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries).map_err(at(&libraries))?;
    for library in tree::files(&built, "rlib")? {
        let name = library.file_name().unwrap_or_default();
        if !name.to_string_lossy().starts_with("libnothing-") {
            fs::copy(&library, libraries.join(name)).map_err(at(&library))?;
        }
    }
    match fs::rename(&whole, &sysroot) {
        Err(_) if sysroot.is_dir() => Ok(sysroot),
        outcome => outcome.map_err(at(&sysroot)).map(|()| sysroot),
    }
}

/// Wine's own files: its registry and its drive C.
fn prefix() -> Result<PathBuf, String> {
    let prefix = folder().join("wine");
    let done = prefix.join("handover-done");
    if done.is_file() {
        return Ok(prefix);
    }
    println!("making Wine's files");
    let _ = fs::remove_dir_all(&prefix);
    fs::create_dir_all(&prefix).map_err(at(&prefix))?;
    // It reports failures of parts that need a display; what matters shows below.
    quietly(wine_environment(Command::new(WINE).args(["wineboot", "--init"]), &prefix))?;
    let _server = Server { prefix: prefix.clone() };
    let libraries = prefix.join("drive_c/windows/system32");
    if !libraries.join("kernel32.dll").exists() {
        return Err(format!("Wine made no Windows in {}", prefix.display()));
    }
    let random = libraries.join("bcryptprimitives.dll");
    if !random.exists() {
        let source = prefix.join("random.c");
        fs::write(&source, RANDOM).map_err(at(&source))?;
        let mut compile = Command::new(LINKER);
        compile.args(["-shared", "-O2", "-s", "-o"]).arg(&random).arg(&source).arg("-ladvapi32");
        process::run(&mut compile)?;
    }
    fs::write(&done, "").map_err(at(&done))?;
    Ok(prefix)
}

/// Wine's server, which plays the kernel. It must be there before the first test: otherwise that test's
/// process starts it, and gives it its pipes, which then never end.
struct Server {
    prefix: PathBuf,
}

impl Server {
    fn start(prefix: &Path) -> Result<Self, String> {
        // Fails where one is there.
        quietly(wine_environment(Command::new(WINE_SERVER).arg("--persistent"), prefix))?;
        // So that the services that come with the first program are there too.
        quietly(wine_environment(Command::new(WINE).args(["cmd", "/c", "exit"]), prefix))?;
        Ok(Self { prefix: prefix.to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for what in ["--kill", "--wait"] {
            let _ = quietly(wine_environment(Command::new(WINE_SERVER).arg(what), &self.prefix));
        }
    }
}

/// Process ids come again with each server, so what tests that failed have left would be in the way.
fn empty_temporary_folders(prefix: &Path) {
    let users = fs::read_dir(prefix.join("drive_c/users")).into_iter().flatten().flatten();
    for user in users {
        for folder in ["Temp", "AppData/Local/Temp"].map(|folder| user.path().join(folder)) {
            for left in fs::read_dir(folder).into_iter().flatten().flatten() {
                let _ = fs::remove_dir_all(left.path()).or_else(|_| fs::remove_file(left.path()));
            }
        }
    }
}

fn wine_environment<'a>(command: &'a mut Command, prefix: &Path) -> &'a mut Command {
    for name in CLEARED {
        command.env_remove(name);
    }
    command
        .env("WINEPREFIX", prefix)
        .env("WINEARCH", "win64")
        // Diagnostics would stand between the tests' output; .NET and a browser would be offered for
        // download.
        .env("WINEDEBUG", std::env::var_os("WINEDEBUG").unwrap_or_else(|| "-all".into()))
        .env("WINEDLLOVERRIDES", "mscoree,mshtml=d")
        .env_remove("DISPLAY")
}

/// Runs a tool that says nothing worth reading; an error only where it can't be started.
fn quietly(command: &mut Command) -> Result<(), String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(|_| ())
        .map_err(|e| format!("{}: {e}", command.get_program().display()))
}

/// A folder that is removed at the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> String + '_ {
    move |e| format!("{}: {e}", path.display())
}

fn utf8(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not Unicode text", path.display()))
}
