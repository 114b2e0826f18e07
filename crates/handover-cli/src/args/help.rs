//! The longer texts of the help: what follows the options of each subcommand.
//!
//! Relies on nothing; the definition of the command line takes them.

pub(super) const LIFETIME: &str = "\
When a name disappears:
  A name lives exactly as long as a process holds it: one that put it, or one
  that has it open. It is gone the moment the last of them closes it, exits or
  is killed (even with SIGKILL); nobody has to clean up. Then 'get' says that
  there is no such map, and the next 'put' starts afresh. A value put with
  --path is in a file and stays until that file is deleted.
  If somebody deletes the name's file under its holders (a log-out or a cleaner
  of temporary files may), 'put' and 'watch' say so at once and end.

Who can see it:
  Only you (processes of your user), unless it was put in the global scope
  (--global, or a name that starts with 'Global\\') with a --group or a wider
  --mode. Others find it there by your name: --owner.

Exit codes:
  0  done
  1  failed
  2  usage: the arguments make no sense
  3  no such map
  4  timed out
  5  a map of another kind, or one that holds no value yet (or no longer)
  6  the name was lost: its file was deleted, moved or replaced while held
  'put NAME … -- COMMAND' ends with the code of COMMAND.

Examples:
  handover demo                              see it work
  handover put example --file token.json     hold a value until Ctrl-C
  handover get example --pointer /Bearer     read a part of it elsewhere
  handover watch example                     see each new value as it comes
  handover ls                                what is held, and by whom

Standard output carries values and nothing else; messages go to standard error.
NO_COLOR turns colours off. HANDOVER_DIR moves all names to a directory of yours.";

pub(super) const PUT_EXAMPLES: &str = "\
How long the name lives:
  'put' holds the name and stays in the foreground until Ctrl-C or a signal to
  terminate, until --for has passed, or until COMMAND ends. The name goes with
  it, unless another process has the map open; then it goes with the last one.
  With --path the value goes to a file, 'put' returns at once, and the value
  stays until the file is deleted.
  If the name is lost (its file was deleted, moved or replaced by somebody), 'put'
  says so at once and ends with exit code 6; with a COMMAND, once that has ended.

When the value goes before the name:
  After --ttl nobody can read it, and 'put' wipes it. 'handover take' takes it
  out: exactly one taker gets it, and its bytes are wiped. --until-taken holds
  the name until then; the exit code is 0 only if somebody took the value (4:
  nobody did within --for or --ttl).

Layouts:
  A cell keeps the value and says whether it is JSON, text or bytes; it has
  versions, and can be waited for, watched and taken. --plain stores the bytes at
  the map's start and nothing else, as C# programs with a memory-mapped file do.
  The two don't mix: a map in the other layout is left as it is (exit code 5).

Secrets:
  Every user of the machine can see a VALUE among the arguments in the list of
  processes (ps), and the shell's history keeps it. Give a secret in a file
  (--file) or on standard input (-). --secret also keeps it out of swap and core
  dumps, and wipes it when it is replaced.

Examples:
  handover put example '{\"Bearer\":\"…\"}'             a value that is no secret
  print-token | handover put example - --secret     a secret
  print-token | handover put example - --until-taken --ttl 1m   for one taker
  handover put example --file token.json --for 30s  for half a minute
  handover put example --file t.json -- ./consumer  while ./consumer runs
  handover put --path settings.map '{\"level\":3}'    in a file, to stay
  handover put logo --bytes --file logo.svg         any bytes
  handover put example '{\"Bearer\":\"…\"}' --plain     for a C# program
  handover put 'Global\\news' --mode 0644 '\"hello\"'  for all users to read
  handover put 'Global\\plan' --group staff 7         for a group of yours to read";

pub(super) const GET_EXAMPLES: &str = "\
'get' prints the value exactly as it was stored; it adds a line end only where
standard output is a terminal. --pointer needs a JSON value: it prints text
without quotes, and everything else as JSON.

Each stored value has a version, one more than the one before. --version prints
the number, and --newer-than asks for a value with a higher one. --json prints
both in a line of JSON, as 'handover watch' does.

A map in the plain layout, which C# programs write, needs --plain (exit code 5
without it), and has no versions.

