//! The modules of a crate, and what the files of it take from each other.
//!
//! Follows every `use` and every path to the file that defines what it names, even through re-exports (`pub
//! use`). Code that is built only for tests does not count. Macros are not expanded.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token};

/// The texts of files by their paths, which begin at the workspace's root.
pub(crate) type Texts = BTreeMap<String, String>;

/// An import: a file takes something from another one, at its first mention.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
    /// As it is written.
    pub(crate) path: String,
    /// The module of the crate's root that the path names, which may re-export the thing; empty for the root
    /// itself.
    pub(crate) by: Option<String>,
    /// Whether it names only a module that has others below it, and nothing in that module: what is taken
    /// through it has its own arrows.
    pub(crate) through: bool,
}

impl Arrow {
    fn leads_as(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to && self.through == other.through
    }
}

/// The files of a folder that are built into a crate, except tests.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// Lines of each file, without modules of tests.
    pub(crate) lines: BTreeMap<String, usize>,
    pub(crate) arrows: Vec<Arrow>,
}

impl Folder {
    /// Follows modules from the roots of the crates in `folder`: `lib.rs`, `main.rs`, and the programs in
    /// `bin`.
    pub(crate) fn read(folder: &str, texts: &Texts) -> Result<Self, String> {
        let mut found = Self::default();
        let programs = format!("{folder}/bin/");
        for root in texts.keys().filter(|path| {
            let program = path.strip_prefix(&programs);
            program.is_some_and(|program| !program.contains('/') || program.ends_with("/main.rs"))
                || **path == format!("{folder}/lib.rs")
                || **path == format!("{folder}/main.rs")
        }) {
            let mut house = Crate { texts, modules: Vec::new(), taken: Vec::new(), lines: BTreeMap::new() };
            let module = house.add(root, Vec::new(), None);
            house.read_file(root, module)?;
            found.arrows.extend(house.arrows());
            found.lines.extend(house.lines);
        }
        Ok(found)
    }
}

#[derive(Debug)]
struct Module {
    file: String,
    path: Vec<String>,
    parent: Option<usize>,
    names: BTreeMap<String, Vec<Name>>,
    globs: Vec<Vec<String>>,
}

/// What a name of a module stands for; depending on system and feature it may be several things.
#[derive(Clone, Debug)]
enum Name {
    /// What the module's file defines.
    Item,
    Module(usize),
    Import(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// Something that the file of this module defines.
    Item(usize),
    Module(usize),
}

/// A path that a module mentions.
#[derive(Debug)]
struct Taken {
    module: usize,
    path: Vec<String>,
    line: usize,
    all: bool,
}

struct Crate<'a> {
    texts: &'a Texts,
    modules: Vec<Module>,
    taken: Vec<Taken>,
    lines: BTreeMap<String, usize>,
}

