//! The list of all subjects.

use crate::record::Kind;
use crate::subject::{Measure, Outcome, Subject};
use crate::worker::{Samples, Task};
use crate::{bare, own, peers};

/// A subject, for callers that don't know its types.
pub(crate) struct Listed {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) version: fn() -> String,
    pub(crate) what: fn() -> String,
    pub(crate) measures: fn(usize) -> &'static [Measure],
    pub(crate) series: fn(usize) -> &'static [Measure],
    /// Does a task in this process.
    pub(crate) run: fn(&Task) -> Outcome<Vec<Samples>>,
}

impl Listed {
    const fn of<S: Subject>() -> Self {
        Self {
            name: S::NAME,
            kind: S::KIND,
            version: S::version,
            what: S::what,
            measures: S::measures,
            series: S::series,
            run: crate::worker::run::<S>,
        }
    }
}

/// In the order of the report.
pub(crate) const ALL: &[Listed] = &[
    Listed::of::<bare::Memcpy>(),
    Listed::of::<bare::CacheLine>(),
    Listed::of::<bare::Flip>(),
    Listed::of::<bare::FlipHeader>(),
    Listed::of::<bare::Pin>(),
    Listed::of::<bare::AsymmetricPin>(),
    Listed::of::<bare::Seqlock>(),
    Listed::of::<bare::Decode>(),
    Listed::of::<bare::Futex>(),
    Listed::of::<bare::Calls>(),
    Listed::of::<bare::PromisedCalls>(),
    Listed::of::<own::Bytes>(),
    Listed::of::<own::Rkyv<true>>(),
    Listed::of::<own::Rkyv<false>>(),
    Listed::of::<own::Json>(),
    Listed::of::<own::Plain>(),
    Listed::of::<peers::SyncBytes>(),
    Listed::of::<peers::SyncTyped>(),
    Listed::of::<peers::PublishSubscribe>(),
    Listed::of::<peers::Blackboard>(),
    Listed::of::<peers::Event>(),
    Listed::of::<peers::Lmdb>(),
    Listed::of::<peers::FileRename>(),
    Listed::of::<peers::Socket>(),
    Listed::of::<peers::Redis>(),
    Listed::of::<peers::NaiveMap>(),
];
