//! The command line: subcommands, options and help, from which completions and the manual pages come too.
//!
//! Relies on `clap`, and on the library for its words. The subcommands take these structures; nothing here
//! knows what they do with them.

mod check;
mod help;
mod parse;
mod scope;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use handover::map::Account;

pub(crate) use self::scope::ScopeArgs;

use self::parse::{parse_account, parse_duration, parse_mode, parse_pointer, parse_size};

/// Hand values from one process to another through named memory
///
/// A producer puts a value under a name; any other process on the machine that knows the name gets it, at
/// the speed of memory and without a server between them.
#[derive(Parser)]
#[command(name = "handover", version, after_help = help::LIFETIME)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Put(PutArgs),
    Get(GetArgs),
    Take(TakeArgs),
    Watch(WatchArgs),
    Ls(LsArgs),
    Stat(StatArgs),
    Gc(GcArgs),
    /// Show a hand-over between real processes, step by step
    #[command(after_help = help::DEMO_EXAMPLES)]
    Demo,
    /// Print a script that completes this command in a shell
    #[command(after_help = help::COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, of a subcommand if one is named
    #[command(after_help = help::MAN_EXAMPLES)]
    Man {
        /// The subcommand; without it, the page of 'handover' itself
        command: Option<String>,
    },
    #[command(hide = true)]
    DemoProducer {
        name: String,
    },
    #[command(hide = true)]
    DemoConsumer {
        name: String,
    },
}

/// Store a value under a name and hold the name, or store it in a file
///
/// If the name exists already, joins its map and replaces the value; otherwise creates it. The value must be
/// JSON (RFC 8259) unless --text or --bytes says otherwise: it is checked, and stored exactly as given.
// Not `Debug`: it would show the value.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
#[command(
    after_help = help::PUT_EXAMPLES,
    override_usage = "handover put [OPTIONS] <NAME> [VALUE | - | --file <FILE>] [-- <COMMAND>...]\n       \
                      handover put [OPTIONS] --path <PATH> [VALUE | - | --file <FILE>]"
)]
pub(crate) struct PutArgs {
    /// The name: any text without a backslash; 'Local\' or 'Global\' before it chooses the scope
    #[arg(value_name = "NAME")]
    pub(crate) first: Option<OsString>,

    /// The value, or - for standard input; the default is standard input unless it is a terminal
    ///
    /// Other users can see arguments in the list of processes: give a secret on standard input or in a file.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) second: Option<OsString>,

    /// Take the value from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Store the value in this file instead of under a name, and return at once: it stays until deleted
    ///
    /// A new file is yours alone (0600), whatever the umask; a file that exists keeps its permissions.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["global", "owner", "group", "mode", "hold", "command"])]
    pub(crate) path: Option<PathBuf>,

    /// The value is text (UTF-8), not JSON
    #[arg(long, conflicts_with = "bytes")]
    pub(crate) text: bool,

    /// The value is any bytes, not JSON
    ///
    /// With --plain, 'put' refuses a value that is empty, starts or ends with a zero byte, or starts with
    /// 0xFF.
    #[arg(long)]
    pub(crate) bytes: bool,

    /// Room for values in a new map: bytes, or with K, M, G, T (1024 each)
    ///
    /// Memory is taken as values need it; with --plain, all of it at once. The default is 64K, or the size of
    /// the value if that is more. An existing map keeps its capacity: a value too large for it is refused,
    /// and the old value stays.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) capacity: Option<u64>,

    /// Use the plain layout: the value at the map's start, the rest zero
    ///
    /// C# programs read and write it with a memory-mapped file. It has no versions, nor anything that needs
    /// them.
    #[arg(long, conflicts_with_all = ["ttl", "secret", "until_taken", "sync"])]
    pub(crate) plain: bool,

    /// The value can be read for this long: 500ms, 30s, 5m, …; then it is wiped
    ///
    /// The name may live longer: see --for. In a file, the bytes are wiped by the next who writes to it.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) ttl: Option<Duration>,

    /// Keep the value out of swap and core dumps, and wipe it when it is replaced, taken or expired
    #[arg(long)]
    pub(crate) secret: bool,

    /// Hold the name until somebody takes the value
    ///
    /// The exit code is 0 only then: 4 when --for or --ttl is over first, 1 after a signal.
    #[arg(long, conflicts_with_all = ["command", "path"])]
    pub(crate) until_taken: bool,

    /// With --path: return when the value is on disk, so that it survives a loss of power
    #[arg(long, requires = "path")]
    pub(crate) sync: bool,

    /// Fail (exit code 1) if the name or the file already exists
    #[arg(long)]
    pub(crate) new: bool,

