//! `handover get`: print the value under a name, or the part of it that a pointer leads to.
//!
//! Relies on `store` for the map.

use std::process::ExitCode;

use serde_json::Value as Json;
use zeroize::Zeroizing;

use crate::args::GetArgs;
use crate::store::{self, Value};
use crate::{Failure, Outcome, output};

pub(crate) fn run(args: &GetArgs) -> Outcome {
    let value = read(args)?;
    let value = match &args.pointer {
        Some(pointer) => part(&value, pointer)?,
        None => value,
    };
    output::print(&value)?;
    if output::is_terminal() && value.last() != Some(&b'\n') {
        output::print(b"\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(args: &GetArgs) -> handover::Result<Value> {
    let name = args.name.as_deref().unwrap_or_default();
    let now = match &args.path {
        Some(path) => store::get_file(path),
        None => store::get(name, &args.place),
    };
    match (now, args.wait) {
        (Err(error), Some(limit)) if store::is_not_yet(&error) => {
            let what =
                args.path.as_ref().map_or_else(|| output::printable(name), |path| path.display().to_string());
            output::say(&format!("waiting up to {} for '{what}'", humantime::format_duration(limit)));
            match &args.path {
                Some(path) => store::wait_file(path, limit),
                None => store::wait(name, &args.place, limit),
            }
        }
        (now, _) => now,
    }
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
