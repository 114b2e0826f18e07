//! The locks that one handle holds, so that its threads exclude each other too.
//!
//! The system sees all threads of a handle as one owner, and grants an owner what it has already; this table
//! keeps them apart. Relies on nothing; the systems' modules put their own means under it.

use std::sync::{Mutex, PoisonError};

use super::{LockId, LockMode};
use crate::error::Result;

/// Locks held, each with the `T` that the system needs to let go of it.
#[derive(Debug)]
pub(super) struct HeldTable<T>(Mutex<Vec<Held<T>>>);

#[derive(Debug)]
struct Held<T> {
    id: LockId,
    mode: LockMode,
    count: u32,
    taken: T,
}

impl<T> Default for HeldTable<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> HeldTable<T> {
    /// Takes a lock: once more if this handle and the caller both have it shared, else with `take`, which
    /// asks the system and gives `None` where somebody else holds it.
    pub(super) fn try_lock(
        &self,
        id: LockId,
        mode: LockMode,
        take: impl FnOnce() -> Result<Option<T>>,
    ) -> Result<bool> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = held.iter_mut().find(|entry| entry.id == id) {
            let shared = entry.mode == LockMode::Shared && mode == LockMode::Shared;
            entry.count += u32::from(shared);
            return Ok(shared);
        }
        let taken = take()?;
        let got = taken.is_some();
        held.extend(taken.map(|taken| Held { id, mode, count: 1, taken }));
        Ok(got)
    }

    /// Has `look` see how this handle holds a lock, if it does; the table does not change meanwhile.
    #[cfg(windows)]
    pub(super) fn with<R>(&self, id: LockId, look: impl FnOnce(Option<(LockMode, &T)>) -> R) -> R {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(held.iter().find(|entry| entry.id == id).map(|entry| (entry.mode, &entry.taken)))
    }

    /// Lets go of a lock once; the last time, `release` tells the system.
    pub(super) fn unlock(&self, id: LockId, release: impl FnOnce(T)) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|entry| entry.id == id) {
            held[at].count -= 1;
            if held[at].count == 0 {
                release(held.swap_remove(at).taken);
            }
        }
    }
}
