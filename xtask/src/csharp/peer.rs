//! The programs at both ends of a map: starts them and talks to them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::dotnet::Dotnet;
use crate::windows::Wine;

/// Longest time that a program may take for an answer.
const LIMIT: Duration = Duration::from_secs(60);

/// The language of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    CSharp,
    Rust,
}

/// A system on which programs meet, by names or in files.
pub(super) struct World<'a> {
    dotnet: &'a Dotnet,
    binaries: &'a Path,
    wine: Option<&'a Wine>,
    /// Whether maps are found by name; otherwise they lie in files.
    pub(super) named: bool,
    /// For files.
    folder: PathBuf,
    places: AtomicU32,
}

impl<'a> World<'a> {
    pub(super) fn linux(dotnet: &'a Dotnet, binaries: &'a Path, folder: PathBuf) -> Result<Self, String> {
        Self::new(dotnet, binaries, None, false, folder)
    }

    pub(super) fn wine(
        wine: &'a Wine,
        dotnet: &'a Dotnet,
        binaries: &'a Path,
        folder: PathBuf,
        named: bool,
    ) -> Result<Self, String> {
        Self::new(dotnet, binaries, Some(wine), named, folder)
    }

    fn new(
        dotnet: &'a Dotnet,
        binaries: &'a Path,
        wine: Option<&'a Wine>,
        named: bool,
        folder: PathBuf,
    ) -> Result<Self, String> {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self { dotnet, binaries, wine, named, folder, places: AtomicU32::new(0) })
    }

    /// A place that nobody has used yet.
    pub(super) fn place(&self) -> Place {
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        if self.named {
            return Place::named(&format!("handover C# {} {number}", std::process::id()));
        }
        let file = self.folder.join(format!("{number}.map"));
        // Wine shows the whole file system as its drive Z.
        let word = match self.wine {
            Some(_) => format!("Z:{}", file.display()).replace('/', "\\"),
            None => file.display().to_string(),
        };
        Place { named: false, word, file }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match self.wine {
            Some(wine) => wine.program(program),
            None => Command::new(program),
        };
        command
            // Both are for .NET, which would otherwise look for a library of languages and for newer versions
            // of itself.
            .env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
            .env("DOTNET_MULTILEVEL_LOOKUP", "0")
            // For Wine, which takes arguments as text in this locale's encoding.
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// The program of this side, waiting for requests.
    pub(super) fn start(&self, side: Side) -> Result<Peer, String> {
        let command = match side {
            Side::CSharp => {
                let mut command = self.command(&self.dotnet.program);
                command.arg(&self.dotnet.assembly);
                command
            }
            Side::Rust => self.command(&self.rust("csharp_peer")),
        };
        Peer::start(command, side)
    }

    /// The command `handover`.
    pub(super) fn handover(&self, subcommand: &str, place: &Place) -> Command {
        let mut command = self.command(&self.rust("handover"));
        command.arg(subcommand);
        if !place.named {
            command.arg("--path");
        }
        command.arg(&place.word).arg("--plain");
        command
    }

    fn rust(&self, program: &str) -> PathBuf {
        self.binaries.join(match self.wine {
            Some(_) => format!("{program}.exe"),
            None => program.to_owned(),
        })
    }
}

/// Where two programs meet.
#[derive(Debug)]
pub(super) struct Place {
    named: bool,
    /// The name or the path, as the programs know it.
    pub(super) word: String,
    /// The file, as this program knows it.
    pub(super) file: PathBuf,
}

/// A program that answers requests.
#[derive(Debug)]
pub(super) struct Peer {
    side: Side,
    child: Child,
    requests: Option<ChildStdin>,
    replies: Receiver<String>,
}

