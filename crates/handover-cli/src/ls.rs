//! `handover ls`: what is held, and by whom.
//!
//! Shows sizes and never a value. Relies on the library's listing, on `look` for what the maps hold, and on
//! `row`.

use std::process::ExitCode;

use handover::map::list;

use crate::args::LsArgs;
use crate::failure::Outcome;
use crate::look;
use crate::output;
use crate::row::{self, Row};
use crate::source::{self, Source};

pub(crate) fn run(args: &LsArgs) -> Outcome {
    let mut rows = Vec::new();
    for (_, options) in source::scopes(args.global, args.owner.as_ref()) {
        for map in list(&options)? {
            let look = look::peek(&Source::listed(&map, args.owner.as_ref()), Some(&map));
            rows.push(Row::listed(map, look));
        }
    }
    if args.json {
        return output::print_json(&rows.iter().map(Row::to_json).collect());
    }
    if rows.is_empty() {
        output::say("no map is held; 'handover put NAME VALUE' holds one");
        return Ok(ExitCode::SUCCESS);
    }
    output::print_styled(&row::list(&rows, output::is_terminal()))?;
    Ok(ExitCode::SUCCESS)
}
