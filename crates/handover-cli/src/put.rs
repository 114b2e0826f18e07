//! `handover put`: store a value, and hold its name for as long as was asked.
//!
//! Relies on `input` for the value, on `store` for the map and on `hold` for the time after.

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::SystemTime;

use handover::map::Subject;
use handover::{Error, ErrorKind};

use crate::args::PutArgs;
use crate::failure::{Failure, Outcome};
use crate::hold::Hold;
use crate::input::{self, Kind};
use crate::output;
use crate::source::Source;
use crate::store::{Held, Storing};

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
    let kind = Kind::of(&args);
    let mut value = input::read(given, args.file.as_deref(), kind)?;
    if args.plain {
        input::check_plain(&value.bytes)?;
    }
    let storing = Storing {
        plain: args.plain,
        capacity: args.capacity,
        new: args.new,
        secret: args.secret,
        sync: args.sync,
    };
    let size = value.bytes.len();
    // A time beyond the end of the calendar is as good as never.
    let expires = || args.ttl.and_then(|ttl| SystemTime::now().checked_add(ttl));
    if let Some(path) = &args.path {
        value.expires = expires();
        drop(storing.store(&Source::file(path), &value).map_err(not_found)?);
        output::say(&format!(
            "stored {size} bytes of {} in '{}', {}",
            kind.word(),
            path.display(),
            match args.ttl {
                Some(ttl) => format!("where they can be read for {}", humantime::format_duration(ttl)),
                None => "where they stay until the file is deleted".to_owned(),
            }
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let name = name.unwrap_or_default();
    // Before the name exists, so that no signal ends this process without releasing it in order; after the
    // value was read, so that a signal ends the reading.
    let (send, stop) = channel();
    ctrlc::set_handler(move || {
        let _ = send.send(());
    })
    .map_err(|e| Failure::other(format!("could not prepare for Ctrl-C: {e}")))?;
    value.expires = expires();
    let source = Source::name(&name, &args.scope).shared(args.group.take(), args.mode);
    let held = storing.store(&source, &value).map_err(not_found)?;
    drop(value);
    announce(&held, size, kind, &args);
    let hold = Hold::new(held, args.ttl);
    match args.command.split_first() {
        Some((program, arguments)) => hold.while_runs(&stop, program, arguments),
        None if args.until_taken => hold.until_taken(&stop, args.hold),
        None => hold.for_time(&stop, args.hold),
    }
}

/// 'No such map' (exit code 3) is for readers; if `put` finds none, the directory for a new one is missing.
fn not_found(error: Error) -> Failure {
    match error.subject() {
        Some(Subject::Path(path)) if error.kind() == ErrorKind::NotFound => {
            Failure::other(format!("could not create '{}': there is no such directory", path.display()))
        }
        _ if error.kind() == ErrorKind::NotFound => Failure::other(error.to_string()),
        _ => Failure::from(error),
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
        kind.word(),
        held.capacity()
    ));
}
