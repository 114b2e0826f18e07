//! One process of a case: makes its side of a subject and measures, in step with the other one.
//!
//! Both processes go through the same list of measures and meet before and after each. The one that does not
//! measure sleeps, or does what the measure says: reads or publishes without pause, or serves.

use std::hint::{black_box, spin_loop};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::{Budget, Clock, now};
use crate::payload::SMALL;
use crate::place::Stage;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject, Timer};

/// A process's task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) subject: String,
    pub(crate) size: usize,
    pub(crate) plan: Plan,
    pub(crate) role: Role,
    pub(crate) parties: u32,
    pub(crate) folder: PathBuf,
    pub(crate) processor: Option<usize>,
    pub(crate) nanos_per_tick: f64,
    pub(crate) time: Duration,
    pub(crate) most: usize,
}

/// Which list of measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Plan {
    /// What the subject has for this payload.
    Payload,
    /// What it has for the series of sizes.
    Series,
    /// So many readers.
    Readers(u32),
    /// Checks that publishing makes no system call.
    NoSystemCall,
}

/// Which process of the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The one that publishes.
    Producer,
    /// One that reads, by number.
    Consumer(u32),
}

/// Samples of one figure, in nanoseconds (or bytes of memory).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Samples {
    pub(crate) figure: String,
    pub(crate) samples: Vec<f64>,
}

/// No case takes longer than this; the system ends a process that does.
const LIMIT: u32 = 60;
/// The name of the memory that a case shares.
const NAME: &str = "value";
/// A reader that should be asleep gets this long to fall asleep.
const FALL_ASLEEP: Duration = Duration::from_micros(250);
/// How often the producer publishes while many read.
const PAUSE: Duration = Duration::from_millis(1);

