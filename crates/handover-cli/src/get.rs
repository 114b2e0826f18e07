//! `handover get`: print the value under a name or in a file.
//!
//! Relies on `reading` for cells, and on the library's mapper for the plain layout.

use std::process::ExitCode;

use handover::codec::{self, AnyCodec, Untyped, Zeroizing};
use handover::map::Access;
use handover::mapper::PlainOptions;
use handover::{ErrorKind, PlainMapper, Result};
use serde_json::Value as Json;

use crate::args::GetArgs;
use crate::failure::{Failure, Outcome, no_value};
use crate::patience::Patience;
use crate::reading::{self, Purpose};
use crate::source::Source;
use crate::{output, record};

pub(crate) fn run(args: &GetArgs) -> Outcome {
    let source = Source::from(&args.from);
    let mut patience = Patience::new(args.wait, source.shown());
    let found = if args.plain {
        plain(&source, &mut patience)?
    } else {
        let than = args.newer_than.unwrap_or(0);
        let Some((version, found)) = newer(&source, than, &mut patience)? else {
            return Err(Failure::NotYet(format!(
                "'{}' has no version newer than {than} yet: wait for one with --wait",
                source.shown()
            )));
        };
        if args.version {
            output::print(format!("{version}\n").as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        if args.json {
            output::print(&record::line(version, None, Some(&found)))?;
            return Ok(ExitCode::SUCCESS);
        }
        found
    };
    match &args.pointer {
        Some(pointer) => output::print_value(&part(&found, pointer)?),
        None => output::print_value(&found.bytes),
    }
}

/// The version and the value in a cell, if it is newer than `than`; `None` where the newest is not.
fn newer(source: &Source<'_>, than: u64, patience: &mut Patience) -> Result<Option<(u64, Untyped)>> {
    let purpose = if patience.is_some() { Purpose::Wait } else { Purpose::Look };
    let mapper = reading::open(source, purpose, patience)?;
    loop {
        let seen = mapper.version();
        let found = match mapper.get_with_version() {
            // A handle that can write can pin the version, and then no writer is too fast.
            Err(error) if error.kind() == ErrorKind::Overtaken && !mapper.cell().can_write() => {
                reading::open_now(source, Purpose::Wait)?.get_with_version()?
            }
            other => other?,
        };
        match found {
            Some((version, value)) if version > than => return Ok(Some((version, value))),
            Some(_) if !patience.is_some() => return Ok(None),
            None if !patience.is_some() => return Err(no_value(mapper.subject())),
            _ => {}
        }
        let newer = mapper.cell().wait_newer(seen.max(than), patience.left());
        newer.map_err(|error| patience.failed(error))?;
    }
}

/// The value in a map of the plain layout.
fn plain(source: &Source<'_>, patience: &mut Patience) -> Result<Untyped> {
    let options = PlainOptions::new().map(source.options(Access::Read));
    patience.retry(|| {
        source.check()?;
        let mapper: PlainMapper<Untyped, AnyCodec> = options.open_existing(source.place)?;
        mapper.get()?.ok_or_else(|| no_value(mapper.subject()))
    })
}

/// The part of a JSON value at `pointer` (RFC 6901): text without its quotes, everything else as JSON.
fn part(value: &Untyped, pointer: &str) -> std::result::Result<Zeroizing<Vec<u8>>, Failure> {
    let mut json: Json = value.decode::<Json, codec::Json>()?;
    let found = json
        .pointer_mut(pointer)
        .map(Json::take)
        .ok_or_else(|| Failure::other(format!("the value has nothing at {pointer:?}")))?;
    Ok(Zeroizing::new(match found {
        Json::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    }))
}
