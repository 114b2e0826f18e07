//! Reports of runs that never happened.

use std::path::PathBuf;

use super::figures::{FIGURES, QUICK, bytes, ratio, time, value};
use super::*;
use crate::record::{Beside, Figure, Kind, Machine, Others, Subject, Target, Together};

const SUBJECTS: [(&str, Kind); 14] = [
    ("memcpy", Kind::Bare),
    ("flip + pin", Kind::Bare),
    ("futex", Kind::Bare),
    ("handover", Kind::Handover),
    ("handover, rkyv", Kind::Handover),
    ("handover, JSON", Kind::Handover),
    ("a ring", Kind::Peer),
    ("a ring, typed", Kind::Peer),
    ("a board", Kind::Peer),
    ("a store", Kind::Peer),
    ("a file and rename", Kind::Peer),
    ("a socket", Kind::Peer),
    ("a server of its own", Kind::Peer),
    ("a plain map", Kind::Peer),
];

fn figure(subject: usize, payload: &str, bytes: u64, name: &str, median: f64) -> Figure {
    let percentiles: Vec<f64> =
        (0..=100).map(|at| median * (0.8 + 0.004 * f64::from(at) + f64::from(at / 95) * 0.3)).collect();
    Figure {
        subject: SUBJECTS[subject].0.to_owned(),
        payload: payload.to_owned(),
        bytes,
        figure: name.to_owned(),
        samples: 1000,
        min: percentiles[0],
        median,
        p99: percentiles[99],
        percentiles: if name.starts_with("handover") { percentiles } else { Vec::new() },
        bare: (subject > 2).then(|| SUBJECTS[usize::from(bytes < 4096)].0.to_owned()),
        ratio: (subject > 2).then_some(median / 10.0),
    }
}

/// A record with all kinds of figures. Its numbers are made up.
fn made_up() -> Record {
    let mut figures = Vec::new();
    for subject in 0..SUBJECTS.len() {
        let slow = 1.9f64.powi(subject as i32);
        for (payload, bytes) in [("S", 1 << 10), ("M", 64 << 10), ("L", 16 << 20)] {
            let copy = bytes as f64 / 30.0;
            for (at, (name, ..)) in FIGURES.iter().enumerate() {
                // No subject has all of them.
                if subject != 3 && ((subject + at) % 5 == 0 || name.starts_with("memory")) {
                    continue;
                }
                let median = match *name {
                    "read_unchanged" => slow,
                    "handover_asleep" => 24_000.0 + 300.0 * slow,
                    name if name.starts_with("memory") => bytes as f64 * 2.0 + 65_536.0,
                    name if name.starts_with("readers") => {
                        4.0 * slow / name[8..].parse::<f64>().unwrap().min(2.0)
                    }
                    _ => 3.0 * slow + copy,
                };
                figures.push(figure(subject, payload, bytes, name, median));
            }
        }
        for power in (3..=26).step_by(2) {
            for name in ["publish", "read_zero_copy"] {
                let bytes = 1u64 << power;
                let median = 3.0 * slow + if name == "publish" { bytes as f64 / 30.0 } else { 0.0 };
                figures.push(figure(subject, &bytes.to_string(), bytes, name, median));
            }
        }
    }
    figures.push(figure(6, "S", 1 << 10, "something_new", 5.0));
    Record {
        machine: Machine {
            processor: "A processor".to_owned(),
            processors: 2,
            memory_bytes: 8 << 30,
            kernel: "9.9".to_owned(),
            rustc: "1.99.0".to_owned(),
        },
        command: "cargo xtask bench --quick".to_owned(),
        quick: true,
        date: "2001-02-03 04:05 UTC".to_owned(),
        subjects: SUBJECTS
            .iter()
            .map(|(name, kind)| Subject {
                name: (*name).to_owned(),
                version: "1.2.3".to_owned(),
                what: format!("made up, through `{name}()`"),
                kind: *kind,
            })
            .collect(),
        figures,
        beside: beside(),
        together: Some(Together { processes: 200, beside: 100_000, failed: 3, nanoseconds: 29e6 }),
        targets: vec![
            target("read, version unchanged, any `T`", "≤ 3 ns", 2.3, true),
            target("publish S", "≤ 1.3 × bare flip", 1.2, true),
            target("hand-over S, reader asleep", "≤ 1.1 × bare futex", 1.25, false),
        ],
    }
}

