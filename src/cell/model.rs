//! The model: the protocol's own code under loom, its interleavings and the reorderings that the memory model
//! allows, on a cell of four slots and two entries whose values are two words.
//!
//! A value of version `v` is the two words `v`, so a mix shows. A process that dies at a step is a thread that
//! returns there. For each fault that the protocol guards against there is a test that puts it in and expects
//! the model to fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::protocol::{self, Current, Memory, Missed};
use super::sync::{AtomicU32, AtomicU64, FAULT, Fault, Ordering};

const SLOTS: usize = 4;
const ENTRIES: usize = 2;

struct Model {
    current: AtomicU64,
    sleepers: AtomicU32,
    claimed: AtomicU32,
    pins: [AtomicU64; ENTRIES],
    versions: [AtomicU64; SLOTS],
    bytes: [[AtomicU64; 2]; SLOTS],
    /// The writers' lock.
    lock: Mutex<()>,
    /// The kernel's wait queue.
    queue: Mutex<()>,
    queued: Condvar,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            current: AtomicU64::new(0),
            sleepers: AtomicU32::new(0),
            claimed: AtomicU32::new(ENTRIES as u32),
            pins: std::array::from_fn(|_| AtomicU64::new(0)),
            versions: std::array::from_fn(|_| AtomicU64::new(0)),
            bytes: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            lock: Mutex::new(()),
            queue: Mutex::new(()),
            queued: Condvar::new(),
        })
    }

    /// Sleeps while the word is `expected`, as a futex does: the check and the falling asleep are one.
    fn sleep(&self, expected: u64) {
        let queue = self.queue.lock().unwrap();
        if self.current.load(Ordering::Relaxed) == expected {
            drop(self.queued.wait(queue).unwrap());
        }
    }

    fn load_bytes(&self, slot: usize) -> [u64; 2] {
        [self.bytes[slot][0].load(Ordering::Relaxed), self.bytes[slot][1].load(Ordering::Relaxed)]
    }

    /// One publication, ended after a number of steps as by a kill; `None` runs to the end.
    fn publish(&self, dies_after: Option<u32>) {
        let _lock = self.lock.lock().unwrap();
        let current = Current(self.current.load(Ordering::Relaxed));
        let version = current.version() + 1;
        let dead = |step| dies_after == Some(step);
        if dead(0) {
            return;
        }
        let slot = protocol::take_next(self, current).expect("a slot is free");
        if dead(1) {
            return;
        }
        let early = super::sync::is_faulty(Fault::PublishFirst);
        if early {
            protocol::publish(self, slot, version);
        }
        self.bytes[slot][0].store(version, Ordering::Relaxed);
        if dead(2) {
            return;
        }
        self.bytes[slot][1].store(version, Ordering::Relaxed);
        if dead(3) {
            return;
        }
        if dead(4) {
            self.versions[slot].store(version, Ordering::Release);
            return;
        }
        if dead(5) {
            // Published, and nobody is woken.
            self.versions[slot].store(version, Ordering::Release);
            self.current.store(Current::new(version, slot).0, Ordering::Release);
            return;
        }
        if !early {
            protocol::publish(self, slot, version);
        }
    }

    /// Publications under one lease: each takes the slot of the next one.
    fn publish_under_a_lease(&self, times: u32) {
        let _lock = self.lock.lock().unwrap();
        let mut taken = None;
        for _ in 0..times {
            let current = Current(self.current.load(Ordering::Relaxed));
            let slot = taken.take().or_else(|| protocol::take_next(self, current)).expect("a slot is free");
            let version = current.version() + 1;
            self.bytes[slot][0].store(version, Ordering::Relaxed);
            self.bytes[slot][1].store(version, Ordering::Relaxed);
            let next = protocol::find_next(self, slot, current, SLOTS);
            if protocol::publish_and_take(self, slot, version, next) {
                taken = next;
            }
        }
    }

    /// One pinned read: the version, checked to be whole.
    fn read(&self, entry: usize) -> u64 {
        match protocol::pin(self, entry) {
            Ok(current) => {
                assert_eq!(self.load_bytes(current.slot()), [current.version(); 2], "torn");
                current.version()
            }
            Err(Missed::Empty) => 0,
            Err(other) => panic!("{other:?}"),
        }
    }

    /// One copied read.
    fn copy(&self) -> u64 {
        match protocol::copy(self, |current| self.load_bytes(current.slot())) {
            Ok((current, bytes)) => {
                assert_eq!(bytes, [current.version(); 2], "torn");
                current.version()
            }
            Err(Missed::Empty) => 0,
            Err(other) => panic!("{other:?}"),
        }
    }
}

