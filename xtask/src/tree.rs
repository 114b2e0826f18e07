//! The project's files: where they begin, and which there are.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The workspace's root: as cargo says at run time, because two clones may share one folder for build
/// results.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        PathBuf::from(own).parent().unwrap_or(Path::new(".")).to_owned()
    })
}

/// This clone's folder for build results.
pub(crate) fn build_results() -> PathBuf {
    // This program lies in a folder of it that is called after the profile.
    let own = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.parent()?.to_owned()));
    own.unwrap_or_else(|| root().join("target"))
}

/// The files under `folder` whose names end in `.extension`, sorted; build results are left out.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
