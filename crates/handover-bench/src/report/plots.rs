//! Draws what a run measured: SVG with `plotters`, fit to stand alone and in the page.
//!
//! This file takes logarithms and gives axes their marks: times go in decades, sizes in powers of two. Each
//! picture is drawn at twice its size, because `plotters` knows only whole units. It gets a title and a
//! description for people who can't see it, and colours for a dark page: a rule for each colour in use.

use std::fmt::Write;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::{
    BESIDE_TITLE, bytes, column, is_size, operations, ratio, rows_beside, scaled, time, title,
};
use crate::record::{Figure, Kind, Others, Record};
use crate::targets::BESIDE;

pub(super) struct Plot {
    /// Its name in the folder of plots.
    pub(super) file: String,
    pub(super) title: String,
    /// What it shows, in numbers.
    pub(super) description: String,
    /// How to read it.
    pub(super) note: String,
    pub(super) svg: String,
}

/// All plots that there are figures for; the one for the README comes first.
pub(super) fn all(record: &Record) -> Vec<Plot> {
    let pen = Pens::new(record);
    let mut plots: Vec<Plot> = Vec::new();
    plots.extend(overview(record, &pen));
    for figure in ["handover_spinning", "handover_asleep"] {
        for payload in payloads(record, figure, false) {
            plots.extend(distribution(record, &pen, figure, &payload));
        }
    }
    for figure in ["publish", "read_owned", "read_zero_copy", "read_unchanged", "handover_spinning"] {
        plots.extend(sizes(record, &pen, figure));
    }
    for payload in payloads(record, "readers_1", false) {
        plots.extend(readers(record, &pen, &payload));
    }
    plots.extend(beside(record));
    plots
}

/// The payloads of a figure, from the smallest.
fn payloads(record: &Record, figure: &str, in_series: bool) -> Vec<String> {
    let mut found: Vec<(u64, &str)> = Vec::new();
    for one in record.figures.iter().filter(|one| one.figure == figure && is_size(&one.payload) == in_series)
    {
        if !found.iter().any(|(_, payload)| *payload == one.payload) {
            found.push((one.bytes, &one.payload));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, payload)| payload.to_owned()).collect()
}

fn figure<'a>(record: &'a Record, subject: &str, figure: &str, payload: &str) -> Option<&'a Figure> {
    let same = |one: &&Figure| one.subject == subject && one.figure == figure && one.payload == payload;
    record.figures.iter().find(same).filter(|one| one.median.is_finite() && one.median > 0.0)
}

const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const SOFT: RGBColor = RGBColor(0x59, 0x63, 0x6E);
const GRID: RGBColor = RGBColor(0xD1, 0xD9, 0xE0);
const FAINT: RGBColor = RGBColor(0xEC, 0xEF, 0xF2);
/// This project, in each picture.
const OWN: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
/// Bare loops. Lines of this colour get dashes.
const BARE: RGBColor = RGBColor(0x6E, 0x77, 0x81);
/// Peers in the overview, where all have the same.
const OTHERS: RGBColor = RGBColor(0x8C, 0x9B, 0xAB);
/// Peers: colours from Paul Tol's "muted" scheme, which the colour-blind can tell apart, without those near
/// `OWN`.
const PEERS: [RGBColor; 7] = [
    RGBColor(0x33, 0x22, 0x88),
    RGBColor(0x44, 0xAA, 0x99),
    RGBColor(0x88, 0x22, 0x55),
    RGBColor(0x88, 0xCC, 0xEE),
    RGBColor(0x11, 0x77, 0x33),
    RGBColor(0xAA, 0x44, 0x99),
    RGBColor(0x99, 0x99, 0x33),
];

/// What each colour becomes on a dark page.
const DARK: [(RGBColor, &str); 15] = [
    (PAPER, "#0d1117"),
    (INK, "#e6edf3"),
    (SOFT, "#9ba5b0"),
    (GRID, "#333b45"),
    (FAINT, "#1c222a"),
    (OWN, "#ff8a3d"),
    (BARE, "#9ba5b0"),
    (OTHERS, "#6b7a8a"),
    (PEERS[0], "#8f83ff"),
    (PEERS[1], "#4fc4b0"),
    (PEERS[2], "#e0679d"),
    (PEERS[3], "#a3dcff"),
    (PEERS[4], "#4fbf72"),
    (PEERS[5], "#d17fc4"),
    (PEERS[6], "#c4c44d"),
];

