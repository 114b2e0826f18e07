//! Fuzzing without a tool of its own: what to feed ([`TARGETS`]), how inputs are made ([`Source`]), and the
//! inputs that are kept (`corpus/TARGET/`).
//!
//! An ordinary test replays what is kept and a bounded number of new inputs; `cargo xtask fuzz` runs on and
//! keeps an input that crashes or hangs. A target is a function of bytes that must return: it may not panic,
//! hang, or touch memory that is not its own. With `cargo fuzz` at hand, `fuzz_target!(|data: &[u8]|
//! (target.one_input)(data))` is all that it takes to run one there.

mod bodies;
mod random;

use std::fs;
use std::path::{Path, PathBuf};

pub use self::bodies::Handles;
pub use self::random::{Random, telling_word};

/// Something to feed with bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name, which is that of its corpus as well.
    pub name: &'static str,
    /// What bytes stand for in it.
    pub about: &'static str,
    /// Runs one input. Whatever the bytes are, it returns.
    pub one_input: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "cell",
        about: "a script: a cell's words are overwritten while it is read and written",
        one_input: bodies::cell,
    },
    Target {
        name: "image",
        about: "patches on zeroes: the whole content of a map that is opened as a cell",
        one_input: bodies::image,
    },
    Target { name: "plain", about: "the content of a map in the plain layout", one_input: bodies::plain },
    Target {
        name: "record",
        about: "the record at the start of a named map's file",
        one_input: bodies::record,
    },
    Target { name: "decode", about: "a value's bytes, for every codec", one_input: bodies::decode },
];

impl Target {
    /// The target of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Where its inputs are kept.
    pub fn corpus_directory(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }

    /// The inputs that are kept, with their files' names, sorted.
    pub fn corpus(&self) -> Vec<(String, Vec<u8>)> {
        let mut found: Vec<_> = fs::read_dir(self.corpus_directory())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_file())
            .map(|entry| {
                let bytes = fs::read(entry.path()).expect("read an input");
                (entry.file_name().to_string_lossy().into_owned(), bytes)
            })
            .collect();
        found.sort();
        found
    }
}

/// Makes inputs: new ones, and kept ones changed.
#[derive(Debug)]
pub struct Source {
    kept: Vec<Vec<u8>>,
    /// Where its choices come from.
    pub random: Random,
}

impl Source {
    /// For a target, with a seed.
    #[must_use]
    pub fn new(target: &Target, seed: u64) -> Self {
        Self { kept: target.corpus().into_iter().map(|(_, bytes)| bytes).collect(), random: Random(seed) }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let mut bytes = if self.kept.is_empty() || random.below(8) == 0 {
            (0..random.below(400)).map(|_| random.number() as u8).collect()
        } else {
            self.kept[random.below(self.kept.len())].clone()
        };
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len() + 1);
            match random.below(7) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.number() as u8),
                2 | 3 => {
                    let word = telling_word(random).to_le_bytes();
                    let count = [1, 2, 4, 8][random.below(4)];
                    for (to, from) in bytes.iter_mut().skip(at).zip(&word[..count]) {
                        *to = *from;
                    }
                }
                4 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << random.below(8);
                    }
                }
                5 => {
                    let piece: Vec<u8> = (0..random.below(24)).map(|_| random.number() as u8).collect();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    if let Some(other) = self.kept.get(random.below(self.kept.len())) {
                        let from = random.below(other.len() + 1);
                        let count = random.below(64).min(other.len() - from);
                        bytes.splice(at..at, other[from..from + count].iter().copied());
                    }
                }
            }
        }
        bytes.truncate(1 << 16);
        bytes
    }
}
