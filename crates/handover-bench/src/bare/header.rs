//! A triple buffer with only the words that a cell's publication leaves beside the value: for readers its
//! length, kind, time and expiry; for recovery after a crash the slot being written; one fence for readers
//! that may sleep or pin. No check, no error, no second value size, one reader.
//!
//! What it costs beyond `flip` is what these promises cost on this machine.

use std::sync::atomic::{Ordering, fence};

use super::slots::{Copy, LINE, SLOTS, VERSION, copier, slot_ptr, slot_size};
use crate::payload::{Bytes, SMALL, check_bytes};
use crate::place::SharedMemory;
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

const CURRENT: usize = LINE;
const SLEEPERS: usize = LINE + 8;
const WRITING: usize = 2 * LINE;
const PIN: usize = 3 * LINE;
const HEADERS: usize = 4 * LINE;
const COUNT: usize = 3;
/// Bits of `current` for the slot.
const BITS: u32 = 2;

pub(crate) struct FlipHeader;

pub(crate) struct Writer {
    memory: SharedMemory,
    copy: Copy,
    bytes: Bytes,
    version: u64,
    slot: usize,
}

pub(crate) struct Reader {
    memory: SharedMemory,
    size: usize,
}

fn coarse_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

impl Producer for Writer {
    #[inline]
    fn publish(&mut self, number: u64) {
        let (memory, slot) = (&self.memory, self.slot);
        memory.word(WRITING).store(slot as u64 + 1, Ordering::Release);
        let from = self.bytes.numbered(number);
        // SAFETY: the slot has room for that many bytes, and was taken with the last publication.
        unsafe { (self.copy)(slot_ptr(memory, slot, from.len()).cast(), from.as_ptr().cast(), from.len()) };
        self.version += 1;
        let next = (slot + 1) % COUNT;
        let header = |slot: usize, word: usize| memory.word(HEADERS + slot * LINE + 8 * word);
        header(slot, 1).store(from.len() as u64, Ordering::Relaxed);
        for word in [2, 5, 7] {
            header(slot, word).store(0, Ordering::Relaxed);
        }
        header(slot, 4).store(coarse_time(), Ordering::Relaxed);
        header(slot, 0).store(self.version, Ordering::Release);
        header(next, 0).store(0, Ordering::Relaxed);
        memory.word(CURRENT).store(self.version << BITS | slot as u64, Ordering::Release);
        fence(Ordering::SeqCst);
        let is_pinned = memory.word(PIN).load(Ordering::Acquire) == next as u64 + 1;
        assert!(
            memory.word(SLEEPERS).load(Ordering::Relaxed) == 0 && !is_pinned,
            "nobody sleeps or pins here"
        );
        memory.word(WRITING).store(0, Ordering::Release);
        self.slot = next;
    }
}

impl Consumer for Reader {
    fn check(&mut self, number: u64) -> Outcome<()> {
        let current = self.memory.word(CURRENT).load(Ordering::Acquire);
        let slot = (current & ((1 << BITS) - 1)) as usize;
        // SAFETY: the slot lies in the mapping, and the writer does not write meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts(slot_ptr(&self.memory, slot, self.size), self.size) };
        Ok(check_bytes(bytes, self.size, number)?)
    }
}

impl Subject for FlipHeader {
    const NAME: &'static str = "flip + header";
    const KIND: Kind = Kind::Bare;
    type Producer = Writer;
    type Consumer = Reader;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "a triple buffer with the words that a cell's publication leaves for readers and for whoever comes after a crash, \
         and its one fence"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::Publish] } else { &[] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<Writer> {
        let memory = SharedMemory::create(&place.path("header"), SLOTS + COUNT * slot_size(size))?;
        Ok(Writer { memory, copy: copier(), bytes: Bytes::new(size), version: 0, slot: 0 })
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Reader> {
        Ok(Reader { memory: SharedMemory::open(&place.path("header"))?, size })
    }
}