#[derive(Clone, Copy)]
struct Pen {
    color: RGBColor,
    width: u32,
    /// The mark on its points.
    mark: usize,
}

/// A subject has the same pen in each picture.
struct Pens<'a>(Vec<(&'a str, Kind, Pen)>);

impl<'a> Pens<'a> {
    fn new(record: &'a Record) -> Self {
        let mut pens: Vec<(&str, Kind, Pen)> = Vec::new();
        let listed = record.subjects.iter().map(|subject| (subject.name.as_str(), subject.kind));
        let others = record.figures.iter().map(|figure| (figure.subject.as_str(), Kind::Peer));
        for (subject, kind) in listed.chain(others) {
            if pens.iter().any(|(known, ..)| *known == subject) {
                continue;
            }
            let mark = pens.iter().filter(|(_, other, _)| *other == kind).count();
            let pen = match kind {
                Kind::Bare => Pen { color: BARE, width: 3, mark },
                Kind::Handover => Pen { color: OWN, width: if mark == 0 { 8 } else { 5 }, mark },
                Kind::Peer => Pen { color: PEERS[mark % PEERS.len()], width: 4, mark },
            };
            pens.push((subject, kind, pen));
        }
        Self(pens)
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

/// A line of a picture. `x` and `y` are the drawn values: logarithms, if the axis is logarithmic.
struct Line<'a> {
    name: &'a str,
    pen: Pen,
    points: Vec<(f64, f64)>,
    /// Where marks stand.
    marked: Vec<(f64, f64)>,
    /// What the legend says beside the name.
    note: String,
}

/// An axis: its range, where it has marks, with labels and without, and what it shows.
#[derive(Clone)]
struct Axis {
    from: f64,
    to: f64,
    labels: Vec<(f64, String)>,
    light: Vec<f64>,
    name: &'static str,
}

impl Axis {
    /// Decades, for values that `label` writes.
    fn decades(name: &'static str, values: impl Iterator<Item = f64>, label: fn(f64) -> String) -> Self {
        let (mut from, mut to) = range(values);
        // A line along the frame can't be seen.
        from -= (to - from) * 0.04;
        to += (to - from) * 0.04;
        // A short axis has more marks.
        let steps: &[f64] = match to - from {
            span if span < 0.4 => &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
            span if span < 0.8 => &[1.0, 2.0, 3.0, 5.0, 7.0],
            span if span < 2.4 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let inside = |at: &f64| (from..=to).contains(at);
        let decades = || (from.floor() as i32..=to.ceil() as i32).map(|decade| 10f64.powi(decade));
        let at = |steps: &[f64]| -> Vec<f64> {
            decades()
                .flat_map(|decade| steps.iter().map(move |step| (decade * step).log10()))
                .filter(inside)
                .collect()
        };
        let light = at(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let labels = at(steps).into_iter().map(|at| (at, label(10f64.powf(at).clean()))).collect();
        Self { from, to, labels, light, name }
    }

    /// Steps of `2^step`, for values that `label` writes.
    fn doublings(name: &'static str, values: &[f64], step: usize, label: fn(f64) -> String) -> Self {
        let (from, to) = range(values.iter().copied());
        let (from, to) = (from / 2f64.log10(), to / 2f64.log10());
        let labels = (from.floor() as i32..=to.ceil() as i32)
            .filter(|power| {
                power.rem_euclid(step as i32) == 0 && (from - 0.01..=to + 0.01).contains(&f64::from(*power))
            })
            .map(|power| (f64::from(power) * 2f64.log10(), label(2f64.powi(power))))
            .collect();
        let slack = (to - from) * 0.02;
        Self {
            from: (from - slack) * 2f64.log10(),
            to: (to + slack) * 2f64.log10(),
            labels,
            light: Vec::new(),
            name,
        }
    }

    fn label(&self, at: f64) -> String {
        let found = self.labels.iter().find(|(known, _)| (known - at).abs() < 1e-9);
        found.map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let part = (value - self.from) / (self.to - self.from);
        first + (part * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            self.light.clone()
        } else {
            self.labels.iter().map(|(at, _)| *at).collect()
        }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

/// The logarithms of the least and the greatest value, apart from each other.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let logs = values.filter(|value| value.is_finite() && *value > 0.0).map(f64::log10);
    let (from, to) = logs.fold((f64::MAX, f64::MIN), |(from, to), value| (from.min(value), to.max(value)));
    if from > to {
        (0.0, 1.0)
    } else if to - from < 0.05 {
        (from - 0.2, to + 0.2)
    } else {
        (from, to)
    }
}

trait Clean {
    /// Without the digits that a logarithm's rounding leaves.
    fn clean(self) -> Self;
}

impl Clean for f64 {
    fn clean(self) -> Self {
        (self * 1e6).round() / 1e6
    }
}

/// A payload with its size.
fn sized(record: &Record, payload: &str) -> String {
    let found = record.figures.iter().find(|figure| figure.payload == payload);
    column((payload, found.map_or(0, |figure| figure.bytes)))
}

/// Which part of the hand-overs took at most how long.
fn distribution(record: &Record, pens: &Pens<'_>, name: &str, payload: &str) -> Option<Plot> {
    let mut lines: Vec<(f64, Line<'_>)> = Vec::new();
    for (subject, _, pen) in &pens.0 {
        let Some(found) = figure(record, subject, name, payload).filter(|one| one.percentiles.len() > 1)
        else {
            continue;
        };
        // The last percentile is the maximum, which is one sample.
        let last = found.percentiles.len() - 1;
        let all = found.percentiles.iter().enumerate().take(last);
        let points: Vec<(f64, f64)> = all
            .filter(|(_, time)| time.is_finite() && **time > 0.0)
            .map(|(at, time)| (time.log10(), at as f64 / last as f64))
            .collect();
        if points.is_empty() {
            continue;
        }
        let marked =
            points.iter().skip(points.len() / 8).step_by((points.len() / 4).max(1)).copied().collect();
        lines.push((
            found.median,
            Line { name: subject, pen: *pen, points, marked, note: time(found.median) },
        ));
    }
    lines.sort_by(|one, other| one.0.total_cmp(&other.0));
    let lines: Vec<Line<'_>> = lines.into_iter().map(|(_, line)| line).collect();
    let times = lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| 10f64.powf(*x)));
    let x = Axis::decades("at most this long", times, time);
    let labels = [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| (part, format!("{:.0} %", part * 100.0))).to_vec();
    let y = Axis { from: 0.0, to: 1.02, labels, light: Vec::new(), name: "of the hand-overs took" };
    let title = format!("{}, {}", title(name), sized(record, payload));
    let note =
        "Further left is faster, steeper is steadier; the slowest 1 % is left out. The legend has medians.";
    chart(
        &format!("latency-{}-{}", name.trim_start_matches("handover_"), slug(payload)),
        &title,
        note,
        &[x, y],
        &lines,
    )
}

/// Cost against size.
fn sizes(record: &Record, pens: &Pens<'_>, name: &str) -> Option<Plot> {
    let payloads = payloads(record, name, true);
    if payloads.len() < 2 {
        return None;
    }
    let mut lines = Vec::new();
    for (subject, _, pen) in &pens.0 {
        let found: Vec<&Figure> = payloads
            .iter()
            .filter_map(|payload| figure(record, subject, name, payload))
            .filter(|one| one.bytes > 0)
            .collect();
        let Some(last) = found.last() else { continue };
        let points: Vec<_> =
            found.iter().map(|one| ((one.bytes as f64).log10(), one.median.log10())).collect();
        let note = time(last.median);
        lines.push(Line { name: subject, pen: *pen, marked: points.clone(), points, note });
    }
    from_the_top(&mut lines);
    let sizes: Vec<f64> = payloads.iter().filter_map(|payload| payload.parse().ok()).collect();
    let x = Axis::doublings("size of the value", &sizes, 3, bytes);
    let times = lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| 10f64.powf(*y)));
    let y = Axis::decades("median", times, time);
    let title = format!("{}: cost against size", title(name));
    let note = "Lower is faster; both axes are logarithmic. Medians; the legend has those of each one's largest size.";
    chart(&format!("size-{}", slug(name)), &title, note, &[x, y], &lines)
}

/// Reads in a second, of all readers together.
fn readers(record: &Record, pens: &Pens<'_>, payload: &str) -> Option<Plot> {
    const COUNTS: [f64; 4] = [1.0, 2.0, 4.0, 8.0];
    let rate = |rate: f64| scaled(rate, 1000.0, &["/s", "k/s", "M/s", "G/s"]);
    let mut lines = Vec::new();
    for (subject, _, pen) in &pens.0 {
        let points: Vec<(f64, f64)> = COUNTS
            .iter()
            .filter_map(|count| {
                let found = figure(record, subject, &format!("readers_{count}"), payload)?;
                Some((count.log10(), 9.0 - found.median.log10()))
            })
            .collect();
        let Some(last) = points.last().filter(|_| points.len() > 1) else { continue };
        let note = rate(10f64.powf(last.1));
        lines.push(Line { name: subject, pen: *pen, marked: points.clone(), points, note });
    }
    from_the_top(&mut lines);
    let x = Axis::doublings("readers", &COUNTS, 1, |count| format!("{count}"));
    let rates = lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| 10f64.powf(*y)));
    let y = Axis::decades("reads of all together", rates, rate);
    let title = format!("Readers side by side, {}", sized(record, payload));
    let note = "Higher is faster. Beyond the number of processors the readers share them: flat is as good as it gets.";
    chart(&format!("readers-{}", slug(payload)), &title, note, &[x, y], &lines)
}

