//! Three slots and a pin: the reader marks the slot it reads, and checks that the slot still has the version
//! it wanted. The writer takes a slot that is neither current nor pinned. One reader with one pin; nobody
//! notices a writer or reader that dies.
//!
//! Between the reader's store of its pin and its second look there must be a fence, and another one between
//! the writer's taking of a slot and its look at the pin. [`Pin`] has a locked exchange on both sides.
//! [`AsymmetricPin`] has none for the reader: the writer makes the kernel interrupt all processors that run a
//! registered process (`membarrier`), which acts as a fence there when it matters.

use std::marker::PhantomData;
use std::sync::atomic::{Ordering, compiler_fence};

use super::slots::{Copy, LINE, SLOTS, VERSION, copier, slot_ptr, slot_size};
use crate::payload::{Bytes, SMALL, check_bytes, number_of, touch};
use crate::place::{SharedMemory, futex_wait, futex_wake};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

const CURRENT: usize = LINE;
/// The half of `current` that a reader can sleep on, on a machine that puts it first.
const LOW_HALF: usize = CURRENT;
const PIN: usize = 2 * LINE;
/// Each slot's version is on a separate line.
const VERSIONS: usize = 4 * LINE;
const COUNT: usize = 3;
/// Bits of `current` for the slot.
const BITS: u32 = 2;

/// How the two fences are made.
pub(crate) trait Fences {
    fn register() -> Outcome<()>;
    /// Stores the pin, visible before the reader's next load.
    fn pin(memory: &SharedMemory, value: u64);
    /// Takes a slot from its version, visible before the writer's next load.
    fn take(memory: &SharedMemory, slot: usize);
}

/// Locked exchanges.
pub(crate) struct Symmetric;

/// Plain stores for the reader, a system call for the writer.
pub(crate) struct Asymmetric;

fn version_at(slot: usize) -> usize {
    VERSIONS + slot * LINE
}

impl Fences for Symmetric {
    fn register() -> Outcome<()> {
        Ok(())
    }

    #[inline]
    fn pin(memory: &SharedMemory, value: u64) {
        memory.word(PIN).swap(value, Ordering::SeqCst);
    }

    #[inline]
    fn take(memory: &SharedMemory, slot: usize) {
        memory.word(version_at(slot)).swap(0, Ordering::SeqCst);
    }
}

// From the kernel's interface (linux/membarrier.h).
const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

fn membarrier(command: libc::c_int) -> Outcome<()> {
    // SAFETY: the call takes two numbers and touches no memory of this process.
    if unsafe { libc::syscall(libc::SYS_membarrier, command, 0) } != 0 {
        return Err(format!("membarrier: {}", std::io::Error::last_os_error()).into());
    }
    Ok(())
}

impl Fences for Asymmetric {
    fn register() -> Outcome<()> {
        membarrier(REGISTER_GLOBAL_EXPEDITED)
    }

