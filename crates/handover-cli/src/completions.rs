//! `handover completions`: completions for shells, made from the definition of the command line.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::failure::Outcome;
use crate::{args, output};

pub(crate) fn run(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::visible(), "handover", &mut script);
    output::print(&script)?;
    Ok(ExitCode::SUCCESS)
}