impl Crate<'_> {
    fn add(&mut self, file: &str, path: Vec<String>, parent: Option<usize>) -> usize {
        let (names, globs) = (BTreeMap::new(), Vec::new());
        self.modules.push(Module { file: file.to_owned(), path, parent, names, globs });
        self.modules.len() - 1
    }

    fn add_child(&mut self, file: &str, name: &str, parent: usize) -> usize {
        let path = self.modules[parent].path.iter().cloned().chain([name.to_owned()]).collect();
        let child = self.add(file, path, Some(parent));
        self.name(parent, name, Name::Module(child));
        child
    }

    fn name(&mut self, module: usize, name: &str, stands_for: Name) {
        self.modules[module].names.entry(name.to_owned()).or_default().push(stands_for);
    }

    fn read_file(&mut self, path: &str, module: usize) -> Result<(), String> {
        let text = self.texts.get(path).ok_or_else(|| format!("{path} is missing"))?;
        let tokens = Source::read(text).tokens;
        let mut scan = Scan { tokens: &tokens, at: 0, blocks: vec![(module, true)], tests: 0 };
        while scan.at < tokens.len() {
            self.step(&mut scan, path)?;
        }
        self.lines.insert(path.to_owned(), text.lines().count() - scan.tests);
        Ok(())
    }

    fn step(&mut self, scan: &mut Scan<'_>, path: &str) -> Result<(), String> {
        let (module, at_items) = *scan.blocks.last().unwrap_or(&(0, false));
        let before = scan.text_before();
        match scan.text(0) {
            "#" => {
                let attributes = scan.attributes();
                if attributes.is_test {
                    scan.skip_item(attributes.line);
                } else if scan.is_module() {
                    return self.module(scan, path, &attributes.paths);
                }
                return Ok(());
            }
            "{" => scan.blocks.push((module, false)),
            "}" => drop(scan.blocks.pop()),
            "use" if scan.text(1) != "<" => {
                scan.at += 1;
                if scan.text(0) == "::" {
                    // From another crate.
                    scan.skip_to(";");
                } else {
                    self.use_tree(scan, module, &[]);
                }
            }
            "mod" if scan.is_module() => return self.module(scan, path, &[]),
            "pub" if scan.text(1) == "(" => {
                scan.at += 1;
                scan.skip_brackets();
                return Ok(());
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" if at_items => {
                let ahead = if scan.text(1) == "mut" { 2 } else { 1 };
                if scan.is_word(ahead) && !["fn", "unsafe", "async", "extern"].contains(&scan.text(ahead)) {
                    let name = scan.text(ahead).to_owned();
                    self.name(module, &name, Name::Item);
                    scan.at += ahead;
                }
            }
            "macro_rules" if scan.text(1) == "!" => {
                let name = scan.text(2).to_owned();
                self.name(module, &name, Name::Item);
                scan.at += 2;
            }
            _ if scan.is_word(0) && before != "::" => {
                let line = scan.tokens[scan.at].line;
                let path = scan.path();
                if path.len() > 1 {
                    self.taken.push(Taken { module, path, line, all: false });
                }
                return Ok(());
            }
            _ => {}
        }
        scan.at += 1;
        Ok(())
    }

    /// At `mod name;` or `mod name {`.
    fn module(&mut self, scan: &mut Scan<'_>, path: &str, named: &[String]) -> Result<(), String> {
        let (parent, _) = *scan.blocks.last().unwrap_or(&(0, true));
        while scan.text(0) != "mod" {
            scan.at += 1;
            if scan.text(0) == "(" {
                scan.skip_brackets();
            }
        }
        let name = scan.text(1).to_owned();
        let line = scan.tokens[scan.at].line;
        let inline = scan.text(2) == "{";
        scan.at += 3;
        if inline {
            let child = self.add_child(path, &name, parent);
            scan.blocks.push((child, true));
            return Ok(());
        }
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let of_file =
            self.modules.iter().filter(|module| module.file == path).min_by_key(|module| module.path.len());
        let (is_root, depth) =
            of_file.map_or((true, 0), |module| (module.parent.is_none(), module.path.len()));
        let mut inside = folder.to_owned();
        if !is_root && file != "mod.rs" {
            path.trim_end_matches(".rs").clone_into(&mut inside);
        }
        // Modules within this file have their own folders.
        for part in &self.modules[parent].path[depth..] {
            inside = format!("{inside}/{part}");
        }
        let usual = [format!("{inside}/{name}.rs"), format!("{inside}/{name}/mod.rs")];
        let files: Vec<String> = if named.is_empty() {
            usual.into_iter().filter(|file| self.texts.contains_key(file)).collect()
        } else {
            named.iter().map(|file| format!("{folder}/{file}")).collect()
        };
        if files.is_empty() {
            return Err(format!("{path}:{line}: the file of module {name} is missing"));
        }
        for file in files {
            let child = self.add_child(&file, &name, parent);
            self.read_file(&file, child)?;
        }
        Ok(())
    }

    /// A `use` from here up to where its part ends.
    fn use_tree(&mut self, scan: &mut Scan<'_>, module: usize, before: &[String]) {
        let mut path = before.to_vec();
        loop {
            let Some(token) = scan.tokens.get(scan.at) else { return };
            let line = token.line;
            match token.text.as_str() {
                "{" => {
                    scan.at += 1;
                    while !["}", ";", ""].contains(&scan.text(0)) {
                        self.use_tree(scan, module, &path);
                        if scan.text(0) == "," {
                            scan.at += 1;
                        }
                    }
                    scan.at += usize::from(scan.text(0) == "}");
                    return;
                }
                "*" => {
                    scan.at += 1;
                    self.modules[module].globs.push(path.clone());
                    self.taken.push(Taken { module, path, line, all: true });
                    return;
                }
                _ if token.is_word() => {
                    // `self` among others names what stands before them.
                    if token.text != "self" || path.is_empty() {
                        path.push(token.text.clone());
                    }
                    scan.at += 1;
                }
                _ => return,
            }
            if scan.text(0) == "::" {
                scan.at += 1;
                continue;
            }
            let mut name = path.last().cloned().unwrap_or_default();
            if scan.text(0) == "as" {
                scan.text(1).clone_into(&mut name);
                scan.at += 2;
            }
            self.name(module, &name, Name::Import(path.clone()));
            self.taken.push(Taken { module, path, line, all: false });
            return;
        }
    }

    /// The place that a path leads to; none if it is in another crate.
    fn resolve(
        &self,
        module: usize,
        path: &[String],
        on_the_way: &mut Vec<(usize, String)>,
    ) -> BTreeSet<Target> {
        let mut module = module;
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => module = 0,
                "self" => {}
                "super" => module = self.modules[module].parent.unwrap_or(0),
                _ => break,
            }
            rest = after;
        }
        let mut targets = BTreeSet::from([Target::Module(module)]);
        for (at, name) in rest.iter().enumerate() {
            let first = at == 0 && rest.len() == path.len();
            targets = targets
                .into_iter()
                .flat_map(|target| {
                    let Target::Module(module) = target else { return BTreeSet::from([target]) };
                    let found = self.look_up(module, name, on_the_way);
                    // A name that this does not see, because a macro makes it, is taken for an item.
                    if found.is_empty() && !first { BTreeSet::from([Target::Item(module)]) } else { found }
                })
                .collect();
        }
        targets
    }

    fn look_up(&self, module: usize, name: &str, on_the_way: &mut Vec<(usize, String)>) -> BTreeSet<Target> {
        let here = (module, name.to_owned());
        let again = on_the_way.contains(&here);
        on_the_way.push(here);
        let mut found = BTreeSet::new();
        let own = &self.modules[module];
        for stands_for in own.names.get(name).into_iter().flatten() {
            match stands_for {
                Name::Item => drop(found.insert(Target::Item(module))),
                Name::Module(child) => drop(found.insert(Target::Module(*child))),
                Name::Import(path) if !again => found.extend(self.resolve(module, path, on_the_way)),
                Name::Import(_) => {}
            }
        }
        if !own.names.contains_key(name) && !again {
            for path in &own.globs {
                for target in self.resolve(module, path, on_the_way) {
                    if let Target::Module(other) = target {
                        found.extend(self.look_up(other, name, on_the_way));
                    }
                }
            }
        }
        on_the_way.pop();
        found
    }

    /// The module of the crate's root that a path itself names.
    fn named(&self, module: usize, path: &[String]) -> Option<String> {
        let mut whole = self.modules[module].path.clone();
        match path.first()?.as_str() {
            "crate" => whole.clear(),
            "self" | "super" => {}
            _ => return None,
        }
        for name in path {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => drop(whole.pop()),
                _ => whole.push(name.clone()),
            }
        }
        let first = whole.first()?;
        let is_module = self.modules[0]
            .names
            .get(first)
            .is_some_and(|names| names.iter().any(|name| matches!(name, Name::Module(_))));
        Some(if is_module { first.clone() } else { String::new() })
    }

    fn arrows(&self) -> BTreeSet<Arrow> {
        let mut found: BTreeMap<(&str, &str, Option<String>, bool), Arrow> = BTreeMap::new();
        for taken in &self.taken {
            let from = &self.modules[taken.module].file;
            let by = self.named(taken.module, &taken.path);
            for target in self.resolve(taken.module, &taken.path, &mut Vec::new()) {
                let (Target::Item(module) | Target::Module(module)) = target;
                let to = &self.modules[module].file;
                // A module with others below it may re-export what is taken through it: the paths that follow
                // tell.
                let has_children =
                    self.modules.iter().any(|child| child.parent == Some(module) && child.file != *to);
                let through = matches!(target, Target::Module(_)) && has_children && !taken.all;
                if from == to {
                    continue;
                }
                let path = taken.path.join("::") + if taken.all { "::*" } else { "" };
                let (line, by) = (taken.line, by.clone());
                let key = (from.as_str(), to.as_str(), by.clone(), through);
                let arrow = Arrow { from: from.clone(), to: to.clone(), line, path, by, through };
                let known = found.entry(key).or_insert_with(|| arrow.clone());
                if taken.line < known.line {
                    *known = arrow;
                }
            }
        }
        // A path that begins with an imported name says nothing new.
        let all: Vec<Arrow> = found.into_values().collect();
        let imported = |arrow: &Arrow| all.iter().any(|other| other.leads_as(arrow) && other.by.is_some());
        all.iter().filter(|arrow| arrow.by.is_some() || !imported(arrow)).cloned().collect()
    }
}

