//! Time: ticks that all processes of a run share, and samples taken with them.
//!
//! On x86-64 a tick is one of the time stamp counter, which the kernel keeps in step between processors (it
//! would not use it as its clock otherwise); elsewhere it is a nanosecond of the monotonic clock. Reading the
//! clock costs about as much as a fast read of a value. So (1) what is shorter than the clock can resolve is
//! measured in batches, and a sample is the mean over a batch; and (2) the cost of a pair of readings with
//! nothing between them, measured in the same process, is taken off each sample.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A batch takes at least so many nanoseconds, so that an error of one or two in the clock does not matter.
const BATCH: f64 = 1000.0;

fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The time in ticks. Everything before it is done when the clock is read, and nothing after it has begun.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn now() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: both instructions exist on every x86-64 processor; they change no memory, and the registers that
    // they change are named. That it may touch memory is not ruled out: so the compiler moves no access over it.
    unsafe {
        std::arch::asm!(
            "lfence", "rdtsc", "lfence",
            out("rax") low, out("rdx") high, options(nostack, preserves_flags)
        );
    }
    high << 32 | low
}

/// The time in ticks.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn now() -> u64 {
    monotonic()
}

/// How long a tick is: measured once in a run.
pub(crate) fn nanos_per_tick() -> f64 {
    let (start, first) = (monotonic(), now());
    while monotonic() - start < 50_000_000 {}
    let (end, last) = (monotonic(), now());
    (end - start) as f64 / (last - first) as f64
}

/// The clock of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    nanos_per_tick: f64,
    /// Ticks between two readings with nothing between them.
    overhead: f64,
}

/// How long a figure may take in one round, and how many samples it may give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) time: Duration,
    pub(crate) most: usize,
}

/// How long samples that count are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which large values a processor's caches keep settles after so many, or it takes too long to wait for that.
const SETTLED: u64 = 32;
const SETTLE_TIME: Duration = Duration::from_millis(64);

/// Samples that a figure has at least, however long they take.
const LEAST: usize = 5;

impl Clock {
    pub(crate) fn new(nanos_per_tick: f64) -> Self {
        let mut pairs: Vec<u64> = (0..4096)
            .map(|_| {
                let start = now();
                now() - start
            })
            .collect();
        pairs.sort_unstable();
        Self { nanos_per_tick, overhead: pairs[pairs.len() / 2] as f64 }
    }

    /// Nanoseconds between two readings, without what reading the clock costs.
    #[inline]
    pub(crate) fn between(&self, start: u64, end: u64) -> f64 {
        (end.wrapping_sub(start) as f64 - self.overhead).max(0.0) * self.nanos_per_tick
    }

    fn batch_of(&self, operation: &mut impl FnMut(), count: u64) -> f64 {
        let start = now();
        for _ in 0..count {
            operation();
        }
        self.between(start, now())
    }

    /// Samples of an operation that can be repeated at once: nanoseconds for each.
    pub(crate) fn repeat(&self, budget: Budget, operation: impl FnMut()) -> Vec<f64> {
        self.repeat_while(budget, operation, || true)
    }

    /// [`repeat`](Self::repeat), without the samples after which `counts` says that they do not count.
    pub(crate) fn repeat_while(
        &self,
        budget: Budget,
        mut operation: impl FnMut(),
        mut counts: impl FnMut() -> bool,
    ) -> Vec<f64> {
        // What the first one does, and no other, says nothing of how many make a batch.
        operation();
        // Warms up, and finds that number.
        let warm = Instant::now();
        let mut count = 1;
        let mut took = self.batch_of(&mut operation, count);
        let mut done = count;
        while warm.elapsed() < budget.time / 5
            || took < BATCH
            || (done < SETTLED && warm.elapsed() < SETTLE_TIME)
        {
            if took < BATCH {
                count *= 2;
            }
            took = self.batch_of(&mut operation, count);
            done += count;
        }
        let start = Instant::now();
        let mut samples = Vec::new();
        counts();
        while samples.len() < LEAST || (start.elapsed() < budget.time && samples.len() < budget.most) {
            let sample = self.batch_of(&mut operation, count) / count as f64;
            if counts() || start.elapsed() > PATIENCE {
                samples.push(sample);
            }
        }
        samples
    }

    /// Samples of what has to be prepared each time: `prepare` is not measured, `operation` does it `count`
    /// times.
    pub(crate) fn each<S>(
        &self,
        budget: Budget,
        count: usize,
        state: &mut S,
        mut prepare: impl FnMut(&mut S),
        mut operation: impl FnMut(&mut S),
    ) -> Vec<f64> {
        let mut once = || {
            prepare(state);
            // What was prepared is in memory, not on its way there: nobody else's stores are paid for here.
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            let start = now();
            operation(black_box(state));
            self.between(start, now()) / count as f64
        };
        let warm = Instant::now();
        while warm.elapsed() < budget.time / 5 {
            once();
        }
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < LEAST || (start.elapsed() < budget.time && samples.len() < budget.most) {
            samples.push(once());
        }
        samples
    }
}
