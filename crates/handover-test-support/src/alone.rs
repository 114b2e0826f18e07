//! Names that no other test sees.
//!
//! Where names lie in a directory, each test has one of its own. Windows has one room for all names, so there
//! tests that use names run one after another, also those of other test programs. Tests are written as if
//! they were alone, with names such as "x".

#![allow(clippy::missing_panics_doc, reason = "a harness reports by panicking")]

/// While it lives, tests on other threads and in other processes that want one wait. A thread can have
/// several.
#[derive(Clone, Debug)]
pub struct Alone {
    /// Open for this process and for nobody else; the kernel closes it for those who die.
    #[cfg(windows)]
    _file: std::sync::Arc<std::fs::File>,
}

impl Alone {
    /// Waits until no other test uses names.
    #[cfg(windows)]
    pub fn new() -> Self {
        use std::cell::RefCell;
        use std::fs::{File, OpenOptions};
        use std::os::windows::fs::OpenOptionsExt;
        use std::sync::{Arc, Weak};
        use std::time::{Duration, Instant};

        thread_local!(static OWN: RefCell<Weak<File>> = const { RefCell::new(Weak::new()) });

        if let Some(file) = OWN.with_borrow(Weak::upgrade) {
            return Self { _file: file };
        }
        let path = std::env::temp_dir().join("handover-tests.lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).share_mode(0);
        let since = Instant::now();
        let file = loop {
            match options.open(&path) {
                Ok(file) => break Arc::new(file),
                Err(error) => {
                    assert!(since.elapsed() < Duration::from_secs(1200), "{}: {error}", path.display());
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        OWN.set(Arc::downgrade(&file));
        Self { _file: file }
    }

    /// Nothing has to be waited for.
    #[cfg(not(windows))]
    pub fn new() -> Self {
        Self {}
    }
}

impl Default for Alone {
    fn default() -> Self {
        Self::new()
    }
}

/// A place for names and files that no other test sees and that goes with the value.
#[derive(Debug)]
pub struct OwnDir {
    directory: tempfile::TempDir,
    _alone: Alone,
}

impl std::ops::Deref for OwnDir {
    type Target = tempfile::TempDir;

    fn deref(&self) -> &tempfile::TempDir {
        &self.directory
    }
}

impl AsRef<std::path::Path> for OwnDir {
    fn as_ref(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// A directory of the test's own, and its names.
pub fn own_dir() -> OwnDir {
    OwnDir { _alone: Alone::new(), directory: tempfile::tempdir().expect("a temporary directory") }
}

/// A directory in memory where the system has that, else a temporary one. It is called after the run of the
/// checks that it belongs to, so that `cargo xtask test` can tell what that run left behind.
pub fn memory_dir() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let prefix = match std::env::var("HANDOVER_TEST_RUN") {
        Ok(run) => format!("handover-test-{run}-"),
        Err(_) => "handover-test-".to_owned(),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    let made = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
    made.expect("a directory for the test")
}
