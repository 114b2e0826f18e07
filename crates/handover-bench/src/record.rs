//! What one run measured, in the form of `report.json`. All times are nanoseconds.
//!
//! The measurement fills it, `report` draws it, and programs can read it.

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Where it ran.
    pub machine: Machine,
    /// The command that repeats it.
    pub command: String,
    /// Whether it was the short run.
    pub quick: bool,
    /// When it began, UTC.
    pub date: String,
    /// The subjects that were measured.
    pub subjects: Vec<Subject>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What a name costs beside others; beside none comes first.
    #[serde(default)]
    pub beside: Vec<Beside>,
    /// Many processes that open one name at once.
    #[serde(default)]
    pub together: Option<Together>,
    /// The project's targets, and what this run reached.
    pub targets: Vec<Target>,
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many processors the run could use.
    pub processors: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The compiler's version.
    pub rustc: String,
}

/// A way to hand over a value, or a loop that shows the least that a part of it can cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// Its name, the same as in the figures.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it was used, in one line.
    pub what: String,
    /// What it is.
    pub kind: Kind,
}

/// What a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A loop without a library.
    Bare,
    /// This project.
    Handover,
    /// Something else that hands over values.
    Peer,
}

/// One figure of one subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// The subject's name.
    pub subject: String,
    /// `S`, `M`, `L`, or the size in bytes for the series of sizes.
    pub payload: String,
    /// The payload's size.
    pub bytes: u64,
    /// What was measured, such as `publish`.
    pub figure: String,
    /// How many samples it is based on.
    pub samples: u64,
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The percentiles 0 to 100; may be empty.
    pub percentiles: Vec<f64>,
    /// The bare loop that it is compared with.
    pub bare: Option<String>,
    /// Its median divided by the bare loop's of the same run.
    pub ratio: Option<f64>,
}

/// What one operation on a name costs beside others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside {
    /// Which others.
    pub others: Others,
    /// How many.
    pub names: u64,
    /// The operation.
    pub operation: String,
    /// How many samples it is based on.
    pub samples: u64,
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The median divided by that of the same operation beside none, measured by turns with it.
    pub ratio: Option<f64>,
}

/// Which names lie beside the one that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Others {
    /// None.
    None,
    /// In the same directory, and held.
    Living,
    /// In the same directory, and left by processes that were killed.
    Dead,
    /// In the other scope, and held.
    OtherScope,
    /// Another user's, and held.
    OtherUser,
}

impl Others {
    /// In words, after a number.
    pub fn told(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Living => "living",
            Self::Dead => "dead",
            Self::OtherScope => "in the other scope",
            Self::OtherUser => "of another user",
        }
    }
}

/// Processes that open one name at once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Together {
    /// How many.
    pub processes: u64,
    /// How many other names there are.
    pub beside: u64,
    /// How many failed.
    pub failed: u64,
    /// From the signal until the last one had opened it.
    pub nanoseconds: f64,
}

/// One line of the table of targets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// What must be reached.
    pub what: String,
    /// The target, in words.
    pub target: String,
    /// What was reached: a ratio, or nanoseconds.
    pub reached: f64,
    /// The most that meets the target (where more is better: the least).
    pub limit: f64,
    /// Whether it was met.
    pub met: bool,
    /// The figures behind it, such as `handover 34 ns / bare flip 28 ns`.
    pub measured: String,
}