    #[inline]
    fn pin(memory: &SharedMemory, value: u64) {
        memory.word(PIN).store(value, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    fn take(memory: &SharedMemory, slot: usize) {
        memory.word(version_at(slot)).store(0, Ordering::Relaxed);
        membarrier(GLOBAL_EXPEDITED).expect("it worked when the benchmark began");
    }
}

pub(crate) struct Writer<F> {
    memory: SharedMemory,
    copy: Copy,
    bytes: Bytes,
    version: u64,
    fences: PhantomData<F>,
}

pub(crate) struct Reader<F> {
    memory: SharedMemory,
    copy: Copy,
    pinned: u64,
    size: usize,
    own: Vec<u8>,
    fences: PhantomData<F>,
}

impl<F: Fences> Producer for Writer<F> {
    #[inline]
    fn publish(&mut self, number: u64) {
        let memory = &self.memory;
        let current = memory.word(CURRENT).load(Ordering::Relaxed);
        let in_use = (current & ((1 << BITS) - 1)) as usize;
        let pin = memory.word(PIN);
        // One of the two is not pinned: there is one pin.
        let mut slot = (in_use + 1) % COUNT;
        loop {
            if pin.load(Ordering::Acquire) != slot as u64 + 1 {
                F::take(memory, slot);
                if pin.load(Ordering::Acquire) != slot as u64 + 1 {
                    break;
                }
            }
            slot = 3 - in_use - slot;
        }
        let from = self.bytes.numbered(number);
        // SAFETY: the slot has room for that many bytes; the reader does not pin it, and will not, because it
        // has no version.
        unsafe { (self.copy)(slot_ptr(memory, slot, from.len()).cast(), from.as_ptr().cast(), from.len()) };
        self.version += 1;
        memory.word(version_at(slot)).store(self.version, Ordering::Release);
        memory.word(CURRENT).store(self.version << BITS | slot as u64, Ordering::Release);
    }

    #[inline]
    fn publish_and_wake(&mut self, number: u64) {
        self.publish(number);
        futex_wake(self.memory.half(LOW_HALF));
    }
}

impl<F: Fences> Reader<F> {
    /// Pins the newest version, even if it is already pinned.
    #[inline]
    fn load(&mut self) -> &[u8] {
        let slot = loop {
            let current = self.memory.word(CURRENT).load(Ordering::Acquire);
            let slot = (current & ((1 << BITS) - 1)) as usize;
            F::pin(&self.memory, slot as u64 + 1);
            if self.memory.word(version_at(slot)).load(Ordering::Acquire) == current >> BITS {
                self.pinned = current;
                break slot;
            }
        };
        let from = slot_ptr(&self.memory, slot, self.size).cast_const();
        // SAFETY: the slot lies in the mapping, and is pinned until the next load, which needs `self` while
        // this borrows it.
        unsafe { std::slice::from_raw_parts(from, self.size) }
    }

    #[inline]
    fn is_newest(&self) -> bool {
        self.memory.word(CURRENT).load(Ordering::Acquire) == self.pinned
    }
}

impl<F: Fences> Consumer for Reader<F> {
    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        number_of(self.load())
    }

    #[inline]
    fn read_unchanged(&mut self) -> u64 {
        if self.is_newest() { self.pinned } else { self.read_zero_copy() }
    }

    #[inline]
    fn read_owned(&mut self) -> u64 {
        let (copy, size) = (self.copy, self.size);
        let to = self.own.as_mut_ptr();
        // SAFETY: both have `size` bytes, and the slot is pinned.
        unsafe { copy(to.cast(), self.load().as_ptr().cast(), size) };
        number_of(std::hint::black_box(&self.own))
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        if self.is_newest() { None } else { Some(touch(self.load())) }
    }

    fn sleep_other(&mut self, seen: u64) -> u64 {
        loop {
            let pinned = self.pinned;
            if let Some(number) = self.take_other(seen) {
                return number;
            }
            futex_wait(self.memory.half(LOW_HALF), pinned as u32);
        }
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        let size = self.size;
        check_bytes(self.load(), size, number)?;
        self.read_owned();
        Ok(check_bytes(&self.own, size, number)?)
    }
}

fn producer<F: Fences>(place: &Place, size: usize) -> Outcome<Writer<F>> {
    F::register()?;
    let memory = SharedMemory::create(&place.path("pin"), SLOTS + COUNT * slot_size(size))?;
    Ok(Writer { memory, copy: copier(), bytes: Bytes::new(size), version: 0, fences: PhantomData })
}

fn consumer<F: Fences>(place: &Place, size: usize) -> Outcome<Reader<F>> {
    F::register()?;
    let memory = SharedMemory::open(&place.path("pin"))?;
    let own = vec![1; size];
    Ok(Reader { memory, copy: copier(), pinned: 0, size, own, fences: PhantomData })
}

const MEASURES: &[Measure] = &[
    Measure::Publish,
    Measure::PublishWhileRead,
    Measure::ReadOwned,
    Measure::ReadZeroCopy,
    Measure::ReadUnchanged,
    Measure::ReadWhilePublished,
    Measure::HandoverSpinning,
    Measure::HandoverAsleep,
];

pub(crate) struct Pin;

impl Subject for Pin {
    const NAME: &'static str = "flip + pin";
    const KIND: Kind = Kind::Bare;
    type Producer = Writer<Symmetric>;
    type Consumer = Reader<Symmetric>;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "three slots, a pin by exchange and a second look; asleep on a futex; one reader, no recovery"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { MEASURES } else { &MEASURES[..MEASURES.len() - 1] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<Self::Producer> {
        producer(place, size)
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Self::Consumer> {
        consumer(place, size)
    }
}

pub(crate) struct AsymmetricPin;

impl Subject for AsymmetricPin {
    const NAME: &'static str = "flip + asymmetric pin";
    const KIND: Kind = Kind::Bare;
    type Producer = Writer<Asymmetric>;
    type Consumer = Reader<Asymmetric>;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "as flip + pin, the pin a plain store; the writer calls membarrier for each publication: publish has \
         no reader running, publish_while_read one on another processor"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &MEASURES[..MEASURES.len() - 1] } else { &[] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<Self::Producer> {
        producer(place, size)
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Self::Consumer> {
        consumer(place, size)
    }
}
