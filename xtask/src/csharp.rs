//! Real .NET at the other end of a map: programs in C# and in Rust hand values to each other, both ways.
//!
//! The C# programs are in tests/csharp; `dotnet` fetches the runtime and compiles them. On Linux the two
//! sides meet in files, because .NET refuses names there; under Wine they meet by name, and in files too.
//! `cases` lists the checks; `peer` talks to the programs.

mod cases;
mod dotnet;
mod peer;

use std::path::Path;
use std::time::Instant;

use self::peer::World;
use crate::needs::Need;
use crate::process;
use crate::windows::Wine;

const WHAT: &str = "tests with C# programs";

/// What the step for Linux needs.
pub(crate) const NEEDS_ON_LINUX: &[Need] = dotnet::NEEDS_ON_LINUX;

/// What the step under Wine needs besides Wine.
pub(crate) const NEEDS_UNDER_WINE: &[Need] = dotnet::NEEDS_UNDER_WINE;

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
    let dotnet = match dotnet::ready(&dotnet::LINUX) {
        Ok(dotnet) => dotnet,
        Err(missing) => return missing.end(WHAT),
    };
    process::cargo(&BUILD, &[])?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let binaries = own.parent().unwrap_or(Path::new("."));
    let world = World::linux(&dotnet, binaries, dotnet::folder().join("files"))?;
    run(&[("Linux, files", &world, &[cases::COMMON, cases::FILES])])
}

/// The step for Windows, under Wine.
pub(crate) fn wine() -> Result<(), String> {
    let dotnet = match dotnet::ready(&dotnet::WINDOWS) {
        Ok(dotnet) => dotnet,
        Err(missing) => return missing.end(WHAT),
    };
    let wine = match Wine::start() {
        Ok(wine) => wine,
        Err(missing) => return missing.end(WHAT),
    };
    wine.cargo(&BUILD)?;
    let binaries = Wine::binaries();
    let folder = dotnet::folder().join("wine-files");
    let named = World::wine(&wine, &dotnet, &binaries, folder.clone(), true)?;
    let files = World::wine(&wine, &dotnet, &binaries, folder, false)?;
    run(&[
        ("Wine, names", &named, &[cases::COMMON, cases::NAMES]),
        ("Wine, files", &files, &[cases::ONE_AFTER_THE_OTHER]),
    ])
}

/// Runs all cases, even if one fails, and reports how they went.
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
