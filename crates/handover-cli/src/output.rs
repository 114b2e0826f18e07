//! Where words go: values to standard output, messages to standard error.
//!
//! A reader that has gone (a broken pipe) is not an error on either. Colours appear only on a terminal, and
//! only if `NO_COLOR` is not set. Relies on `failure`; everything else relies on it.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::failure::{Failure, Outcome};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// `text` in a style.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes to standard output.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    print_to_reader(bytes).map(drop)
}

/// Writes to standard output. Says whether somebody may still read it.
pub(crate) fn print_to_reader(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Writes a value to standard output; on a terminal a line end follows it.
pub(crate) fn print_value(bytes: &[u8]) -> Outcome {
    print(bytes)?;
    if is_terminal() && bytes.last() != Some(&b'\n') {
        print(b"\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes JSON to standard output: in lines for people, in one line for programs.
pub(crate) fn print_json(json: &serde_json::Value) -> Outcome {
    print(if is_terminal() { format!("{json:#}\n") } else { format!("{json}\n") }.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes text with styles to standard output, without the styles where they don't belong.
pub(crate) fn print_styled(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush())).map(drop)
}

/// Whether the reader is still there. A reader that has gone is no failure.
fn written(result: io::Result<()>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::other(format!("could not write to standard output: {e}"))),
    }
}

/// Whether a person reads standard output.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes a message.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes a message about what went wrong.
pub(crate) fn error(text: &str) {
    say(&format!("{}: {text}", styled(BAD, "handover")));
}

/// A size for people: `52 B`, `64 KiB`, `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog2() / 10;
    let number = bytes as f64 / (1u64 << (10 * power)) as f64;
    let unit = UNITS[power as usize - 1];
    if number.fract() == 0.0 { format!("{number} {unit}") } else { format!("{number:.1} {unit}") }
}

/// A name that is safe to show: on one line, without characters that a terminal would obey.
pub(crate) fn printable(name: &str) -> String {
    let quoted = format!("{name:?}");
    quoted[1..quoted.len() - 1].replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(65536), "64 KiB");
        assert_eq!(size(65536 + 4096), "68 KiB");
        assert_eq!(size(3 << 19), "1.5 MiB");
        assert_eq!(size(u64::MAX), "16 EiB");
    }

    #[test]
    fn names_do_not_speak_to_the_terminal() {
        assert_eq!(printable("plain name 😀"), "plain name 😀");
        assert_eq!(printable("a\tb\u{7}\n\"q\""), "a\\tb\\u{7}\\n\"q\"");
    }
}
