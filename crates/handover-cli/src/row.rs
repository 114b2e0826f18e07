//! A map as a row of a listing: its columns for people and for programs, and its JSON.
//!
//! Relies on `look` for what is in the map; `ls` and `stat` rely on it.

use std::time::{Duration, SystemTime};

use handover::Scope;
use handover::cell::CellInfo;
use handover::codec;
use handover::map::MapInfo;
use serde_json::{Value as Json, json};

use crate::look::Look;
use crate::output::{BOLD, printable, size, styled};

/// Stands for what is not known.
const UNKNOWN: &str = "-";

/// The most characters of a name that a table for people shows.
const NAME_WIDTH: usize = 40;

const COLUMNS: usize = 15;

const TITLES: [&str; COLUMNS] = [
    "NAME", "SCOPE", "LAYOUT", "VERSION", "CODEC", "USED", "CAPACITY", "RESERVED", "WRITER", "READERS",
    "OWNER", "MODE", "HOLDERS", "AGE", "EXPIRES",
];

/// A map as it is shown.
pub(crate) struct Row {
    name: String,
    scope: Scope,
    look: Look,
    capacity: u64,
    reserved: Option<u64>,
    path: Option<String>,
    owner: Option<u32>,
    mode: Option<u32>,
    holders: Option<Vec<u32>>,
    created: Option<SystemTime>,
}

impl Row {
    /// A map of the list.
    pub(crate) fn listed(map: MapInfo, look: Look) -> Self {
        Self {
            reserved: Some(map.allocated),
            path: map.path.as_ref().map(|path| path.display().to_string()),
            owner: map.owner,
            mode: map.mode,
            holders: map.holders,
            created: Some(map.created),
            ..Self::unlisted(map.name, map.scope, map.capacity, look)
        }
    }

    /// A map that is in no list.
    pub(crate) fn unlisted(name: String, scope: Scope, capacity: u64, look: Look) -> Self {
        Self {
            name,
            scope,
            capacity: look.cell.as_ref().map_or(capacity, |cell| cell.capacity),
            look,
            reserved: None,
            path: None,
            owner: None,
            mode: None,
            holders: None,
            created: None,
        }
    }

    fn age(&self) -> Option<Duration> {
        // If the clock was set back, the map seems to come from the future: its age is 0.
        self.created.map(|at| at.elapsed().unwrap_or_default())
    }

    fn version(&self) -> Option<u64> {
        self.look.cell.as_ref().map(|cell| cell.version)
    }

    /// What the value is stored as, where there is one.
    fn codec(&self) -> Option<String> {
        self.look.cell.as_ref().filter(|cell| cell.length.is_some()).map(|cell| codec::name_of(cell.codec))
    }

    fn written(&self) -> Option<SystemTime> {
        self.look.cell.as_ref().and_then(CellInfo::written_at)
    }

    fn expires(&self) -> Option<SystemTime> {
        self.look.cell.as_ref().and_then(CellInfo::expires_at)
    }

    fn cells(&self, for_people: bool) -> [String; COLUMNS] {
        let bytes = |count: u64| if for_people { size(count) } else { count.to_string() };
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        let mut name = printable(&self.name);
        if for_people && name.chars().count() > NAME_WIDTH {
            name = name.chars().take(NAME_WIDTH - 1).chain(['…']).collect();
        }
        let cell = self.look.cell.as_ref();
        let expires = self.expires().map(|at| {
            let left = at.duration_since(SystemTime::now());
            match left {
                _ if !for_people => rfc3339(at),
                Ok(left) => format!("in {}", short(left)),
                Err(_) => "expired".to_owned(),
            }
        });
        let holders = self.holders.as_ref().filter(|pids| !pids.is_empty());
        [
            name,
            self.scope.to_string(),
            self.look.layout.unwrap_or(UNKNOWN).to_owned(),
            or_unknown(self.version().map(|version| version.to_string())),
            or_unknown(self.codec()),
            or_unknown(self.look.content.used().map(bytes)),
            bytes(self.capacity),
            or_unknown(self.reserved.map(bytes)),
            or_unknown(cell.map(|cell| if cell.has_writer { "yes" } else { "no" }.to_owned())),
            or_unknown(cell.map(|cell| cell.readers.to_string())),
            or_unknown(self.owner.map(|uid| uid.to_string())),
            or_unknown(self.mode.map(|mode| format!("{mode:04o}"))),
            or_unknown(holders.map(|pids| pids.iter().map(u32::to_string).collect::<Vec<_>>().join(","))),
            or_unknown(self.age().map(|age| if for_people { short(age) } else { age.as_secs().to_string() })),
            or_unknown(expires),
        ]
    }

    /// A line for each thing that is known.
    pub(crate) fn sheet(&self, for_people: bool) -> String {
        let mut cells = self.cells(for_people);
        // There is room for all of it.
        cells[0] = printable(&self.name);
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        let type_name = self.look.cell.as_ref().and_then(|cell| cell.type_name.as_deref());
        let more = [
            ("created", or_unknown(self.created.map(rfc3339))),
            ("written", or_unknown(self.written().map(rfc3339))),
            ("type", or_unknown(type_name.map(printable))),
            ("state", self.look.content.word().to_owned()),
        ];
        let pairs = TITLES.iter().map(|title| title.to_lowercase()).zip(cells);
        let pairs = pairs.chain(more.map(|(label, value)| (label.to_owned(), value)));
        let pairs = pairs.chain(self.path.iter().map(|path| ("file".to_owned(), path.clone())));
        let line = |(label, value): (String, String)| {
            if for_people {
                format!("{} {value}\n", styled(BOLD, format!("{label:<9}")))
            } else {
                format!("{label}\t{value}\n")
            }
        };
        pairs.map(line).collect()
    }

    pub(crate) fn to_json(&self) -> Json {
        let cell = self.look.cell.as_ref();
        json!({
            "name": self.name,
            "scope": self.scope.to_string(),
            "layout": self.look.layout,
            "state": self.look.content.word(),
            "version": self.version(),
            "codec": self.codec(),
            "type": cell.and_then(|cell| cell.type_name.as_deref()),
            "written": self.written().map(precisely),
            "expires": self.expires().map(precisely),
            "has_writer": cell.map(|cell| cell.has_writer),
            "readers": cell.map(|cell| cell.readers),
            "used": self.look.content.used(),
            "capacity": self.capacity,
            "reserved": self.reserved,
            "path": self.path,
            "owner": self.owner,
            "mode": self.mode.map(|mode| format!("{mode:04o}")),
            "holders": self.holders,
            "created": self.created.map(rfc3339),
            "age_seconds": self.age().map(|age| age.as_secs()),
        })
    }
}

fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn precisely(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// An age in its two largest units.
fn short(age: Duration) -> String {
    let whole = humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// All rows: a table for people, lines for programs.
pub(crate) fn list(rows: &[Row], for_people: bool) -> String {
    let cells: Vec<[String; COLUMNS]> = rows.iter().map(|row| row.cells(for_people)).collect();
    if for_people { table(&cells) } else { lines(&cells) }
}

/// For programs: tabs between, nothing around.
fn lines(rows: &[[String; COLUMNS]]) -> String {
    rows.iter().map(|row| row.join("\t") + "\n").collect()
}

/// For people: aligned columns under a header.
fn table(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([TITLES[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = styled(BOLD, line(TITLES.to_vec())) + "\n";
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
        text.push('\n');
    }
    text
}
