//! What the texts of a report share: the order of the figures, their titles, and how numbers are written.

use crate::record::{Beside, Figure, Kind, Others, Record, Target};
use crate::targets::grouped;

/// Figures in the order of the report: name, title, and what was measured.
pub(super) const FIGURES: &[(&str, &str, &str)] = &[
    ("publish", "Publish", "The producer stores a new value."),
    (
        "publish_while_read",
        "Publish while the other side reads",
        "The producer stores a new value, beside a reader that never pauses.",
    ),
    (
        "publish_filled",
        "Publish what is built first",
        "The producer fills memory of its own; that is copied.",
    ),
    (
        "publish_in_place",
        "Publish what is built in place",
        "The producer fills the memory that readers will see.",
    ),
    (
        "publish_in_pieces",
        "Publish what is built in pieces",
        "The producer builds 16 KiB at a time, which go past the caches to the memory that readers will see.",
    ),
    ("set_one_shot", "Publish without a lease", "One call that keeps nothing for the next."),
    (
        "read_owned",
        "Read a new value, owned",
        "A version that the reader has not seen, to a value of its own.",
    ),
    (
        "read_zero_copy",
        "Read a new value, in place",
        "A version that the reader has not seen, where it lies.",
    ),
    ("read_unchanged", "Read the same value again", "Nothing was published since the last read."),
    ("read_while_published", "Read while the other side publishes", "Beside a producer that never pauses."),
    (
        "handover_spinning",
        "Hand over to a reader that spins",
        "From the publication to when the other process has looked at each line of the value.",
    ),
    (
        "handover_asleep",
        "Hand over to a reader that sleeps",
        "As with one that spins, but the other process is asleep and is woken for it.",
    ),
    ("readers_1", "Read, one reader", "Time for a read, beside a producer that publishes every millisecond."),
    ("readers_2", "Read, two readers", "Time for a read over all readers together."),
    ("readers_4", "Read, four readers", "Time for a read over all readers together."),
    ("readers_8", "Read, eight readers", "Time for a read over all readers together."),
    ("open", "Open a name", "Closing it is left out."),
    ("create", "Create a name", "Removing it is left out."),
    ("memory_bytes", "Memory held", "While values of that size come and go beside a reader."),
    ("memory_bytes_after", "Memory held after", "When values of S came after values of that size."),
];

pub(super) fn title(figure: &str) -> String {
    let known = FIGURES.iter().find(|(name, ..)| *name == figure);
    known.map_or_else(|| figure.replace('_', " "), |(_, title, _)| (*title).to_owned())
}

/// A figure of all subjects: they are rows, the payloads are columns.
pub(super) struct Table<'a> {
    pub(super) figure: &'a str,
    pub(super) title: String,
    pub(super) about: &'static str,
    /// Each with its size.
    pub(super) payloads: Vec<(&'a str, u64)>,
    pub(super) rows: Vec<Row<'a>>,
    /// The loops that ratios compare with, each with its payloads.
    pub(super) bare: Vec<(&'a str, Vec<&'a str>)>,
}

pub(super) struct Row<'a> {
    pub(super) subject: &'a str,
    pub(super) kind: Kind,
    pub(super) cells: Vec<Option<&'a Figure>>,
}

/// One for each figure; a second one where it was measured for a series of sizes.
pub(super) fn tables(record: &Record) -> Vec<Table<'_>> {
    let known = FIGURES.iter().map(|(name, ..)| *name);
    let mut names: Vec<&str> =
        known.filter(|name| record.figures.iter().any(|one| one.figure == *name)).collect();
    for figure in &record.figures {
        if !names.contains(&figure.figure.as_str()) {
            names.push(&figure.figure);
        }
    }
    let mut tables = Vec::new();
    for name in names {
        for in_series in [false, true] {
            let figures = record.figures.iter();
            let figures: Vec<&Figure> =
                figures.filter(|one| one.figure == name && is_size(&one.payload) == in_series).collect();
            tables.extend(table(record, name, in_series, &figures));
        }
    }
    tables
}

