//! `handover stat`: everything about one name but its value.
//!
//! Relies on the library's listing, on `look` for what is in the map, and on `row`.

use std::process::ExitCode;

use handover::ErrorKind;
use handover::map::{Access, Subject, list};

use crate::args::StatArgs;
use crate::failure::Outcome;
use crate::look;
use crate::output;
use crate::row::Row;
use crate::source::Source;

pub(crate) fn run(args: &StatArgs) -> Outcome {
    let row = find(&Source::name(&args.name, &args.scope))?;
    if args.json {
        return output::print_json(&row.to_json());
    }
    output::print_styled(&row.sheet(output::is_terminal()))?;
    Ok(ExitCode::SUCCESS)
}

fn find(source: &Source<'_>) -> handover::Result<Row> {
    loop {
        // Closed before the list is made, so that this process is not among the holders.
        let (subject, capacity) = {
            let map = source.open(Access::Read)?;
            (map.subject().clone(), map.capacity())
        };
        let Subject::Map { name, scope } = subject else { unreachable!("opened by name") };
        match list(&source.options(Access::Read).scope(scope)) {
            Ok(maps) => {
                // If it is gone by now, opening it again says so.
                if let Some(map) = maps.into_iter().find(|map| map.name == name) {
                    let look = look::peek(source, Some(&map));
                    return Ok(Row::listed(map, look));
                }
            }
            // The system does not list names, or not another user's; what the map itself says is still known.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::AccessDenied) => {
                return Ok(Row::unlisted(name, scope, capacity, look::peek(source, None)));
            }
            Err(error) => return Err(error),
        }
    }
}
