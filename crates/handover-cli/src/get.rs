//! `handover get` and `take`: print the value under a name, or take it out.
//!
//! Relies on `store` for the map.

use std::process::ExitCode;

use handover::Error;
use handover::codec;
use serde_json::Value as Json;
use zeroize::Zeroizing;

use crate::args::{GetArgs, TakeArgs};
use crate::store::{self, Kind, Patience, Stored, Value};
use crate::{Failure, Outcome, output, record};

pub(crate) fn run(args: &GetArgs) -> Outcome {
    let source = args.from.source();
    let mut patience = Patience::new(args.wait);
    if args.plain {
        let value = store::get_plain(source, &mut patience)?;
        return print(match &args.pointer {
            Some(pointer) => part(&value, pointer)?,
            None => value,
        });
    }
    let than = args.newer_than.unwrap_or(0);
    let Some(found) = store::get(source, than, &mut patience)? else {
        return Err(Failure::NotYet(format!(
            "'{}' has no version newer than {than} yet: wait for one with --wait",
            source.shown()
        )));
    };
    if args.version {
        output::print(format!("{}\n", found.version).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.json {
        output::print(&record::line(found.version, None, Some(&found)))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(match &args.pointer {
        Some(pointer) => {
            check_json(&found)?;
            part(&found.bytes, pointer)?
        }
        None => found.bytes,
    })
}

pub(crate) fn take(args: &TakeArgs) -> Outcome {
    print(store::take(args.from.source(), &mut Patience::new(args.wait))?.bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "wiped as soon as it is printed")]
fn print(value: Value) -> Outcome {
    output::print(&value)?;
    if output::is_terminal() && value.last() != Some(&b'\n') {
        output::print(b"\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Pointers lead into values that were stored as JSON, or without saying as what.
fn check_json(found: &Stored) -> Result<(), Failure> {
    if found.codec == 0 || found.codec == Kind::Json.id() {
        return Ok(());
    }
    let wanted = codec::name_of(Kind::Json.id());
    Err(Failure::Map(Error::CodecMismatch { stored: codec::name_of(found.codec), wanted }))
}

/// The part of a JSON value at `pointer` (RFC 6901): text without its quotes, everything else as JSON.
fn part(value: &Value, pointer: &str) -> Result<Value, Failure> {
    // As the library's codec does, a byte order mark is passed over.
    let text = value.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(value);
    let mut json: Json = serde_json::from_slice(text).map_err(|e| {
        // The error's own text could quote the value.
        Failure::other(format!(
            "the value is not JSON (line {} column {}), so that --pointer has no meaning; get it without",
            e.line(),
            e.column()
        ))
    })?;
    let found = json
        .pointer_mut(pointer)
        .map(Json::take)
        .ok_or_else(|| Failure::other(format!("the value has nothing at {pointer:?}")))?;
    Ok(Zeroizing::new(match found {
        Json::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    }))
}