/// What names cost beside others.
fn beside() -> Vec<Beside> {
    let mut lines = Vec::new();
    for (row, (others, names)) in
        [(Others::None, 0), (Others::Living, 1000), (Others::Living, 100_000), (Others::Dead, 100_000)]
            .into_iter()
            .enumerate()
    {
        for (at, operation) in ["open", "create"].into_iter().enumerate() {
            let to_none = 1.0 + row as f64 * 0.07 + at as f64 * 0.01;
            let median = 12_000.0 * (at + 1) as f64 * to_none;
            lines.push(Beside {
                others,
                names,
                operation: operation.to_owned(),
                samples: 1000,
                min: median * 0.9,
                median,
                p99: median * 1.5,
                ratio: (row > 0).then_some(to_none),
            });
        }
    }
    lines
}

fn target(what: &str, target: &str, reached: f64, met: bool) -> Target {
    Target {
        what: what.to_owned(),
        target: target.to_owned(),
        reached,
        limit: 1.0,
        met,
        measured: "handover 34 ns / flip 28 ns".to_owned(),
    }
}

fn empty() -> Record {
    Record {
        subjects: Vec::new(),
        figures: Vec::new(),
        beside: Vec::new(),
        together: None,
        targets: Vec::new(),
        quick: false,
        ..made_up()
    }
}

struct Pages {
    html: String,
    markdown: String,
    plots: Vec<plots::Plot>,
}

