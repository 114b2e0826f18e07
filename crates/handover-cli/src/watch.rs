//! `handover watch`: a line of JSON for each version of a value.
//!
//! Relies on `reading` for the map and on `record` for the lines.

use std::process::ExitCode;
use std::time::Duration;

use handover::mapper::Event;

use crate::args::WatchArgs;
use crate::failure::Outcome;
use crate::patience::Patience;
use crate::reading::{self, Purpose};
use crate::source::Source;
use crate::{output, record};

/// As good as no limit.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

pub(crate) fn run(args: &WatchArgs) -> Outcome {
    let source = Source::from(&args.from);
    let shown = source.shown();
    let mut patience = Patience::new(args.wait, shown.clone());
    let mapper = reading::open(&source, Purpose::Wait, &mut patience)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut watch = mapper.watch();
    if args.follow_name {
        watch = watch.follow_name();
    }
    // A map that nobody wrote to yet has no writer to lose.
    let is_first = patience.is_some() && mapper.version() == 0;
    // The watch lets go of a map that has lost its name; this must not hold it.
    drop(mapper);
    watch = match args.timeout {
        _ if is_first => watch.timeout(patience.left()),
        Some(limit) => watch.timeout(limit),
        None => watch,
    };
    let mut next = if left > 0 {
        let first = watch.next().transpose();
        first.map_err(|error| if is_first { patience.failed(error) } else { error })?
    } else {
        None
    };
    if is_first {
        watch = watch.timeout(args.timeout.unwrap_or(FOREVER));
    }
    let mut events = watch.events();
    while let Some(change) = next {
        left -= 1;
        let line = record::line(change.version, Some(change.skipped), change.value.as_ref());
        if !output::print_to_reader(&line)? || left == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        next = loop {
            match events.next().transpose()? {
                Some(Event::Changed(change)) => break Some(change),
                Some(Event::NameLost) => output::say(&format!(
                    "the name '{shown}' leads to this map no more; waiting for whoever has it next"
                )),
                Some(Event::NameBack) => output::say(&format!("somebody has the name '{shown}' again")),
                Some(Event::WriterGone) if args.follow_name => {
                    output::say(&format!("the last writer of '{shown}' has gone; waiting for the next one"));
                }
                Some(Event::WriterBack) => {}
                _ => {
                    output::say(&format!("the last writer of '{shown}' has gone"));
                    break None;
                }
            }
        };
    }
    Ok(ExitCode::SUCCESS)
}