fn table<'a>(
    record: &'a Record,
    name: &'a str,
    in_series: bool,
    figures: &[&'a Figure],
) -> Option<Table<'a>> {
    if figures.is_empty() {
        return None;
    }
    let mut payloads: Vec<(&str, u64)> = Vec::new();
    let mut bare: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut subjects: Vec<(&str, Kind)> =
        record.subjects.iter().map(|subject| (subject.name.as_str(), subject.kind)).collect();
    for figure in figures {
        if !payloads.iter().any(|(payload, _)| *payload == figure.payload) {
            payloads.push((&figure.payload, figure.bytes));
        }
        if !subjects.iter().any(|(subject, _)| *subject == figure.subject) {
            subjects.push((&figure.subject, Kind::Peer));
        }
    }
    payloads.sort_by_key(|(_, bytes)| *bytes);
    for (payload, _) in &payloads {
        for figure in figures.iter().filter(|figure| figure.payload == *payload) {
            let Some(of) = figure.bare.as_deref() else { continue };
            match bare.iter_mut().find(|(known, _)| *known == of) {
                Some((_, payloads)) if payloads.contains(payload) => {}
                Some((_, payloads)) => payloads.push(payload),
                None => bare.push((of, vec![payload])),
            }
        }
    }
    let rows = subjects.into_iter().map(|(subject, kind)| {
        let find = |payload: &str| {
            figures.iter().find(|figure| figure.subject == subject && figure.payload == payload).copied()
        };
        Row { subject, kind, cells: payloads.iter().map(|(payload, _)| find(payload)).collect() }
    });
    let rows = rows.filter(|row| row.cells.iter().any(Option::is_some)).collect();
    let title = title(name);
    let title = if in_series { format!("{title}: cost against size") } else { title };
    let about = FIGURES.iter().find(|(known, ..)| *known == name).map_or("", |(.., about)| about);
    Some(Table { figure: name, title, about, payloads, rows, bare })
}

impl Table<'_> {
    /// What the table's ratios compare with, in words.
    pub(super) fn compared(&self) -> String {
        let parts: Vec<String> = match &self.bare[..] {
            [] => return String::new(),
            [(one, payloads)] if payloads.len() == self.payloads.len() => vec![(*one).to_owned()],
            several => several
                .iter()
                .map(|(bare, payloads)| {
                    let shown: Vec<_> = payloads.iter().map(|payload| shown_payload(payload)).collect();
                    let first =
                        self.payloads.iter().position(|(payload, _)| *payload == payloads[0]).unwrap_or(0);
                    let follow = self.payloads[first..].iter().map(|(payload, _)| payload);
                    match &shown[..] {
                        [first, _, .., last]
                            if payloads.iter().zip(follow).all(|(one, other)| one == other) =>
                        {
                            format!("{bare} ({first} to {last})")
                        }
                        _ => format!("{bare} ({})", shown.join(", ")),
                    }
                })
                .collect(),
        };
        format!("× is the ratio to the bare loop {}.", parts.join("; "))
    }
}

/// Whether a payload belongs to the series of sizes.
pub(super) fn is_size(payload: &str) -> bool {
    payload.parse::<u64>().is_ok()
}

fn shown_payload(payload: &str) -> String {
    payload.parse::<u64>().map_or_else(|_| payload.to_owned(), |size| bytes(size as f64))
}

/// A payload as the head of a column.
pub(super) fn column((payload, size): (&str, u64)) -> String {
    if is_size(payload) { bytes(size as f64) } else { format!("{payload} ({})", bytes(size as f64)) }
}

/// A figure's value in its unit.
pub(super) fn value(figure: &str, value: f64) -> String {
    if figure.starts_with("memory") { bytes(value) } else { time(value) }
}

