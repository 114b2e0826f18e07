//! The command line: subcommands, options and help, from which completions and the man page come too.
//!
//! Relies on `clap`, and on `store` for what a value's source is; the subcommands take these structures.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::store::Source;

const LIFETIME: &str = "\
When a name disappears:
  A name lives exactly as long as a process holds it: one that put it, or one
  that has it open. It is gone the moment the last of them closes it, exits or
  is killed (even with SIGKILL); nobody has to clean up. Then 'get' says that
  there is no such map, and the next 'put' starts afresh. A value put with
  --path lies in a file and stays until that file is deleted.

Who can see it:
  Only you (processes of your user), unless it was put in the global scope
  (--global, or a name that starts with 'Global\\') with a wider --mode.

Exit codes:
  0  done
  1  failed
  2  usage: the arguments make no sense
  3  no such map
  4  timed out
  5  a map of another kind, or one that holds no value yet (or no longer)
  'put NAME … -- COMMAND' ends with the code of COMMAND.

Examples:
  handover demo                              see it work
  handover put example --file token.json     hold a value until Ctrl-C
  handover get example --pointer /Bearer     read a part of it elsewhere
  handover watch example                     see each new value as it comes
  handover ls                                what is held, and by whom

Values go to standard output alone, talk to standard error. NO_COLOR turns
colours off. HANDOVER_DIR moves all names to a directory of yours.";

const PUT_EXAMPLES: &str = "\
How long the name lives:
  'put' holds the name and stays in the foreground until Ctrl-C or a signal to
  terminate, until --for has passed, or until COMMAND ends. The name goes with
  it, unless another process has the map open; then it goes with the last one.
  With --path the value goes to a file, 'put' returns at once, and the value
  stays until the file is deleted.

When the value goes before the name:
  --ttl makes it unreadable, and has 'put' wipe it, after a time. 'handover take'
  takes it out: exactly one taker gets it, and its bytes are wiped.
  --until-taken holds the name until then, and the exit code is 0 only if
  somebody took the value (4: nobody did within --for or --ttl).

Layouts:
  The value lies in a cell, which has versions, waiting, watching, taking and
  expiry, and says whether it is JSON, text or bytes. --plain stores it at the
  map's start and nothing else, as C# programs with a memory-mapped file do.
  The two don't mix: a map of the other layout is left as it is (exit code 5).

Secrets:
  A VALUE among the arguments can be seen by every user of the machine in the
  list of processes (ps), and lands in the shell's history. Give a secret on
  standard input (-) or in a file (--file). --secret keeps it out of swap and
  core dumps as well, and wipes it when it is replaced.

Examples:
  handover put example '{\"Bearer\":\"…\"}'             a value that is no secret
  print-token | handover put example - --secret     a secret
  print-token | handover put example - --until-taken --ttl 1m   for one taker
  handover put example --file token.json --for 30s  for half a minute
  handover put example --file t.json -- ./consumer  while ./consumer runs
  handover put --path settings.map '{\"level\":3}'    in a file, to stay
  handover put logo --bytes --file logo.svg         any bytes
  handover put example '{\"Bearer\":\"…\"}' --plain     for a C# program
  handover put 'Global\\news' --mode 0644 '\"hello\"'  for all users to read";

const GET_EXAMPLES: &str = "\
The value is printed exactly as it was stored; a line end is added only where
standard output is a terminal. --pointer needs a JSON value: text that it leads
to is printed without quotes, everything else as JSON.

Each value that is stored has a version, one more than the one before. --version
prints the number, and --newer-than asks for a value with a higher one. --json
prints both in a line of JSON, as 'handover watch' does.

A map in the plain layout, as C# programs make it, needs --plain (exit code 5
without it), and has no versions.

No such map (exit code 3) means that its last holder has gone, or that it was
never put. --wait waits for it; when the time is over, the exit code is 4.

