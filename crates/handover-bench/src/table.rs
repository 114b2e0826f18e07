//! What a run prints: a table for each payload, and the targets.

use std::fmt::Write;

use crate::beside::OPERATIONS;
use crate::record::Record;
use crate::report::rows_beside;
use crate::targets::shown;

/// Figures that have a column.
const COLUMNS: [(&str, &str); 9] = [
    ("publish", "publish"),
    ("publish_while_read", "while read"),
    ("read_owned", "read owned"),
    ("read_zero_copy", "zero-copy"),
    ("read_unchanged", "unchanged"),
    ("read_while_published", "while publ."),
    ("handover_spinning", "hand-over"),
    ("handover_asleep", "asleep"),
    ("set_one_shot", "one-shot"),
];

/// Medians, and what was reached.
pub(crate) fn summary(record: &Record) -> String {
    let mut text = String::new();
    for (payload, size) in crate::payload::SIZES {
        let _ = writeln!(text, "\n{payload} ({size} bytes), medians");
        let mut rows =
            vec![std::iter::once("").chain(COLUMNS.map(|column| column.1)).map(str::to_owned).collect()];
        for subject in &record.subjects {
            let figures: Vec<_> = record
                .figures
                .iter()
                .filter(|figure| figure.subject == subject.name && figure.payload == payload)
                .collect();
            if figures.is_empty() {
                continue;
            }
            let cell = |name: &str| {
                let figure = figures.iter().find(|figure| figure.figure == name);
                figure.map_or_else(|| "-".to_owned(), |figure| shown(figure.median))
            };
            let mut row = vec![subject.name.clone()];
            row.extend(COLUMNS.map(|column| cell(column.0)));
            rows.push(row);
        }
        write_rows(&mut text, &rows);
    }
    if !record.beside.is_empty() {
        let _ = writeln!(text, "\na name beside others, medians");
        let mut rows =
            vec![std::iter::once("beside").chain(OPERATIONS).map(str::to_owned).collect::<Vec<_>>()];
        for row in rows_beside(record) {
            let cells = row.cells.iter().map(|cell| {
                cell.map_or_else(
                    || "-".to_owned(),
                    |line| match line.ratio {
                        Some(ratio) => format!("{} ({ratio:.2} ×)", shown(line.median)),
                        None => shown(line.median),
                    },
                )
            });
            rows.push(std::iter::once(row.called.clone()).chain(cells).collect());
        }
        write_rows(&mut text, &rows);
    }
    let _ = writeln!(text, "\ntargets");
    let mut rows = vec![["", "what", "target", "reached", "measured"].map(str::to_owned).to_vec()];
    for target in &record.targets {
        rows.push(vec![
            if target.met { "met" } else { "MISSED" }.to_owned(),
            target.what.clone(),
            target.target.clone(),
            format!("{:.3}", target.reached),
            target.measured.clone(),
        ]);
    }
    write_rows(&mut text, &rows);
    text
}

fn write_rows(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
