//! Time: ticks that all processes of a run share, and samples taken with them.
//!
//! On x86-64 a tick is one of the time stamp counter, which the kernel keeps in step between processors (it
//! would not use it as its clock otherwise); elsewhere it is a nanosecond of the monotonic clock. Reading the
//! clock costs about as much as a fast read of a value. So (1) operations shorter than the clock can resolve
//! are measured in batches, and a sample is the mean over a batch; and (2) each sample is reduced by the cost
//! of a pair of readings with nothing between them, measured in the same process.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A batch takes at least this many nanoseconds, so that a clock error of one or two does not matter.
const BATCH: f64 = 1000.0;

fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The time in ticks. When this reads the clock, everything before it is done and nothing after it has begun.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn now() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: both instructions exist on every x86-64 processor; they change no memory, and the registers
    // that they change are named. Nothing says that it leaves memory alone, so the compiler moves no access
    // over it.
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

/// How long to wait for samples that count.
const PATIENCE: Duration = Duration::from_secs(2);

/// After this many samples, the set of large values in a processor's caches has settled, or waiting for that
/// takes too long.
const SETTLED: u64 = 32;
const SETTLE_TIME: Duration = Duration::from_millis(64);

/// The fewest samples of a figure, however long they take.
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

    /// Nanoseconds between two readings, without the cost of reading the clock.
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

    /// Samples of an operation that can be repeated at once, in nanoseconds.
    pub(crate) fn repeat(&self, budget: Budget, operation: impl FnMut()) -> Vec<f64> {
        self.repeat_while(budget, operation, || true)
    }

    /// [`repeat`](Self::repeat), without the samples for which `counts` then returns `false`.
    pub(crate) fn repeat_while(
        &self,
        budget: Budget,
        mut operation: impl FnMut(),
        mut counts: impl FnMut() -> bool,
    ) -> Vec<f64> {
        // The first run does more than the others, so it does not tell how many make a batch.
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

    /// Samples of an operation that needs preparation each time: `prepare` is not measured, `operation` does
    /// it `count` times.
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
            // The prepared data is in memory, not on its way there: the sample does not pay for earlier
            // stores.
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

/// The value below which a share of the sorted samples lies.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}
