//! Checks that tests leave nothing behind in the memory that all programs share.
//!
//! Others may run tests on this machine at the same time. So `handover-test-support` calls its directories
//! after the run that they belong to, which it finds in a variable that `process` sets. Tests and examples
//! that don't say where names lie get a directory of the run for them, not that of the user.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

const MEMORY: &str = "/dev/shm";
/// How all that this project makes there begins.
const OURS: &str = "handover-";
/// How directories of tests begin; the run's number follows.
const TESTS: &str = "handover-test-";

/// Takes a step, which must leave nothing behind. It gets what the tests' environment has to have.
pub(crate) fn none_of(step: impl FnOnce(&[(&str, &str)]) -> Result<(), String>) -> Result<(), String> {
    let memory = Path::new(MEMORY);
    if !memory.is_dir() {
        return step(&[]);
    }
    let before = entries(memory);
    let names = Names::new()?;
    step(&[("HANDOVER_DIR", &names.0.to_string_lossy())])?;
    let mut wrong = names.files();
    drop(names);
    wrong.extend(left(&before, &entries(memory), &process::run_number()));
    if wrong.is_empty() { Ok(()) } else { Err(format!("the tests left in {MEMORY}: {}", wrong.join(", "))) }
}

/// A directory for names; goes with the value.
struct Names(PathBuf);

impl Names {
    fn new() -> Result<Self, String> {
        // The shell makes it, because names are refused in a directory that others may write to.
        let make = format!("umask 077; mktemp -d {MEMORY}/{TESTS}{}-names.XXXXXX", process::run_number());
        let made = process::output(Command::new("sh").args(["-euc", &make]))?;
        Ok(Self(made.trim_end().into()))
    }

    /// What names left: files, in the directories of their scopes, which stay.
    fn files(&self) -> Vec<String> {
        let scopes = entries(&self.0);
        scopes
            .iter()
            .flat_map(|scope| {
                entries(&self.0.join(scope)).into_iter().map(move |file| format!("{scope}/{file}"))
            })
            .collect()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is there now, was not there before, and may be of this run.
fn left(before: &BTreeSet<String>, after: &BTreeSet<String>, run: &str) -> Vec<String> {
    let own = format!("{TESTS}{run}-");
    after
        .difference(before)
        .filter(|name| name.starts_with(&own) || (name.starts_with(OURS) && !name.starts_with(TESTS)))
        .cloned()
        .collect()
}

/// The names in a directory; none where there is no such directory.
fn entries(directory: &Path) -> BTreeSet<String> {
    let found = fs::read_dir(directory).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_run_left_is_found_and_nothing_of_others() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let before = set(&["handover-0", "handover-test-7-old"]);
        let after = set(&[
            "handover-0",
            "handover-global",
            "handover-test-7-old",
            "handover-test-7-new",
            "handover-test-8-new",
            "sem.other",
        ]);
        assert_eq!(left(&before, &after, "7"), ["handover-global", "handover-test-7-new"]);
        assert_eq!(left(&after, &after, "7"), [""; 0]);
    }
}
