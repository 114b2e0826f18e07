//! Checks that the layers of docs/design.md hold: no import goes up, no files import each other in a circle,
//! no file of the library grows past its limit, and loom swaps primitives in few places.
//!
//! `modules` finds what files take from each other, `circles` what ties itself. Which exceptions there are
//! stands here, and one that excuses nothing is a failure too.

mod circles;
mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use self::modules::{Arrow, Folder, Texts};
use crate::source::Source;
use crate::tree;

/// The library: its layers are checked, and how long its files are.
const LIBRARY: &str = "src";

/// The layers of the library from the top down, by their folder or file.
const LAYERS: [&str; 12] =
    ["lib", "mapper", "codec", "cell", "map", "sys", "memory", "backoff", "name", "error", "terms", "steps"];

/// How many lines a file of the library may have; modules of tests don't count.
const LONGEST: usize = 500;

/// In how many places the library may ask whether loom checks it.
const MODEL_GATES: usize = 3;
const MODEL: &str = "handover_model";

/// What is not held against the rules, and why.
#[derive(Clone, Copy, Debug)]
struct Exception {
    /// A folder: circles among its files, and how long they are. A file: what it imports, circles that it is
    /// in, and how long it is. Or [`MODEL`]: how many gates there are.
    of: &'static str,
    /// With this, imports from the folder or file above into this one, and no more.
    into: Option<&'static str>,
    why: &'static str,
}

const EXCEPTIONS: &[Exception] =
    &[Exception { of: "src/cell", into: None, why: "the cell is written anew file by file" }];

impl Exception {
    /// The folder whose inside is excused.
    fn folder(&self) -> Option<&'static str> {
        (self.into.is_none() && !is_file(self.of)).then_some(self.of)
    }

    fn excuses_length(&self, path: &str) -> bool {
        self.into.is_none() && is_in(path, self.of)
    }

    fn excuses_upward(&self, arrow: &Arrow) -> bool {
        match self.into {
            Some(into) => is_in(&arrow.from, self.of) && is_in(&arrow.to, into),
            None => arrow.from == self.of,
        }
    }

    fn excuses_circle(&self, arrow: &Arrow) -> bool {
        self.excuses_upward(arrow) || (self.into.is_none() && arrow.to == self.of)
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.into {
            Some(into) => write!(to, "imports from {} into {into}", self.of),
            None => to.write_str(self.of),
        }
    }
}

pub(crate) fn check() -> Result<(), String> {
    let mut texts = Texts::new();
    for path in tree::files(tree::root(), "rs")? {
        let name = path.strip_prefix(tree::root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
        texts.insert(name, text);
    }
    let tree = Tree::read(&texts)?;
    let failures = tree.failures(EXCEPTIONS);
    for failure in &failures {
        println!("{failure}");
    }
    if !failures.is_empty() {
        return Err(format!("{} failures; docs/design.md describes the layers", failures.len()));
    }
    for exception in EXCEPTIONS {
        println!("excused: {exception}: {}", exception.why);
    }
    let files: usize = tree.folders.values().map(|folder| folder.lines.len()).sum();
    println!("but for that, {files} files in {} folders import downwards only", tree.folders.len());
    Ok(())
}

/// The sources of all crates, by their folders.
struct Tree {
    folders: BTreeMap<String, Folder>,
    /// How often each file of the library asks for the model.
    gates: BTreeMap<String, usize>,
}

impl Tree {
    fn read(texts: &Texts) -> Result<Self, String> {
        let mut folders = BTreeMap::new();
        for path in texts.keys() {
            // Other files belong to tests and examples, which nothing imports.
            if let Some(folder) = source_folder(path)
                && !folders.contains_key(folder)
            {
                folders.insert(folder.to_owned(), Folder::read(folder, texts)?);
            }
        }
        let library = texts.iter().filter(|(path, _)| source_folder(path) == Some(LIBRARY));
        let gates = library
            .map(|(path, text)| {
                let tokens = Source::read(text).tokens;
                (path.clone(), tokens.iter().filter(|token| token.text == MODEL).count())
            })
            .collect();
        Ok(Self { folders, gates })
    }

    /// What is wrong, each as a line that says where and what to do.
    fn failures(&self, exceptions: &[Exception]) -> Vec<String> {
        let mut failures = self.found(exceptions);
        let unexcused = self.found(&[]);
        for exception in exceptions {
            if self.found(&[*exception]) == unexcused {
                failures.push(format!(
                    "the exception for {exception} excuses nothing; remove it from xtask/src/layers.rs"
                ));
            }
        }
        failures
    }

    fn found(&self, exceptions: &[Exception]) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(library) = self.folders.get(LIBRARY) {
            failures.extend(upward(library, exceptions));
            failures.extend(long(library, exceptions));
        }
        for folder in self.folders.values() {
            failures.extend(tied(folder, exceptions));
        }
        failures.extend(self.gated(exceptions));
        failures
    }

    fn gated(&self, exceptions: &[Exception]) -> Option<String> {
        let places = self.gates.iter().filter(|(_, count)| **count > 0);
        let places: Vec<String> = places.map(|(path, count)| format!("{path} ({count})")).collect();
        let count: usize = self.gates.values().sum();
        let excused = exceptions.iter().any(|exception| exception.of == MODEL);
        (count > MODEL_GATES && !excused).then(|| {
            format!(
                "{count} gates of cfg({MODEL}), but at most {MODEL_GATES} are allowed: {}; swap primitives in one module and \
                 build the rest as it is",
                places.join(", ")
            )
        })
    }
}

