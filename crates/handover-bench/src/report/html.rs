//! The report as one HTML file: it contains style and plots, and loads nothing.

use std::fmt::Write;

use super::figures::{self, Table, bytes, column, kind, met, ratio, reached, tables, value};
use super::plots::Plot;
use crate::record::{Beside, Figure, Kind, Record};

const STYLE: &str = include_str!("style.css");

pub(super) fn page(record: &Record, plots: &[Plot]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>What handing over values costs</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>What handing over values costs</h1>\n"
    );
    if record.quick {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", figures::QUICK);
    }
    let machine = &record.machine;
    page.push_str("<dl>\n");
    for (name, told) in [
        ("Date", escaped(&record.date)),
        ("Command", format!("<code>{}</code>", escaped(&record.command))),
        ("Processor", format!("{}; {} used", escaped(&machine.processor), machine.processors)),
        ("Memory", bytes(machine.memory_bytes as f64)),
        ("Kernel", escaped(&machine.kernel)),
        ("Compiler", escaped(&machine.rustc)),
    ] {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{told}</dd></div>");
    }
    page.push_str("</dl>\n");

    let tables = tables(record);
    page.push_str("<nav aria-label=\"Contents\"><ul>\n");
    for (there, id, name) in [
        (!record.targets.is_empty(), "targets", "Targets"),
        (!plots.is_empty(), "plots", "Plots"),
        (!tables.is_empty(), "figures", "Figures"),
        (!record.beside.is_empty(), "beside", figures::BESIDE_TITLE),
        (!record.subjects.is_empty(), "subjects", "Who was measured"),
    ] {
        if there {
            let _ = writeln!(page, "<li><a href=\"#{id}\">{name}</a></li>");
        }
    }
    page.push_str("</ul></nav>\n");

    targets(&mut page, record);
    if !plots.is_empty() {
        page.push_str("<h2 id=\"plots\">Plots</h2>\n");
        for plot in plots {
            let _ = writeln!(
                page,
                "<figure>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">\n{1}</div>\n\
                 <figcaption>{2}</figcaption>\n</figure>",
                escaped(&plot.title),
                plot.svg,
                escaped(&plot.note)
            );
        }
    }
    if !tables.is_empty() {
        let _ = writeln!(page, "<h2 id=\"figures\">Figures</h2>\n<p>{}</p>", figures::CELLS);
        for table in &tables {
            figures(&mut page, table);
        }
    }
    beside(&mut page, record);
    subjects(&mut page, record);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn targets(page: &mut String, record: &Record) {
    if record.targets.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h2 id=\"targets\">Targets</h2>\n<p>{}</p>", met(record));
    open(
        page,
        "Targets, and what this run reached",
        &["", "What", "Target", "Reached", "Measured"].map(str::to_owned),
    );
    for target in &record.targets {
        let (class, mark) = if target.met { ("met", "✓ met") } else { ("missed", "✗ not met") };
        let _ = writeln!(
            page,
            "<tr><td class=\"{class}\">{mark}</td><th scope=\"row\">{}</th><td>{}</td><td class=\"number\">{}</td>\
             <td>{}</td></tr>",
            coded(&target.what),
            coded(&target.target),
            reached(target),
            coded(&target.measured)
        );
    }
    close(page);
}

fn figures(page: &mut String, table: &Table<'_>) {
    let _ = writeln!(
        page,
        "<h3>{}</h3>\n<p><code>{}</code>. {} {}</p>",
        escaped(&table.title),
        escaped(table.figure),
        table.about,
        escaped(&table.compared())
    );
    let mut head = vec!["Subject".to_owned()];
    head.extend(table.payloads.iter().map(|payload| escaped(&column(*payload))));
    open(page, &escaped(&table.title), &head);
    for row in &table.rows {
        let class = class(row.kind);
        let _ = write!(page, "<tr class=\"{class}\"><th scope=\"row\">{}</th>", escaped(row.subject));
        for cell in &row.cells {
            let _ = write!(page, "<td class=\"number\">{}</td>", cell.map(shown).unwrap_or_default());
        }
        page.push_str("</tr>\n");
    }
    close(page);
}