/// A walk over a file's tokens.
struct Scan<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The open blocks: the module of each, and whether items of the module stand in it.
    blocks: Vec<(usize, bool)>,
    /// Lines of tests.
    tests: usize,
}

/// What the attributes of an item say.
#[derive(Debug, Default)]
struct Attributes {
    line: usize,
    is_test: bool,
    /// Files that a module may be in.
    paths: Vec<String>,
}

impl Scan<'_> {
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| &token.text)
    }

    fn text_before(&self) -> &str {
        self.at.checked_sub(1).map_or("", |before| &self.tokens[before].text)
    }

    fn is_word(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(Token::is_word)
    }

    /// Whether a module begins here.
    fn is_module(&self) -> bool {
        let mut ahead = 0;
        if self.text(0) == "pub" {
            ahead += 1;
            if self.text(1) == "(" {
                ahead += self.tokens[self.at..].iter().take_while(|token| token.text != ")").count();
            }
        }
        self.text(ahead) == "mod" && self.is_word(ahead + 1) && [";", "{"].contains(&self.text(ahead + 2))
    }

    fn skip_to(&mut self, end: &str) {
        while self.at < self.tokens.len() && self.text(0) != end {
            self.at += 1;
        }
    }

    /// Moves from an opening bracket to after its closing one.
    fn skip_brackets(&mut self) {
        let mut open = 0;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "(" | "[" | "{" => open += 1,
                ")" | "]" | "}" => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return;
            }
        }
    }

    /// A path of names.
    fn path(&mut self) -> Vec<String> {
        let mut path = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && self.is_word(1) {
            path.push(self.text(1).to_owned());
            self.at += 2;
        }
        path
    }

    /// All attributes that stand here.
    fn attributes(&mut self) -> Attributes {
        let mut found = Attributes { line: self.tokens[self.at].line, ..Attributes::default() };
        while self.text(0) == "#" {
            self.at += 1;
            let inner = self.text(0) == "!";
            self.at += usize::from(inner);
            let start = self.at;
            self.skip_brackets();
            let said = self.tokens.get(start + 1..self.at.saturating_sub(1)).unwrap_or_default();
            let texts: Vec<&str> = said.iter().map(|token| token.text.as_str()).collect();
            found.is_test |= !inner
                && match texts.as_slice() {
                    ["test"] => true,
                    ["cfg", "(", condition @ .., ")"] => is_test(condition),
                    _ => false,
                };
            let paths = texts.windows(3).filter(|part| part[..2] == ["path", "="]);
            found.paths.extend(paths.map(|part| part[2].trim_start_matches('"').to_owned()));
        }
        found
    }

    /// Moves to after an item, a field or a statement, and counts its lines from `first` on as lines of
    /// tests.
    fn skip_item(&mut self, first: usize) {
        while self.text(0) == "pub" {
            self.at += 1;
            if self.text(0) == "(" {
                self.skip_brackets();
            }
        }
        let (ends_with_block, ends_with_comma) = match self.text(0) {
            "use" | "const" | "static" | "type" if self.text(1) != "fn" => (false, false),
            "fn" | "struct" | "enum" | "union" | "trait" | "impl" | "mod" | "unsafe" | "async" | "extern"
            | "const" | "macro_rules" => (true, false),
            _ => (true, true),
        };
        let mut last = first;
        while self.at < self.tokens.len() {
            let text = self.text(0);
            // The end of what is around it.
            if [")", "]", "}"].contains(&text) {
                break;
            }
            last = self.tokens[self.at].line;
            let (ends, block) = (text == ";" || (text == "," && ends_with_comma), text == "{");
            if ["(", "[", "{"].contains(&text) {
                self.skip_brackets();
                last = self.tokens[self.at - 1].line;
                if block && ends_with_block {
                    break;
                }
            } else {
                self.at += 1;
            }
            if ends {
                break;
            }
        }
        self.tests += last + 1 - first;
    }
}

/// Whether a condition of `cfg` holds in tests only.
fn is_test(condition: &[&str]) -> bool {
    match condition {
        ["test"] => true,
        ["all", "(", all @ .., ")"] => parts(all).iter().any(|part| is_test(part)),
        ["any", "(", any @ .., ")"] => parts(any).iter().all(|part| is_test(part)),
        _ => false,
    }
}

/// The parts between commas, ignoring commas within brackets.
fn parts<'a>(list: &'a [&'a str]) -> Vec<&'a [&'a str]> {
    let mut open = 0;
    list.split(|text| {
        open += i32::from(*text == "(") - i32::from(*text == ")");
        *text == "," && open == 0
    })
    .filter(|part| !part.is_empty())
    .collect()
}
