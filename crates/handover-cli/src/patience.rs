//! How long a subcommand waits for what is not there yet: one limit for the map, its value and a newer
//! version.
//!
//! Relies on `output` to say that it waits; `get`, `take` and `watch` rely on it.

use std::time::{Duration, Instant};

use handover::{Error, ErrorKind, Result};

use crate::failure::timed_out;
use crate::output;

#[derive(Debug)]
pub(crate) struct Patience {
    /// `None`: not at all.
    limit: Option<Duration>,
    start: Instant,
    /// What it waits for, for people.
    shown: String,
    said: bool,
}

impl Patience {
    pub(crate) fn new(limit: Option<Duration>, shown: String) -> Self {
        Self { limit, start: Instant::now(), shown, said: false }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.limit.is_some()
    }

    /// What is left of the time. The first call says that there is something to wait for.
    pub(crate) fn left(&mut self) -> Duration {
        let limit = self.limit.unwrap_or_default();
        if !self.said {
            let up_to = humantime::format_duration(limit);
            output::say(&format!("waiting up to {up_to} for '{}'", self.shown));
            self.said = true;
        }
        limit.saturating_sub(self.start.elapsed())
    }

    fn is_over(&self) -> Error {
        timed_out(&format!("a value in '{}'", self.shown), self.limit.unwrap_or_default())
    }

    /// The error of a failed wait: it names the whole time, not what was left of it.
    pub(crate) fn failed(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::TimedOut { self.is_over() } else { error }
    }

    /// Tries again while `attempt` finds no map, or no value in it.
    pub(crate) fn retry<T>(&mut self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let mut pause = Duration::from_millis(1);
        loop {
            match attempt() {
                Err(error)
                    if self.is_some() && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoValue) =>
                {
                    let left = self.left();
                    if left.is_zero() {
                        return Err(self.is_over());
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(Duration::from_millis(10));
                }
                other => return other,
            }
        }
    }
}