/// Nanoseconds for a person: two digits, or all those before the point.
pub(super) fn time(nanoseconds: f64) -> String {
    scaled(nanoseconds, 1000.0, &["ns", "µs", "ms", "s"])
}

/// As [`time`], in steps of 1024.
pub(super) fn bytes(count: f64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB"])
}

pub(super) fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    let mut value = value;
    let mut at = 0;
    // 1000 of a unit would be 1 of the next.
    while at + 1 < units.len() && value.abs() >= step - 0.5 {
        value /= step;
        at += 1;
    }
    format!("{} {}", digits(value), units[at])
}

fn digits(value: f64) -> String {
    if value.abs() >= 9.95 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

pub(super) fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if !ratio.is_finite() => "?".to_owned(),
        ratio if ratio >= 9.95 => format!("{ratio:.0}"),
        ratio if ratio >= 0.1 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.3}"),
    }
}

/// What a target reached: a ratio, or a time where the target is a time.
pub(super) fn reached(target: &Target) -> String {
    let is_time = target.target.trim_end().ends_with(" ns") && !target.target.contains('×');
    if is_time { time(target.reached) } else { ratio(target.reached) }
}

/// How many targets were met, in words.
pub(super) fn met(record: &Record) -> String {
    let met = record.targets.iter().filter(|target| target.met).count();
    format!("{met} of {} targets are met.", record.targets.len())
}

pub(super) const QUICK: &str =
    "This was the short run: its numbers are less certain than those of the full one.";

pub(super) const CELLS: &str = "In each cell: the median, its ratio to the bare loop in the same run, and below the least and the \
                     99th percentile. A bare loop is never a way to hand over values: it shows the least that a part \
                     of it costs.";

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Bare => "bare loop",
        Kind::Handover => "this project",
        Kind::Peer => "peer",
    }
}

/// A line of the table of names beside others: a cell for each operation, in the order of the first lines.
pub(crate) struct BesideRow<'a> {
    pub(crate) called: String,
    pub(crate) cells: Vec<Option<&'a Beside>>,
}

/// What a name costs beside others, by which others: in the order of the record.
pub(crate) fn rows_beside(record: &Record) -> Vec<BesideRow<'_>> {
    let operations = operations(record);
    let mut situations: Vec<(Others, u64)> = Vec::new();
    for line in &record.beside {
        if !situations.contains(&(line.others, line.names)) {
            situations.push((line.others, line.names));
        }
    }
    let row = |(others, names): (Others, u64)| {
        let find = |operation: &&str| {
            record
                .beside
                .iter()
                .find(|line| (line.others, line.names) == (others, names) && line.operation == *operation)
        };
        let called = match others {
            Others::None => others.told().to_owned(),
            _ => format!("{} {}", grouped(names), others.told()),
        };
        BesideRow { called, cells: operations.iter().map(find).collect() }
    };
    situations.into_iter().map(row).collect()
}

/// The operations on names that were measured.
pub(super) fn operations(record: &Record) -> Vec<&str> {
    let mut operations: Vec<&str> = Vec::new();
    for line in &record.beside {
        if !operations.contains(&line.operation.as_str()) {
            operations.push(&line.operation);
        }
    }
    operations
}

pub(super) const BESIDE_TITLE: &str = "What a name costs beside others";

pub(super) const BESIDE: &str = "Each row is a directory with so many other names. In each cell: the median, its ratio to the same \
                      operation in an empty directory, measured by turns with it, and below the least and the 99th \
                      percentile. One creation in 16 looks for what killed processes left.";

/// What became of many processes that open one name at once, if that was tried.
pub(super) fn together(record: &Record) -> Option<String> {
    let together = record.together?;
    Some(format!(
        "{} processes opened one name at once beside {} others: {} failed, and all were done after {}.",
        together.processes,
        grouped(together.beside),
        together.failed,
        time(together.nanoseconds)
    ))
}
