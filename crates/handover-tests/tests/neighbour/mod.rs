//! What the tests with other users and in other environments share: processes of other users
//! (`src/bin/neighbour.rs`), actors that another program starts, and names as the design lays them out.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;

use handover_tests::{Command, Failure, HANG, Obey, Outcome, Reply, Stage, Start, is_root, set_mode};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

pub(crate) const ALICE: u32 = 60001;
pub(crate) const BOB: u32 = 60002;
pub(crate) const CAROL: u32 = 60003;
/// A group that nobody is in unless a test says so.
pub(crate) const GROUP: u32 = 60100;

/// Ends a test that needs to be root.
#[allow(unused_macros, reason = "each test file uses its part")]
macro_rules! needs_root {
    () => {
        if !handover_tests::is_root() {
            handover_tests::skip!("only root can act as other users and mount file systems");
        }
    };
}
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use needs_root;

pub(crate) fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

pub(crate) fn stage_for_all() -> Stage {
    Stage::for_all_users(env!("CARGO_BIN_EXE_actor"))
}

/// The directory of a user's names.
pub(crate) fn scope_of(stage: &Stage, uid: u32) -> PathBuf {
    stage.path().join(format!("handover-{uid}"))
}

/// The directory of a user's global names.
pub(crate) fn global_of(stage: &Stage, uid: u32) -> PathBuf {
    stage.path().join(format!("handover-{uid}-global"))
}

/// What the file of a name is called.
pub(crate) fn file_name(name: &str) -> String {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in name.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}.map")
}

/// The number of a user or group of this machine, by name.
pub(crate) fn number_in(file: &str, name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Whether a program can be started.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|directory| directory.join(name).exists())
}

/// Runs a program to its end; its output where it fails.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let output = Program::new(words[0]).args(&words[1..]).run_for_output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{words:?}: {said}")) }
}

/// A process and the pipes to it. Killed on drop.
#[derive(Debug)]
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    replies: Receiver<String>,
}

impl Talk {
    fn start(program: &mut Program, base: &Path) -> Self {
        program.env("HANDOVER_DIR", base).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.start().expect("start a process");
        let output = child.stdout.take().expect("was piped");
        Self { input: child.stdin.take(), child, replies: handover_tests::lines_of(output) }
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it listens");
        input.write_all(format!("{line}\n").as_bytes()).expect("it listens");
    }

