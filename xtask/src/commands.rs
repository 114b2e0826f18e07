//! Runs the commands that README.md and docs/ show, and compares what they print with what is shown.
//!
//! In those files a block marked
//!
//! - `sh` is run by `sh -eu` in the workspace's root, with the built `handover` on the path and a
//!   `HANDOVER_DIR` that each file has for itself; blocks run in order;
//! - `text` directly after an `sh` block is what that block writes to standard output. `…` stands for any
//!   text within a line, and a line that is only `…` for any number of lines;
//! - `sh no_run` is not run, but each of its lines must name a task, subcommand, example or package that
//!   exists.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{missing, process, tree};

/// Longest time that one block may take.
const LIMIT: Duration = Duration::from_secs(60);
const ANY: char = '…';

pub(crate) fn check() -> Result<(), String> {
    if std::env::consts::OS == "windows" {
        return missing::skip("the commands shown are for a POSIX system");
    }
    process::cargo(&["build", "--quiet", "--package", "handover-cli"], &[])?;
    let mut files = vec![tree::root().join("README.md")];
    files.extend(tree::files(&tree::root().join("docs"), "md")?);
    let mut passed = 0;
    for path in files {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.strip_prefix(tree::root()).unwrap_or(&path).display().to_string();
        let blocks = blocks(&text).map_err(|why| format!("{name}: {why}"))?;
        if blocks.is_empty() {
            continue;
        }
        let place = Place::new()?;
        for block in blocks {
            let at = format!("{name}:{}", block.line);
            let outcome = if block.no_run { block.exists(&place) } else { block.run(&place) };
            outcome.map_err(|why| format!("{at}: {why}"))?;
            println!("{at} ... ok");
            passed += 1;
        }
    }
    println!("{passed} blocks of commands passed");
    Ok(())
}

/// Where blocks run: a directory for names and one for what the blocks print, removed at the end.
struct Place {
    directory: PathBuf,
    path: std::ffi::OsString,
}

impl Place {
    fn new() -> Result<Self, String> {
        // The shell makes it, because names are refused in a directory that others may write to.
        let made = process::output(
            Command::new("sh")
                .args(["-euc", "umask 077; mktemp -d \"${TMPDIR:-/tmp}/handover-readme.XXXXXX\""]),
        )?;
        let binaries = std::env::current_exe().map_err(|e| e.to_string())?;
        let binaries = binaries.parent().unwrap_or(Path::new(".")).to_owned();
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(binaries).chain(std::env::split_paths(&rest)))
            .map_err(|e| e.to_string())?;
        Ok(Self { directory: made.trim_end().into(), path })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(tree::root())
            .env("PATH", &self.path)
            .env("HANDOVER_DIR", &self.directory)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[derive(Debug, PartialEq)]
struct Block {
    /// Where it starts, from 1.
    line: usize,
    script: String,
    no_run: bool,
    expected: Option<String>,
}

/// The blocks of commands in a Markdown file.
fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut found: Vec<Block> = Vec::new();
    // Whether only empty lines came since the last block of commands.
    let mut directly_after = false;
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            directly_after &= line.trim().is_empty();
            continue;
        };
        let mut body = String::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some((_, line)) => body.extend([line, "\n"]),
                None => return Err(format!("the block in line {} does not end", at + 1)),
            }
        }
        let new = |no_run| Block { line: at + 1, script: body.clone(), no_run, expected: None };
        match (kind, found.last_mut()) {
            ("sh", _) => found.push(new(false)),
            ("sh no_run", _) => found.push(new(true)),
            ("text", Some(block)) if directly_after => block.expected = Some(body),
            _ if kind.starts_with("sh ") => return Err(format!("line {}: unknown kind {kind:?}", at + 1)),
            _ => {}
        }
        directly_after = kind == "sh";
    }
    Ok(found)
}

impl Block {
    fn run(&self, place: &Place) -> Result<(), String> {
        // Files, not pipes: a process in the background that outlives its block does not keep it from ending.
        let [out, err] = ["stdout", "stderr"].map(|name| place.directory.join(name));
        let create = |path: &Path| File::create(path).map_err(|e| format!("{}: {e}", path.display()));
        let status = wait(
            place.command("sh").args(["-euc", &self.script]).stdout(create(&out)?).stderr(create(&err)?),
        )?;
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (out, err) = (read(&out).unwrap_or_default(), read(&err).unwrap_or_default());
        let told =
            || format!("\n--- commands\n{}--- standard output\n{out}--- standard error\n{err}", self.script);
        match status {
            None => return Err(format!("not done after {LIMIT:?}{}", told())),
            Some(status) if !status.success() => return Err(format!("ended with {status}{}", told())),
            Some(_) => {}
        }
        match &self.expected {
            Some(expected) if !matches(expected, &out) => {
                Err(format!("printed something else{}--- expected\n{expected}", told()))
            }
            _ => Ok(()),
        }
    }

