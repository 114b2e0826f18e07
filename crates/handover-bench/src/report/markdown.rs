//! The report as Markdown.

use std::fmt::Write;

use super::figures::{self, Table, bytes, column, kind, met, ratio, reached, tables, value};
use super::plots::Plot;
use crate::record::{Beside, Figure, Record};

pub(super) fn page(record: &Record, plots: &[Plot]) -> String {
    let mut page = "# What handing over values costs\n\n".to_owned();
    if record.quick {
        let _ = writeln!(page, "**{}**\n", figures::QUICK);
    }
    let machine = &record.machine;
    for (name, told) in [
        ("Date", record.date.clone()),
        ("Command", format!("`{}`", record.command.replace('`', "'"))),
        ("Processor", format!("{}; {} used", machine.processor, machine.processors)),
        ("Memory", bytes(machine.memory_bytes as f64)),
        ("Kernel", machine.kernel.clone()),
        ("Compiler", machine.rustc.clone()),
    ] {
        let told = if name == "Command" { line(&told) } else { plain(&told) };
        let _ = writeln!(page, "- {name}: {told}");
    }

    if !record.targets.is_empty() {
        let _ = write!(page, "\n## Targets\n\n{}\n\n", met(record));
        page.push_str("| | what | target | reached | measured |\n| --- | --- | --- | ---: | --- |\n");
        for target in &record.targets {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                if target.met { "met" } else { "**not met**" },
                coded(&target.what),
                coded(&target.target),
                reached(target),
                coded(&target.measured)
            );
        }
    }

    if !plots.is_empty() {
        page.push_str("\n## Plots\n");
        for plot in plots {
            let _ = write!(
                page,
                "\n### {}\n\n![{}](plots/{})\n",
                plain(&plot.title),
                plain(&plot.description),
                plot.file
            );
        }
    }

    let tables = tables(record);
    if !tables.is_empty() {
        let _ = write!(page, "\n## Figures\n\n{}\n", figures::CELLS);
        for table in &tables {
            figures(&mut page, table);
        }
    }

    if !record.beside.is_empty() {
        beside(&mut page, record);
    }

    if !record.subjects.is_empty() {
        page.push_str("\n## Who was measured\n\n| subject | version | kind | how it was used |\n| --- | --- | --- | --- |\n");
        for subject in &record.subjects {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} |",
                plain(&subject.name),
                plain(&subject.version),
                kind(subject.kind),
                coded(&subject.what)
            );
        }
    }
    page
}

fn figures(page: &mut String, table: &Table<'_>) {
    let _ = write!(page, "\n### {}\n\n`{}`.", plain(&table.title), line(table.figure).replace('`', "'"));
    for told in [table.about.to_owned(), plain(&table.compared())] {
        if !told.is_empty() {
            let _ = write!(page, " {told}");
        }
    }
    page.push_str("\n\n| |");
    for payload in &table.payloads {
        let _ = write!(page, " {} |", plain(&column(*payload)));
    }
    page.push_str("\n| --- |");
    page.push_str(&" ---: |".repeat(table.payloads.len()));
    page.push('\n');
    for row in &table.rows {
        let _ = write!(page, "| {} |", plain(row.subject));
        for cell in &row.cells {
            let _ = write!(page, " {} |", cell.map(shown).unwrap_or_default());
        }
        page.push('\n');
    }
}

fn beside(page: &mut String, record: &Record) {
    let _ = write!(page, "\n## {}\n\n{}\n\n| beside |", figures::BESIDE_TITLE, figures::BESIDE);
    let operations = figures::operations(record);
    for operation in &operations {
        let _ = write!(page, " {} |", plain(operation));
    }
    let _ = write!(page, "\n| --- |{}\n", " ---: |".repeat(operations.len()));
    for row in figures::rows_beside(record) {
        let _ = write!(page, "| {} |", plain(&row.called));
        for cell in row.cells {
            let _ = write!(page, " {} |", cell.map(shown_beside).unwrap_or_default());
        }
        page.push('\n');
    }
    if let Some(told) = figures::together(record) {
        let _ = write!(page, "\n{told}\n");
    }
}

fn shown_beside(line: &Beside) -> String {
    let mut text = format!("**{}**", figures::time(line.median));
    if let Some(to_none) = line.ratio {
        let _ = write!(text, " ×&nbsp;{}", ratio(to_none));
    }
    let _ = write!(text, "<br>{} – {}", figures::time(line.min), figures::time(line.p99));
    text
}

fn shown(figure: &Figure) -> String {
    let unit = |number| value(&figure.figure, number);
    let mut text = format!("**{}**", unit(figure.median));
    if let Some(to_bare) = figure.ratio {
        let _ = write!(text, " ×&nbsp;{}", ratio(to_bare));
    }
    let _ = write!(text, "<br>{} – {}", unit(figure.min), unit(figure.p99));
    text
}

/// Text without markup, for one line of a table.
fn plain(text: &str) -> String {
    escaped(text, "\\`*_[]|~!#")
}

/// As [`plain`], with code between backticks where they come in pairs.
fn coded(text: &str) -> String {
    if text.matches('`').count().is_multiple_of(2) { escaped(text, "\\*_[]|~!") } else { plain(text) }
}

fn escaped(text: &str, marks: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut in_code = false;
    for one in line(text).chars() {
        // `|` ends a cell in code too; other marks stand for themselves there, a backslash too.
        in_code ^= one == '`' && !marks.contains('`');
        match one {
            '|' => safe.push_str("\\|"),
            _ if in_code => safe.push(one),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            _ if marks.contains(one) => safe.extend(['\\', one]),
            _ => safe.push(one),
        }
    }
    safe
}

fn line(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}