Examples:
  handover get example                          the whole value
  handover get example --pointer /Bearer        one member of it
  handover get example --wait 10s               start before the producer
  handover get example --newer-than 3 --wait 1m wait for version 4 or later
  handover get --path settings.map              from a file
  handover get example --plain                  from a C# program
  handover get 'Global\\news' --owner 1000       from user 1000";

const TAKE_EXAMPLES: &str = "\
Of all who take, exactly one gets the value; its bytes are wiped, and the others
find none (exit code 5), or wait for the next with --wait (exit code 4 when the
time is over). A value that was taken is printed as 'handover get' does it.

Examples:
  handover take example
  handover take example --wait 10s";

const WATCH_EXAMPLES: &str = "\
Prints a line of JSON for the value that is there, and one for each new one:

  {\"version\":2,\"skipped\":0,\"codec\":\"JSON\",\"written\":\"…\",\"value\":{\"Bearer\":\"…\"}}

  version   its number
  skipped   how many versions came and went since the line before: a watcher
            gets the newest one, and never holds a producer up
  codec     JSON, text, bytes or another; null where the value was taken, or has
            expired: then there is no 'value'
  type      the name of its type, if it was stored with one
  written   when it was stored (UTC)
  expires   when it becomes unreadable, if it does
  encoding  base64, where 'value' is bytes in base64
  value     JSON as it is, text as a string, other bytes in base64

It sleeps until there is something new, and ends with exit code 0 when the last
process that wrote has gone, after --count lines, or when nobody reads its
output. While it runs it holds the name.

Examples:
  handover watch example
  handover watch example --wait 1m --count 1
  handover watch example | while read -r line; do ./reload \"$line\"; done";

const LS_EXAMPLES: &str = "\
Columns: name, scope, layout (cell or plain), version, codec, bytes used by the
value, capacity (the most that a value may have), bytes reserved (memory taken),
whether a process that wrote is there, readers that keep a place to pin versions,
owner, mode, process ids of the holders, age of the map, expiry of the value.
Where standard output is no terminal, they are separated by tabs, without a
header, sizes in bytes, the age in seconds and the expiry as a date (UTC). What
the system does not tell, or what belongs to somebody else, is '-'. Values are
never shown, and looking changes nothing.

Examples:
  handover ls
  handover ls --json
  handover ls --global";

const STAT_EXAMPLES: &str = "\
Shows what 'ls' shows, for one name, and when the map was created, when the value
was written, its type's name, and the state: value, empty (not yet, or no longer),
expired, incomplete (a plain value whose writer died) or unknown. The value
itself is never shown.

Examples:
  handover stat example
  handover stat example --json
  handover stat 'Global\\news' --owner 1000";

const GC_EXAMPLES: &str = "\
A holder that was killed may leave a file in the directory of names. No name
leads to it, and the next 'put' or 'get' of any name removes it; 'gc' does it
now. Maps that have a living holder are never touched.

The names of what was removed are printed, one a line.

Examples:
  handover gc
  handover gc --json";

const DEMO_EXAMPLES: &str = "\
What happens: a token (a signed JWT) is made; a producer process stores it under
a name; a consumer process that knows only the name reads it, checks the
signature, and waits for the next version; the producer stores a new token, which
wakes the consumer; the producer is killed with SIGKILL; the name is gone. The
exit code is 0 only if every step held. Several demos can run at once, and nothing is left
behind.

Examples:
  handover demo";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  handover completions bash > ~/.local/share/bash-completion/completions/handover
  handover completions zsh > ~/.zfunc/_handover
  handover completions fish > ~/.config/fish/completions/handover.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  handover man > handover.1 && man ./handover.1
  handover man put > handover-put.1";

/// Hand values from one process to another through named memory
///
/// A producer puts a value under a name; any other process on the machine that knows the name gets it, at
/// the speed of memory and without a server between them.
#[derive(Debug, Parser)]
#[command(name = "handover", version, after_help = LIFETIME)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Put(PutArgs),
    Get(GetArgs),
    Take(TakeArgs),
    Watch(WatchArgs),
    Ls(LsArgs),
    Stat(StatArgs),
    Gc(GcArgs),
    /// Show a hand-over between real processes, step by step
    #[command(after_help = DEMO_EXAMPLES)]
    Demo,
    /// Print a script that completes this command in a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, of a subcommand if one is named
    #[command(after_help = MAN_EXAMPLES)]
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

/// Where a name is looked for.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub(crate) struct Place {
    /// Look in the scope of all users of the machine; the same as 'Global\' before the name
    #[arg(long)]
    pub(crate) global: bool,

    /// In the global scope, accept a map that belongs to the user with this id
    ///
    /// Without it, only your own maps are accepted. The owner of a map can change it at any time, and can end
    /// a process that reads it by cutting it short: name only somebody whom you trust that far.
    #[arg(long, value_name = "UID")]
    pub(crate) owner: Option<u32>,
}