impl Memory for Model {
    fn slots(&self) -> usize {
        SLOTS
    }

    fn entries(&self) -> usize {
        ENTRIES
    }

    fn current(&self) -> &AtomicU64 {
        &self.current
    }

    fn sleepers(&self) -> &AtomicU32 {
        &self.sleepers
    }

    fn claimed(&self) -> &AtomicU32 {
        &self.claimed
    }

    fn pin(&self, entry: usize) -> &AtomicU64 {
        &self.pins[entry]
    }

    fn version(&self, slot: usize) -> &AtomicU64 {
        &self.versions[slot]
    }

    fn wake(&self) {
        let _queue = self.queue.lock().unwrap();
        self.queued.notify_all();
    }
}

/// Explores `model` with at most `preemptions` unforced switches between threads, and as many more as
/// `HANDOVER_MODEL_DEPTH` says.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let deeper = std::env::var("HANDOVER_MODEL_DEPTH").map_or(0, |depth| depth.parse().expect("a number"));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions + deeper);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Expects `explore` to find an execution that fails once `fault` is in.
fn finds(fault: Fault, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    FAULT.set(Some(fault));
    let found = catch_unwind(AssertUnwindSafe(|| explore(preemptions, model)));
    FAULT.set(None);
    assert!(found.is_err(), "the model does not find {fault:?}");
}

fn one_writer_two_readers() {
    let model = Model::new();
    let readers: Vec<_> = (0..2)
        .map(|entry| {
            let model = model.clone();
            thread::spawn(move || {
                let first = model.read(entry);
                assert!(model.read(entry) >= first, "went back");
            })
        })
        .collect();
    model.publish(None);
    model.publish(None);
    for reader in readers {
        reader.join().unwrap();
    }
}

/// One reader, and a writer that comes back to the slot where the reader is.
fn busy_writer_one_reader() {
    let model = Model::new();
    model.publish(None);
    let reader = {
        let model = model.clone();
        thread::spawn(move || assert!(model.read(0) >= 1))
    };
    for _ in 0..3 {
        model.publish(None);
    }
    reader.join().unwrap();
}

/// The same under a lease: three publications fill the free slots, the fourth comes back.
fn leased_writer_one_reader() {
    let model = Model::new();
    model.publish(None);
    let reader = {
        let model = model.clone();
        thread::spawn(move || assert!(model.read(0) >= 1))
    };
    model.publish_under_a_lease(4);
    reader.join().unwrap();
}

fn leased_writer_copying_reader() {
    let model = Model::new();
    model.publish(None);
    let reader = {
        let model = model.clone();
        thread::spawn(move || assert!(model.copy() >= 1))
    };
    model.publish_under_a_lease(4);
    reader.join().unwrap();
}

fn busy_writer_copying_reader() {
    let model = Model::new();
    model.publish(None);
    let reader = {
        let model = model.clone();
        thread::spawn(move || assert!(model.copy() >= 1))
    };
    for _ in 0..3 {
        model.publish(None);
    }
    reader.join().unwrap();
}

fn waiter_and_publisher() {
    let model = Model::new();
    let waiter = {
        let model = model.clone();
        thread::spawn(move || {
            let mut seen = 0;
            while Current(seen).version() < 2 {
                if protocol::prepare_sleep(&*model, seen) {
                    // No time-out here: a lost wake-up is a deadlock, which loom reports.
                    model.sleep(seen);
                }
                seen = model.current.load(Ordering::Acquire);
            }
            assert_eq!(model.load_bytes(Current(seen).slot()), [2; 2]);
        })
    };
    model.publish(None);
    model.publish(None);
    waiter.join().unwrap();
}

#[test]
fn one_writer_and_two_readers_see_whole_versions_that_never_go_back() {
    explore(3, one_writer_two_readers);
}

#[test]
fn a_busy_writer_never_writes_a_pinned_slot() {
    explore(4, busy_writer_one_reader);
}

#[test]
fn a_writer_under_a_lease_never_writes_a_pinned_slot() {
    explore(3, leased_writer_one_reader);
}

