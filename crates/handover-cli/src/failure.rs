//! Why a subcommand failed: its exit code, and the message, with the option that helps. Also the errors that
//! the command finds by itself and that belong to a class of the library's.
//!
//! The library's messages know nothing of options; only this file adds what the command knows. Relies on the
//! definition of the command line; everything else relies on it.

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::Duration;

use handover::map::Subject;
use handover::{Error, ErrorKind, Scope};

use crate::args::{Command, FromArgs, ScopeArgs};

/// What a subcommand comes to: an exit code (a child's, for `put`), or why it failed.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Why a subcommand ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's refusal, which has a class.
    Map(Error),
    /// The arguments make no sense.
    Usage(String),
    /// What was asked for is not there yet.
    NotYet(String),
    /// Anything else, in words.
    Other(String),
}

impl Failure {
    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::Other(what.into())
    }

    /// What happened, and what helps with these options.
    pub(crate) fn message(&self, options: Options) -> String {
        match self {
            Self::Map(error) => in_own_words(&match advice(error, options) {
                Some(advice) => format!("{}; {advice}", what(error)),
                None => error.to_string(),
            }),
            Self::Usage(text) | Self::NotYet(text) | Self::Other(text) => text.clone(),
        }
    }

    /// The exit code, as `handover --help` lists them.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Other(_) => 1,
            Self::NotYet(_) => 5,
            Self::Map(error) => match error.kind() {
                ErrorKind::InvalidArgument | ErrorKind::OutOfRange => 2,
                ErrorKind::NotFound => 3,
                ErrorKind::TimedOut => 4,
                ErrorKind::NameLost => 6,
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

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Map(error)
    }
}

/// The error for a map without a value.
pub(crate) fn no_value(subject: &Subject) -> Error {
    Error::new(ErrorKind::NoValue, format!("{subject} holds no value yet, or no longer"))
}

/// The error for what did not happen within the time that the user gave.
pub(crate) fn timed_out(waiting_for: &str, after: Duration) -> Error {
    Error::new(ErrorKind::TimedOut, format!("timed out after {after:?} waiting for {waiting_for}"))
}

/// The options of a subcommand that advice can name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// It has `--wait`, which was not given.
    can_wait: bool,
    owner: Owner,
    /// It has `--follow-name`, which was not given.
    can_follow: bool,
    layout: Layout,
}

/// Whether a subcommand that looks for what others put has `--owner`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    /// It does not look for that.
    #[default]
    Own,
    /// It was not given.
    NotGiven,
    Given,
}

/// Which layout a subcommand expects.
#[derive(Clone, Copy, Debug, Default)]
enum Layout {
    /// Either.
    #[default]
    Any,
    /// A cell, and it has no `--plain`.
    Cell,
    /// A cell, because `--plain` was not given.
    NotPlain,
    /// The plain layout.
    Plain,
}

