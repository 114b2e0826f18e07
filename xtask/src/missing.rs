//! Steps that lack something: whether it may be installed, and how they end without.
//!
//! Nothing is installed unless it was asked for with `--install`, or with `--all`, which implies it. Then
//! nothing is skipped either: a step that can't be taken fails. Else a step that is skipped says why, and the
//! run tells it at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The option that has missing things installed.
pub(crate) const INSTALL: &str = "--install";

static INSTALLS: AtomicBool = AtomicBool::new(false);

static SKIPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Why a step can't be taken.
#[derive(Clone, Debug)]
pub(crate) enum Missing {
    /// This machine can't have what it needs, or may not install it.
    NotHere(String),
    /// It should have worked.
    Failed(String),
}

impl From<String> for Missing {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotHere(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

impl Missing {
    /// How a step ends that needs it.
    pub(crate) fn end(&self, what: &str) -> Result<(), String> {
        match self {
            Self::NotHere(why) => skip(&format!("{what}: {why}")),
            Self::Failed(why) => Err(why.clone()),
        }
    }
}

/// From now on what is missing is installed, and nothing is skipped.
pub(crate) fn install_from_now_on() {
    INSTALLS.store(true, Ordering::Relaxed);
}

/// Whether what is missing is installed.
pub(crate) fn installs() -> bool {
    INSTALLS.load(Ordering::Relaxed)
}

/// How a step ends that can't be taken on this machine.
pub(crate) fn skip(why: &str) -> Result<(), String> {
    if installs() {
        return Err(format!("{why}; and nothing may be skipped in this run"));
    }
    SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).push(why.to_owned());
    Ok(())
}

/// Why steps were skipped since this was last asked.
pub(crate) fn skipped() -> Option<String> {
    let reasons = std::mem::take(&mut *SKIPPED.lock().unwrap_or_else(PoisonError::into_inner));
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
