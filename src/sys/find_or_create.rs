//! How a file is found or created by its [`FileMode`]: the same on every system.
//!
//! Relies on nothing of the systems; their own `open_file` relies on it.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::terms::{FileMode, Subject};

/// Opens the file at `path`, or creates it where `mode` asks for that. `open` opens the file; with `true` it
/// creates one that must not exist. `refuse` turns its failure into an error. Returns the file and whether
/// this call created it.
pub(super) fn find_or_create(
    path: &Path,
    mode: FileMode,
    open: impl Fn(bool) -> io::Result<File>,
    refuse: impl Fn(&str, io::Error) -> Error,
) -> Result<(File, bool)> {
    loop {
        let existing = if mode == FileMode::CreateNew {
            Err(io::Error::from(io::ErrorKind::NotFound))
        } else {
            open(false)
        };
        match existing {
            Ok(file) => return Ok((file, false)),
            Err(e) if e.kind() == io::ErrorKind::NotFound && mode != FileMode::Open => match open(true) {
                Ok(file) => return Ok((file, true)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && mode != FileMode::CreateNew => {
                    if path.is_symlink() && !path.exists() {
                        return Err(Error::wrong_kind(
                            Subject::Path(path.to_owned()),
                            "it is a symbolic link that leads nowhere; create its target, or remove it",
                        ));
                    }
                    // Somebody created it between the two calls.
                }
                Err(e) => return Err(refuse("create", e)),
            },
            Err(e) => return Err(refuse("open", e)),
        }
    }
}
