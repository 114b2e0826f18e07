//! `handover watch`: a line of JSON for each version of a value.
//!
//! Relies on `reading` for the map and on `record` for the lines.

use std::process::ExitCode;
use std::time::Duration;

use handover::codec::{AnyCodec, Untyped};
use handover::mapper::Event;
use handover::mapper::UntypedMapper;
use handover::{Change, Error, Result, Watch};

use crate::args::WatchArgs;
use crate::failure::Outcome;
use crate::patience::Patience;
use crate::reading::{self, Purpose};
use crate::source::Source;
use crate::{output, record};

pub(crate) fn run(args: &WatchArgs) -> Outcome {
    let source = Source::from(&args.from);
    let mut patience = Patience::new(args.wait, source.shown());
    let mapper = reading::open(&source, Purpose::Wait, &mut patience)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut next = if left > 0 { first(&mapper, args.timeout, &mut patience)? } else { None };
    let after = next.as_ref().map_or(0, |change| change.version);
    let mut events = limited(mapper.watch().after(after), args.timeout).events();
    while let Some(change) = next {
        left -= 1;
        let line = record::line(change.version, Some(change.skipped), change.value.as_ref());
        if !output::print_to_reader(&line)? || left == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        next = match events.next().transpose()? {
            Some(Event::Changed(change)) => Some(change),
            _ => None,
        };
        if next.is_none() {
            output::say(&format!("the last writer of '{}' has gone", source.shown()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The first version. A map that nobody wrote to yet has no writer to lose.
fn first(
    mapper: &UntypedMapper,
    limit: Option<Duration>,
    patience: &mut Patience,
) -> Result<Option<Change<Untyped>>> {
    if patience.is_some() && mapper.version() == 0 {
        let change = mapper.watch().timeout(patience.left()).next().transpose();
        return change.map_err(|error: Error| patience.failed(error));
    }
    limited(mapper.watch(), limit).next().transpose()
}

fn limited(watch: Watch<Untyped, AnyCodec>, limit: Option<Duration>) -> Watch<Untyped, AnyCodec> {
    match limit {
        Some(limit) => watch.timeout(limit),
        None => watch,
    }
}