/// Store a value under a name and hold the name, or store it in a file
///
/// Joins the map if the name exists already, and replaces its value; otherwise creates it. The value must be
/// JSON (RFC 8259), which is checked and stored exactly as given, unless --text or --bytes says otherwise.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
#[command(
    after_help = PUT_EXAMPLES,
    override_usage = "handover put [OPTIONS] <NAME> [VALUE | - | --file <FILE>] [-- <COMMAND>...]\n       \
                      handover put [OPTIONS] --path <PATH> [VALUE | - | --file <FILE>]"
)]
pub(crate) struct PutArgs {
    /// The name: any text without a backslash; 'Local\' or 'Global\' before it chooses the scope
    #[arg(value_name = "NAME")]
    pub(crate) first: Option<OsString>,

    /// The value, or - for standard input; without VALUE and --file, standard input unless it is a terminal
    ///
    /// Other users can see arguments in the list of processes: give a secret on standard input or in a file.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) second: Option<OsString>,

    /// Take the value from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Store the value in this file in place of a name, and return at once: it stays until deleted
    ///
    /// A new file gets the permissions that new files of yours get (umask): see to it before storing a secret.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["global", "owner", "mode", "hold", "command"])]
    pub(crate) path: Option<PathBuf>,

    /// The value is text (UTF-8), not JSON
    #[arg(long, conflicts_with = "bytes")]
    pub(crate) text: bool,

    /// The value is any bytes, not JSON
    ///
    /// With --plain it can't be empty, start or end with a zero byte, or start with the byte 0xFF; such a value
    /// is refused.
    #[arg(long)]
    pub(crate) bytes: bool,

    /// Room for values in a new map: bytes, or with K, M, G, T (1024 each)
    ///
    /// Memory is taken as values need it; with --plain, all of it at once. Without this: 64K, or what the value
    /// takes if that is more. A map that exists keeps its capacity; a value that is too large for it is refused
    /// and the old one stays.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) capacity: Option<u64>,

    /// Use the plain layout: the value at the map's start, the rest zero
    ///
    /// It is what C# programs with a memory-mapped file read and write. It has no versions, and so none of what
    /// needs them.
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

    /// Hold the name until somebody took the value
    ///
    /// The exit code is 0 only then: 4 when --for or --ttl is over before, 1 after a signal.
    #[arg(long, conflicts_with_all = ["command", "path"])]
    pub(crate) until_taken: bool,

    /// With --path: return when the value is on the disk, so that it survives the loss of power
    #[arg(long, requires = "path")]
    pub(crate) sync: bool,

    /// Fail (exit code 1) if the name or the file exists already
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
    pub(crate) place: Place,

    /// In the global scope, the rights of a new map: 0600 (the default), 0640, 0644, 0660 or 0666
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub(crate) mode: Option<u32>,

    /// Hold the name while this command runs, and end with its exit code
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Where a value is read.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct From {
    /// The name
    #[arg(required_unless_present = "path", conflicts_with = "path")]
    name: Option<String>,

    /// Use this file in place of a name
    #[arg(long, value_name = "PATH", conflicts_with_all = ["global", "owner"])]
    path: Option<PathBuf>,

    #[command(flatten)]
    place: Place,
}

impl From {
    pub(crate) fn source(&self) -> Source<'_> {
        match &self.path {
            Some(path) => Source::Path(path),
            None => Source::Name(self.name.as_deref().unwrap_or_default(), &self.place),
        }
    }
}