    /// Hold the name this long: 500ms, 30s, 5m, '1h 30m', …
    #[arg(
        id = "hold",
        long = "for",
        value_name = "DURATION",
        value_parser = parse_duration,
        conflicts_with = "command"
    )]
    pub(crate) hold: Option<Duration>,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,

    /// In the global scope, share a new map with this group of yours: its name or its number
    ///
    /// Without --mode the group may read (0640). With --mode 0660 it may write as well: replace the value,
    /// take it, and hold the name.
    #[arg(long, value_name = "GROUP", value_parser = parse_account)]
    pub(crate) group: Option<Account>,

    /// In the global scope, the rights of a new map: 0600, 0640, 0644, 0660 or 0666
    ///
    /// The default is 0600, which is you alone, and with --group 0640. 0640 and 0660 let the group read, or
    /// read and write; 0644 and 0666 everybody. An existing map keeps its rights.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub(crate) mode: Option<u32>,

    /// Hold the name while this command runs, and end with its exit code
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Where a value is read.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct FromArgs {
    /// The name
    #[arg(required_unless_present = "path", conflicts_with = "path")]
    pub(crate) name: Option<String>,

    /// Use this file instead of a name
    #[arg(long, value_name = "PATH", conflicts_with_all = ["global", "owner"])]
    pub(crate) path: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
}

/// Print the value under a name, or in a file
#[derive(Args, Debug)]
#[command(after_help = help::GET_EXAMPLES)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,

    /// Wait this long for the map and its first value: 500ms, 10s, 5m, …
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,

    /// Print only the part of a JSON value that this pointer (RFC 6901) leads to, such as /Bearer
    #[arg(long, value_name = "POINTER", value_parser = parse_pointer)]
    pub(crate) pointer: Option<String>,

    /// Print the version's number instead of the value
    #[arg(long, conflicts_with_all = ["pointer", "json", "plain"])]
    pub(crate) version: bool,

    /// Print a line of JSON with the value, its version and whatever else is known about it
    #[arg(long, conflicts_with_all = ["pointer", "plain"])]
    pub(crate) json: bool,

    /// Accept only a version newer than this one: wait for it with --wait, or fail (exit code 5)
    #[arg(long, value_name = "VERSION", conflicts_with = "plain")]
    pub(crate) newer_than: Option<u64>,

    /// Read the plain layout, which C# programs write: the value at the map's start, the rest zero
    #[arg(long)]
    pub(crate) plain: bool,
}

/// Take the value out: print it, and leave none
#[derive(Args, Debug)]
#[command(after_help = help::TAKE_EXAMPLES)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,

    /// Wait this long for the map and a value in it: 500ms, 10s, 5m, …
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,
}

/// Print a line of JSON for each new value
#[derive(Args, Debug)]
#[command(after_help = help::WATCH_EXAMPLES)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,

    /// Wait this long for the map and its first value: 500ms, 10s, 5m, …
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,

    /// End after this many lines
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,

    /// End (exit code 4) when nothing new has come for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// Go on with whoever holds the name next, when the last writer has gone or the name was lost
    #[arg(long, conflicts_with = "path")]
    pub(crate) follow_name: bool,
}

/// List the names that are held, with their sizes and holders
#[derive(Args, Debug)]
#[command(after_help = help::LS_EXAMPLES)]
pub(crate) struct LsArgs {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,

    /// Only the global scope; without it, both
    #[arg(long)]
    pub(crate) global: bool,

    /// The global names of this user, by login name or uid, in place of your own; for root alone
    #[arg(long, value_name = "USER", value_parser = parse_account, requires = "global")]
    pub(crate) owner: Option<Account>,
}

/// Show everything about a name but its value
#[derive(Args, Debug)]
#[command(after_help = help::STAT_EXAMPLES)]
pub(crate) struct StatArgs {
    /// The name
    pub(crate) name: String,

    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
}

/// Remove what killed holders left behind
#[derive(Args, Debug)]
#[command(after_help = help::GC_EXAMPLES)]
pub(crate) struct GcArgs {
    /// Print a JSON array of objects with 'name' and 'scope'
    #[arg(long)]
    pub(crate) json: bool,

    /// Only the global scope; without it, both
    #[arg(long)]
    pub(crate) global: bool,

    /// The global names of this user, by login name or uid, in place of your own; for root alone
    #[arg(long, value_name = "USER", value_parser = parse_account, requires = "global")]
    pub(crate) owner: Option<Account>,
}

/// The definition without the subcommands that only the demo calls.
pub(crate) fn visible() -> clap::Command {
    let full = <Cli as clap::CommandFactory>::command();
    let shown: Vec<clap::Command> =
        full.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    let mut root = clap::Command::new("handover").subcommands(shown).subcommand_required(true);
    if let Some(about) = full.get_about() {
        root = root.about(about.clone());
    }
    if let Some(about) = full.get_long_about() {
        root = root.long_about(about.clone());
    }
    if let Some(after) = full.get_after_help() {
        root = root.after_help(after.clone());
    }
    root.version(env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