/// Carries out a task.
pub(crate) fn run<S: Subject>(task: &Task) -> Outcome<Vec<Samples>> {
    // SAFETY: the call sets this process's alarm, which ends the process by default, and touches no memory.
    unsafe { libc::alarm(LIMIT) };
    if let Some(processor) = task.processor {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    let place = Place { folder: task.folder.clone(), name: NAME.to_owned() };
    if task.plan == Plan::NoSystemCall {
        return no_system_call::<S>(&place, task.size);
    }
    let stage = Stage::open(&stage_path(&task.folder), task.parties)?;
    let side = Side {
        clock: Clock::new(task.nanos_per_tick),
        budget: Budget { time: task.time, most: task.most },
        stage,
        place,
        size: task.size,
        measures: match task.plan {
            Plan::Series => S::series(task.size),
            _ => S::measures(task.size),
        },
    };
    match (task.plan, task.role) {
        (Plan::Readers(_), Role::Producer) => side.publish_for_readers::<S>(),
        (Plan::Readers(_), Role::Consumer(index)) => side.read_beside_others::<S>(index),
        (_, Role::Producer) => side.produce::<S>(),
        (_, Role::Consumer(_)) => side.consume::<S>(),
    }
}

pub(crate) fn stage_path(folder: &std::path::Path) -> PathBuf {
    folder.join("stage")
}

struct Side {
    clock: Clock,
    budget: Budget,
    stage: Stage,
    place: Place,
    size: usize,
    measures: &'static [Measure],
}

/// The place of the values in the other direction.
const BACK: usize = 99;
/// The place that nobody reads.
const UNREAD: usize = 98;
/// The first place of the pairs of one process.
const PAIRS: usize = 100;

impl Side {
    fn time(&self, start: u64, end: u64) -> f64 {
        self.clock.between(start, end)
    }

    /// In the order in which both processes go through them.
    fn steps(&self) -> impl Iterator<Item = Measure> + use<> {
        let own = [Measure::Readers, Measure::NoSystemCall];
        self.measures.iter().copied().filter(move |measure| !own.contains(measure))
    }

    /// Returns whether the other process did anything since the last call: a sample taken while the system
    /// made it wait measures something else. For small values only: the other process may be busy with one
    /// large value all the time.
    fn was_beside(&self) -> impl FnMut() -> bool {
        let mut last = self.stage.done_beside();
        move || {
            let done = self.stage.done_beside();
            std::mem::replace(&mut last, done) != done || self.size > SMALL
        }
    }

    fn reads_in_place(&self) -> bool {
        self.measures.contains(&Measure::ReadZeroCopy)
    }

    // ---- the producer's process

    fn produce<S: Subject>(&self) -> Outcome<Vec<Samples>> {
        let mut producer = S::producer(&self.place, self.size)?;
        let mut number = 1;
        producer.publish(number);
        self.stage.meet()?;
        // The consumer opens.
        self.stage.meet()?;
        for _ in 0..2 {
            number += 1;
            producer.publish(number);
        }
        self.attend(&mut producer, number, |producer, stage| producer.serve(&|| stage.goes_on()))?;
        let mut results = Vec::new();
        for measure in self.steps() {
            let samples = self.measure_producing::<S>(measure, &mut producer, &mut number)?;
            results.extend(samples);
        }
        Ok(results)
    }

    /// Lets the other process measure, and does `meanwhile` as long as that goes on.
    fn attend<P>(
        &self,
        producer: &mut P,
        number: u64,
        meanwhile: impl FnOnce(&mut P, &Stage),
    ) -> Outcome<()> {
        self.stage.set_going(true);
        self.stage.set_nothing_beside();
        self.stage.number().store(number, Ordering::Release);
        self.stage.meet()?;
        meanwhile(producer, &self.stage);
        self.stage.meet()
    }

    /// Measures, while the other process does its part.
    fn alone<R>(&self, number: u64, measure: impl FnOnce() -> R) -> Outcome<R> {
        self.stage.set_going(true);
        self.stage.set_nothing_beside();
        self.stage.number().store(number, Ordering::Release);
        self.stage.meet()?;
        let samples = measure();
        self.stage.set_going(false);
        self.stage.meet()?;
        Ok(samples)
    }

    fn measure_producing<S: Subject>(
        &self,
        measure: Measure,
        producer: &mut S::Producer,
        number: &mut u64,
    ) -> Outcome<Vec<Samples>> {
        let samples = |samples| vec![Samples { figure: measure.name().to_owned(), samples }];
        let mut next = || {
            *number += 1;
            black_box(*number)
        };
        let repeated = |operation: &mut dyn FnMut()| self.clock.repeat(self.budget, operation);
        Ok(match measure {
            Measure::Publish => {
                samples(self.alone(0, || self.clock.repeat(self.budget, || producer.publish(next())))?)
            }
            Measure::PublishWhileRead => samples(self.alone(0, || {
                self.stage.wait_beside();
                self.clock.repeat_while(self.budget, || producer.publish(next()), self.was_beside())
            })?),
            Measure::PublishUnread => {
                let mut producer = S::producer(&self.place.other(UNREAD), self.size)?;
                samples(self.alone(0, || self.clock.repeat(self.budget, || producer.publish(next())))?)
            }
            Measure::PublishFilled => {
                samples(self.alone(0, || self.clock.repeat(self.budget, || producer.publish_filled(next())))?)
            }
            Measure::PublishInPlace => samples(
                self.alone(0, || self.clock.repeat(self.budget, || producer.publish_in_place(next())))?,
            ),
            Measure::PublishInPieces => samples(
                self.alone(0, || self.clock.repeat(self.budget, || producer.publish_in_pieces(next())))?,
            ),
            Measure::SetOneShot => {
                let mut set = S::one_shot(&self.place, self.size)?;
                samples(self.alone(0, || repeated(&mut || set(next())))?)
            }
            Measure::Open => samples(self.alone(0, || self.timed(S::open))??),
            Measure::Create => samples(self.alone(0, || self.timed(S::create))??),
            Measure::Memory => {
                let folder = self.place.folder.join("memory");
                make_folder(&folder)?;
                let place = Place { folder, name: NAME.to_owned() };
                let (with, after) = self.alone(0, || S::memory(&place, self.size))??;
                vec![
                    Samples { figure: "memory_bytes".to_owned(), samples: vec![with as f64] },
                    Samples { figure: "memory_bytes_after".to_owned(), samples: vec![after as f64] },
                ]
            }
            Measure::HandoverSpinning => {
                self.stage.meet()?;
                let mut back = S::consumer(&self.place.other(BACK), self.size)?;
                clear(&mut back);
                samples(self.alone(*number, || self.round_trips(producer, &mut back, number))?)
            }
            Measure::HandoverAsleep => {
                self.attend(producer, *number, |producer, stage| wake(producer, stage, number))?;
                Vec::new()
            }
            Measure::ReadWhilePublished => {
                self.attend(producer, *number, |producer, stage| {
                    if producer.serves() {
                        producer.serve(&|| stage.goes_on_beside());
                    }
                    while stage.goes_on_beside() {
                        *number += 1;
                        producer.publish(black_box(*number));
                    }
                })?;
                Vec::new()
            }
            Measure::ReadOwned | Measure::ReadZeroCopy | Measure::ReadUnchanged => {
                self.attend(producer, *number, |producer, stage| producer.serve(&|| stage.goes_on()))?;
                Vec::new()
            }
            Measure::Readers | Measure::NoSystemCall => unreachable!("these have processes of their own"),
        })
    }

    /// Samples of an operation that times itself.
    fn timed(&self, operation: fn(&Place, usize, Timer<'_>) -> Outcome<f64>) -> Outcome<Vec<f64>> {
        let once = || operation(&self.place, self.size, &|start, end| self.time(start, end));
        let warm = Instant::now();
        while warm.elapsed() < self.budget.time / 5 {
            once()?;
        }
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < 5 || (start.elapsed() < self.budget.time && samples.len() < self.budget.most) {
            samples.push(once()?);
        }
        Ok(samples)
    }

    /// To and fro: half the time of a round trip. Only one process reads the clock.
    fn round_trips<P: Producer, C: Consumer>(
        &self,
        producer: &mut P,
        back: &mut C,
        number: &mut u64,
    ) -> Vec<f64> {
        let mut seen = 1;
        let mut once = || {
            *number += 1;
            let start = now();
            producer.publish(*number);
            while seen != *number {
                match back.take_other(seen) {
                    Some(found) => seen = found,
                    None => spin_loop(),
                }
            }
            self.time(start, now()) / 2.0
        };
        let warm = Instant::now();
        while warm.elapsed() < self.budget.time / 5 {
            once();
        }
        let start = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < 5 || (start.elapsed() < self.budget.time && samples.len() < self.budget.most) {
            samples.push(once());
        }
        samples
    }

    fn publish_for_readers<S: Subject>(&self) -> Outcome<Vec<Samples>> {
        let mut producer = S::producer(&self.place, self.size)?;
        let mut number = 1;
        producer.publish(number);
        self.stage.meet()?;
        self.stage.meet()?;
        // All are there. Now each gets a value, even where earlier values do not reach later readers.
        number += 1;
        producer.publish(number);
        self.attend(&mut producer, number, |producer, stage| {
            while stage.goes_on() {
                number += 1;
                producer.publish(number);
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(Vec::new())
    }

    // ---- the consumer's process

    fn consume<S: Subject>(&self) -> Outcome<Vec<Samples>> {
        self.stage.meet()?;
        let mut consumer = S::consumer(&self.place, self.size)?;
        self.stage.meet()?;
        self.stage.meet()?;
        let checked = consumer.check(self.stage.number().load(Ordering::Acquire));
        self.stage.set_going(false);
        checked?;
        self.stage.meet()?;
        let mut results = Vec::new();
        for measure in self.steps() {
            let samples = self.measure_consuming::<S>(measure, &mut consumer)?;
            if let Some(samples) = samples {
                results.push(Samples { figure: measure.name().to_owned(), samples });
            }
        }
        Ok(results)
    }

    /// Measures, while the other process attends.
    fn ask<R>(&self, measure: impl FnOnce(u64) -> R) -> Outcome<R> {
        self.stage.meet()?;
        let result = measure(self.stage.number().load(Ordering::Acquire));
        self.stage.set_going(false);
        self.stage.meet()?;
        Ok(result)
    }

    /// Does its part, while the other process measures.
    fn assist(&self, mut part: impl FnMut()) -> Outcome<()> {
        self.stage.meet()?;
        while self.stage.goes_on_beside() {
            part();
        }
        self.stage.meet()
    }

    fn measure_consuming<S: Subject>(
        &self,
        measure: Measure,
        consumer: &mut S::Consumer,
    ) -> Outcome<Option<Vec<f64>>> {
        let in_place = self.reads_in_place();
        let read = |consumer: &mut S::Consumer| {
            black_box(if in_place { consumer.read_zero_copy() } else { consumer.read_owned() });
        };
        match measure {
            Measure::PublishWhileRead => self.assist(|| read(consumer)).map(|()| None),
            Measure::Publish
            | Measure::PublishUnread
            | Measure::PublishFilled
            | Measure::PublishInPlace
            | Measure::PublishInPieces
            | Measure::SetOneShot
            | Measure::Open
            | Measure::Create
            | Measure::Memory => {
                self.stage.meet()?;
                self.stage.meet()?;
                Ok(None)
            }
            Measure::ReadOwned => self.ask(|_| self.read_new::<S>(consumer, Consumer::read_owned))?.map(Some),
            Measure::ReadZeroCopy => {
                self.ask(|_| self.read_new::<S>(consumer, Consumer::read_zero_copy))?.map(Some)
            }
            Measure::ReadUnchanged => self
                .ask(|_| {
                    clear_by(consumer, read);
                    self.clock.repeat(self.budget, || {
                        black_box(consumer.read_unchanged());
                    })
                })
                .map(Some),
            Measure::ReadWhilePublished => self
                .ask(|_| {
                    self.stage.wait_beside();
                    self.clock.repeat_while(self.budget, || read(consumer), self.was_beside())
                })
                .map(Some),
            Measure::HandoverSpinning => {
                let mut back = S::producer(&self.place.other(BACK), self.size)?;
                back.publish(1);
                self.stage.meet()?;
                clear(consumer);
                self.stage.meet()?;
                let mut seen = self.stage.number().load(Ordering::Acquire);
                while self.stage.goes_on() {
                    match consumer.take_other(seen) {
                        Some(found) => {
                            seen = found;
                            back.publish(found);
                        }
                        None => spin_loop(),
                    }
                }
                self.stage.meet()?;
                Ok(None)
            }
            Measure::HandoverAsleep => self.ask(|number| self.sleep(consumer, number)).map(Some),
            Measure::Readers | Measure::NoSystemCall => unreachable!("these have processes of their own"),
        }
    }

    /// Reads, each one after a publication where that matters: see [`Subject::PAIRS`].
    fn read_new<S: Subject>(
        &self,
        consumer: &mut S::Consumer,
        mut read: impl FnMut(&mut S::Consumer) -> u64,
    ) -> Outcome<Vec<f64>> {
        if S::PAIRS == 0 {
            return Ok(self.clock.repeat(self.budget, || {
                black_box(read(consumer));
            }));
        }
        // Large ones are far above the clock's resolution, and take much memory.
        let count = match self.size {
            0..=2048 => S::PAIRS,
            2049..=16384 => S::PAIRS.min(4),
            _ => 1,
        };
        let mut pairs = (0..count)
            .map(|index| S::pair(&self.place.other(PAIRS + index), self.size))
            .collect::<Outcome<Vec<_>>>()?;
        let mut number = 1;
        let samples = self.clock.each(
            self.budget,
            count,
            &mut pairs,
            |pairs| {
                number += 1;
                for (producer, _) in pairs {
                    producer.publish(number);
                }
            },
            |pairs| {
                for (_, consumer) in pairs {
                    black_box(read(consumer));
                }
            },
        );
        for (producer, consumer) in &mut pairs {
            producer.publish(number + 1);
            consumer.check(number + 1)?;
        }
        Ok(samples)
    }

    fn sleep<C: Consumer>(&self, consumer: &mut C, number: u64) -> Vec<f64> {
        clear(consumer);
        let mut seen = number;
        let mut samples = Vec::new();
        let start = Instant::now();
        // Each sample takes at least the time to fall asleep, so this figure gets more time than others.
        let time = self.budget.time * 4;
        while samples.len() < 10 || (start.elapsed() < time && samples.len() < self.budget.most) {
            self.stage.ready().fetch_add(1, Ordering::AcqRel);
            seen = consumer.sleep_other(seen);
            samples.push(self.time(self.stage.sent_at().load(Ordering::Acquire), now()));
        }
        samples
    }

    fn read_beside_others<S: Subject>(&self, index: u32) -> Outcome<Vec<Samples>> {
        self.stage.meet()?;
        let mut consumer = S::consumer(&self.place, self.size)?;
        let in_place = self.reads_in_place();
        let mut read = || {
            black_box(if in_place { consumer.read_zero_copy() } else { consumer.read_owned() });
        };
        self.stage.meet()?;
        self.stage.meet()?;
        for _ in 0..100 {
            read();
        }
        // Long compared with a scheduler's time slice.
        let time = self.budget.time.max(Duration::from_millis(40)) * 2;
        let start = Instant::now();
        let mut count: u64 = 0;
        let took = loop {
            for _ in 0..64 {
                read();
            }
            count += 64;
            let took = start.elapsed();
            if took >= time {
                break took;
            }
        };
        if index == 0 {
            self.stage.set_going(false);
        }
        self.stage.meet()?;
        Ok(vec![Samples { figure: "rate".to_owned(), samples: vec![count as f64 / took.as_nanos() as f64] }])
    }
}

/// Publishes whenever the reader has announced that it goes to sleep and some time has passed.
fn wake<P: Producer>(producer: &mut P, stage: &Stage, number: &mut u64) {
    let mut asleep = 0;
    let mut random = fastrand::Rng::new();
    while stage.goes_on() {
        if stage.ready().load(Ordering::Acquire) == asleep {
            spin_loop();
            continue;
        }
        asleep += 1;
        let wait = FALL_ASLEEP + Duration::from_nanos(random.u64(0..50_000));
        let start = Instant::now();
        while start.elapsed() < wait {
            spin_loop();
        }
        *number += 1;
        stage.sent_at().store(now(), Ordering::Release);
        producer.publish_and_wake(*number);
    }
    stage.ready().store(0, Ordering::Release);
}

/// Takes what was published before.
fn clear<C: Consumer>(consumer: &mut C) {
    for _ in 0..8 {
        if consumer.take_other(u64::MAX).is_none() {
            break;
        }
    }
}

fn clear_by<C: Consumer>(consumer: &mut C, mut read: impl FnMut(&mut C)) {
    for _ in 0..4 {
        read(consumer);
    }
}

pub(crate) fn make_folder(path: &std::path::Path) -> Outcome<()> {
    use std::os::unix::fs::DirBuilderExt;
    Ok(std::fs::DirBuilder::new().mode(0o700).create(path)?)
}

/// Publishes under a filter with which the kernel ends a process for any system call except the one that ends
/// its thread.
fn no_system_call<S: Subject>(place: &Place, size: usize) -> Outcome<Vec<Samples>> {
    let (mut producer, mut consumer) = S::pair(place, size)?;
    let mut number = 1;
    let mut rounds = |count: u64| {
        for _ in 0..count {
            number += 1;
            producer.publish(number);
        }
        number
    };
    // Each slot has memory after this.
    rounds(1000);
    consumer.read_owned();
    rounds(1000);
    forbid_system_calls()?;
    black_box(rounds(NO_CALL_ROUNDS));
    // SAFETY: `exit` ends the thread; nothing of it is used afterwards.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended")
}

/// From here on the kernel ends this process for any system call except `exit`. (Its strict mode would do
/// that too, but also forbids reading the time stamp counter, which is no system call.)
fn forbid_system_calls() -> Outcome<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The call's number is the first word of the filter's input.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_exit as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the call takes numbers only. Without it a filter needs privileges.
    let privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its steps live until the call returns, and the kernel copies them.
    let entered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if privileges != 0 || entered != 0 {
        return Err(format!("seccomp: {}", std::io::Error::last_os_error()).into());
    }
    Ok(())
}

/// How many publications are checked for system calls.
pub(crate) const NO_CALL_ROUNDS: u64 = 10_000;
