//! The command `handover`: put a value under a name, and get it in another process.
//!
//! This file leads from the arguments to a subcommand, and from its result to the exit code. Each file knows
//! only those below it:
//!
//! | files | what they are |
//! | --- | --- |
//! | `put`, `get`, `take`, `watch`, `ls`, `stat`, `gc`, `demo`, `completions`, `man` | the subcommands |
//! | `input`, `store`, `hold` | how `put` reads, stores and holds a value |
//! | `reading`, `patience`, `record` | how a cell is opened and waited for, and a version shown |
//! | `row`, `look` | how maps are listed |
//! | `source`, `secret` | where a value is, and reading one that nobody else may see |
//! | `output`, `failure` | how they talk, and how they fail |
//! | `args` | the command line |

#![allow(clippy::disallowed_methods, reason = "those ways to start a process are disallowed to tests")]

mod args;
mod completions;
mod demo;
mod failure;
mod gc;
mod get;
mod hold;
mod input;
mod look;
mod ls;
mod man;
mod output;
mod patience;
mod put;
mod reading;
mod record;
mod row;
mod secret;
mod source;
mod stat;
mod store;
mod take;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use self::args::{Cli, Command};
use self::failure::{Failure, Options, Outcome};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are what was asked for. Nobody reading them is fine.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(2),
            };
        }
    };
    let options = Options::of(&cli.command);
    let outcome = run(cli.command);
    outcome.unwrap_or_else(|failure| {
        output::error(&failure.message(options));
        ExitCode::from(failure.code())
    })
}

fn run(command: Command) -> Outcome {
    command.check_scope().map_err(Failure::Usage)?;
    match command {
        Command::Put(args) => put::run(args),
        Command::Get(args) => get::run(&args),
        Command::Take(args) => take::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Stat(args) => stat::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Demo => demo::run(),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { command } => man::run(command.as_deref()),
        Command::DemoProducer { name } => demo::producer(&name),
        Command::DemoConsumer { name } => demo::consumer(&name),
    }
}
