//! Polling words, for systems that can't sleep on several words, or not on so many.
//!
//! Relies on `backoff`; the systems' modules rely on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// The pause between two looks at words of shared memory: 50 µs to 2 ms.
const PAUSES: Backoff = Backoff::new(Duration::from_micros(50), Duration::from_millis(2));

/// Sleeps while each word has its expected value, for at most `limit`.
pub(super) fn poll_any(words: &[(&AtomicU64, u64)], limit: Duration) {
    let start = Instant::now();
    let mut backoff = PAUSES;
    while words.iter().all(|(word, expected)| word.load(Ordering::Acquire) == *expected) {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(backoff.next(left));
    }
}
