//! The project's targets, from the medians of one run.

use crate::beside::OPERATIONS;
use crate::payload::SMALL;
use crate::record::{Beside, Figure, Others, Target, Together};
use crate::worker::NO_CALL_ROUNDS;

/// The bare loop that a figure is compared with.
pub(crate) fn bare(figure: &str, bytes: u64) -> Option<&'static str> {
    match figure {
        "publish" | "publish_unread" | "publish_while_read" if bytes <= SMALL as u64 => Some("flip"),
        "publish" | "publish_unread" => Some("memcpy"),
        "publish_while_read" => Some("flip + pin"),
        "read_owned" => Some("seqlock"),
        "read_zero_copy" | "read_unchanged" | "read_while_published" | "handover_spinning" => {
            Some("flip + pin")
        }
        "handover_asleep" => Some("futex"),
        "set_one_shot" | "open" | "create" => Some("system calls"),
        _ => None,
    }
}

struct Run<'a>(&'a [Figure]);

/// A time for a person.
pub(crate) fn shown(nanos: f64) -> String {
    match nanos {
        _ if nanos < 10.0 => format!("{nanos:.1} ns"),
        _ if nanos < 1e3 => format!("{nanos:.0} ns"),
        _ if nanos < 1e4 => format!("{:.2} µs", nanos / 1e3),
        _ if nanos < 1e6 => format!("{:.1} µs", nanos / 1e3),
        _ => format!("{:.2} ms", nanos / 1e6),
    }
}

impl Run<'_> {
    fn median(&self, subject: &str, payload: &str, figure: &str) -> Option<f64> {
        let found = |one: &&Figure| one.subject == subject && one.payload == payload && one.figure == figure;
        self.0.iter().find(found).map(|figure| figure.median)
    }

    /// One figure against another: `own` and `other` are subject and figure.
    fn ratio(
        &self,
        row: &Row,
        payload: &str,
        own: (&str, &str),
        other: (&str, &str),
        limit: f64,
    ) -> Option<Target> {
        let (above, below) = (self.median(own.0, payload, own.1)?, self.median(other.0, payload, other.1)?);
        let named = |(subject, figure): (&str, &str)| {
            if own.1 == other.1 {
                subject.to_owned()
            } else {
                format!("{subject} {}", figure.replace('_', " "))
            }
        };
        let measured = format!("{} {} / {} {}", named(own), shown(above), named(other), shown(below));
        Some(row.reached(above / below, limit, measured))
    }

    /// Adds one more figure to a target: that of a loop that shows what the target leaves out.
    fn beside(
        &self,
        target: Option<Target>,
        called: &str,
        (subject, payload): (&str, &str),
        figure: &str,
    ) -> Option<Target> {
        let mut target = target?;
        if let Some(median) = self.median(subject, payload, figure) {
            target.measured = format!("{}; {called} {}", target.measured, shown(median));
        }
        Some(target)
    }
}

/// A line of the table, or a part of one with several parts.
struct Row {
    what: &'static str,
    target: &'static str,
}

impl Row {
    fn reached(&self, reached: f64, limit: f64, measured: String) -> Target {
        Target {
            what: self.what.to_owned(),
            target: self.target.to_owned(),
            reached: (reached * 1000.0).round() / 1000.0,
            limit,
            met: reached <= limit,
            measured,
        }
    }
}

const OWN: &str = "handover";
const RKYV: &str = "handover, rkyv";
const UNCHECKED: &str = "handover, rkyv unchecked";
const JSON: &str = "handover, JSON";
const SYNC: &str = "mmap-sync, bytes";
const SYNC_TYPED: &str = "mmap-sync";

