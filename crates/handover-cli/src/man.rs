//! `handover man`: manual pages, made from the definition of the command line.

use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::failure::{Failure, Outcome};
use crate::{args, output};

pub(crate) fn run(subcommand: Option<&str>) -> Outcome {
    let mut root = args::visible();
    root.build();
    let command = match subcommand {
        None => root,
        Some(wanted) => {
            let found = root.find_subcommand(wanted).cloned();
            let found = found.ok_or_else(|| Failure::Usage(format!("there is no subcommand '{wanted}'")))?;
            found.version(env!("CARGO_PKG_VERSION")).disable_version_flag(true)
        }
    };
    let mut page = Vec::new();
    render(&command, &mut page).map_err(|e| Failure::other(format!("could not make the page: {e}")))?;
    output::print(&page)?;
    Ok(ExitCode::SUCCESS)
}

fn render(command: &Command, to: &mut Vec<u8>) -> std::io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(to)?;
    man.render_name_section(to)?;
    man.render_synopsis_section(to)?;
    man.render_description_section(to)?;
    man.render_options_section(to)?;
    if command.has_subcommands() {
        man.render_subcommands_section(to)?;
    }
    // The generator would run the lines of examples and tables together.
    let mut roff = Roff::new();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for (number, block) in after.split("\n\n").filter(|block| !block.is_empty()).enumerate() {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        let rest = if let Some(title) = first.strip_suffix(':') {
            roff.control("SH", [title.to_uppercase().as_str()]);
            rest
        } else if number == 0 {
            roff.control("SH", ["NOTES"]);
            block
        } else {
            roff.control("PP", []);
            block
        };
        roff.control("nf", []);
        for line in rest.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff.to_writer(to)
}
