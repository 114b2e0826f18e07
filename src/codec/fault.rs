//! What is wrong with a value, told without quoting it. Relies on nothing; `explain` relies on it.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    path: Option<String>,
    what: String,
}

/// What a value is said to be that was found in another's place. serde's own word comes before what it
/// quotes.
const FOUND: [(&str, &str); 17] = [
    ("boolean `", "a boolean"),
    ("integer `", "an integer"),
    ("floating point `", "a floating point number"),
    ("character `", "a character"),
    ("string \"", "a string"),
    ("byte array", "bytes"),
    ("unit value", "a unit value"),
    ("null", "null"),
    ("Option value", "an optional value"),
    ("newtype struct", "a newtype struct"),
    ("sequence", "a sequence"),
    ("map", "a map"),
    ("enum", "an enum"),
    ("unit variant", "a unit variant"),
    ("newtype variant", "a newtype variant"),
    ("tuple variant", "a tuple variant"),
    ("struct variant", "a struct variant"),
];

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Self { path: None, what: what.into() }
    }

    /// Says where, unless that is known better.
    pub(super) fn at(mut self, path: impl FnOnce() -> String) -> Self {
        self.path.get_or_insert_with(path);
        self
    }

    /// Where it is.
    pub(super) fn into_path(self) -> Option<String> {
        self.path.filter(|path| !path.is_empty())
    }

    /// That of a text in which a format complains: of serde's texts the parts that quote nothing, of others
    /// none; what was `expected` may be known beside it.
    pub(super) fn of_format(text: &str, expected: Option<&str>) -> Self {
        let parsed = if let Some(rest) = text.strip_prefix("invalid type: ") {
            after_found(rest).map(|(found, expected)| Self::another(found, expected, ""))
        } else if let Some(rest) = text.strip_prefix("invalid value: ") {
            after_found(rest).map(|(found, expected)| Self::another(found, expected, " that does not fit"))
        } else {
            None
        };
        parsed.unwrap_or_else(|| match expected {
            Some(expected) => Self::another("something else", expected, ""),
            None => Self::new("a value of another type"),
        })
    }

    fn another(found: &str, expected: &str, how: &str) -> Self {
        Self::new(format!("expected {expected}, found {found}{how}"))
    }
}

/// What was found and what was expected, of serde's text from the first on.
fn after_found(text: &str) -> Option<(&'static str, &str)> {
    let (word, found) = FOUND.iter().find(|(word, _)| text.starts_with(word))?;
    let rest = &text[word.len()..];
    let rest = match word.chars().last() {
        Some('"') => past_quoted(rest)?,
        Some('`') => &rest[rest.find("`, expected ")? + 1..],
        _ => rest,
    };
    let expected = rest.strip_prefix(", expected ")?;
    // serde_json says where, which is told apart.
    let end = expected.rfind(" at line ").unwrap_or(expected.len());
    Some((found, &expected[..end]))
}

/// What follows on a quoted text that is escaped as `Debug` does.
fn past_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some(&text[end + 1..])
}

/// Names that the program has, for messages.
fn one_of(names: &[&str]) -> String {
    let all: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match all.as_slice() {
        [] => "expected none".to_owned(),
        [one] => format!("expected {one}"),
        all => format!("expected one of {}", all.join(", ")),
    }
}

fn found(what: Unexpected<'_>) -> &'static str {
    let text = what.to_string();
    // A type may have words of its own for what it found, with the value in it.
    let known = FOUND.iter().find(|(word, _)| text.starts_with(word));
    match what {
        Unexpected::Other(_) => "something else",
        _ => known.map_or("something else", |(_, found)| found),
    }
}

impl Error for Fault {
    /// The text is the type's own, and may quote the value.
    fn custom<T: fmt::Display>(text: T) -> Self {
        if text.to_string().starts_with("data did not match any variant of untagged enum") {
            return Self::new("no variant of the untagged enum fits");
        }
        Self::new("a value that the type refuses")
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::another(found(unexpected), &expected.to_string(), "")
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::another(found(unexpected), &expected.to_string(), " that does not fit")
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::another("another number of elements", &expected.to_string(), "")
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown variant; {}", one_of(expected)))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown field; {}", one_of(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate field `{field}`"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_deref() {
            Some(path) if !path.is_empty() => write!(f, "at {path}: {}", self.what),
            _ => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_s_text_is_told_without_what_it_quotes() {
        for (text, told) in [
            (
                r#"invalid type: string "a\"b, expected c", expected u16 at line 1 column 9"#,
                "expected u16, found a string",
            ),
            ("invalid type: integer `300`, expected u8", "expected u8, found an integer"),
            ("invalid value: integer `300`, expected u8", "expected u8, found an integer that does not fit"),
            ("invalid type: null, expected a map at line 3 column 1", "expected a map, found null"),
            ("invalid type: my own words, expected u8", "a value of another type"),
            ("whatever \"secret\"", "a value of another type"),
        ] {
            assert_eq!(Fault::of_format(text, None).to_string(), told);
        }
    }
}
