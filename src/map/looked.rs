//! When a handle last looked whether its name still leads to its map.
//!
//! Somebody may delete, move or replace the file of a name that is held. Only a look at its path tells, which
//! is a system call; so a handle looks again only once its last look is [`LOOK`] old. Relies on `sys` for the
//! clock; `handle` keeps one for each map.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys;

/// How old the last look may be for whoever writes, opens a view or reads something new.
const LOOK: u64 = 50_000_000;

/// How old it may become while somebody sleeps, who is to be told within 100 ms: the rest is for the clock,
/// which is some milliseconds late, and for waking up.
const SLEEP: u64 = 90_000_000;

/// The last look failed: the next one is always due. That of a lost name fails again.
const LOST: u64 = 0;

/// When a handle last looked, in its own memory: each looks for itself.
#[derive(Debug)]
pub(super) struct Looked {
    /// Whether there is a name that could be lost.
    named: bool,
    /// In nanoseconds since 1970.
    last: AtomicU64,
}

impl Looked {
    /// For a map whose name, if it has one, was made or found just now.
    pub(super) fn now(named: bool) -> Self {
        Self { named, last: AtomicU64::new(if named { sys::coarse_time() } else { LOST }) }
    }

    /// Whether it is time to look. Asks for the time only where there is a name.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.named && self.is_due_at(sys::coarse_time())
    }

    /// The same for a caller that has the time: one comparison. So without a name, too, it is due from time
    /// to time.
    #[inline]
    pub(super) fn is_due_at(&self, now: u64) -> bool {
        // A clock that was set back makes it due.
        now.wrapping_sub(self.last.load(Ordering::Relaxed)) >= LOOK
    }

    /// Notes the outcome of a look.
    pub(super) fn note(&self, has_failed: bool) {
        self.last.store(if has_failed { LOST } else { sys::coarse_time() }, Ordering::Relaxed);
    }

    /// How long a waiter may sleep before it looks again; `None` without a name.
    pub(super) fn left(&self) -> Option<Duration> {
        let age = || sys::coarse_time().wrapping_sub(self.last.load(Ordering::Relaxed));
        self.named.then(|| Duration::from_nanos(SLEEP.saturating_sub(age())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_after_its_time_and_when_the_clock_went_back_and_always_once_the_name_is_lost() {
        let last = 1_000_000_000_000_000;
        let looked = Looked { named: true, last: AtomicU64::new(last) };
        let due = [last, last + LOOK - 1, last + LOOK, last - 1].map(|now| looked.is_due_at(now));
        assert_eq!(due, [false, false, true, true]);
        looked.note(true);
        assert!(looked.is_due() && looked.left() == Some(Duration::ZERO));
    }

    #[test]
    fn a_map_without_a_name_does_not_ask_for_the_time_nor_bound_any_sleep() {
        let looked = Looked::now(false);
        assert!(!looked.is_due() && looked.left().is_none());
        assert!(looked.is_due_at(sys::coarse_time()), "it looks for whoever has the time");
        looked.note(false);
        assert!(!looked.is_due_at(looked.last.load(Ordering::Relaxed) + LOOK - 1));
    }
}