/// The folder of a crate's sources that a file belongs to: `src`, or that of a package below.
fn source_folder(path: &str) -> Option<&str> {
    if path.starts_with("src/") {
        return Some(LIBRARY);
    }
    let folder = &path[..path.find("/src/")? + "/src".len()];
    let depth = folder.matches('/').count();
    let is_package =
        folder.starts_with("xtask/") && depth == 1 || folder.starts_with("crates/") && depth == 2;
    is_package.then_some(folder)
}

/// Whether a path is this folder or file, or in it.
fn is_in(path: &str, within: &str) -> bool {
    path.strip_prefix(within).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_file(path: &str) -> bool {
    Path::new(path).extension().is_some()
}

/// The place of a file's layer in the table.
fn layer(path: &str) -> Option<usize> {
    let inside = path.strip_prefix(LIBRARY)?.strip_prefix('/')?;
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    LAYERS.iter().position(|layer| *layer == name)
}

/// Imports that go up, and files without a layer.
fn upward(library: &Folder, exceptions: &[Exception]) -> Vec<String> {
    let mut failures = Vec::new();
    for path in library.lines.keys().filter(|path| layer(path).is_none()) {
        failures.push(format!("{path}: has no layer; give it its place in LAYERS of xtask/src/layers.rs"));
    }
    for arrow in &library.arrows {
        let Arrow { from, to, line, path, .. } = arrow;
        // Both count: where a thing is, and the module that it is taken by, which may only pass it on.
        let by = arrow.by.as_deref().map(|module| if module.is_empty() { LAYERS[0] } else { module });
        let by = by.and_then(|module| LAYERS.iter().position(|layer| *layer == module));
        let (Some(own), Some(highest)) = (layer(from), layer(to).into_iter().chain(by).min()) else {
            continue;
        };
        if highest < own && !exceptions.iter().any(|exception| exception.excuses_upward(arrow)) {
            let (own, highest) = (LAYERS[own], LAYERS[highest]);
            failures.push(format!(
                "{from}:{line}: `{path}` ({to}) goes up from {own} to {highest}; take it from where it is defined, \
                 or move it to a layer below both"
            ));
        }
    }
    failures
}

/// Circles of files.
fn tied(folder: &Folder, exceptions: &[Exception]) -> Vec<String> {
    // A folder whose inside is excused is one node: a circle through other files still shows.
    let node = |path: &str| {
        let within = exceptions.iter().filter_map(Exception::folder).find(|folder| is_in(path, folder));
        within.unwrap_or(path).to_owned()
    };
    let excused = |arrow: &Arrow| exceptions.iter().any(|exception| exception.excuses_circle(arrow));
    let arrows: Vec<(String, String, &Arrow)> = folder
        .arrows
        .iter()
        .filter(|arrow| !arrow.through && !excused(arrow))
        .map(|arrow| (node(&arrow.from), node(&arrow.to), arrow))
        .filter(|(from, to, _)| from != to)
        .collect();
    let groups = circles::find(arrows.iter().map(|(from, to, _)| (from.as_str(), to.as_str())));
    groups
        .into_iter()
        .map(|group| {
            let mut told =
                format!("a circle of {} files; move what they share into a file below:", group.len());
            let inside = |name: &String| group.contains(&name.as_str());
            let shown: BTreeSet<String> = arrows
                .iter()
                .filter(|(from, to, _)| inside(from) && inside(to))
                .map(|(_, _, arrow)| {
                    format!("\n  {}:{}: `{}` ({})", arrow.from, arrow.line, arrow.path, arrow.to)
                })
                .collect();
            told.extend(shown);
            told
        })
        .collect()
}

/// Files that are too long.
fn long(library: &Folder, exceptions: &[Exception]) -> Vec<String> {
    let excused = |path: &str| exceptions.iter().any(|exception| exception.excuses_length(path));
    let long = library.lines.iter().filter(|(path, lines)| **lines > LONGEST && !excused(path));
    long.map(|(path, lines)| {
        format!("{path}: {lines} lines, but at most {LONGEST} are allowed; give a part its own file")
    })
    .collect()
}

#[cfg(test)]
mod tests;
