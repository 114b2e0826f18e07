//! What handing over values costs: `handover`, bare loops that show the least it can cost, and what else
//! people use for it, in one run.
//!
//! `cargo xtask bench` builds and runs it; `target/bench` then has `report.html`, `report.md` and
//! `report.json` ([`record`]).
//!
//! # How it is measured
//!
//! A *case* is a subject with a payload. Each case runs in new processes, a producer and a consumer, each
//! pinned to its own processor; a third process starts them and sleeps. Each of several rounds runs all
//! cases, in another random order each time, so that other activity of the machine hits all alike. A figure's
//! samples are those of all rounds together; ratios are of medians in one run.
//!
//! - The measuring code is the same for all subjects, and compiled for each one separately.
//! - Iterations follow from a time budget and a calibration, not from constants; a fifth of the budget goes
//!   to warming up. See `clock` for the clock, and how its own cost is subtracted.
//! - Operations of less than a microsecond are measured in batches, and a sample is the mean over one. So the
//!   99th percentile of a fast operation is one of batches.
//! - `read_owned` and `read_zero_copy` are of versions that the reader has not seen, *uncontended*: one
//!   process publishes to 16 places (fewer for larger values), then reads all of them, and only the reads are
//!   timed. Where a subject makes no difference between new and old values, reads are repeated instead. What
//!   it costs to fetch the lines from another processor is in the hand-over's latency and in
//!   `read_while_published`.
//! - For `publish` there is a reader that sleeps and, where the subject supports it, holds an old version;
//!   `publish_unread` is without any reader.
//! - `read_unchanged` is the same reader again while nothing is published, `read_while_published` while the
//!   other process publishes without pause, `publish_while_read` the other way round. Samples of small values
//!   during which the other process did nothing, because the system made it wait, are discarded.
//! - `handover_spinning` is half a round trip between the two processes, each polling for the other's next
//!   value without pause and then reading each line of it. `handover_asleep` is the time from before the
//!   publication to when the reader, which was asleep for a quarter of a millisecond, has read the value;
//!   both read the same clock.
//! - `readers_N` is the time for a read over all of N processes together, beside a producer that publishes
//!   every millisecond.
//! - `set_one_shot` keeps no lease; `open` and `create` do not include closing.
//! - `memory_bytes` is in bytes, not in time: what the files have while values of that size come and go
//!   beside a reader; `memory_bytes_after` when values of S came after them.
//! - *Beside N names*: each operation is timed singly, by turns in a directory with N other names and in one
//!   with none, in one process; the ratio of the medians of that run counts. See `beside`.
//!
//! # What is handed over
//!
//! S is 1 KB, M 64 KiB, L 16 MiB. Subjects that take bytes get the same bytes, and a number that changes.
//! Typed ones get the same struct: an access token with six fields, whose bearer is as long as needed. Before
//! it measures, each case checks that the consumer reads what the producer published, each byte of it.
//!
//! # How it is fair
//!
//! All files lie in memory. No subject makes values durable. Owned reads go to an existing buffer where the
//! subject's interface allows it. [`record::Subject::what`] says for each subject how it was used and what it
//! does not provide: a bare loop is never a way to hand over values.

#![allow(clippy::disallowed_methods, reason = "those ways to start a process are disallowed to tests")]

pub mod record;
pub mod report;

mod bare;
mod beside;
mod clock;
mod folder;
mod machine;
mod own;
mod payload;
mod peers;
mod place;
mod run;
mod subject;
mod subjects;
mod table;
mod targets;
mod worker;

pub use run::main;