/// In the order of the table. A line without figures is left out.
pub(crate) fn all(figures: &[Figure], no_system_call: Option<bool>, processors: usize) -> Vec<Target> {
    let run = Run(figures);
    let mut targets: Vec<Option<Target>> = Vec::new();

    let what = "read, version unchanged, any `T`, any size (`get_shared`, `load` again)";
    // The slowest of all of them counts.
    let unchanged = [OWN, RKYV, JSON]
        .into_iter()
        .flat_map(|subject| ["S", "M", "L"].map(|payload| (subject, payload)))
        .filter_map(|(subject, payload)| {
            Some((run.median(subject, payload, "read_unchanged")?, subject, payload))
        })
        .max_by(|one, other| one.0.total_cmp(&other.0));
    if let Some((slowest, subject, payload)) = unchanged {
        let loads = run.median(OWN, "S", "read_unchanged").unwrap_or(slowest);
        let told = format!("{subject} {payload} {}, load again {}", shown(slowest), shown(loads));
        targets.push(Some(Row { what, target: "≤ 3 ns" }.reached(slowest, 3.0, told.clone())));
        if let Some(peer) = run.median(SYNC, "S", "read_zero_copy") {
            let row = Row { what, target: "≤ 0.2 × mmap-sync's zero-copy read" };
            let told = format!("{told} / mmap-sync zero-copy {}", shown(peer));
            targets.push(Some(row.reached(slowest / peer, 0.2, told)));
        }
    }

    let what = "zero-copy read of a new version, S, uncontended";
    let read = "read_zero_copy";
    let row = Row { what, target: "≤ 0.7 × mmap-sync with portable fences, crash-safe" };
    targets.push(run.ratio(&row, "S", (OWN, read), (SYNC, read), 0.7));
    let row = Row { what, target: "≤ 0.35 × mmap-sync with an asymmetric fence, crash-safe" };
    targets.push(run.ratio(&row, "S", (OWN, read), (SYNC, read), 0.35));

    let what = "read S to an owned value through rkyv or bytes";
    let read = "read_owned";
    let row = Row { what, target: "≤ 1.2 × bare seqlock copy (raw)" };
    targets.push(run.ratio(&row, "S", (OWN, read), ("seqlock", read), 1.2));
    let row = Row { what, target: "≤ mmap-sync (typed)" };
    // mmap-sync checks nothing here either.
    let typed = run.ratio(&row, "S", (UNCHECKED, read), (SYNC_TYPED, read), 1.0);
    let typed = run.beside(typed, "checked", (RKYV, "S"), read);
    targets.push(run.beside(typed, "bare rkyv 0.8", ("rkyv in private memory", "S"), read));

    let what = "publish S, raw bytes, with a lease, nobody asleep";
    let publish = "publish";
    let row = Row { what, target: "≤ 1.3 × bare flip" };
    // There is a reader that holds an old version.
    let published = run.ratio(&row, "S", (OWN, publish), ("flip", publish), 1.3);
    let published = run.beside(published, "without any reader", (OWN, "S"), "publish_unread");
    targets.push(run.beside(published, "bare flip + header", ("flip + header", "S"), publish));
    if let Some(none) = no_system_call {
        let row = Row { what, target: "no system call" };
        let (calls, told) = if none { (0.0, "no system call") } else { (1.0, "a system call") };
        targets.push(Some(row.reached(calls, 0.0, format!("{told} in {NO_CALL_ROUNDS} publications"))));
    }

    let row = Row { what: "publish M and L, raw", target: "≤ 1.05 × memcpy of as much" };
    for payload in ["M", "L"] {
        targets.push(run.ratio(&row, payload, (OWN, publish), ("memcpy", publish), 1.05).map(
            |mut target| {
                target.measured = format!("{payload}: {}", target.measured);
                target
            },
        ));
    }

    let row = Row {
        what: "publish L built in place",
        target: "≤ 0.6 × publish by copy when the producer fills it anyway",
    };
    let built = run.ratio(&row, "L", (OWN, "publish_in_place"), (OWN, "publish_filled"), 0.6);
    let built = run.beside(built, "in pieces", (OWN, "L"), "publish_in_pieces");
    let built = run.beside(built, "bare memcpy, filled", ("memcpy", "L"), "publish_filled");
    targets.push(run.beside(built, "bare, in place", ("memcpy", "L"), "publish_in_place"));

    let row = Row { what: "hand-over S, reader spins", target: "≤ 1.15 × bare flip + pin" };
    let spinning = "handover_spinning";
    targets.push(run.ratio(&row, "S", (OWN, spinning), ("flip + pin", spinning), 1.15));

    let row = Row { what: "hand-over S, reader asleep", target: "≤ 1.1 × bare futex in the same run" };
    let asleep = "handover_asleep";
    let woken = run.ratio(&row, "S", (OWN, asleep), ("futex", asleep), 1.1);
    targets.push(run.beside(woken, "bare flip + pin + futex", ("flip + pin", "S"), asleep));

    let row = Row {
        what: "one-shot `set` without a lease, S",
        target: "≤ 2 × the two system calls of its lock",
    };
    let set = "set_one_shot";
    targets.push(run.ratio(&row, "S", (OWN, set), ("system calls", set), 2.0));

    let promised = ("system calls + promises", "S");
    for (figure, target) in
        [("open", "≤ 1.5 × the open + mmap + locks it needs"), ("create", "`create` likewise")]
    {
        let row = Row { what: "opening a name", target };
        let named = run.ratio(&row, "S", (OWN, figure), ("system calls", figure), 1.5);
        targets.push(run.beside(named, "with the calls of its promises", promised, figure));
    }

    // These are times for a read over all readers together: the rate of eight is the inverse.
    if let (Some(one), Some(eight)) = (run.median(OWN, "S", "readers_1"), run.median(OWN, "S", "readers_8")) {
        let row = Row {
            what: "8 readers",
            target: "aggregate reads ≥ 0.95 × 8 × one reader's share of the processors",
        };
        let share = (processors as f64 / 8.0).min(1.0);
        let reached = one / eight / (8.0 * share);
        let told = format!(
            "a read every {} with one reader, {} with eight on {processors} processors",
            shown(one),
            shown(eight)
        );
        let mut target = row.reached(reached, 0.95, told);
        target.met = reached >= 0.95;
        targets.push(Some(target));
    }

    let what = "memory";
    for (figure, live, target) in [
        ("memory_bytes", 16 << 20, "a cell holds ≤ 3 × its largest live value + 64 KiB"),
        ("memory_bytes_after", SMALL as u64, "also after large values came and went"),
    ] {
        if let Some(held) = run.median(OWN, "L", figure) {
            let allowed = (3 * live + (64 << 10)) as f64;
            let told = format!("{:.0} KiB held / {:.0} KiB allowed", held / 1024.0, allowed / 1024.0);
            targets.push(Some(Row { what, target }.reached(held / allowed, 1.0, told)));
        }
    }

    targets.into_iter().flatten().collect()
}