fn beside(page: &mut String, record: &Record) {
    if record.beside.is_empty() {
        return;
    }
    let title = figures::BESIDE_TITLE;
    let _ = writeln!(page, "<h2 id=\"beside\">{title}</h2>\n<p>{}</p>", figures::BESIDE);
    let mut head = vec!["Beside".to_owned()];
    head.extend(figures::operations(record).into_iter().map(escaped));
    open(page, title, &head);
    for row in figures::rows_beside(record) {
        let _ = write!(page, "<tr class=\"own\"><th scope=\"row\">{}</th>", escaped(&row.called));
        for cell in row.cells {
            let _ = write!(page, "<td class=\"number\">{}</td>", cell.map(shown_beside).unwrap_or_default());
        }
        page.push_str("</tr>\n");
    }
    close(page);
    if let Some(told) = figures::together(record) {
        let _ = writeln!(page, "<p>{}</p>", escaped(&told));
    }
}

fn shown_beside(line: &Beside) -> String {
    let mut text = format!("<b>{}</b>", figures::time(line.median));
    if let Some(to_none) = line.ratio {
        let _ = write!(text, " <span class=\"ratio\">× {}</span>", ratio(to_none));
    }
    let _ = write!(text, "<br><small>{} – {}</small>", figures::time(line.min), figures::time(line.p99));
    text
}

fn shown(figure: &Figure) -> String {
    let unit = |number| value(&figure.figure, number);
    let mut text = format!("<b>{}</b>", unit(figure.median));
    if let Some(to_bare) = figure.ratio {
        let _ = write!(text, " <span class=\"ratio\">× {}</span>", ratio(to_bare));
    }
    let _ = write!(text, "<br><small>{} – {}</small>", unit(figure.min), unit(figure.p99));
    text
}

fn subjects(page: &mut String, record: &Record) {
    if record.subjects.is_empty() {
        return;
    }
    page.push_str("<h2 id=\"subjects\">Who was measured</h2>\n");
    open(page, "Who was measured", &["Subject", "Version", "Kind", "How it was used"].map(str::to_owned));
    for subject in &record.subjects {
        let _ = writeln!(
            page,
            "<tr class=\"{}\"><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            class(subject.kind),
            escaped(&subject.name),
            escaped(&subject.version),
            kind(subject.kind),
            coded(&subject.what)
        );
    }
    close(page);
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Bare => "bare",
        Kind::Handover => "own",
        Kind::Peer => "peer",
    }
}

/// Begins a table that scrolls sideways, by keyboard too.
fn open(page: &mut String, caption: &str, head: &[String]) {
    let _ = write!(
        page,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\n<table>\n\
         <caption>{caption}</caption>\n<thead><tr>"
    );
    for cell in head {
        let _ = match cell.as_str() {
            "" => write!(page, "<td></td>"),
            cell => write!(page, "<th scope=\"col\">{cell}</th>"),
        };
    }
    page.push_str("</tr></thead>\n<tbody>\n");
}

fn close(page: &mut String) {
    page.push_str("</tbody>\n</table>\n</div>\n");
}

/// Text without markup, for attributes too.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ if one.is_control() => safe.push(' '),
            _ => safe.push(one),
        }
    }
    safe
}

/// As [`escaped`], with code between backticks where they come in pairs.
fn coded(text: &str) -> String {
    let safe = escaped(text);
    if !safe.matches('`').count().is_multiple_of(2) {
        return safe;
    }
    let mut parts = safe.split('`');
    let mut all = parts.next().unwrap_or_default().to_owned();
    while let (Some(code), Some(text)) = (parts.next(), parts.next()) {
        let _ = write!(all, "<code>{code}</code>{text}");
    }
    all
}