/// Print the value under a name, or in a file
#[derive(Args, Debug)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) from: From,

    /// Wait this long for the map and its first value: 500ms, 10s, 5m, …
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,

    /// Print only the part of a JSON value that this pointer (RFC 6901) leads to, such as /Bearer
    #[arg(long, value_name = "POINTER", value_parser = parse_pointer)]
    pub(crate) pointer: Option<String>,

    /// Print the version's number in place of the value
    #[arg(long, conflicts_with_all = ["pointer", "json", "plain"])]
    pub(crate) version: bool,

    /// Print a line of JSON with the value, its version and what else is known of it
    #[arg(long, conflicts_with_all = ["pointer", "plain"])]
    pub(crate) json: bool,

    /// Only a version newer than this one: wait for it with --wait, or fail (exit code 5)
    #[arg(long, value_name = "VERSION", conflicts_with = "plain")]
    pub(crate) newer_than: Option<u64>,

    /// Read the plain layout, which C# programs write: the value at the map's start, the rest zero
    #[arg(long)]
    pub(crate) plain: bool,
}

/// Take the value out: print it, and leave none
#[derive(Args, Debug)]
#[command(after_help = TAKE_EXAMPLES)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    pub(crate) from: From,

    /// Wait this long for the map and a value in it: 500ms, 10s, 5m, …
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,
}

/// Print a line of JSON for each new value
#[derive(Args, Debug)]
#[command(after_help = WATCH_EXAMPLES)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) from: From,

    /// Wait this long for the map and its first value: 500ms, 10s, 5m, …
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,

    /// End after this many lines
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,

    /// End (exit code 4) when nothing new came for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// List the names that are held, with their sizes and holders
#[derive(Args, Debug)]
#[command(after_help = LS_EXAMPLES)]
pub(crate) struct LsArgs {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,

    /// Only the global scope; without it, both
    #[arg(long)]
    pub(crate) global: bool,
}

/// Show everything about a name but its value
#[derive(Args, Debug)]
#[command(after_help = STAT_EXAMPLES)]
pub(crate) struct StatArgs {
    /// The name
    pub(crate) name: String,

    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Remove what killed holders left behind
#[derive(Args, Debug)]
#[command(after_help = GC_EXAMPLES)]
pub(crate) struct GcArgs {
    /// Print a JSON array of objects with 'name' and 'scope'
    #[arg(long)]
    pub(crate) json: bool,

    /// Only the global scope; without it, both
    #[arg(long)]
    pub(crate) global: bool,
}

/// Bytes: `65536`, `64K`, `64KB`, `64KiB`, all the same, in any case.
fn parse_size(text: &str) -> Result<u64, String> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - rest.len()];
    let unit = rest.trim_start().to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err("expected bytes, such as 65536, 64K, 1M or 2GiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number first, as in 64K".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("a map has at least 1 byte".to_owned()),
        Some(size) => Ok(size),
        None => Err("more than 16 EiB".to_owned()),
    }
}

/// A duration with units, or a bare number of seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|e| format!("{e}; expected such as 500ms, 10s or 5m"))
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8)
        .map_err(|_| "expected octal digits, such as 0640".to_owned())
}

fn parse_pointer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err(format!("a pointer starts with '/': /{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn sizes_are_binary_multiples() {
        for (text, size) in [
            ("1", 1),
            ("65536", 65536),
            ("64K", 65536),
            ("64k", 65536),
            ("64KB", 65536),
            ("64KiB", 65536),
            ("64 KiB", 65536),
            ("7B", 7),
            ("1M", 1 << 20),
            ("2GiB", 2 << 30),
            ("3T", 3 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "K", "-1", "1.5K", "1X", "1i", "1KK", "0", "0K", "99999999999T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("soon").is_err());
    }
}