#[test]
fn a_copy_that_passes_its_check_under_a_lease_is_whole() {
    explore(3, leased_writer_copying_reader);
}

#[test]
fn a_copy_that_passes_its_check_is_whole() {
    explore(4, busy_writer_copying_reader);
}

#[test]
fn two_writers_and_one_reader_see_whole_versions_that_never_go_back() {
    explore(3, || {
        let model = Model::new();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let model = model.clone();
                thread::spawn(move || model.publish(None))
            })
            .collect();
        let first = model.read(0);
        assert!(model.read(0) >= first, "went back");
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(Current(model.current.load(Ordering::Acquire)).version(), 2, "a version was lost");
        assert_eq!(model.read(0), 2);
    });
}

#[test]
fn a_writer_that_dies_at_any_step_leaves_the_old_or_the_new_version() {
    for step in 0..=5 {
        explore(3, move || {
            let model = Model::new();
            model.publish(None);
            let reader = {
                let model = model.clone();
                thread::spawn(move || {
                    let first = model.read(0);
                    assert!((1..=3).contains(&first));
                    assert!(model.read(0) >= first, "went back");
                })
            };
            model.publish(Some(step));
            // The next writer proceeds.
            model.publish(None);
            reader.join().unwrap();
            let last = Current(model.current.load(Ordering::Acquire)).version();
            assert_eq!(last, if step == 5 { 3 } else { 2 });
            assert_eq!(model.read(0), last);
        });
    }
}

#[test]
fn a_reader_that_dies_with_a_pin_stops_nobody() {
    explore(3, || {
        let model = Model::new();
        model.publish(None);
        // Dies pinned, or between pin and check: to the others both look the same.
        let dying = {
            let model = model.clone();
            thread::spawn(move || {
                let current = Current(model.current.load(Ordering::Acquire));
                model.pins[0].store(current.slot() as u64 + 1, Ordering::Release);
            })
        };
        model.publish(None);
        model.publish(None);
        dying.join().unwrap();
        assert_eq!(model.read(1), 3);
        model.publish(None);
        assert_eq!(model.read(1), 4);
    });
}

#[test]
fn no_wake_up_is_lost() {
    explore(4, waiter_and_publisher);
}

#[test]
fn two_waiters_both_wake() {
    explore(3, || {
        let model = Model::new();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let model = model.clone();
                thread::spawn(move || {
                    while protocol::prepare_sleep(&*model, 0) {
                        model.sleep(0);
                    }
                })
            })
            .collect();
        model.publish(None);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn the_model_finds_a_missing_check_after_the_pin() {
    finds(Fault::NoCheckAfterPin, 4, busy_writer_one_reader);
}

#[test]
fn the_model_finds_a_missing_fence_of_the_reader() {
    finds(Fault::NoReaderFence, 4, busy_writer_one_reader);
}

#[test]
fn the_model_finds_a_missing_fence_of_the_writer() {
    finds(Fault::NoWriterFence, 4, busy_writer_one_reader);
}

#[test]
fn the_model_finds_a_missing_second_look_at_the_pins() {
    finds(Fault::NoSecondLook, 4, busy_writer_one_reader);
}

#[test]
fn the_model_finds_a_missing_fence_where_a_slot_is_taken_with_a_publication() {
    finds(Fault::NoWakeFence, 3, leased_writer_one_reader);
}

#[test]
fn the_model_finds_a_missing_second_look_where_a_slot_is_taken_with_a_publication() {
    finds(Fault::NoSecondLook, 3, leased_writer_one_reader);
}

#[test]
fn the_model_finds_a_version_published_before_its_bytes() {
    finds(Fault::PublishFirst, 3, one_writer_two_readers);
}

#[test]
fn the_model_finds_a_relaxed_publication() {
    finds(Fault::RelaxedPublish, 4, waiter_and_publisher);
}

#[test]
fn the_model_finds_a_missing_check_after_the_copy() {
    finds(Fault::NoCheckAfterCopy, 4, busy_writer_copying_reader);
}

#[test]
fn the_model_finds_a_wake_up_before_the_publication() {
    finds(Fault::WakeFirst, 4, waiter_and_publisher);
}

#[test]
fn the_model_finds_a_missing_fence_before_the_look_for_sleepers() {
    finds(Fault::NoWakeFence, 4, waiter_and_publisher);
}