fn pages(record: &Record) -> Pages {
    let plots = plots::all(record);
    Pages { html: html::page(record, &plots), markdown: markdown::page(record, &plots), plots }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("handover-report-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn all_files_are_written_and_plots_of_an_earlier_report_are_gone() {
    let folder = Folder::new("files");
    write(&made_up(), &folder.0).unwrap();
    let read = |name: &str| fs::read_to_string(folder.0.join(name)).unwrap();
    let back: Record = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(format!("{back:?}"), format!("{:?}", made_up()));
    let plots = read("report.md").matches("](plots/").count();
    assert_eq!(plots, fs::read_dir(folder.0.join("plots")).unwrap().count());
    assert!(plots > 8, "{plots}");
    assert_eq!(read("report.html").matches("<svg").count(), plots);
    write(&empty(), &folder.0).unwrap();
    assert_eq!(fs::read_dir(folder.0.join("plots")).unwrap().count(), 0);
}

#[test]
fn every_figure_of_the_record_is_in_both_texts() {
    let record = made_up();
    let Pages { html, markdown, .. } = pages(&record);
    for figure in &record.figures {
        let unit = |number| value(&figure.figure, number);
        let (median, least, p99) = (unit(figure.median), unit(figure.min), unit(figure.p99));
        // The part of the text that is about this figure, and in it the subject's row.
        let mut of_html =
            html.split("<h3>").filter(|part| part.contains(&format!("<code>{}</code>", figure.figure)));
        let row = format!("<th scope=\"row\">{}</th>", figure.subject);
        let found = of_html.any(|part| {
            part.lines().any(|line| {
                line.contains(&row)
                    && line.contains(&format!("<b>{median}</b>"))
                    && line.contains(&format!("<small>{least} – {p99}</small>"))
            })
        });
        assert!(found, "HTML lacks {figure:?}");
        let mut of_text =
            markdown.split("\n### ").filter(|part| part.contains(&format!("`{}`.", figure.figure)));
        let row = format!("| {} |", figure.subject);
        let found = of_text.any(|part| {
            part.lines().any(|line| {
                line.starts_with(&row)
                    && line.contains(&format!("**{median}**"))
                    && line.contains(&format!("<br>{least} – {p99}"))
            })
        });
        assert!(found, "Markdown lacks {figure:?}");
    }
}

#[test]
fn what_names_cost_beside_others_is_in_both_texts_and_drawn_with_its_target() {
    let Pages { html, markdown, plots } = pages(&made_up());
    for line in beside() {
        let called = match line.others {
            Others::None => "none".to_owned(),
            others => format!("{},000 {}", line.names / 1000, others.told()),
        };
        let (median, least, p99) = (time(line.median), time(line.min), time(line.p99));
        let row = format!("<th scope=\"row\">{called}</th>");
        let in_html = html.lines().find(|line| line.contains(&row)).unwrap();
        assert!(in_html.contains(&format!("<b>{median}</b>")), "{in_html} lacks {line:?}");
        assert!(in_html.contains(&format!("<small>{least} – {p99}</small>")), "{in_html} lacks {line:?}");
        let in_text = markdown.lines().find(|line| line.starts_with(&format!("| {called} |"))).unwrap();
        assert!(in_text.contains(&format!("**{median}**")), "{in_text} lacks {line:?}");
        if let Some(to_none) = line.ratio {
            assert!(in_text.contains(&format!("×&nbsp;{}", ratio(to_none))), "{in_text} lacks {line:?}");
        }
    }
    let told = "200 processes opened one name at once beside 100,000 others: 3 failed";
    assert!(html.contains(told) && markdown.contains(told));
    let plot = plots.iter().find(|plot| plot.file == "beside.svg").unwrap();
    assert!(
        plot.description.contains("target: 1.2 ×") && plot.svg.contains("100,000 dead"),
        "{}",
        plot.description
    );
    assert!(!pages(&empty()).markdown.contains("beside others"));
}

#[test]
fn the_machine_the_command_and_the_targets_are_told() {
    let Pages { html, markdown, .. } = pages(&made_up());
    for told in
        ["A processor", "9.9", "1.99.0", "8 GiB", "cargo xtask bench --quick", "2001-02-03", "2 of 3 targets"]
    {
        assert!(html.contains(told) && markdown.contains(told), "{told}");
    }
    assert!(html.contains(QUICK) && markdown.contains(QUICK));
    assert!(!pages(&empty()).html.contains(QUICK));
    assert!(
        html.contains("<td class=\"missed\">✗ not met</td><th scope=\"row\">hand-over S, reader asleep</th>")
    );
    assert!(markdown.contains("| **not met** | hand-over S, reader asleep | ≤ 1.1 × bare futex | 1.25 |"));
    // A target that is a time was reached by a time.
    assert!(html.contains("any <code>T</code></th><td>≤ 3 ns</td><td class=\"number\">2.3 ns</td>"));
}

#[test]
fn names_are_text_whatever_is_in_them() {
    const NAME: &str = "</svg><script>alert(1)</script> | \"x\" & 'y' ](z) `\n\u{1}";
    let mut record = made_up();
    for name in [6, 3] {
        let old = SUBJECTS[name].0;
        let new = format!("{NAME}{name}");
        record.subjects[name].name.clone_from(&new);
        record.subjects[name].what.clone_from(&new);
        record.subjects[name].version.clone_from(&new);
        for figure in record.figures.iter_mut().filter(|figure| figure.subject == old) {
            figure.subject.clone_from(&new);
            figure.bare = Some(new.clone());
        }
    }
    for text in [&mut record.command, &mut record.date, &mut record.machine.processor] {
        NAME.clone_into(text);
    }
    for text in [&mut record.targets[0].what, &mut record.figures[4].figure] {
        NAME.clone_into(text);
    }
    for figure in record.figures.iter_mut().filter(|figure| figure.payload == "M") {
        figure.payload = format!("../{NAME}");
    }
    let Pages { html, markdown, plots } = pages(&record);
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
    assert!(!html.contains('\u{1}'));
    assert_eq!(html.matches("</svg>").count(), plots.len());
    for line in markdown.lines() {
        let outside_code: String = line.split('`').step_by(2).collect();
        assert!(!outside_code.contains("<script"), "{line}");
    }
    // The same number of columns in each line of a table.
    let bars = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = markdown.lines().collect();
    for two in lines.windows(2).filter(|two| two[0].starts_with('|') && two[1].starts_with('|')) {
        assert_eq!(bars(two[0]), bars(two[1]), "{two:?}");
    }
    for plot in &plots {
        assert!(
            plot.file.trim_end_matches(".svg").chars().all(|one| one.is_ascii_alphanumeric() || one == '-')
        );
        assert!(!plot.svg.contains("<script") && !plot.svg.contains('\u{1}'));
    }
}

#[test]
fn a_record_without_anything_gives_a_report() {
    let Pages { html, markdown, plots } = pages(&empty());
    assert!(plots.is_empty());
    assert!(html.ends_with("</html>\n") && !html.contains("<table"));
    assert!(markdown.starts_with("# "));
}

#[test]
fn numbers_that_make_no_sense_do_no_harm() {
    for strange in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, f64::MAX, f64::MIN_POSITIVE] {
        let mut record = made_up();
        for (at, figure) in record.figures.iter_mut().enumerate() {
            if at % 3 == 0 {
                (figure.min, figure.median, figure.p99, figure.ratio) =
                    (strange, strange, strange, Some(strange));
                figure.percentiles.fill(strange);
                figure.bytes = 0;
            }
        }
        for line in record.beside.iter_mut().step_by(3) {
            (line.min, line.median, line.p99, line.ratio) = (strange, strange, strange, Some(strange));
        }
        record.targets[0].reached = strange;
        let Pages { html, plots, .. } = pages(&record);
        assert!(!html.contains("NaN") && !html.contains("inf "));
        assert!(plots.iter().all(|plot| !plot.svg.contains("NaN")));
    }
}

