//! Checks that docs/dependencies.md gives a reason for each crate that a manifest of the workspace names.

use std::fs;

use crate::tree;

const REASONS: &str = "docs/dependencies.md";

pub(crate) fn check() -> Result<(), String> {
    let reasons = fs::read_to_string(tree::root().join(REASONS)).map_err(|e| format!("{REASONS}: {e}"))?;
    let mut named = Vec::new();
    for path in tree::files(tree::root(), "toml")? {
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            let manifest = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            named.extend(dependencies(&manifest));
        }
    }
    named.sort();
    named.dedup();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !name.starts_with("handover") && !reasons.contains(&format!("`{name}`")))
        .collect();
    if !missing.is_empty() {
        return Err(format!("{REASONS} gives no reason for {missing:?}"));
    }
    println!("{} crates have a reason", named.len());
    Ok(())
}

/// The crates that a manifest depends on; the workspace's table only states versions.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.ends_with("dependencies]") && !table.starts_with("workspace");
        } else if inside
            && line.starts_with(|c: char| c.is_ascii_alphabetic())
            && let Some((name, _)) = line.split_once(['.', ' ', '='])
        {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_every_kind_of_dependency_are_found() {
        let manifest = "[workspace.dependencies]\na = \"1\"\n[package]\nname = \"b\"\n[dependencies]\nc = \"1\"\n\
                        d.workspace = true\n[target.'cfg(x)'.dependencies]\ne = { version = \"1\", features = [\n    \
                        \"f\",\n] }\n[dev-dependencies]\ng = \"1\"\n[lints]\nworkspace = true\n";
        assert_eq!(dependencies(manifest), ["c", "d", "e", "g"]);
    }
}