impl Options {
    /// The options of a subcommand, as the user gave them.
    pub(crate) fn of(command: &Command) -> Self {
        let layout = |plain| if plain { Layout::Plain } else { Layout::NotPlain };
        let owner = |scope: &ScopeArgs| if scope.owner.is_some() { Owner::Given } else { Owner::NotGiven };
        let reads = |from: &FromArgs, wait: Option<Duration>, layout| Self {
            can_wait: wait.is_none(),
            owner: owner(&from.scope),
            can_follow: false,
            layout,
        };
        match command {
            Command::Put(args) => Self { layout: layout(args.plain), ..Self::default() },
            Command::Get(args) => reads(&args.from, args.wait, layout(args.plain)),
            Command::Take(args) => reads(&args.from, args.wait, Layout::Cell),
            Command::Watch(args) => {
                Self { can_follow: !args.follow_name, ..reads(&args.from, args.wait, Layout::Cell) }
            }
            Command::Stat(args) => Self { owner: owner(&args.scope), ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// What happened, without the library's advice.
fn what(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some(advice) = error.advice()
        && let Some(what) = text.strip_suffix(advice).and_then(|text| text.strip_suffix("; "))
    {
        text.truncate(what.len());
    }
    text
}

/// What to do about it: the library's advice, unless an option of the command helps. The library's own is for
/// programs, and names its calls.
fn advice(error: &Error, options: Options) -> Option<Cow<'_, str>> {
    let is_file = matches!(error.subject(), Some(Subject::Path(_)));
    let is_global = matches!(error.subject(), Some(Subject::Map { scope: Scope::Global, .. }));
    let own = match (error.kind(), options.layout) {
        (ErrorKind::NotFound, _) if is_file => "check the path",
        (ErrorKind::NotFound, _) => {
            let mut advice = error.advice()?.to_owned();
            if options.can_wait {
                advice.push_str(" (--wait 10s waits for it)");
            }
            if is_global && options.owner == Owner::NotGiven {
                advice.push_str("; --owner USER finds a name of another user");
            }
            return Some(advice.into());
        }
        (ErrorKind::AccessDenied, _)
            if is_global && options.owner == Owner::Given && error.advice().is_some() =>
        {
            "have its owner put it with a --group of yours, or with a wider --mode"
        }
        (ErrorKind::NameLost, _) if options.can_follow => {
            "--follow-name goes on with whoever has the name next"
        }
        (ErrorKind::NameLost, _) if options.owner == Owner::Own => {
            "start it again, and keep cleaners off that directory"
        }
        (ErrorKind::NoValue, _) if options.can_wait => "--wait 10s waits for one",
        (ErrorKind::WrongKind, Layout::Plain) => "leave out --plain for a cell",
        (ErrorKind::WrongKind, Layout::NotPlain) => "give --plain for the plain layout",
        (ErrorKind::WrongKind, Layout::Cell) => "'handover get --plain' reads the plain layout",
        // Only --pointer asks for a codec.
        (ErrorKind::CodecMismatch | ErrorKind::Decode, _) => "leave out --pointer to print any value",
        // Only --new minds.
        (ErrorKind::AlreadyExists, _) => "leave out --new to replace its value",
        _ => return error.advice().map(Cow::from),
    };
    Some(own.into())
}

/// Rewrites a mode as a program has it, `0o644`, to what the command's user types: `0644`.
fn in_own_words(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, digits)) = rest.split_once("0o") {
        let is_mode = digits.starts_with(|c: char| c.is_digit(8)) && !before.ends_with(char::is_alphanumeric);
        words.push_str(before);
        words.push_str(if is_mode { "0" } else { "0o" });
        rest = digits;
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn message(kind: ErrorKind, arguments: &[&str]) -> String {
        let cli = Cli::try_parse_from(arguments).unwrap();
        Failure::from(Error::new(kind, "what happened").with_advice("call something"))
            .message(Options::of(&cli.command))
    }

    #[test]
    fn advice_names_an_option_that_the_subcommand_has() {
        let wrong = ErrorKind::WrongKind;
        assert!(message(wrong, &["handover", "get", "x"]).ends_with("; give --plain for the plain layout"));
        assert!(
            message(wrong, &["handover", "get", "x", "--plain"]).ends_with("; leave out --plain for a cell")
        );
        assert!(message(wrong, &["handover", "take", "x"]).contains("'handover get --plain'"));
        assert_eq!(message(wrong, &["handover", "stat", "x"]), "what happened; call something");
        assert!(message(ErrorKind::Decode, &["handover", "get", "x"]).contains("--pointer"));
    }

    #[test]
    fn it_takes_the_place_of_the_library_s() {
        assert!(!message(ErrorKind::WrongKind, &["handover", "get", "x"]).contains("call something"));
        assert_eq!(message(ErrorKind::Corrupt, &["handover", "get", "x"]), "what happened; call something");
    }

    #[test]
    fn it_has_the_words_of_the_command() {
        for (text, words) in [
            ("0o777; it must be one of 0o600, 0o640", "0777; it must be one of 0600, 0640"),
            ("map 'x0o7' has 'foo' and 0ops", "map 'x0o7' has 'foo' and 0ops"),
        ] {
            assert_eq!(in_own_words(text), words);
        }
    }

    #[test]
    fn another_users_name_is_found_with_an_option_that_was_not_given() {
        let missing = |arguments: &[&str]| {
            let options = handover::map::MapOptions::new();
            let failure = Failure::from(options.open_existing("Global\\nobody put this").unwrap_err());
            failure.message(Options::of(&Cli::try_parse_from(arguments).unwrap().command))
        };
        for subcommand in ["get", "take", "watch", "stat"] {
            assert!(missing(&["handover", subcommand, "Global\\x"]).contains("--owner USER"), "{subcommand}");
            let given = ["handover", subcommand, "Global\\x", "--owner", "root"];
            assert!(!missing(&given).contains("--owner USER"), "{subcommand}");
        }
    }

    #[test]
    fn only_a_name_can_be_waited_for() {
        let missing = handover::map::MemoryMappedFile::open_existing(std::path::Path::new("/no/such/file"));
        let failure = Failure::from(missing.unwrap_err());
        let cli = Cli::try_parse_from(["handover", "get", "--path", "/no/such/file"]).unwrap();
        assert!(!failure.message(Options::of(&cli.command)).contains("--wait"));
    }
}
