//! The command `handover`: put a value under a name, and get it in another process.
//!
//! Here: the way from the arguments to a subcommand, and from its result to the exit code. `args` defines the
//! command line, the subcommands have modules, and `store` alone knows how values lie in maps.

mod args;
mod demo;
mod docs;
mod get;
mod jwt;
mod list;
mod output;
mod put;
mod record;
mod secret;
mod store;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as ClapErrorKind;
use handover::ErrorKind;

use self::args::{Cli, Command};

/// Why a subcommand ended early.
#[derive(Debug)]
enum Failure {
    /// The library's refusal, which has a class.
    Map(handover::Error),
    /// What was asked for makes no sense.
    Usage(String),
    /// Nothing that was asked for is there yet.
    NotYet(String),
    /// Anything else, in words.
    Other(String),
}

impl Failure {
    fn other(what: impl Into<String>) -> Self {
        Self::Other(what.into())
    }

    fn message(&self) -> String {
        match self {
            Self::Map(error) => error.to_string(),
            Self::Usage(text) | Self::NotYet(text) | Self::Other(text) => text.clone(),
        }
    }

    /// The exit code, as `handover --help` lists them.
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Other(_) => 1,
            Self::NotYet(_) => 5,
            Self::Map(error) => match error.kind() {
                ErrorKind::InvalidArgument | ErrorKind::OutOfRange => 2,
                ErrorKind::NotFound => 3,
                ErrorKind::TimedOut => 4,
                ErrorKind::WrongKind
                | ErrorKind::NoValue
                | ErrorKind::Incomplete
                | ErrorKind::CodecMismatch
                | ErrorKind::TypeMismatch => 5,
                _ => 1,
            },
        }
    }
}

impl From<handover::Error> for Failure {
    fn from(error: handover::Error) -> Self {
        Self::Map(error)
    }
}

/// What a subcommand comes to: an exit code (a child's, for `put`), or why it failed.
type Outcome = Result<ExitCode, Failure>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are what was asked for. Nobody reading them is fine.
            let _ = error.print();
            return match error.kind() {
                ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(2),
            };
        }
    };
    let outcome = match cli.command {
        Command::Put(args) => put::run(args),
        Command::Get(args) => get::run(&args),
        Command::Take(args) => get::take(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Ls(args) => list::ls(&args),
        Command::Stat(args) => list::stat(&args),
        Command::Gc(args) => list::gc(&args),
        Command::Demo => demo::run(),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { command } => docs::man(command.as_deref()),
        Command::DemoProducer { name } => demo::producer(&name),
        Command::DemoConsumer { name } => demo::consumer(&name),
    };
    outcome.unwrap_or_else(|failure| {
        output::error(&failure.message());
        ExitCode::from(failure.code())
    })
}
