//! `handover put`: store a value, and hold its name for as long as was asked.
//!
//! Relies on `store` for the map.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde_json::error::Category;
use zeroize::Zeroizing;

use crate::args::PutArgs;
use crate::store::{self, Held, Kind, Storing, Tidied, Value};
use crate::{Failure, Outcome, output, secret};

pub(crate) fn run(mut args: PutArgs) -> Outcome {
    let (name, given) = match (&args.path, args.first.take(), args.second.take()) {
        // With --path there is no NAME, so what comes first is the VALUE.
        (Some(_), value, None) => (None, value),
        (Some(_), _, Some(_)) => {
            return Err(Failure::Usage("give either NAME or --path; see 'handover put --help'".to_owned()));
        }
        (None, Some(name), value) => (Some(name), value),
        (None, None, _) => {
            return Err(Failure::Usage("give a NAME or --path; see 'handover put --help'".to_owned()));
        }
    };
    let name = name
        .map(|name| name.into_string().map_err(|_| Failure::Usage("NAME is not UTF-8".to_owned())))
        .transpose()?;
    let value = read_value(given, args.file.as_deref())?;
    let kind = match (args.text, args.bytes) {
        (true, _) => Kind::Text,
        (_, true) => Kind::Bytes,
        _ => Kind::Json,
    };
    check(&value, kind, args.plain)?;
    let storing = Storing {
        kind,
        plain: args.plain,
        capacity: args.capacity,
        new: args.new,
        mode: args.mode,
        ttl: args.ttl,
        secret: args.secret,
        sync: args.sync,
    };
    // 'No such map' is what get says; here it would be a directory that is missing.
    let not_found = |e| match e {
        handover::Error::NotFound { .. } => Failure::other(e.to_string()),
        other => Failure::Map(other),
    };
    if let Some(path) = &args.path {
        store::put_file(path, storing, &value).map_err(not_found)?;
        output::say(&format!(
            "stored {} bytes of {} in '{}', {}",
            value.len(),
            word(kind),
            path.display(),
            match args.ttl {
                Some(ttl) => format!("where they can be read for {}", humantime::format_duration(ttl)),
                None => "where they stay until the file is deleted".to_owned(),
            }
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let name = name.unwrap_or_default();
    // Before the name exists, so that no signal ends this process without letting go of it in order; and
    // after the value was read, so that a signal ends the reading.
    let (send, stop) = channel();
    ctrlc::set_handler(move || {
        let _ = send.send(());
    })
    .map_err(|e| Failure::other(format!("could not prepare for Ctrl-C: {e}")))?;
    let held = store::put(&name, &args.place, storing, &value).map_err(not_found)?;
    let size = value.len();
    drop(value);
    announce(&held, size, kind, &args);
    let hold = Hold { held, expiry: args.ttl.and_then(|ttl| Instant::now().checked_add(ttl)), ttl: args.ttl };
    match args.command.split_first() {
        Some((program, arguments)) => hold.while_runs(&stop, program, arguments),
        None if args.until_taken => hold.until_taken(&stop, args.hold),
        None => hold.for_time(&stop, args.hold),
    }
}

fn announce(held: &Held, size: usize, kind: Kind, args: &PutArgs) {
    let limit = args.hold.map(humantime::format_duration);
    let until = match (args.command.first(), args.until_taken, limit) {
        (Some(command), ..) => format!("until '{}' ends", command.to_string_lossy()),
        (None, true, None) => "until somebody takes the value".to_owned(),
        (None, true, Some(limit)) => format!("until somebody takes the value, for at most {limit}"),
        (None, false, Some(limit)) => format!("for {limit}"),
        (None, false, None) => "until Ctrl-C".to_owned(),
    };
    let how = if held.was_created() { "" } else { ", which existed already" };
    output::say(&format!(
        "holding {} {until} (process {}): {size} bytes of {}, room for {}{how}",
        held.subject(),
        std::process::id(),
        word(kind),
        held.capacity()
    ));
}

/// What a value is, in a word.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Json => "JSON",
        Kind::Text => "text",
        Kind::Bytes => "any kind",
    }
}

fn read_value(given: Option<OsString>, file: Option<&std::path::Path>) -> Result<Value, Failure> {
    match (given, file) {
        (Some(_), Some(_)) => Err(Failure::Usage("give the value either as VALUE or with --file".to_owned())),
        (Some(value), None) if value != "-" => Ok(Zeroizing::new(value.into_encoded_bytes())),
        (None, Some(path)) => std::fs::File::open(path)
            .and_then(|mut file| secret::read_all(&mut file))
            .map_err(|e| Failure::other(format!("could not read '{}': {e}", path.display()))),
        (None, None) if io::stdin().is_terminal() => Err(Failure::Usage(
            "no value: give it as VALUE, in a file (--file F), or on standard input (-)".to_owned(),
        )),
        (_, None) => secret::read_all(&mut io::stdin().lock())
            .map_err(|e| Failure::other(format!("could not read standard input: {e}"))),
    }
}

/// Checks that the value is what it is said to be. Errors never quote the value.
fn check(value: &Value, kind: Kind, plain: bool) -> Result<(), Failure> {
    match kind {
        Kind::Bytes => {}
        Kind::Text => {
            str::from_utf8(value).map_err(|e| {
                Failure::other(format!(
                    "the value is not text: byte {} is not UTF-8; give --bytes for bytes as they are",
                    e.valid_up_to()
                ))
            })?;
        }
        Kind::Json => {
            serde_json::from_slice::<IgnoredAny>(value).map_err(|e| {
                let what = match e.classify() {
                    Category::Eof => "it ends early",
                    _ => "a syntax error",
                };
                Failure::other(format!(
                    "the value is not JSON: {what} at line {} column {}; text goes in quotes, or give --text or \
                     --bytes to store it as it is",
                    e.line(),
                    e.column()
                ))
            })?;
        }
    }
    match store::plain_refuses(value) {
        Some(why) if plain => Err(Failure::other(format!(
            "the plain layout can't hold this value: {why}; a cell can (leave out --plain)"
        ))),
        _ => Ok(()),
    }
}

/// A name that is held, and a value that may expire meanwhile.
struct Hold {
    held: Held,
    /// When the value is to be removed.
    expiry: Option<Instant>,
    ttl: Option<Duration>,
}

impl Hold {
    /// Removes and wipes the value once it has expired; whether that was now.
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
    fn for_time(mut self, stop: &Receiver<()>, limit: Option<Duration>) -> Outcome {
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
                // The handler keeps the other end for as long as the process lives: only a signal ends this.
                None => stop.recv().is_ok(),
            };
            if stopped {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    /// Holds until somebody took the value; anything else that ends it is a failure.
    fn until_taken(mut self, stop: &Receiver<()>, limit: Option<Duration>) -> Outcome {
        // A signal is noticed after this; somebody who takes the value at once.
        const LOOK: Duration = Duration::from_millis(50);
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let in_vain = |held: &Held, after: Option<Duration>| {
            let waiting_for = format!("somebody to take the value in {}", held.subject());
            Failure::Map(handover::Error::TimedOut { waiting_for, after: after.unwrap_or_default() })
        };
        loop {
            let left = end.map_or(LOOK, |end| end.saturating_duration_since(Instant::now()));
            if self.held.is_taken_within(left.min(LOOK))? {
                output::say("somebody took the value");
                return Ok(ExitCode::SUCCESS);
            }
            if self.tidy()? {
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

    /// Holds while a command runs. On Ctrl-C the terminal tells the command too, and its end is waited for;
    /// asked a second time, it is killed.
    fn while_runs(mut self, stop: &Receiver<()>, program: &OsStr, arguments: &[OsString]) -> Outcome {
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

/// The child's exit code; where it has none, because a signal ended it, 1.
fn code_of(status: ExitStatus) -> ExitCode {
    let Some(code) = status.code() else {
        output::error(&format!("the command ended without an exit code ({status})"));
        return ExitCode::FAILURE;
    };
    // Windows has codes of 32 bits, of which a process here can hand on eight; no failure may become 0.
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