/// What a name costs beside others, as a ratio to beside none, with the target. Each row is a situation.
fn beside(record: &Record) -> Option<Plot> {
    /// Between the marks of two operations in one row.
    const APART: f64 = 0.14;
    let rows = rows_beside(record);
    let operations = operations(record);
    let bottom = rows.len().checked_sub(1)? as f64;
    let mut lines = Vec::new();
    for (at, operation) in operations.iter().copied().enumerate() {
        let mut marked = Vec::new();
        let mut worst: f64 = 1.0;
        for (row, down) in rows.iter().zip(0..) {
            let Some(line) = row.cells[at] else { continue };
            let to_none = if line.others == Others::None { 1.0 } else { line.ratio.unwrap_or(f64::NAN) };
            if to_none.is_finite() && to_none > 0.0 {
                worst = worst.max(to_none);
                let beside_it = ((operations.len() - 1) as f64 / 2.0 - at as f64) * APART;
                marked.push((to_none.log10(), bottom - f64::from(down) + beside_it));
            }
        }
        if !marked.is_empty() {
            let pen = Pen { color: PEERS[at % PEERS.len()], width: 4, mark: at };
            let note = format!("at most {} ×", ratio(worst));
            lines.push(Line { name: operation, pen, points: Vec::new(), marked, note });
        }
    }
    if lines.is_empty() {
        return None;
    }
    let ratios: Vec<f64> =
        lines.iter().flat_map(|line| line.marked.iter().map(|(x, _)| 10f64.powf(*x))).collect();
    let x = Axis::decades("ratio to the same beside none", ratios.into_iter().chain([0.8, 1.5]), |of| {
        format!("{} ×", ratio(of))
    });
    let labels = rows.iter().zip(0..).map(|(row, down)| (bottom - f64::from(down), row.called.clone()));
    let y =
        Axis { from: -0.6, to: bottom + 0.6, labels: labels.collect(), light: Vec::new(), name: "beside" };
    let target = BESIDE.log10();
    let points = vec![(target, y.from), (target, y.to)];
    let pen = Pen { color: BARE, width: 3, mark: 0 };
    lines.push(Line { name: "target", pen, points, marked: Vec::new(), note: "1.2 ×".to_owned() });
    let note = "Further left is better; left of the dashed line the target is met. Medians, each to that of the same operation beside none.";
    chart("beside", BESIDE_TITLE, note, &[x, y], &lines)
}