    #[track_caller]
    fn hear(&self) -> Option<String> {
        match self.replies.recv_timeout(HANG) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("a process hangs"),
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process of another user that does one thing.
#[derive(Debug)]
pub(crate) struct Neighbour(Talk);

/// What a neighbour that opened a map found: whether it created it, the capacity, its first bytes as text.
pub(crate) type Found = (bool, u64, String);

impl Neighbour {
    pub(crate) fn of(stage: &Stage, uid: u32, groups: &[u32], words: &[&str]) -> Self {
        let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
        let mut program = Program::new(env!("CARGO_BIN_EXE_neighbour"));
        program.arg(uid.to_string()).arg(groups.join(",")).args(words);
        Self(Talk::start(&mut program, stage.path()))
    }

    /// What it says next.
    #[track_caller]
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> Outcome<T> {
        let line = self.0.hear().expect("it lives");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("no answer: {line:?}: {e}"))
    }

    /// Has one that has a map store a text for a while, in views of its own; what lies there then.
    #[track_caller]
    pub(crate) fn put(&mut self, text: &str) -> Outcome<String> {
        self.0.say(text);
        self.hear()
    }

    /// Has it end in good order.
    pub(crate) fn end(mut self) -> ExitStatus {
        drop(self.0.input.take());
        self.0.child.wait().expect("it ends")
    }

    /// Kills it; it is gone when this returns.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

/// Starts a neighbour that opens a map, and gives what it found.
#[track_caller]
pub(crate) fn map_of(stage: &Stage, uid: u32, groups: &[u32], words: &[&str]) -> (Neighbour, Outcome<Found>) {
    let words: Vec<_> = ["map"].into_iter().chain(words.iter().copied()).collect();
    let mut neighbour = Neighbour::of(stage, uid, groups, &words);
    let found = neighbour.hear();
    (neighbour, found)
}

/// What a neighbour answers that then ends.
#[track_caller]
pub(crate) fn once<T: DeserializeOwned>(stage: &Stage, uid: u32, words: &[&str]) -> Outcome<T> {
    let mut neighbour = Neighbour::of(stage, uid, &[], words);
    let answer = neighbour.hear();
    neighbour.end();
    answer
}

/// Asserts that something failed with one of these kinds of error; gives its text.
#[track_caller]
pub(crate) fn failed<T: std::fmt::Debug>(outcome: Outcome<T>, kinds: &[&str]) -> String {
    match outcome {
        Err(Failure { kind, message }) if kinds.contains(&&*kind) => message,
        other => panic!("should fail with one of {kinds:?}: {other:?}"),
    }
}

/// An actor that another program starts: `unshare`, `nsenter`, a shell that mounts something before.
#[derive(Debug)]
pub(crate) struct Under {
    talk: Talk,
    /// A copy of the actors' program that every user can run.
    _copy: TempDir,
}

impl Under {
    /// `words` are the program and its arguments; the actor's path comes after them.
    pub(crate) fn start(base: &Path, words: &[&str]) -> Self {
        let (copy, actor) = copy_of_actor(0o755);
        let mut program = Program::new(words[0]);
        program.args(&words[1..]).arg(actor);
        Self { talk: Talk::start(&mut program, base), _copy: copy }
    }

    /// In namespaces of mounts of its own, after a shell has carried out `script` there.
    pub(crate) fn mounted(base: &Path, script: &str) -> Self {
        let script = format!("set -e; {script}; exec \"$@\"");
        Self::start(base, &["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
    }

    /// Another one that sees what this one sees.
    pub(crate) fn beside(&self, base: &Path) -> Self {
        Self::start(base, &["nsenter", "--mount", "--target", &self.id().to_string()])
    }

    pub(crate) fn id(&self) -> u32 {
        self.talk.child.id()
    }

    /// Whether it came to run.
    pub(crate) fn runs(&mut self) -> bool {
        self.ask_softly(&Command::ListDirectory(PathBuf::from("/"))).is_some()
    }

    fn ask_softly(&mut self, command: &Command) -> Option<Reply> {
        let mut line = serde_json::to_string(command).expect("commands are JSON");
        line.push('\n');
        self.talk.input.as_mut()?.write_all(line.as_bytes()).ok()?;
        serde_json::from_str(&self.talk.hear()?).ok()
    }

    /// Kills it; it is gone when this returns.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Obey for Under {
    fn send(&mut self, command: &Command) {
        self.talk.say(&serde_json::to_string(command).expect("commands are JSON"));
    }

    fn reply(&mut self) -> Option<Reply> {
        let line = self.talk.hear()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("no reply: {line:?}: {e}")))
    }
}

/// A copy of the actors' program, with this mode, where every user can come by. Another process makes it: a
/// file that this one has open for writing can't be run while a thread of it starts a process.
pub(crate) fn copy_of_actor(mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory for a program");
    set_mode(directory.path(), 0o755);
    let copy = directory.path().join("actor");
    let to = copy.to_str().expect("a path that is text");
    run(&["cp", env!("CARGO_BIN_EXE_actor"), to]).expect("copy a program");
    set_mode(&copy, mode);
    (directory, copy)
}

/// Everything about a file or directory that an operation could change, but for times of reading.
pub(crate) fn picture(path: &Path) -> String {
    use std::hash::{Hash, Hasher};
    let metadata = path.symlink_metadata().expect("it stands there");
    let inside = if metadata.is_file() {
        let bytes = std::fs::read(path).expect("read it");
        let mut hasher = std::hash::DefaultHasher::new();
        bytes.hash(&mut hasher);
        format!("{} bytes, {:x}", bytes.len(), hasher.finish())
    } else if metadata.is_symlink() {
        std::fs::read_link(path).expect("read it").display().to_string()
    } else if metadata.is_dir() {
        let files = handover_tests::files_in(path);
        format!("{:?}", files.iter().map(|path| (path.clone(), picture(path))).collect::<Vec<_>>())
    } else {
        String::new()
    };
    format!("{} {inside}", handover_tests::attributes(&metadata))
}

/// Says that a test of a file system was skipped where the system lacks it.
pub(crate) fn can_mount() -> bool {
    is_root() && has_program("mount") && has_program("unshare") && has_program("nsenter")
}
