//! `handover take`: take the value out and print it.
//!
//! Relies on `reading` for the map.

use handover::Result;
use handover::codec::Untyped;

use crate::args::TakeArgs;
use crate::failure::{Outcome, no_value};
use crate::output;
use crate::patience::Patience;
use crate::reading::{self, Purpose};
use crate::source::Source;

pub(crate) fn run(args: &TakeArgs) -> Outcome {
    let source = Source::from(&args.from);
    let mut patience = Patience::new(args.wait, source.shown());
    output::print_value(&take(&source, &mut patience)?.bytes)
}

/// Takes the value: if several processes try, one gets it.
fn take(source: &Source<'_>, patience: &mut Patience) -> Result<Untyped> {
    let mapper = reading::open(source, Purpose::Write, patience)?;
    loop {
        let seen = mapper.version();
        // A process that only waits must not count as a writer: it takes the writers' lock only for a value.
        if mapper.cell().info()?.length.is_some()
            && let Some(value) = mapper.take()?
        {
            return Ok(value);
        }
        if !patience.is_some() {
            return Err(no_value(mapper.subject()));
        }
        mapper.cell().wait_newer(seen, patience.left()).map_err(|error| patience.failed(error))?;
    }
}
