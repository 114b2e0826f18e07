//! `handover ls`, `stat` and `gc`: what is held, by whom, and what was left behind.
//!
//! Shows sizes and never a value. Relies on the library's listing, and on `store` to measure values.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use handover::codec;
use handover::{ErrorKind, MapInfo, Scope};
use serde_json::{Value as Json, json};

use crate::Outcome;
use crate::args::{GcArgs, LsArgs, StatArgs};
use crate::output::{self, BOLD, printable, size, styled};
use crate::store::{self, Look};

/// Where nothing is known.
const UNKNOWN: &str = "-";

/// Characters of a name that a table for people shows.
const NAME_WIDTH: usize = 40;

fn scopes(global: bool) -> &'static [Scope] {
    if global { &[Scope::Global] } else { &[Scope::User, Scope::Global] }
}

pub(crate) fn ls(args: &LsArgs) -> Outcome {
    let mut rows = Vec::new();
    for scope in scopes(args.global) {
        for map in handover::list(*scope, None)? {
            rows.push(Row::new(&map, store::peek(&map, None)));
        }
    }
    if args.json {
        return print_json(&rows.iter().map(Row::to_json).collect());
    }
    if rows.is_empty() {
        output::say("no map is held; 'handover put NAME VALUE' holds one");
        return Ok(ExitCode::SUCCESS);
    }
    let cells: Vec<[String; COLUMNS]> = rows.iter().map(|row| row.cells(output::is_terminal())).collect();
    output::print_styled(&if output::is_terminal() { table(&cells) } else { lines(&cells) })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn stat(args: &StatArgs) -> Outcome {
    let (name, scope, capacity) = store::find(&args.name, &args.place)?;
    let row = match handover::list(scope, None) {
        Ok(maps) => {
            let map = maps.into_iter().find(|map| map.name == name);
            // Gone since it was found.
            let gone = || handover::Error::NotFound {
                subject: handover::Subject::Map { name: name.clone(), scope },
            };
            let map = map.ok_or_else(gone)?;
            Row::new(&map, store::peek(&map, args.place.owner))
        }
        // The system does not list names; what the map itself says is still known.
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            let look = store::peek_unlisted(&name, scope);
            Row {
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
        Err(e) => return Err(e.into()),
    };
    if args.json {
        return print_json(&row.to_json());
    }
    let mut text = String::new();
    let labels = TITLES.map(str::to_lowercase);
    let mut cells = row.cells(output::is_terminal());
    // Here there is room for all of it.
    cells[0] = printable(&row.name);
    let mut pairs: Vec<(&str, &str)> =
        labels.iter().map(String::as_str).zip(cells.iter().map(String::as_str)).collect();
    let created = row.created.map(rfc3339);
    pairs.push(("created", created.as_deref().unwrap_or(UNKNOWN)));
    let written = row.written().map(rfc3339);
    pairs.push(("written", written.as_deref().unwrap_or(UNKNOWN)));
    let type_name = row.look.cell.as_ref().and_then(|cell| cell.type_name.as_deref()).map(printable);
    pairs.push(("type", type_name.as_deref().unwrap_or(UNKNOWN)));
    pairs.push(("state", row.look.content.word()));
    if let Some(path) = &row.path {
        pairs.push(("file", path));
    }
    for (label, value) in pairs {
        if output::is_terminal() {
            let _ = writeln!(text, "{} {value}", styled(BOLD, format!("{label:<9}")));
        } else {
            let _ = writeln!(text, "{label}\t{value}");
        }
    }
    output::print_styled(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn gc(args: &GcArgs) -> Outcome {
    let mut removed = Vec::new();
    for scope in scopes(args.global) {
        removed.extend(handover::collect_garbage(*scope, None)?.into_iter().map(|name| (name, scope)));
    }
    if args.json {
        let objects = removed.iter().map(|(name, scope)| json!({ "name": name, "scope": scope.to_string() }));
        return print_json(&objects.collect());
    }
    let mut text = String::new();
    for (name, _) in &removed {
        text.push_str(&printable(name));
        text.push('\n');
    }
    output::print(text.as_bytes())?;
    output::say(&match removed.len() {
        0 => "nothing was left behind".to_owned(),
        1 => "removed 1 leftover of killed holders".to_owned(),
        count => format!("removed {count} leftovers of killed holders"),
    });
    Ok(ExitCode::SUCCESS)
}

fn print_json(json: &Json) -> Outcome {
    let text = if output::is_terminal() { format!("{json:#}\n") } else { format!("{json}\n") };
    output::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: usize = 15;

const TITLES: [&str; COLUMNS] = [
    "NAME", "SCOPE", "LAYOUT", "VERSION", "CODEC", "USED", "CAPACITY", "RESERVED", "WRITER", "READERS",
    "OWNER", "MODE", "HOLDERS", "AGE", "EXPIRES",
];

/// A map as it is shown.
struct Row {
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
    fn new(map: &MapInfo, look: Look) -> Self {
        Self {
            name: map.name.clone(),
            scope: map.scope,
            capacity: look.cell.as_ref().map_or(map.capacity, |cell| cell.capacity),
            look,
            reserved: Some(map.allocated),
            path: map.path.as_ref().map(|path| path.display().to_string()),
            owner: map.owner,
            mode: map.mode,
            holders: map.holders.clone(),
            created: Some(map.created),
        }
    }

    fn age(&self) -> Option<Duration> {
        // A clock that was set back makes a map of the future: no age at all.
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
        self.look.cell.as_ref().and_then(|cell| store::time(cell.written))
    }

    fn expires(&self) -> Option<SystemTime> {
        self.look.cell.as_ref().and_then(|cell| store::time(cell.expires))
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

    fn to_json(&self) -> Json {
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