/// In the order in which the lines end.
fn from_the_top(lines: &mut [Line<'_>]) {
    let end = |line: &Line<'_>| line.points.last().map_or(f64::MIN, |(_, y)| *y);
    lines.sort_by(|one, other| end(other).total_cmp(&end(one)));
}

/// A picture of lines, with a legend beside it.
fn chart(stem: &str, title: &str, note: &str, [x, y]: &[Axis; 2], lines: &[Line<'_>]) -> Option<Plot> {
    const WIDTH: u32 = 1800;
    const LEGEND: u32 = 560;
    const ROW: u32 = 44;
    if lines.is_empty() {
        return None;
    }
    let title = visible(title);
    let longest = y.labels.iter().map(|(_, label)| label.chars().count() as u32).max().unwrap_or(0);
    let height = (120 + ROW * lines.len() as u32).max(920);
    let svg = picture((WIDTH, height), |root| {
        root.draw(&Text::new(title.clone(), (24, 34), font(40, INK, HPos::Left).into_bold()))?;
        let (left, legend) = root.margin(88, 12, 12, 12).split_horizontally(WIDTH - LEGEND);
        let mut chart = ChartBuilder::on(&left)
            .margin_right(30)
            .x_label_area_size(100)
            .y_label_area_size(170.max(60 + 17 * longest))
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(2))
            .light_line_style(FAINT.stroke_width(2))
            .axis_style(GRID.stroke_width(2))
            .label_style(font(30, INK, HPos::Center))
            .axis_desc_style(font(30, SOFT, HPos::Center))
            .x_label_formatter(&|at| x.label(*at))
            .y_label_formatter(&|at| y.label(*at))
            .x_desc(x.name)
            .y_desc(y.name)
            .draw()?;
        // This project's lines lie above the others.
        let mut order: Vec<&Line<'_>> = lines.iter().collect();
        order.sort_by_key(|line| line.pen.width);
        for line in order {
            let place = |point: &(f64, f64)| chart.backend_coord(point);
            if !line.points.is_empty() {
                draw_line(root, line.points.iter().map(place).collect(), line.pen)?;
            }
            for point in &line.marked {
                draw_mark(root, place(point), line.pen)?;
            }
        }
        for (at, line) in lines.iter().enumerate() {
            let y = 26 + at as i32 * ROW as i32;
            draw_line(&legend, vec![(6, y), (66, y)], line.pen)?;
            draw_mark(&legend, (36, y), line.pen)?;
            let ink = if line.pen.color == OWN { OWN } else { INK };
            legend.draw(&Text::new(short(line.name, 22), (82, y), font(30, ink, HPos::Left)))?;
            legend.draw(&Text::new(
                line.note.clone(),
                (LEGEND as i32 - 20, y),
                font(28, SOFT, HPos::Right),
            ))?;
        }
        Ok(())
    })?;
    let values: Vec<_> = lines.iter().map(|line| format!("{}: {}", visible(line.name), line.note)).collect();
    Some(Plot::new(stem, title, values.join("; "), note.to_owned(), &svg))
}

/// The short one: bars for S.
fn overview(record: &Record, pens: &Pens<'_>) -> Option<Plot> {
    const PANELS: [(&str, &[&str]); 4] = [
        ("Publish a new value", &["publish"]),
        ("Read a new value", &["read_zero_copy", "read_owned"]),
        ("Read the same value again", &["read_unchanged"]),
        ("Hand over to a spinning reader", &["handover_spinning"]),
    ];
    const WIDTH: u32 = 1800;
    const ROW: i32 = 40;
    let mut panels = Vec::new();
    for (name, figures) in PANELS {
        let mut bars: Vec<(&str, Kind, f64)> = Vec::new();
        for (subject, kind, _) in pens.0.iter().filter(|(_, kind, _)| *kind != Kind::Bare) {
            // Whichever way costs less.
            let medians =
                figures.iter().filter_map(|name| figure(record, subject, name, "S")).map(|one| one.median);
            if let Some(least) = medians.min_by(f64::total_cmp) {
                bars.push((subject, *kind, least));
            }
        }
        bars.sort_by(|one, other| one.2.total_cmp(&other.2));
        if !bars.is_empty() {
            panels.push((name, bars));
        }
    }
    if panels.is_empty() {
        return None;
    }
    // Where each row of two panels begins, and the end.
    let mut tops = vec![130];
    for two in panels.chunks(2) {
        let most = two.iter().map(|(_, bars)| bars.len()).max()? as i32;
        tops.push(tops.last()? + 84 + ROW * most + 24);
    }
    let height = *tops.last()? as u32;
    let title = "1 KB from process to process, median times".to_owned();
    let svg = picture((WIDTH, height), |root| {
        root.draw(&Text::new(title.clone(), (24, 34), font(40, INK, HPos::Left).into_bold()))?;
        let under = "Shorter is faster; the axes are logarithmic.";
        root.draw(&Text::new(under, (24, 84), font(28, SOFT, HPos::Left)))?;
        for (at, (name, bars)) in panels.iter().enumerate() {
            panel(root, (24 + at as i32 % 2 * 900, tops[at / 2]), 840, ROW, name, bars)?;
        }
        Ok(())
    })?;
    let values = panels.iter().map(|(name, bars)| {
        let bars: Vec<_> = bars
            .iter()
            .map(|(subject, _, median)| format!("{}: {}", visible(subject), time(*median)))
            .collect();
        format!("{name}. {}", bars.join("; "))
    });
    let description = values.collect::<Vec<_>>().join(". ");
    let note = "Each subject in the way that costs it least.".to_owned();
    Some(Plot::new("overview", title, description, note, &svg))
}

/// One figure of the overview: a bar for each subject.
fn panel(
    root: &Area<'_>,
    (left, top): (i32, i32),
    width: i32,
    row: i32,
    name: &str,
    bars: &[(&str, Kind, f64)],
) -> Drawn<()> {
    const NAMES: i32 = 330;
    const VALUES: i32 = 110;
    root.draw(&Text::new(name.to_owned(), (left, top + 20), font(32, INK, HPos::Left).into_bold()))?;
    let (least, most) = range(bars.iter().map(|bar| bar.2));
    // The shortest bar still shows, and the axis begins at a decade.
    let (from, to) = ((least - 0.15).floor(), most);
    let (start, room) = (left + NAMES, f64::from(width - NAMES - VALUES));
    let place = |log: f64| start + ((log - from) / (to - from) * room) as i32;
    let first = top + 84;
    let last = first + row * bars.len() as i32 - 6;
    let steps: &[f64] = if to - from < 1.2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let decades = (from as i32..=to.floor() as i32).map(|decade| 10f64.powi(decade));
    let marks = decades.flat_map(|decade| steps.iter().map(move |step| (decade * step).clean()));
    for mark in marks.filter(|mark| mark.log10() <= to) {
        let at = place(mark.log10());
        root.draw(&PathElement::new(vec![(at, first - 12), (at, last)], GRID.stroke_width(2)))?;
        root.draw(&Text::new(time(mark), (at, first - 26), font(24, SOFT, HPos::Center)))?;
    }
    for (at, (subject, kind, median)) in bars.iter().enumerate() {
        let top = first + at as i32 * row;
        let (color, ink) = if *kind == Kind::Handover { (OWN, OWN) } else { (OTHERS, INK) };
        let end = place(median.log10());
        let middle = top + row / 2 - 4;
        root.draw(&Rectangle::new([(start, top), (end, top + row - 8)], color.filled()))?;
        root.draw(&Text::new(short(subject, 24), (start - 14, middle), font(28, ink, HPos::Right)))?;
        let value = time(*median);
        let behind = [(end + 4, top), (end + 16 + 16 * value.chars().count() as i32, top + row - 8)];
        root.draw(&Rectangle::new(behind, PAPER.filled()))?;
        root.draw(&Text::new(value, (end + 12, middle), font(28, ink, HPos::Left)))?;
    }
    Ok(())
}

/// Draws on an area of this size; `None` if that fails, which is no reason to lose the rest of the report.
fn picture(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn<()>) -> Option<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let outcome = root.fill(&PAPER).map_err(Into::into).and_then(|()| draw(&root));
        if let Err(error) = outcome.and_then(|()| root.present().map_err(Into::into)) {
            eprintln!("a plot could not be drawn: {error}");
            return None;
        }
    }
    Some(svg)
}