    /// Whether what a block names that is not run is there.
    fn exists(&self, place: &Place) -> Result<(), String> {
        for line in self.script.lines() {
            let code = line.split(" #").next().unwrap_or_default().trim();
            if code.is_empty() || code.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = code.split_whitespace().filter(|word| *word != "--release").collect();
            let there = match words[..] {
                // Each task has this option.
                ["cargo", "xtask", task] | ["cargo", "xtask", task, missing::INSTALL] => {
                    task_help(task)?.is_some()
                }
                ["cargo", "xtask", task, option @ ("--quick" | "--all" | "--beside")] => {
                    task_help(task)?.is_some_and(|told| told.contains(option))
                }
                ["cargo", "run", "--", command, ..] | ["handover", command, ..] => {
                    let help = wait(
                        place
                            .command("handover")
                            .args([command, "--help"])
                            .stdout(Stdio::null())
                            .stderr(Stdio::null()),
                    )?;
                    help.is_some_and(|status| status.success())
                }
                ["cargo", "run", "--example", example, ..] => {
                    tree::root().join("examples").join(example).with_extension("rs").is_file()
                }
                ["cargo", "install", "--path", folder, ..] => {
                    tree::root().join(folder).join("Cargo.toml").is_file()
                }
                _ => return Err(format!("no check is known for {code:?}; let it run, or add a check")),
            };
            if !there {
                return Err(format!("{code:?} names something that does not exist"));
            }
        }
        Ok(())
    }
}

/// What this program's help says of a task.
fn task_help(task: &str) -> Result<Option<String>, String> {
    let own = std::env::current_exe().map_err(|e| format!("this program can't be found: {e}"))?;
    let help = process::output(Command::new(own).arg("help"))?;
    let of_task = |line: &&str| line.strip_prefix("  ").and_then(|told| told.split(' ').next()) == Some(task);
    Ok(help.lines().find(of_task).map(str::to_owned))
}

/// Waits for a command, up to the limit.
fn wait(command: &mut Command) -> Result<Option<ExitStatus>, String> {
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(Some(status));
        }
        if start.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether `printed` is what `expected` shows.
fn matches(expected: &str, printed: &str) -> bool {
    let expected: Vec<&str> = expected.trim_end().lines().collect();
    let printed: Vec<&str> = printed.trim_end().lines().collect();
    lines_match(&expected, &printed)
}

fn lines_match(expected: &[&str], printed: &[&str]) -> bool {
    match expected {
        [] => printed.is_empty(),
        [first, rest @ ..] if first.trim().chars().eq([ANY]) => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        [first, rest @ ..] => {
            printed.first().is_some_and(|line| line_matches(first.trim_end(), line.trim_end()))
                && lines_match(rest, &printed[1..])
        }
    }
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let Some((before, after)) = expected.split_once(ANY) else { return expected == printed };
    let Some(rest) = printed.strip_prefix(before) else { return false };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|skipped| line_matches(after, &rest[skipped..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_belongs_to_the_commands_directly_before_it() {
        let text = "```sh\necho a\n```\n\n```text\na\n```\n\n```sh no_run\ncargo xtask test\n```\nso:\n```text\nb\n```\n";
        let block = |line, script: &str, no_run, expected: Option<&str>| Block {
            line,
            script: script.to_owned(),
            no_run,
            expected: expected.map(str::to_owned),
        };
        assert_eq!(
            blocks(text).unwrap(),
            [block(1, "echo a\n", false, Some("a\n")), block(9, "cargo xtask test\n", true, None)]
        );
        assert!(blocks("```sh norun\nx\n```").is_err());
        assert!(blocks("```sh\nx").is_err());
    }

    #[test]
    fn only_an_ellipsis_stands_for_other_text() {
        assert!(matches("a\nb", "a\nb\n"));
        assert!(!matches("a\nb", "a"));
        assert!(!matches("a", "a\nb"));
        assert!(matches("took … ms", "took 12 ms"));
        assert!(!matches("took … ms", "took 12 s"));
        assert!(!matches("a…", "x"));
        assert!(matches("a\n…\nd", "a\nb\nc\nd"));
        assert!(matches("a\n…", "a"));
        assert!(!matches("a\n…\nd", "a\nb"));
        assert!(matches("…x…", "axb"));
    }
}
