//! Holding a name for as long as was asked: for a time, until somebody takes the value, while a command runs.
//!
//! Relies on `store` for what is held; `put` relies on it.

use std::ffi::{OsStr, OsString};
use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome, timed_out};
use crate::output;
use crate::store::{Gone, Held, Tidied};

/// A name that is held, and a value that may expire meanwhile.
pub(crate) struct Hold {
    held: Held,
    /// When to remove the value.
    expiry: Option<Instant>,
    ttl: Option<Duration>,
}

impl Hold {
    /// Holds what was just stored, with a value that can be read for `ttl`.
    pub(crate) fn new(held: Held, ttl: Option<Duration>) -> Self {
        Self { held, expiry: ttl.and_then(|ttl| Instant::now().checked_add(ttl)), ttl }
    }

    /// Removes and wipes the value once it has expired. Says whether it did so just now.
    fn tidy(&mut self) -> Result<bool, Failure> {
        if self.expiry.is_none_or(|at| Instant::now() < at) {
            return Ok(false);
        }
        let tidied = self.held.remove_expired()?;
        self.expiry = match tidied {
            Tidied::Later(after) => Instant::now().checked_add(after),
            Tidied::Removed | Tidied::Nothing => None,
        };
        Ok(tidied == Tidied::Removed)
    }

    /// Holds for a time, or until a signal.
    pub(crate) fn for_time(mut self, stop: &Receiver<()>, limit: Option<Duration>) -> Outcome {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            if self.tidy()? {
                output::say("the value has expired and was wiped; the name is still held");
            }
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ok(ExitCode::SUCCESS);
            }
            let stopped = match [end, self.expiry].into_iter().flatten().min() {
                Some(next) => stop.recv_timeout(next.saturating_duration_since(now)).is_ok(),
                // The handler keeps the other end as long as the process lives, so only a signal ends this.
                None => stop.recv().is_ok(),
            };
            if stopped {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// Holds until somebody takes the value; any other end is a failure.
    pub(crate) fn until_taken(mut self, stop: &Receiver<()>, limit: Option<Duration>) -> Outcome {
        // A signal is noticed within this time; a taker at once.
        const LOOK: Duration = Duration::from_millis(50);
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let in_vain = |held: &Held, after: Option<Duration>| {
            let waiting_for = format!("somebody to take the value in {}", held.subject());
            Failure::from(timed_out(&waiting_for, after.unwrap_or_default()))
        };
        loop {
            let left = end.map_or(LOOK, |end| end.saturating_duration_since(Instant::now()));
            let gone = self.held.wait_gone(left.min(LOOK))?;
            if gone == Gone::Taken {
                output::say("somebody took the value");
                return Ok(ExitCode::SUCCESS);
            }
            if gone == Gone::Expired || self.tidy()? {
                return Err(in_vain(&self.held, self.ttl));
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Err(in_vain(&self.held, limit));
            }
            if stop.try_recv().is_ok() {
                return Err(Failure::other("ended by a signal before anybody took the value"));
            }
        }
    }

    /// Holds while a command runs. On Ctrl-C the terminal tells the command too, and this waits for its end;
    /// a second Ctrl-C kills it.
    pub(crate) fn while_runs(
        mut self,
        stop: &Receiver<()>,
        program: &OsStr,
        arguments: &[OsString],
    ) -> Outcome {
        const FIRST: Duration = Duration::from_millis(1);
        const LONGEST: Duration = Duration::from_millis(50);
        let mut child = std::process::Command::new(program)
            .args(arguments)
            .spawn()
            .map_err(|e| Failure::other(format!("could not start '{}': {e}", program.to_string_lossy())))?;
        let failed = |e| Failure::other(format!("could not wait for the command: {e}"));
        let mut asked = false;
        let mut pause = FIRST;
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Ok(code_of(status));
            }
            self.tidy()?;
            match stop.recv_timeout(pause) {
                Ok(()) if asked => {
                    let _ = child.kill();
                }
                Ok(()) => {
                    asked = true;
                    output::say("waiting for the command to end; once more kills it");
                }
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(LONGEST),
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(pause),
            }
        }
    }
}

/// The child's exit code; 1 if a signal ended it.
fn code_of(status: ExitStatus) -> ExitCode {
    let Some(code) = status.code() else {
        output::error(&format!("the command ended without an exit code ({status})"));
        return ExitCode::FAILURE;
    };
    // Windows has codes of 32 bits, and this process can pass on eight of them: no failure may become 0.
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
