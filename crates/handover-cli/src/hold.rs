//! Holding a name for as long as was asked: for a time, until somebody takes the value, while a command runs.
//!
//! Relies on `store` for what is held; `put` relies on it.

use std::ffi::{OsStr, OsString};
use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use handover::ErrorKind;

use crate::failure::{Failure, Options, Outcome, timed_out};
use crate::output;
use crate::store::{Gone, Held, Tidied};

/// How soon a signal is noticed, and that the name was lost; the end of a command and a taker sooner.
const LOOK: Duration = Duration::from_millis(50);

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

    /// Fails if the name was lost: what is held then is of use to nobody.
    fn check(&mut self) -> Result<(), Failure> {
        self.held.check_name()?;
        if self.tidy()? {
            output::say("the value has expired and was wiped; the name is still held");
        }
        Ok(())
    }

    /// Holds for a time, or until a signal.
    pub(crate) fn for_time(mut self, stop: &Receiver<()>, limit: Option<Duration>) -> Outcome {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            self.check()?;
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ok(ExitCode::SUCCESS);
            }
            let next = [end, self.expiry].into_iter().flatten().min();
            let pause = next.map_or(LOOK, |next| next.saturating_duration_since(now).min(LOOK));
            // The handler keeps the other end as long as the process lives.
            if stop.recv_timeout(pause).is_ok() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// Holds until somebody takes the value; any other end is a failure.
    pub(crate) fn until_taken(mut self, stop: &Receiver<()>, limit: Option<Duration>) -> Outcome {
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
            self.held.check_name()?;
            if stop.try_recv().is_ok() {
                return Err(Failure::other("ended by a signal before anybody took the value"));
            }
        }
    }

    /// Holds while a command runs. On Ctrl-C the terminal tells the command too, and this waits for its end;
    /// a second Ctrl-C kills it. If the name is lost, this says so at once and waits too: what the command
    /// does may be worth finishing, and only its user knows.
    pub(crate) fn while_runs(
        mut self,
        stop: &Receiver<()>,
        program: &OsStr,
        arguments: &[OsString],
    ) -> Outcome {
        const FIRST: Duration = Duration::from_millis(1);
        let mut child = std::process::Command::new(program)
            .args(arguments)
            .spawn()
            .map_err(|e| Failure::other(format!("could not start '{}': {e}", program.to_string_lossy())))?;
        let failed = |e| Failure::other(format!("could not wait for the command: {e}"));
        let mut asked = false;
        let mut lost = None;
        let mut pause = FIRST;
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                let code = code_of(status);
                return Ok(lost.unwrap_or(code));
            }
            match if lost.is_none() { self.check() } else { Ok(()) } {
                Err(Failure::Map(error)) if error.kind() == ErrorKind::NameLost => {
                    let failure = Failure::Map(error);
                    output::error(&failure.message(Options::default()));
                    output::say("waiting for the command to end");
                    lost = Some(ExitCode::from(failure.code()));
                }
                other => other?,
            }
            match stop.recv_timeout(pause) {
                Ok(()) if asked => {
                    let _ = child.kill();
                }
                Ok(()) => {
                    asked = true;
                    output::say("waiting for the command to end; once more kills it");
                }
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(LOOK),
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
