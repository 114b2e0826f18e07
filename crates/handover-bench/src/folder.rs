//! The directories of a run, removed at its end.

use std::fs;
use std::path::{Path, PathBuf};

/// Begins the names of what runs make; the run's process id follows.
pub(crate) const PREFIX: &str = "handover-bench-";

/// Removes what killed runs left.
pub(crate) fn remove_leftovers(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|id| id.parse::<u32>().ok());
        if id.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            drop(Folder(entry.path()));
        }
    }
}

/// A directory of a run, removed at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // One of the peers names its memory after this directory: removes what its failed processes left.
        let (Some(base), Some(name)) = (self.0.parent(), self.0.file_name()) else { return };
        let prefix = format!("{}_", name.to_string_lossy());
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            if name.to_string_lossy().starts_with(PREFIX)
                && entry.file_name().to_string_lossy().starts_with(&prefix)
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
