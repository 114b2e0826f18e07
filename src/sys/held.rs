//! The locks that one handle holds, so that its threads exclude each other too.
//!
//! The system sees all threads of a handle as one owner, and grants an owner what it already has; this table
//! keeps the threads apart. Its owner keeps it under a lock. Relies on nothing; the systems' modules put
//! their own means under it.

use super::asked::{LockId, LockMode};
use crate::error::Result;

/// The locks held, each with the `T` that the system needs to release it.
#[derive(Debug)]
pub(super) struct HeldTable<T>(Vec<Held<T>>);

#[derive(Debug)]
struct Held<T> {
    id: LockId,
    mode: LockMode,
    count: u32,
    taken: T,
}

impl<T> Default for HeldTable<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> HeldTable<T> {
    /// Takes a lock. If this handle already has it shared and the caller wants it shared, it is counted once
    /// more; otherwise `take` asks the system, and returns `None` where somebody else holds the lock.
    pub(super) fn try_lock(
        &mut self,
        id: LockId,
        mode: LockMode,
        take: impl FnOnce() -> Result<Option<T>>,
    ) -> Result<bool> {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.id == id) {
            let shared = entry.mode == LockMode::Shared && mode == LockMode::Shared;
            entry.count += u32::from(shared);
            return Ok(shared);
        }
        let taken = take()?;
        let got = taken.is_some();
        self.0.extend(taken.map(|taken| Held { id, mode, count: 1, taken }));
        Ok(got)
    }

    /// How this handle holds a lock, if it does.
    #[cfg(windows)]
    pub(super) fn get(&self, id: LockId) -> Option<(LockMode, &T)> {
        self.0.iter().find(|entry| entry.id == id).map(|entry| (entry.mode, &entry.taken))
    }

    /// Releases a lock once; on the last release, `release` tells the system.
    pub(super) fn unlock(&mut self, id: LockId, release: impl FnOnce(T)) {
        if let Some(at) = self.0.iter().position(|entry| entry.id == id) {
            self.0[at].count -= 1;
            if self.0[at].count == 0 {
                release(self.0.swap_remove(at).taken);
            }
        }
    }
}