fn font(size: i32, color: RGBColor, side: HPos) -> TextStyle<'static> {
    // The backend makes them smaller by this factor.
    let size = f64::from(size) * 1.24;
    ("sans-serif", size).into_font().color(&color).pos(Pos::new(side, VPos::Center))
}

trait Bold {
    fn into_bold(self) -> Self;
}

impl Bold for TextStyle<'_> {
    fn into_bold(mut self) -> Self {
        self.font = self.font.style(FontStyle::Bold);
        self
    }
}

fn draw_line(on: &Area<'_>, points: Vec<(i32, i32)>, pen: Pen) -> Drawn<()> {
    on.draw(&PathElement::new(points, pen.color.stroke_width(pen.width)))?;
    Ok(())
}

fn draw_mark(on: &Area<'_>, (x, y): (i32, i32), pen: Pen) -> Drawn<()> {
    let r = if pen.color == BARE { 7 } else { 9 };
    let corners: Vec<(i32, i32)> = match pen.mark % 5 {
        0 => {
            on.draw(&Circle::new((x, y), r, pen.color.filled()))?;
            return Ok(());
        }
        1 => vec![(-r, -r), (r, -r), (r, r), (-r, r)],
        2 => vec![(0, -r - 3), (r + 3, r), (-r - 3, r)],
        3 => vec![(0, -r - 4), (r + 4, 0), (0, r + 4), (-r - 4, 0)],
        _ => vec![(0, r + 3), (r + 3, -r), (-r - 3, -r)],
    };
    let corners: Vec<_> = corners.into_iter().map(|(right, down)| (x + right, y + down)).collect();
    on.draw(&Polygon::new(corners, pen.color.filled()))?;
    Ok(())
}