No such map (exit code 3) means that its last holder has gone, or that nobody
put it. --wait waits for it; when the time is over, the exit code is 4.

Examples:
  handover get example                          the whole value
  handover get example --pointer /Bearer        one member of it
  handover get example --wait 10s               start before the producer
  handover get example --newer-than 3 --wait 1m wait for version 4 or later
  handover get --path settings.map              from a file
  handover get example --plain                  from a C# program
  handover get 'Global\\news' --owner alice      from user alice";

pub(super) const TAKE_EXAMPLES: &str = "\
If several processes take at once, exactly one gets the value, and its bytes are
wiped. The others find none (exit code 5), or wait for the next one with --wait
(exit code 4 when the time is over). 'take' prints the value as 'get' does.

Examples:
  handover take example
  handover take example --wait 10s";

pub(super) const WATCH_EXAMPLES: &str = "\
Prints a line of JSON for the value that is there, and one for each new one:

  {\"version\":2,\"skipped\":0,\"codec\":\"JSON\",\"written\":\"…\",\"value\":{\"Bearer\":\"…\"}}

  version   its number
  skipped   how many versions came and went since the line before: a watcher
            gets the newest one, and never holds up a producer
  codec     JSON, text, bytes or another; null if the value was taken or has
            expired: then there is no 'value'
  type      the name of its type, if it was stored with one
  written   when it was stored (UTC)
  expires   when it becomes unreadable, if it does
  encoding  base64, if 'value' is bytes in base64
  value     JSON as it is, text as a string, other bytes in base64

It sleeps until there is something new. It ends with exit code 0 when the last
process that wrote has gone, after --count lines, or when nobody reads its
output. It holds the name while it runs, and ends with exit code 6 if the name is
lost. With --follow-name it goes on in both cases: it waits for whoever has the
name next, and its versions count from 1 again where that is another map.

Examples:
  handover watch example
  handover watch example --wait 1m --count 1
  handover watch example --wait 1h --follow-name
  handover watch example | while read -r line; do ./reload \"$line\"; done";

pub(super) const LS_EXAMPLES: &str = "\
Columns: name, scope, layout (cell or plain), version, codec, bytes used by the
value, capacity (the most bytes that a value may have), bytes of memory taken,
whether a process that wrote is there, readers that can pin a version, owner,
mode, process ids of the holders, age of the map, expiry of the value.

If standard output is not a terminal, tabs separate the columns and there is no
header; sizes are in bytes, the age is in seconds, the expiry is a date (UTC). A
'-' stands for what the system does not tell. 'ls' never shows a value and changes
nothing.

It lists your names in both scopes. Only root can list those of others, with
--owner.

Examples:
  handover ls
  handover ls --json
  handover ls --global
  handover ls --global --owner alice                  as root";

pub(super) const STAT_EXAMPLES: &str = "\
Shows what 'ls' shows, for one name, and also when the map was created, when the
value was written, the name of its type, and the state: value, empty (not yet, or
no longer), expired, incomplete (a plain value whose writer died) or unknown.
'stat' never shows the value itself.

Examples:
  handover stat example
  handover stat example --json
  handover stat 'Global\\news' --owner alice";

pub(super) const GC_EXAMPLES: &str = "\
A killed holder may leave a file in the directory of names. No name leads to it.
It goes when somebody asks for the same name; else new names look for some of it
now and then, and 'gc' removes all of it now. It never touches a map that has a
living holder.

It prints the names of what it removed, one per line.

Examples:
  handover gc
  handover gc --json
  handover gc --global --owner alice                  as root";

pub(super) const DEMO_EXAMPLES: &str = "\
What happens: a token (a signed JWT) is made; a producer process stores it under
a name; a consumer process that knows only the name reads it, checks the
signature, and waits for the next version; the producer stores a new token, which
wakes the consumer; the producer is killed with SIGKILL; the name is gone. The
exit code is 0 only if every step worked. Several demos can run at once, and they
leave nothing behind.

Examples:
  handover demo";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  handover completions bash > ~/.local/share/bash-completion/completions/handover
  handover completions zsh > ~/.zfunc/_handover
  handover completions fish > ~/.config/fish/completions/handover.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  handover man > handover.1 && man ./handover.1
  handover man put > handover-put.1";
