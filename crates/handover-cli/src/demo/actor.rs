//! The processes that the demo starts: this program again, told what to do over its standard input.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value as Json;

use crate::failure::Failure;

/// A process of the demo; killed if the demo ends early.
pub(super) struct Actor {
    role: &'static str,
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts this program again with `arguments` and writes `input` to its standard input, which stays open.
    pub(super) fn start(role: &'static str, arguments: &[&str], input: &[u8]) -> Result<Self, Failure> {
        let failed = |e: io::Error| Failure::other(format!("could not start the {role}: {e}"));
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let answers = BufReader::new(child.stdout.take().expect("piped above"));
        let mut actor = Self { role, child, answers };
        actor.tell(input)?;
        Ok(actor)
    }

    /// Writes to its standard input.
    pub(super) fn tell(&mut self, input: &[u8]) -> Result<(), Failure> {
        let stdin = self.child.stdin.as_mut().expect("piped, and told only before it is closed");
        stdin
            .write_all(input)
            .and_then(|()| stdin.flush())
            .map_err(|e| Failure::other(format!("could not write to the {}: {e}", self.role)))
    }

    /// Closes its standard input.
    pub(super) fn say_no_more(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its next line.
    pub(super) fn answer(&mut self) -> Result<Json, Failure> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .ok()
            .and_then(|_| serde_json::from_str(&line).ok())
            .ok_or_else(|| Failure::other(format!("the {} ended without an answer", self.role)))
    }

    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|e| Failure::other(format!("could not kill the {}: {e}", self.role)))
    }

    /// Waits for its end, which must be a success.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.say_no_more();
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::other(format!("the {} failed ({status})", self.role))),
            Err(e) => Err(Failure::other(format!("could not wait for the {}: {e}", self.role))),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
