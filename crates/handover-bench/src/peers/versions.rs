//! Which versions of the peers are measured.

/// The version of a crate in this crate's lock file.
pub(super) fn version_of(package: &str) -> String {
    let lines = include_str!("../../Cargo.lock").lines();
    let name = format!("name = \"{package}\"");
    let version =
        lines.skip_while(|line| *line != name).nth(1).and_then(|line| line.strip_prefix("version = "));
    version.unwrap_or("-").trim_matches('"').to_owned()
}
