//! Parsers for the values of options: sizes, durations, rights, pointers.
//!
//! Rely on nothing but `humantime`; the definition of the command line uses them.

use std::time::Duration;

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

pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8)
        .map_err(|_| "give octal digits, such as 0640".to_owned())
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
    fn durations_have_units_or_are_seconds() {
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("soon").is_err());
    }
}
