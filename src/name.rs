//! Names of maps: which texts are names, and which scope a name belongs to.
//!
//! Relies on nothing of the system; `sys` and `map` rely on it.

use crate::error::{Error, Result};
use crate::terms::{Scope, Subject};

/// Longest name, in UTF-16 code units: the limit of the Windows kernel, kept on every system.
pub const NAME_MAX: usize = 32_767;

/// A checked name: its text without the scope prefix, and its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MapName {
    text: String,
    scope: Scope,
}

impl MapName {
    /// Takes `Local\x`, `Global\x` or `x`; `scope` is the scope in the caller's options, if they have one.
    pub(crate) fn parse(name: &str, scope: Option<Scope>) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::invalid("name", "it is empty; give at least one character"));
        }
        let (text, prefix) = match name.split_once('\\') {
            None => (name, None),
            Some(("Local", rest)) => (rest, Some(Scope::User)),
            Some(("Global", rest)) => (rest, Some(Scope::Global)),
            Some((other, _)) => {
                return Err(Error::invalid(
                    "name",
                    format!(
                        "it has a backslash after {other:?}; only the prefixes 'Local\\' and 'Global\\' (with \
                         this spelling) may have one"
                    ),
                ));
            }
        };
        if text.is_empty() {
            return Err(Error::invalid("name", "nothing follows its scope prefix"));
        }
        if text.contains('\\') {
            return Err(Error::invalid("name", "it has a backslash after the scope prefix"));
        }
        if text.contains('\0') {
            return Err(Error::invalid("name", "it has a NUL character, which Windows can't take in a name")
                .with_advice("leave it out"));
        }
        let units = text.encode_utf16().count();
        if units > NAME_MAX {
            return Err(Error::invalid(
                "name",
                format!("it has {units} UTF-16 units; at most {NAME_MAX} are allowed"),
            ));
        }
        let scope = match (prefix, scope) {
            (Some(a), Some(b)) if a != b => {
                return Err(Error::invalid(
                    "name",
                    format!("its prefix says scope {a} and the options say scope {b}"),
                ));
            }
            (Some(a), _) => a,
            (None, b) => b.unwrap_or_default(),
        };
        Ok(Self { text: text.to_owned(), scope })
    }

    /// The name without its scope prefix.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject::Map { name: self.text.clone(), scope: self.scope }
    }
}

/// A number for a name, where the system can't take the name as it is: 128 bits of FNV-1a (Fowler, Noll, Vo)
/// over its UTF-8.
pub(crate) fn name_hash(name: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    name.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_choose_the_scope_and_are_case_sensitive() {
        let plain = MapName::parse("x", None).unwrap();
        assert_eq!(plain, MapName::parse("Local\\x", None).unwrap());
        assert_eq!(plain.scope(), Scope::User);
        let global = MapName::parse("Global\\x", None).unwrap();
        assert_eq!((global.text(), global.scope()), ("x", Scope::Global));
        assert_eq!(global, MapName::parse("x", Some(Scope::Global)).unwrap());
        for refused in
            ["", "local\\x", "GLOBAL\\x", "Session\\x", "a\\b", "\\x", "Local\\", "Local\\a\\b", "a\0b"]
        {
            assert!(MapName::parse(refused, None).is_err(), "{refused:?} was taken");
        }
        assert!(MapName::parse("Local\\x", Some(Scope::Global)).is_err());
        // Forward slashes mean nothing.
        assert_eq!(MapName::parse("global/x", None).unwrap().scope(), Scope::User);
    }

    #[test]
    fn length_is_counted_in_utf16_units() {
        assert!(MapName::parse(&"n".repeat(NAME_MAX), None).is_ok());
        assert!(MapName::parse(&"n".repeat(NAME_MAX + 1), None).is_err());
        // An emoji is two units.
        assert!(MapName::parse(&"😀".repeat(NAME_MAX / 2), None).is_ok());
        assert!(MapName::parse(&"😀".repeat(NAME_MAX / 2 + 1), None).is_err());
        // The prefix does not count.
        assert!(MapName::parse(&format!("Local\\{}", "n".repeat(NAME_MAX)), None).is_ok());
    }
}
