//! Real .NET at the other end of a map: programs in C# and in Rust hand values to each other, both ways.
//!
//! The runtime is Python's package `dotnetcore2` (for Linux and for Windows), the compiler Debian's `mono-mcs`. The
//! C# programs stand in tests/csharp. On Linux the two sides meet in files, because .NET refuses names there;
//! under Wine they meet by name, and in files too. What is checked stands in `cases`, how programs are talked to in
//! `peer`.

mod cases;
mod peer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use self::peer::World;
use crate::debian::{self, Missing};
use crate::steps;
use crate::windows::Wine;

const COMPILER: debian::Package = ("mono-mcs", "/usr/bin/mcs");
const PIP: debian::Package = ("python3-pip", "/usr/bin/pip3");
const WHAT: &str = "tests with C# programs";

/// Which of the package's files, and what the program in it is called.
struct Runtime {
    folder: &'static str,
    platform: &'static str,
    program: &'static str,
}

const LINUX: Runtime = Runtime { folder: "linux", platform: "manylinux1_x86_64", program: "dotnet" };
const WINDOWS: Runtime = Runtime { folder: "windows", platform: "win_amd64", program: "dotnet.exe" };

/// The parts of the framework that the programs use.
const REFERENCES: [&str; 10] = [
    "System.Private.CoreLib",
    "netstandard",
    "System.Runtime",
    "System.Runtime.Extensions",
    "System.Runtime.InteropServices",
    "System.Console",
    "System.IO.MemoryMappedFiles",
    "System.Linq",
    "System.Text.Encodings.Web",
    "System.Text.Json",
];

/// The Rust programs that take part.
const BUILD: [&str; 8] = [
    "build",
    "--package",
    "handover-cli",
    "--package",
    "handover-tests",
    "--bin=handover",
    "--bin=csharp_peer",
    "--quiet",
];

/// The step for Linux.
pub(crate) fn linux() -> Result<(), String> {
    let dotnet = match ready(&LINUX) {
        Ok(dotnet) => dotnet,
        Err(missing) => return missing.end(WHAT),
    };
    steps::cargo(&BUILD, &[])?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let binaries = own.parent().unwrap_or(Path::new("."));
    let world = World::linux(&dotnet, binaries, folder().join("files"))?;
    run(&[("Linux, files", &world, &[cases::COMMON, cases::FILES])])
}

/// The step for Windows, under Wine.
pub(crate) fn wine() -> Result<(), String> {
    let dotnet = match ready(&WINDOWS) {
        Ok(dotnet) => dotnet,
        Err(missing) => return missing.end(WHAT),
    };
    let wine = match Wine::start() {
        Ok(wine) => wine,
        Err(missing) => return missing.end(WHAT),
    };
    wine.cargo(&BUILD)?;
    let binaries = Wine::binaries();
    let folder = folder().join("wine-files");
    let named = World::wine(&wine, &dotnet, &binaries, folder.clone(), true)?;
    let files = World::wine(&wine, &dotnet, &binaries, folder, false)?;
    run(&[
        ("Wine, names", &named, &[cases::COMMON, cases::NAMES]),
        ("Wine, files", &files, &[cases::ONE_AFTER_THE_OTHER]),
    ])
}

/// Runs cases, all of them also where one fails; says how they went.
fn run(worlds: &[(&str, &World<'_>, &[&[cases::Case]])]) -> Result<(), String> {
    let (mut passed, mut failed) = (0, 0);
    for (title, world, lists) in worlds {
        for case in lists.iter().copied().flatten() {
            let start = Instant::now();
            let outcome = (case.run)(world);
            let took = start.elapsed().as_secs_f32();
            match outcome {
                Ok(note) => {
                    passed += 1;
                    println!("{title}: {} ... ok ({took:.1} s{note})", case.name);
                }
                Err(why) => {
                    failed += 1;
                    println!("{title}: {} ... FAILED ({took:.1} s): {why}", case.name);
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(format!("{failed} cases failed")) }
}

/// The folder for the runtimes and what is compiled.
fn folder() -> PathBuf {
    debian::build_results().join("csharp")
}

/// Where a runtime and the compiled programs are.
struct Dotnet {
    program: PathBuf,
    assembly: PathBuf,
}

/// Fetches what is missing, and compiles the programs.
fn ready(runtime: &Runtime) -> Result<Dotnet, Missing> {
    if steps::output(Command::new("mcs").arg("--version")).is_err() {
        debian::install(&[COMPILER])?;
    }
    let root = fetched(runtime)?;
    let program = root.join(runtime.program);
    let frameworks = root.join("shared/Microsoft.NETCore.App");
    let framework = fs::read_dir(&frameworks)
        .map_err(|e| format!("{}: {e}", frameworks.display()))?
        .find_map(|entry| Some(entry.ok()?.path()))
        .ok_or_else(|| format!("{} is empty", frameworks.display()))?;
    Ok(Dotnet { program, assembly: compiled(runtime, &framework)? })
}

/// The folder of a runtime.
fn fetched(runtime: &Runtime) -> Result<PathBuf, Missing> {
    let there = folder().join(runtime.folder);
    let root = there.join("dotnetcore2/bin");
    if root.is_dir() {
        return Ok(root);
    }
    if steps::output(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        debian::install(&[PIP])?;
    }
    let aside = folder().join(format!(".{}-{}", runtime.folder, std::process::id()));
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).map_err(|e| format!("{}: {e}", aside.display()))?;
    let fetched = steps::run(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args([
                "--only-binary=:all:",
                "--require-hashes",
                "--requirement",
                "tests/csharp/requirements.txt",
            ])
            .args(["--platform", runtime.platform, "--dest"])
            .arg(&aside),
    );
    if let Err(why) = fetched {
        let _ = fs::remove_dir_all(&aside);
        return Err(Missing::NotHere(format!("PyPI's package dotnetcore2 can't be had ({why})")));
    }
    let unpacked = aside.join("unpacked");
    for wheel in steps::files(&aside, "whl")? {
        steps::run(Command::new("python3").args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(&unpacked))?;
    }
    // Python's module does not restore the right to run it.
    steps::run(Command::new("chmod").arg("+x").arg(unpacked.join("dotnetcore2/bin").join(runtime.program)))?;
    let moved = fs::rename(&unpacked, &there);
    let _ = fs::remove_dir_all(&aside);
    match moved {
        // Somebody else was faster.
        Err(_) if root.is_dir() => Ok(root),
        outcome => outcome.map(|()| root).map_err(|e| Missing::Failed(format!("{}: {e}", there.display()))),
    }
}

/// The programs, compiled against the parts of that very framework.
fn compiled(runtime: &Runtime, framework: &Path) -> Result<PathBuf, String> {
    let sources = steps::files(&steps::root().join("tests/csharp"), "cs")?;
    let folder = folder().join(format!("{}-programs", runtime.folder));
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let assembly = folder.join("Peer.dll");
    let mut compiler = Command::new("mcs");
    compiler
        .args(["-nologo", "-noconfig", "-nostdlib", "-langversion:7", "-warnaserror", "-nowarn:1702"])
        .arg(format!("-lib:{}", framework.display()))
        .args(REFERENCES.map(|part| format!("-reference:{part}.dll")))
        .arg(format!("-out:{}", assembly.display()))
        .args(&sources);
    steps::run(&mut compiler)?;
    let config = "Peer.runtimeconfig.json";
    fs::copy(steps::root().join("tests/csharp").join(config), folder.join(config))
        .map_err(|e| format!("{config}: {e}"))?;
    Ok(assembly)
}
