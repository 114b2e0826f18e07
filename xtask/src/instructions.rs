//! Counts the instructions of the library's hot paths under callgrind, and compares them with a committed
//! table.
//!
//! Each path of `handover-hot-paths` runs N and 2N rounds; the difference is N rounds without what happens
//! only once. Unlike times, the numbers are the same in each run. What the kernel does is not in them, nor
//! what the vDSO does, which valgrind replaces by system calls; a call and a return are.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::debian::{self, Package};
use crate::missing::Missing;
use crate::needs::Need;
use crate::{process, tree};

const PACKAGE: &str = "handover-hot-paths";
const TABLE: &str = "crates/handover-hot-paths/instructions.toml";
/// The system that the table is for.
const SYSTEM: &str = "x86_64 Linux";
const VALGRIND: Package = Package { name: "valgrind", file: "/usr/bin/valgrind", megabytes: 90 };
pub(crate) const NEEDS: &[Need] = &[Need::Package(VALGRIND)];
const ROUNDS: u64 = 1000;
/// The function of `handover-hot-paths` whose instructions are counted, for the old and the new names of
/// symbols.
const COUNTED: &str = "*handover_hot_paths*counted*";

/// What a path may take above its line in the table: a part of it, or some instructions, whichever is more.
struct Tolerance {
    part: f64,
    least: f64,
}

/// With the compiler of the table nothing varies but the routines for copying and clearing that the C library
/// chooses by processor: without AVX2 a path took up to 2.2 % more.
const SAME_COMPILER: Tolerance = Tolerance { part: 0.03, least: 2.0 };

/// Compilers differ: what Rust 1.89 made took up to 29.2 % more than what 1.95 made, and 8 instructions more
/// in the shortest path.
const OTHER_COMPILER: Tolerance = Tolerance { part: 0.35, least: 10.0 };

/// Compares with the table.
pub(crate) fn check() -> Result<(), String> {
    if let Err(why) = can_count() {
        return why.end("instructions");
    }
    let text = std::fs::read_to_string(tree::root().join(TABLE)).map_err(|e| format!("{TABLE}: {e}"))?;
    let table = Table::parse(&text).map_err(|why| format!("{TABLE}: {why}"))?;
    let (lines, wrong) = compare(&table, &count()?);
    print!("{lines}");
    if wrong.is_empty() {
        return Ok(());
    }
    let renew = "If that is intended, 'cargo xtask instructions --renew' writes a new table.";
    Err(format!("{}. {renew}", wrong.join("; ")))
}

/// Writes the table anew.
pub(crate) fn renew() -> Result<(), String> {
    can_count().map_err(|why| why.to_string())?;
    let found = count()?;
    std::fs::write(tree::root().join(TABLE), found.text()).map_err(|e| format!("{TABLE}: {e}"))?;
    println!("{TABLE} is written: {} paths", found.paths.len());
    Ok(())
}

/// Whether there is a valgrind, now at the latest.
fn can_count() -> Result<(), Missing> {
    if (std::env::consts::OS, std::env::consts::ARCH) != ("linux", "x86_64") {
        return Err(Missing::NotHere(format!("the table is for {SYSTEM}")));
    }
    debian::install(&[VALGRIND])
}

/// Who compiled, and the instructions that a round of each path takes.
#[derive(Debug, PartialEq)]
struct Table {
    rustc: String,
    paths: Vec<(String, f64)>,
}

impl Table {
    /// The lines that [`text`](Self::text) writes; no other TOML.
    fn parse(text: &str) -> Result<Self, String> {
        let mut table = Self { rustc: String::new(), paths: Vec::new() };
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '[']) {
                continue;
            }
            let wrong = || format!("line {} is not understood: {line}", at + 1);
            let (name, value) = line.split_once(" = ").ok_or_else(wrong)?;
            if name == "rustc" {
                value.trim_matches('"').clone_into(&mut table.rustc);
            } else {
                table.paths.push((name.to_owned(), value.parse().map_err(|_| wrong())?));
            }
        }
        Ok(table)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# Instructions that a round of each hot path takes, counted by callgrind on {SYSTEM}. A path that takes\n\
             # more fails `cargo xtask test --all`; `cargo xtask instructions --renew` writes this file.\n\
             rustc = \"{}\"\n\n[instructions]\n",
            self.rustc
        );
        for (name, instructions) in &self.paths {
            let _ = writeln!(text, "{name} = {instructions:.1}");
        }
        text
    }

    fn find(&self, name: &str) -> Option<f64> {
        self.paths.iter().find(|(known, _)| known == name).map(|(_, instructions)| *instructions)
    }
}

