//! What a race is like, how it went, and its dice. Relies on nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a race is like.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each may be combined with each")]
pub struct Setup {
    /// The names lie in the global scope and others may read them, so that locks lie in a file of their own.
    pub readable: bool,
    /// The file system has no `O_TMPFILE`.
    pub without_tmpfile: bool,
    /// Racers fork children that go on holding.
    pub forks: bool,
    /// Nobody is killed or stopped: then a name's file goes with its last holder.
    pub calm: bool,
    /// The rule that racers break.
    pub fault: Option<Fault>,
    /// It ends when so many racers were killed, and as many stopped,
    pub kills: u64,
    /// and when each kind of outcome came about so often.
    pub outcomes: u64,
    /// It ends after so many seconds in any case.
    pub seconds: u64,
}

/// `handover::Fault`, which has no form in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as there")]
pub enum Fault {
    JoinsWithoutLooking,
    AsksInsteadOfClaiming,
    UnlinksWithoutLooking,
    LinksBeforeLocking,
    LeavesLeftovers,
    ReleasesBesideChildren,
    ClaimsOnce,
}

impl From<Fault> for handover::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::JoinsWithoutLooking => Self::JoinsWithoutLooking,
            Fault::AsksInsteadOfClaiming => Self::AsksInsteadOfClaiming,
            Fault::UnlinksWithoutLooking => Self::UnlinksWithoutLooking,
            Fault::LinksBeforeLocking => Self::LinksBeforeLocking,
            Fault::LeavesLeftovers => Self::LeavesLeftovers,
            Fault::ReleasesBesideChildren => Self::ReleasesBesideChildren,
            Fault::ClaimsOnce => Self::ClaimsOnce,
        }
    }
}

/// How a race went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What must not happen and did.
    pub fault: Option<String>,
    /// How often each thing was done, by its name.
    pub counts: BTreeMap<String, u64>,
    /// Racers that were killed.
    pub kills: u64,
    /// Racers that were stopped and went on later.
    pub stops: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// Whether all goals were reached before the time was over.
    pub complete: bool,
}

impl Report {
    /// Calls of the library that returned.
    pub fn calls(&self) -> u64 {
        self.counts.iter().filter(|(name, _)| !name.starts_with("Name")).map(|(_, count)| count).sum()
    }
}

/// Random numbers (`SplitMix64`), good enough for choices.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}
