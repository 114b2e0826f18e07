//! `handover put`: store a value, and hold its name for as long as was asked.
//!
//! Relies on `store` for the map.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::error::Category;
use zeroize::Zeroizing;

use crate::args::PutArgs;
use crate::store::{self, Creation, Held, Value};
use crate::{Failure, Outcome, output, secret};

pub(crate) fn run(args: PutArgs) -> Outcome {
    let (name, given) = match (&args.path, args.first, args.second) {
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
    let kind = check(&value, args.text, args.bytes)?;
    let creation = Creation { capacity: args.capacity, new: args.new, mode: args.mode };
    // 'No such map' is what get says; here it would be a directory that is missing.
    let not_found = |e| match e {
        handover::Error::NotFound { .. } => Failure::other(e.to_string()),
        other => Failure::Map(other),
    };
    if let Some(path) = &args.path {
        store::put_file(path, creation, &value).map_err(not_found)?;
        output::say(&format!(
            "stored {} bytes of {kind} in '{}', where they stay until the file is deleted",
            value.len(),
            path.display()
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
    let held = store::put(&name, &args.place, creation, &value).map_err(not_found)?;
    let size = value.len();
    drop(value);
    announce(&held, size, kind, &args.command, args.hold);
    let code = hold(&stop, args.hold, &args.command)?;
    drop(held);
    Ok(code)
}

fn announce(held: &Held, size: usize, kind: &str, command: &[OsString], limit: Option<Duration>) {
    let until = match (command.first(), limit) {
        (Some(command), _) => format!("until '{}' ends", command.to_string_lossy()),
        (None, Some(limit)) => format!("for {}", humantime::format_duration(limit)),
        (None, None) => "until Ctrl-C".to_owned(),
    };
    let how = if held.was_created() { "" } else { ", which existed already" };
    output::say(&format!(
        "holding {} {until} (process {}): {size} bytes of {kind}, room for {}{how}",
        held.subject(),
        std::process::id(),
        held.capacity()
    ));
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

/// Checks that the value is what it is said to be; gives that in a word. Errors never quote the value.
fn check(value: &Value, text: bool, bytes: bool) -> Result<&'static str, Failure> {
    let kind = if bytes {
        "any kind"
    } else if text {
        str::from_utf8(value).map_err(|e| {
            Failure::other(format!(
                "the value is not text: byte {} is not UTF-8; give --bytes for bytes as they are",
                e.valid_up_to()
            ))
        })?;
        "text"
    } else {
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
        "JSON"
    };
    match store::refuses(value) {
        None => Ok(kind),
        Some(why) => {
            Err(Failure::other(format!("the {} layout can't hold this value: {why}", store::LAYOUT)))
        }
    }
}

/// Waits for whatever comes first of what ends the holding.
fn hold(stop: &Receiver<()>, limit: Option<Duration>, command: &[OsString]) -> Outcome {
    if let Some((program, arguments)) = command.split_first() {
        let child = std::process::Command::new(program)
            .args(arguments)
            .spawn()
            .map_err(|e| Failure::other(format!("could not start '{}': {e}", program.to_string_lossy())))?;
        return hold_for_child(stop, child);
    }
    match limit {
        // The handler keeps the other end for as long as the process lives, so no wait ends without a signal.
        Some(limit) => drop(stop.recv_timeout(limit)),
        None => drop(stop.recv()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for the child. On Ctrl-C the terminal tells the child too, and its end is waited for; asked a second
/// time, it is killed.
fn hold_for_child(stop: &Receiver<()>, mut child: Child) -> Outcome {
    const FIRST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(50);
    let failed = |e| Failure::other(format!("could not wait for the command: {e}"));
    let mut asked = false;
    let mut pause = FIRST;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(code_of(status));
        }
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

/// The child's exit code; where it has none, because a signal ended it, 1.
fn code_of(status: ExitStatus) -> ExitCode {
    let Some(code) = status.code() else {
        output::error(&format!("the command ended without an exit code ({status})"));
        return ExitCode::FAILURE;
    };
    // Windows has codes of 32 bits, of which a process here can hand on eight; no failure may become 0.
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
