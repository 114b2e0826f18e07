//! The model runs the protocol's own code under loom, which explores its interleavings and the reorderings
//! that the memory model allows. Its cell has four slots and two entries, and values of two words.
//!
//! A value of version `v` is the two words `v`, so a mix shows. A thread that returns at a step stands for a
//! process that dies there. For each fault that the protocol guards against, a test puts it in and expects
//! the model to fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::primitives::plain;
use super::protocol::{self, Current, Memory, Missed};

atomic!(AtomicU64 => u64, AtomicU32 => u32);

/// Faults that tests put in to show that the model would find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The reader does not check the slot again after it pinned it (as in mmap-sync).
    NoCheckAfterPin,
    /// The reader's fence between pin and check is missing.
    NoReaderFence,
    /// The writer's fence between taking a slot and looking at the pins is missing.
    NoWriterFence,
    /// The writer does not look at the pins again after it took a slot.
    NoSecondLook,
    /// The version is stored before its bytes.
    PublishFirst,
    /// The word that publishes is stored with relaxed ordering.
    RelaxedPublish,
    /// The copying reader does not check the slot after it copied.
    NoCheckAfterCopy,
    /// Sleepers are woken before the version is published, and not after.
    WakeFirst,
    /// The fence between publishing and looking for sleepers is missing.
    NoWakeFence,
}

std::thread_local! {
    /// The fault of the models made next. Loom runs all threads of a model on one thread of the system.
    static FAULT: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

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
    fault: Option<Fault>,
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
            fault: FAULT.get(),
        })
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Sleeps while the word is `expected`, as a futex does: checking and falling asleep are one step.
    fn sleep(&self, expected: u64) {
        let queue = self.queue.lock().unwrap();
        if self.current.load(Ordering::Relaxed) == expected {
            drop(self.queued.wait(queue).unwrap());
        }
    }

    fn load_bytes(&self, slot: usize) -> [u64; 2] {
        [self.bytes[slot][0].load(Ordering::Relaxed), self.bytes[slot][1].load(Ordering::Relaxed)]
    }

    /// One publication that ends after a number of steps, as if killed; `None` runs to the end.
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
        let early = self.has(Fault::PublishFirst);
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

    /// Overwrites the bytes of a slot taken for that.
    fn wipe(&self, slot: usize) {
        self.bytes[slot][0].store(0, Ordering::Relaxed);
        self.bytes[slot][1].store(0, Ordering::Relaxed);
    }

    /// One pinned read. Returns the version, and checks that it is whole.
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
    type Word = AtomicU64;
    type Half = AtomicU32;

    fn fence(ordering: Ordering) {
        fence(ordering);
    }

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

    fn fence_after_pin(&self) {
        if !self.has(Fault::NoReaderFence) {
            plain::fence(self);
        }
    }

    fn stands_after_pin(&self, current: Current) -> bool {
        plain::stands(self.version(current.slot()), current) || self.has(Fault::NoCheckAfterPin)
    }

    fn stands_after_copy(&self, word: &AtomicU64, current: Current) -> bool {
        plain::stands_after_copy::<Self>(word, current) || self.has(Fault::NoCheckAfterCopy)
    }

    fn fence_after_take(&self) {
        if !self.has(Fault::NoWriterFence) {
            plain::fence(self);
        }
    }

    fn is_pinned_after_take(&self, slot: usize, own: Option<usize>) -> bool {
        !self.has(Fault::NoSecondLook) && plain::is_pinned_beside(self, slot, own)
    }

    fn take_mark(&self) -> bool {
        let took = plain::take_mark(self);
        if self.has(Fault::WakeFirst) {
            self.wake();
            return false;
        }
        took
    }

    fn store_current(&self, current: Current) {
        if self.has(Fault::RelaxedPublish) {
            self.current.store(current.0, Ordering::Relaxed);
        } else {
            plain::store_current(self, current);
        }
    }

    fn fence_after_publish(&self) {
        if !self.has(Fault::NoWakeFence) {
            plain::fence(self);
        }
    }

    fn wake_sleepers(&self, took_mark: bool) {
        if !self.has(Fault::WakeFirst) {
            plain::wake_sleepers(self, took_mark);
        }
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

/// The first version must be wiped, by the writer that replaced it or by its readers when they unpin it. Then
/// its slot is written again.
fn wiped_by_whoever_can() {
    let model = Model::new();
    model.publish(None);
    let readers: Vec<_> = (0..2)
        .map(|entry| {
            let model = model.clone();
            thread::spawn(move || {
                let version = model.read(entry);
                protocol::unpin(&*model, entry);
                fence(Ordering::SeqCst);
                let is_replaced = Current(model.current.load(Ordering::Relaxed)).version() > 1;
                if version == 1 && is_replaced && protocol::take_with_pin(&*model, entry, 0, 1) {
                    model.wipe(0);
                    protocol::unpin(&*model, entry);
                }
            })
        })
        .collect();
    model.publish(None);
    {
        let _lock = model.lock.lock().unwrap();
        if protocol::take(&*model, 0) {
            model.wipe(0);
        }
    }
    model.publish(None);
    model.publish(None);
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(model.read(0), 4);
}

#[test]
fn a_slot_is_wiped_when_nobody_reads_it_and_nobody_writes_it() {
    explore(2, wiped_by_whoever_can);
}

#[test]
fn the_model_finds_a_reader_that_wipes_without_a_second_look() {
    finds(Fault::NoSecondLook, 3, wiped_by_whoever_can);
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
        // Dies pinned, or between pin and check. To the others both look the same.
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