/// What to print of each path, and what is wrong.
fn compare(table: &Table, found: &Table) -> (String, Vec<String>) {
    let tolerance = if table.rustc == found.rustc {
        SAME_COMPILER
    } else {
        println!(
            "The table was made with Rust {}, and this is {}: {} % more is allowed.",
            table.rustc,
            found.rustc,
            OTHER_COMPILER.part * 100.0
        );
        OTHER_COMPILER
    };
    let mut lines = format!("{:<28} {:>9} {:>9} {:>9}\n", "instructions", "counted", "table", "allowed");
    let mut wrong = Vec::new();
    for (name, counted) in &found.paths {
        let Some(known) = table.find(name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        let slack = (known * tolerance.part).max(tolerance.least);
        let allowed = known + slack;
        let mut note = "";
        if *counted > allowed {
            let more = counted - known;
            wrong.push(format!(
                "{name} takes {counted:.1} instructions, {more:.1} ({:.1} %) more than the table says; up to \
                 {allowed:.1} are allowed",
                more / known * 100.0
            ));
            note = "  TOO MANY";
        } else if *counted < known - slack {
            note = "  fewer: renew the table to keep that";
        }
        let _ = writeln!(lines, "{name:<28} {counted:>9.1} {known:>9.1} {allowed:>9.1}{note}");
    }
    let gone = table.paths.iter().filter(|(name, _)| found.find(name).is_none());
    wrong.extend(gone.map(|(name, _)| format!("{name} is in the table, and no such path runs")));
    (lines, wrong)
}

fn count() -> Result<Table, String> {
    process::cargo(&["build", "--quiet", "--release", "--package", PACKAGE], &[])?;
    let program = program()?;
    let listed = process::output(&mut Command::new(&program))?;
    let paths = listed
        .lines()
        .map(|name| Ok((name.to_owned(), round(&program, name)?)))
        .collect::<Result<_, String>>()?;
    let rustc = process::output(Command::new("rustc").arg("--version"))?;
    let rustc = rustc.split(' ').nth(1).ok_or("rustc does not report its version")?.to_owned();
    Ok(Table { rustc, paths })
}

/// The built program. It lies beside the folder of this one, which is built without `--release`.
fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = own.ancestors().nth(2).ok_or("the target folder is not known")?;
    Ok(target.join("release").join(PACKAGE))
}

/// Instructions of one round of a path.
fn round(program: &PathBuf, path: &str) -> Result<f64, String> {
    // Both at once: there are mostly two processors.
    let started = [ROUNDS, 2 * ROUNDS].map(|rounds| {
        Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(program)
            .args([path, &rounds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    });
    let [once, twice] = started.map(|child| {
        let output = child.and_then(std::process::Child::wait_with_output).map_err(|e| e.to_string())?;
        let told = String::from_utf8_lossy(&output.stderr);
        let total =
            told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<f64>().ok());
        match total {
            Some(total) if output.status.success() => Ok(total),
            _ => Err(format!("{path} under valgrind ended with {}: {}", output.status, told.trim())),
        }
    });
    let instructions = (twice? - once?) / ROUNDS as f64;
    if instructions < 1.0 {
        return Err(format!("nothing was counted for {path}: valgrind found no function like {COUNTED}"));
    }
    Ok(instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rustc: &str, paths: &[(&str, f64)]) -> Table {
        Table {
            rustc: rustc.to_owned(),
            paths: paths.iter().map(|(name, instructions)| ((*name).to_owned(), *instructions)).collect(),
        }
    }

    #[test]
    fn a_path_that_takes_more_than_is_allowed_is_named_with_its_excess() {
        let limits = table("1", &[("load", 10.0), ("publish", 1000.0)]);
        let (_, wrong) = compare(&limits, &table("1", &[("load", 12.0), ("publish", 1030.0)]));
        assert_eq!(wrong, [""; 0]);
        let (lines, wrong) = compare(&limits, &table("1", &[("load", 12.1), ("publish", 1030.1)]));
        assert_eq!(wrong.len(), 2);
        assert!(wrong[0].starts_with("load takes 12.1 instructions, 2.1 (21.0 %) more"), "{wrong:?}");
        assert!(wrong[1].starts_with("publish takes 1030.1"), "{wrong:?}");
        assert_eq!(lines.matches("TOO MANY").count(), 2);
    }

    #[test]
    fn another_compiler_may_take_more_but_not_any_number() {
        let limits = table("1", &[("publish", 1000.0)]);
        assert!(compare(&limits, &table("2", &[("publish", 1350.0)])).1.is_empty());
        assert_eq!(compare(&limits, &table("2", &[("publish", 1351.0)])).1.len(), 1);
    }

    #[test]
    fn the_table_has_all_paths_and_no_others() {
        let limits = table("1", &[("load", 10.0), ("old", 5.0)]);
        let (_, wrong) = compare(&limits, &table("1", &[("load", 10.0), ("new", 5.0)]));
        assert_eq!(wrong, ["new is not in the table", "old is in the table, and no such path runs"]);
    }

    #[test]
    fn fewer_instructions_pass_and_are_told() {
        let (lines, wrong) = compare(&table("1", &[("publish", 1000.0)]), &table("1", &[("publish", 900.0)]));
        assert!(wrong.is_empty() && lines.contains("fewer"));
    }

    #[test]
    fn a_written_table_is_read_back() {
        let written = table("1.95.0", &[("load", 53.0), ("publish", 1547.8)]);
        assert_eq!(Table::parse(&written.text()).unwrap(), written);
        assert!(Table::parse("load = many").is_err());
        assert!(Table::parse("load").is_err());
    }
}