impl Plot {
    fn new(stem: &str, title: String, description: String, note: String, drawn: &str) -> Self {
        let mut dark = String::new();
        for (color, dark_color) in DARK {
            let light = written(color);
            for attribute in ["fill", "stroke"] {
                if drawn.contains(&format!("{attribute}=\"{light}\"")) {
                    let _ = write!(dark, "[{attribute}=\"{light}\"]{{{attribute}:{dark_color}}}");
                }
            }
        }
        let (tag, rest) = drawn.split_once('>').unwrap_or(("<svg", ""));
        // Half of the size that it was drawn in.
        let mut tag = tag.to_owned();
        for side in ["width", "height"] {
            let begin = format!(" {side}=\"");
            if let Some((before, after)) = tag.split_once(&begin)
                && let Some((number, after)) = after.split_once('"')
                && let Ok(number) = number.parse::<u32>()
            {
                tag = format!("{before}{begin}{}\"{after}", number / 2);
            }
        }
        let id = format!("plot-{stem}");
        let svg = format!(
            "{tag} role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{}</title>\n\
             <desc id=\"{id}-desc\">{}</desc>\n\
             <style>polyline[stroke=\"{}\"]{{stroke-dasharray:14 8}}@media (prefers-color-scheme:dark){{{dark}}}</style>\
             {rest}",
            escaped(&title),
            escaped(&description),
            written(BARE)
        );
        Self { file: format!("{stem}.svg"), title, description, note, svg }
    }
}

/// A colour as the backend writes it.
fn written(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// A name as part of a file's.
fn slug(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '-' })
        .collect();
    name.truncate(40);
    name
}

/// At most this many characters, all allowed in a picture.
fn short(name: &str, most: usize) -> String {
    let name = visible(name);
    if name.chars().count() <= most { name } else { name.chars().take(most - 1).chain(['…']).collect() }
}

fn visible(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

fn escaped(text: &str) -> String {
    visible(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
