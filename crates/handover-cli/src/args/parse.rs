//! Parsers for the values of options: sizes, durations, rights, users and groups, pointers.
//!
//! Rely on `humantime` and the library's words; the definition of the command line uses them.

use std::time::Duration;

use handover::map::Account;

/// Bytes: `65536`, `64K`, `64KB`, `64KiB`, all the same, in any case.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - rest.len()];
    let unit = rest.trim_start().to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err("give bytes, such as 65536, 64K, 1M or 2GiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "give a whole number first, as in 64K".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("a map must have at least 1 byte".to_owned()),
        Some(size) => Ok(size),
        None => Err("more than 16 EiB".to_owned()),
    }
}

/// A duration with units, or a bare number of seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|e| format!("{e}; give a duration such as 500ms, 10s or 5m"))
}

/// What a map may be for others; the library has no more.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8);
    mode.ok()
        .filter(|mode| [0o600, 0o640, 0o644, 0o660, 0o666].contains(mode))
        .ok_or_else(|| "give 0600, 0640, 0644, 0660 or 0666".to_owned())
}

/// A user or a group: its number, else its name.
pub(super) fn parse_account(text: &str) -> Result<Account, String> {
    if text.is_empty() {
        return Err("give a name or a number".to_owned());
    }
    Ok(text.parse().map_or_else(|_| Account::from(text), Account::Number))
}

pub(super) fn parse_pointer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err(format!("a pointer must start with '/': /{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn rights_are_those_that_a_map_can_have() {
        for (text, mode) in [("0600", 0o600), ("644", 0o644), ("0o660", 0o660)] {
            assert_eq!(parse_mode(text), Ok(mode), "{text}");
        }
        for text in ["", "0", "0777", "0999", "0400", "1600", "-644", "rw"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn accounts_are_numbers_or_names() {
        assert_eq!(parse_account("1502"), Ok(Account::Number(1502)));
        for name in ["root", "-1", "4294967296", "1502x"] {
            assert_eq!(parse_account(name), Ok(Account::from(name)));
        }
        assert!(parse_account("").is_err());
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("soon").is_err());
    }
}
