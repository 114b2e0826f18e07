//! Writes what a run measured for people: `report.html` (one file, with everything in it), `report.md`, the
//! plots as SVG, and `report.json` for programs.
//!
//! `figures` has what the two texts share; `plots` draws.

mod figures;
mod html;
mod markdown;
mod plots;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;

pub(crate) use figures::rows_beside;

use crate::record::Record;

/// Writes `report.html`, `report.md`, `report.json` and `plots/*.svg` into `to`, and creates it if it is
/// missing. Removes the plots of an earlier report there.
///
/// # Errors
///
/// Those of the file system.
pub fn write(record: &Record, to: &Path) -> io::Result<()> {
    let folder = to.join("plots");
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    let plots = plots::all(record);
    for plot in &plots {
        fs::write(folder.join(&plot.file), &plot.svg)?;
    }
    let mut json = serde_json::to_string_pretty(record)?;
    json.push('\n');
    fs::write(to.join("report.json"), json)?;
    fs::write(to.join("report.md"), markdown::page(record, &plots))?;
    fs::write(to.join("report.html"), html::page(record, &plots))
}
