//! What steps need from outside and may lack, and what is told of it before it is installed.

use std::fmt::Write;
use std::path::PathBuf;

use crate::debian::{self, Package};
use crate::missing::INSTALL;

/// Something that a step needs and that may be missing.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// A package of Debian's.
    Package(Package),
    /// What the step itself fetches or makes.
    Folder(Folder),
}

/// What a step fetches or makes, and keeps.
#[derive(Clone, Copy)]
pub(crate) struct Folder {
    pub(crate) what: &'static str,
    /// What it takes on the disk.
    pub(crate) megabytes: u32,
    /// Where it is or will be; `None` where that is not known yet.
    pub(crate) place: fn() -> Option<PathBuf>,
}

/// Says what will be installed, and installs Debian's part of it, so that a machine that can't have it is
/// known before the first step.
pub(crate) fn install(needs: &[Need]) -> Result<(), String> {
    let mut absent: Vec<Need> = Vec::new();
    for need in needs.iter().filter(|need| !need.is_there()) {
        if absent.iter().all(|other| other.name() != need.name()) {
            absent.push(*need);
        }
    }
    if absent.is_empty() {
        println!("Nothing has to be installed.");
        return Ok(());
    }
    print!("{}", announcement(&absent));
    let packages: Vec<Package> = absent
        .iter()
        .filter_map(|need| match need {
            Need::Package(package) => Some(*package),
            Need::Folder(_) => None,
        })
        .collect();
    debian::install(&packages)
        .map_err(|why| format!("{why}; without {INSTALL} or --all such steps are skipped"))
}

impl Need {
    fn name(&self) -> &'static str {
        match self {
            Self::Package(package) => package.name,
            Self::Folder(folder) => folder.what,
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Self::Package(package) => package.is_there(),
            Self::Folder(folder) => (folder.place)().is_some_and(|place| place.is_dir()),
        }
    }
}

/// What is told of things that will be installed.
fn announcement(absent: &[Need]) -> String {
    let (mut packages, mut others, mut total) = (Vec::new(), String::new(), 0);
    for need in absent {
        match need {
            Need::Package(package) => {
                total += package.megabytes;
                packages.push(format!("{} (about {} MB)", package.name, package.megabytes));
            }
            Need::Folder(folder) => {
                let place =
                    (folder.place)().map_or_else(String::new, |place| format!(", in {}", place.display()));
                let _ = writeln!(others, "- {}, about {} MB{place}", folder.what, folder.megabytes);
            }
        }
    }
    let mut told = "This run installs what is missing:\n".to_owned();
    if !packages.is_empty() {
        let _ = writeln!(
            told,
            "- as root, with apt-get, from Debian's archive, about {total} MB with what they depend on: {}",
            packages.join(", ")
        );
    }
    told + &others
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Need = Need::Package(Package { name: "tool", file: "/nowhere/tool", megabytes: 40 });
    const SOURCE: Need = Need::Package(Package { name: "source", file: "/nowhere/source", megabytes: 300 });
    const RUNTIME: Need =
        Need::Folder(Folder { what: "a runtime", megabytes: 90, place: || Some("/nowhere/runtime".into()) });

    #[test]
    fn the_announcement_names_each_thing_with_its_size_and_source() {
        let told = announcement(&[TOOL, SOURCE, RUNTIME]);
        for part in [
            "as root",
            "Debian's archive, about 340 MB",
            "tool (about 40 MB), source (about 300 MB)",
            "a runtime, about 90 MB, in /nowhere/runtime",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
        assert!(!announcement(&[RUNTIME]).contains("root"));
    }

    #[test]
    fn what_is_there_is_not_missing() {
        let here = Package { file: "/", ..Package { name: "root", file: "", megabytes: 1 } };
        assert!(Need::Package(here).is_there());
        assert!(!TOOL.is_there() && !RUNTIME.is_there());
    }
}
