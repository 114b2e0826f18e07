//! `handover watch`: a line of JSON for each version of a value.
//!
//! Relies on `store` for the cell and on `record` for the lines.

use std::process::ExitCode;
use std::time::Duration;

use handover::{Cell, Error};

use crate::args::WatchArgs;
use crate::store::{self, Patience, Source};
use crate::{Outcome, output, record};

pub(crate) fn run(args: &WatchArgs) -> Outcome {
    let source = args.from.source();
    let mut patience = Patience::new(args.wait);
    let cell = store::open_to_wait(source, &mut patience)?;
    let mut seen = 0;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let newest = if seen == 0 && patience.is_some() {
            Some(first(&cell, source, &mut patience)?)
        } else {
            next(&cell, seen, args.timeout)?
        };
        let Some(newest) = newest else {
            output::say(&format!("the last writer of '{}' has gone", source.shown()));
            break;
        };
        let value = store::read(&cell)?;
        // One that came since is newer still; where there is none, the version is that of its removal.
        let version = value.as_ref().map_or(newest, |value| value.version);
        let skipped = if seen == 0 { 0 } else { version - seen - 1 };
        if !output::print_to_reader(&record::line(version, Some(skipped), value.as_ref()))? {
            break;
        }
        seen = version;
        left -= 1;
    }
    Ok(ExitCode::SUCCESS)
}

/// The first version, for which there is a time of its own.
fn first(cell: &Cell, source: Source<'_>, patience: &mut Patience) -> handover::Result<u64> {
    match cell.version() {
        0 => cell.wait_newer(0, patience.left(source)).map_err(|e| patience.failed(source, e)),
        there => Ok(there),
    }
}

/// The next version; `None` once the last writer has gone and everything that was written was seen. A map
/// that nobody wrote to yet has none to lose.
fn next(cell: &Cell, seen: u64, limit: Option<Duration>) -> handover::Result<Option<u64>> {
    const LONG: Duration = Duration::from_secs(3600);
    loop {
        let waited = if seen == 0 {
            cell.wait_newer(seen, limit.unwrap_or(LONG)).map(Some)
        } else {
            cell.wait_newer_while_written(seen, limit.unwrap_or(LONG))
        };
        match waited {
            Err(Error::TimedOut { .. }) if limit.is_none() => {}
            other => return other,
        }
    }
}
