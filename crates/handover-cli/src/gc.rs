//! `handover gc`: remove what killed holders left behind.

use std::process::ExitCode;

use handover::map::collect_garbage;
use serde_json::json;

use crate::args::GcArgs;
use crate::failure::Outcome;
use crate::output::{self, printable};
use crate::source;

pub(crate) fn run(args: &GcArgs) -> Outcome {
    let mut removed = Vec::new();
    for (scope, options) in source::scopes(args.global, args.owner.as_ref()) {
        removed.extend(collect_garbage(&options)?.into_iter().map(|name| (name, scope)));
    }
    if args.json {
        let objects = removed.iter().map(|(name, scope)| json!({ "name": name, "scope": scope.to_string() }));
        return output::print_json(&objects.collect());
    }
    let mut text = String::new();
    for (name, _) in &removed {
        text.push_str(&printable(name));
        text.push('\n');
    }
    output::print(text.as_bytes())?;
    output::say(&match removed.len() {
        0 => "nothing was left behind".to_owned(),
        1 => "removed 1 leftover of killed holders".to_owned(),
        count => format!("removed {count} leftovers of killed holders"),
    });
    Ok(ExitCode::SUCCESS)
}
