//! The one doubling pause, for polling where the system can't tell when something happens.
//!
//! Relies on `error`.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Pauses between looks: each is twice as long as the one before, up to a maximum. A copy continues from
/// where it was copied.
#[derive(Clone, Copy, Debug)]
#[must_use = "it does not sleep by itself"]
pub(crate) struct Backoff {
    pause: Duration,
    longest: Duration,
}

impl Backoff {
    /// For locks, which are held about as long as a copy takes: 20 µs to 2 ms.
    pub(crate) const LOCK: Self = Self::new(Duration::from_micros(20), Duration::from_millis(2));
    /// For names and files, whose appearance no system announces: 100 µs to 10 ms.
    pub(crate) const NAME: Self = Self::new(Duration::from_micros(100), Duration::from_millis(10));

    /// For cells on which this process can't leave the mark that makes publishers wake it: 1 to 10 ms. Nobody
    /// can tell such a waiter when to look, so it looks seldom.
    pub(crate) const UNMARKED: Self = Self::new(Duration::from_millis(1), Duration::from_millis(10));

    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { pause: shortest, longest }
    }

    /// How long to sleep before the next look, at most `left`.
    pub(crate) fn next(&mut self, left: Duration) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        pause.min(left)
    }

    /// Calls `attempt` until it returns something, or fails with `TimedOut` once `limit` has passed. The last
    /// attempt comes after the limit, so even a limit of 0 allows one.
    pub(crate) fn poll<T>(
        mut self,
        limit: Duration,
        waiting_for: impl FnOnce() -> String,
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let mut start = None;
        loop {
            if let Some(got) = attempt()? {
                return Ok(got);
            }
            // Most attempts succeed at once, and asking for the time is a call too.
            let left = limit.saturating_sub(start.get_or_insert_with(Instant::now).elapsed());
            if left.is_zero() {
                return Err(Error::timed_out(waiting_for(), limit));
            }
            std::thread::sleep(self.next(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_what_is_left() {
        let mut backoff = Backoff::NAME;
        let long = Duration::from_secs(1);
        let pauses: Vec<_> = (0..9).map(|_| backoff.next(long).as_micros()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.next(Duration::from_micros(3)), Duration::from_micros(3));
    }

    #[test]
    fn a_limit_of_zero_is_one_attempt() {
        let mut attempts = 0;
        let outcome = Backoff::LOCK.poll(
            Duration::ZERO,
            || "nothing".to_owned(),
            || {
                attempts += 1;
                Ok(None::<()>)
            },
        );
        assert_eq!((outcome.is_err(), attempts), (true, 1));
    }
}