impl Peer {
    fn start(mut command: Command, side: Side) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the {side:?} program could not be started: {e}"))?;
        let requests = child.stdin.take();
        let output = child.stdout.take().ok_or("no pipe")?;
        let (send, replies) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { side, child, requests, replies })
    }

    /// Sends a request; `answer` takes its answer.
    pub(super) fn send(&mut self, request: &[&str]) -> Result<(), String> {
        let line = request.join("\t") + "\n";
        let pipe = self.requests.as_mut().ok_or("the program was ended")?;
        pipe.write_all(line.as_bytes()).map_err(|e| format!("{:?} does not listen: {e}", self.side))
    }

    /// The answer to a request: the result, or the error's kind and text.
    pub(super) fn answer(&mut self) -> Result<Result<String, String>, String> {
        let line = self
            .replies
            .recv_timeout(LIMIT)
            .map_err(|_| format!("the {:?} program gave no answer; see above", self.side))?;
        match line.split_once('\t') {
            Some(("ok", result)) => Ok(Ok(result.to_owned())),
            Some(("failed", why)) => Ok(Err(why.to_owned())),
            _ => Err(format!("the {:?} program said {line:?}", self.side)),
        }
    }

    /// Asks for something that must work.
    pub(super) fn ask(&mut self, request: &[&str]) -> Result<String, String> {
        self.send(request)?;
        self.answer()?.map_err(|why| format!("{:?} failed at {}: {why}", self.side, shown(request)))
    }

    /// Asks for something that must fail with that kind of error.
    pub(super) fn must_fail(&mut self, request: &[&str], kind: &str) -> Result<(), String> {
        self.send(request)?;
        match self.answer()? {
            Err(why) if why.split('\t').next() == Some(kind) => Ok(()),
            other => Err(format!("{:?}: {} gave {other:?}, and not {kind}", self.side, shown(request))),
        }
    }

    /// Asks for something, and compares the result.
    pub(super) fn must_give(&mut self, request: &[&str], expected: &str) -> Result<(), String> {
        let found = self.ask(request)?;
        if found == expected {
            return Ok(());
        }
        Err(format!("{:?}: {} gave {found:?}, and not {expected:?}", self.side, shown(request)))
    }

    pub(super) fn create(&mut self, place: &Place, capacity: u64) -> Result<(), String> {
        let request = if place.named { "create" } else { "create-file" };
        self.ask(&[request, &place.word, &capacity.to_string()]).map(|_| ())
    }

    pub(super) fn open(&mut self, place: &Place) -> Result<(), String> {
        self.ask(&[place.opening(), &place.word]).map(|_| ())
    }

    /// Lets the program end normally.
    pub(super) fn end(mut self) -> Result<(), String> {
        self.requests = None;
        let status = wait(&mut self.child)?;
        if status { Ok(()) } else { Err(format!("the {:?} program ended with an error", self.side)) }
    }

    /// Kills the program.
    pub(super) fn kill(mut self) -> Result<(), String> {
        self.child.kill().map_err(|e| e.to_string())?;
        wait(&mut self.child).map(|_| ())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Place {
    pub(super) fn named(name: &str) -> Self {
        Self { named: true, word: name.to_owned(), file: PathBuf::new() }
    }

    /// The request that opens it.
    pub(super) fn opening(&self) -> &'static str {
        if self.named { "open" } else { "open-file" }
    }

    /// The request to the Rust program that opens it as a cell.
    pub(super) fn opening_as_cell(&self) -> &'static str {
        if self.named { "open-as-cell" } else { "open-file-as-cell" }
    }
}

/// A request in a message; values can be long.
fn shown(request: &[&str]) -> String {
    request.iter().map(|word| word.chars().take(60).collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// Waits for a process. Returns whether it succeeded.
fn wait(child: &mut Child) -> Result<bool, String> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status.success());
        }
        if start.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Err("a program does not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command to its end. Returns its exit code and its output.
pub(super) fn finish(command: &mut Command) -> Result<(i32, String), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8(output.stdout).map_err(|e| e.to_string())?;
    Ok((output.status.code().unwrap_or(-1), text))
}

/// A `handover put` that holds a name until this is dropped.
pub(super) struct Held(Child);

impl Held {
    /// Starts it, with the value on its standard input. Returns when it says that it holds the name.
    pub(super) fn start(command: &mut Command, value: &str) -> Result<Self, String> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut held = Self(child);
        held.0.stdin.take().ok_or("no pipe")?.write_all(value.as_bytes()).map_err(|e| e.to_string())?;
        let mut said = BufReader::new(held.0.stderr.take().ok_or("no pipe")?);
        let mut line = String::new();
        said.read_line(&mut line).map_err(|e| e.to_string())?;
        if line.contains("holding") {
            return Ok(held);
        }
        let _ = said.read_to_string(&mut line);
        Err(format!("handover put said {line:?}"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