/// How much more an operation on a name may cost beside any others than beside none.
pub(crate) const BESIDE: f64 = 1.2;

/// What names cost beside others.
pub(crate) fn beside(lines: &[Beside], together: Option<Together>) -> Vec<Target> {
    let mut targets = Vec::new();
    for operation in OPERATIONS {
        let of = |line: &&Beside| line.operation == operation;
        let worst = lines
            .iter()
            .filter(of)
            .filter_map(|line| Some((line, line.ratio?)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other));
        let none = lines.iter().filter(of).find(|line| line.others == Others::None);
        let (Some((worst, ratio)), Some(none)) = (worst, none) else { continue };
        let measured = format!(
            "{operation}: beside {} {} {}, beside none {}",
            grouped(worst.names),
            worst.others.told(),
            shown(worst.median),
            shown(none.median)
        );
        let row =
            Row { what: "a name beside many others, whatever they are", target: "≤ 1.2 × beside none" };
        targets.push(row.reached(ratio, BESIDE, measured));
    }
    if let Some(together) = together {
        let row = Row { what: "processes that open one name at once", target: "none fails" };
        let measured = format!(
            "{} of {} fail beside {} others; done after {}",
            together.failed,
            together.processes,
            grouped(together.beside),
            shown(together.nanoseconds)
        );
        targets.push(row.reached(together.failed as f64, 0.0, measured));
    }
    targets
}

/// A number in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_of_three_digits() {
        assert_eq!([0, 999, 1000, 100_000].map(grouped), ["0", "999", "1,000", "100,000"]);
    }

    #[test]
    fn the_worst_of_all_others_counts() {
        let line = |others, median, ratio| Beside {
            others,
            names: 1000,
            operation: OPERATIONS[0].to_owned(),
            samples: 1,
            min: median,
            median,
            p99: median,
            ratio,
        };
        let lines = [
            line(Others::None, 10.0, None),
            line(Others::Living, 11.0, Some(1.1)),
            line(Others::Dead, 13.0, Some(1.3)),
            line(Others::OtherScope, 12.0, Some(1.15)),
        ];
        let together = Together { processes: 200, beside: 1000, failed: 1, nanoseconds: 5e6 };
        let targets = beside(&lines, Some(together));
        assert_eq!(targets.len(), 2);
        assert!(!targets[0].met && (targets[0].reached - 1.3).abs() < 1e-9, "{targets:?}");
        assert!(targets[0].measured.contains("1,000 dead"), "{targets:?}");
        assert!(!targets[1].met && targets[1].measured.contains("1 of 200"), "{targets:?}");
        assert!(beside(&lines[..1], None).is_empty());
    }
}