#[test]
fn one_figure_alone_can_be_drawn() {
    for keep in ["publish", "read_owned", "handover_spinning", "readers_1"] {
        let mut record = made_up();
        record.figures.retain(|figure| figure.subject == "handover" && figure.figure == keep);
        pages(&record);
        record.figures.truncate(1);
        pages(&record);
    }
}

#[test]
fn plots_say_in_words_what_they_show() {
    for plot in pages(&made_up()).plots {
        let title = format!("<title id=\"plot-{0}-title\">", plot.file.trim_end_matches(".svg"));
        assert!(plot.svg.contains("role=\"img\"") && plot.svg.contains(&title));
        let told = if plot.file == "beside.svg" { "open: at most 1.21 ×" } else { "handover: " };
        assert!(plot.description.contains(told), "{}: {}", plot.title, plot.description);
    }
}

#[test]
fn numbers_have_two_digits_and_a_unit() {
    for (nanoseconds, shown) in [
        (0.0, "0 ns"),
        (2.34, "2.3 ns"),
        (9.96, "10 ns"),
        (335.4, "335 ns"),
        (999.4, "999 ns"),
        (999.6, "1.0 µs"),
        (1710.0, "1.7 µs"),
        (24_000.0, "24 µs"),
        (4_200_000.0, "4.2 ms"),
        (3e9, "3 s"),
        (f64::NAN, "?"),
    ] {
        assert_eq!(time(nanoseconds), shown);
    }
    assert_eq!([8.0, 1024.0, 65_536.0, 67_108_864.0].map(bytes), ["8 B", "1 KiB", "64 KiB", "64 MiB"]);
    assert_eq!([0.034, 0.35, 1.0, 1.254, 12.7].map(ratio), ["0.034", "0.35", "1.00", "1.25", "13"]);
}
