//! A world for one test: names in a fresh directory, and the real command run in it.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value as Json;

use handover_test_support::{OwnDir, Start, own_dir};

pub(crate) struct World {
    dir: OwnDir,
}

/// What a run of the command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        self
    }

    /// The value printed by a run that succeeded.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        let ran = self.expect(0);
        String::from_utf8(ran.stdout).expect("text on standard output")
    }

    #[track_caller]
    pub(crate) fn json(self) -> Json {
        serde_json::from_str(&self.text()).expect("JSON on standard output")
    }
}

/// A process that runs until it is ended; killed when the test ends before.
pub(crate) struct Running {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
    /// What it has said so far.
    pub(crate) said: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).start().expect("start the command");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, stderr, said: String::new() }
    }

    /// Waits until it says a line with this start.
    #[track_caller]
    pub(crate) fn says(&mut self, start: &str) {
        loop {
            let mut line = String::new();
            let count = self.stderr.read_line(&mut line).expect("read standard error");
            self.said += &line;
            assert_ne!(count, 0, "it ended and had not said '{start}' but: {}", self.said);
            if line.starts_with(start) {
                return;
            }
        }
    }

    /// The next line on its standard output, which must be piped.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let out = self.child.stdout.as_mut().expect("piped");
        let mut line = Vec::new();
        // No buffer, which could keep what comes later.
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            let count = out.read(&mut byte).expect("read standard output");
            assert_ne!(count, 0, "it ended its output; it said: {}", self.said);
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text on standard output")
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).run().expect("kill").success());
    }

    /// Asks it to end, and waits for that. On Windows only a console can ask: there it is killed.
    #[cfg_attr(unix, allow(unused_mut))]
    pub(crate) fn stop(mut self) -> Ran {
        #[cfg(unix)]
        self.signal("TERM");
        #[cfg(not(unix))]
        self.child.kill().expect("kill");
        let ran = self.end();
        if cfg!(unix) { ran.expect(0) } else { ran }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let mut stdout = Vec::new();
        if let Some(out) = &mut self.child.stdout {
            out.read_to_end(&mut stdout).expect("read standard output");
        }
        self.stderr.read_to_string(&mut self.said).expect("read standard error");
        let code = self.child.wait().expect("wait").code();
        Ran { code, stdout, stderr: std::mem::take(&mut self.said) }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = own_dir();
        std::fs::create_dir(dir.path().join("names")).expect("a directory for names");
        Self { dir }
    }

    /// A path for a file of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.path("names")
    }

    /// Options for names of this world, where names lie in directories.
    pub(crate) fn names_options(&self) -> handover::map::MapOptions {
        let options = handover::map::MapOptions::new();
        if cfg!(windows) { options } else { options.directory(self.names()) }
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handover"));
        command.args(arguments).env("HANDOVER_DIR", self.names()).stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// Runs the command to its end with these bytes on its standard input.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        // A command that does not read it may have ended already.
        let _ = running.child.stdin.take().expect("piped").write_all(input);
        running.end()
    }

    /// Starts `put` with these arguments and waits until it holds the name.
    pub(crate) fn hold<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        self.hold_with(arguments, b"")
    }

    pub(crate) fn hold_with<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Running {
        let mut command = self.command(&["put"]);
        let mut running =
            Running::start(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let _ = running.child.stdin.take().expect("piped").write_all(input);
        running.says("holding");
        running
    }

    /// All files under the directory of names.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn visit(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
                if entry.path().is_dir() {
                    visit(&entry.path(), found);
                } else {
                    found.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        visit(&self.names(), &mut found);
        found
    }
}

/// A shell's command line that runs the command with each of these arguments, and ends with this code.
pub(crate) fn script(commands: &[&str], code: u8) -> Vec<String> {
    let handover = env!("CARGO_BIN_EXE_handover");
    if cfg!(windows) {
        let handover = handover.replace('/', "\\");
        let each: String = commands.iter().flat_map(|command| [&handover, " ", command, " & "]).collect();
        return format!("cmd /c {each}exit {code}").split(' ').map(str::to_owned).collect();
    }
    let line: String = commands.iter().flat_map(|command| ["'", handover, "' ", command, "; "]).collect();
    ["sh".to_owned(), "-c".to_owned(), format!("{line}exit {code}")].into()
}
