//! A triple buffer: the writer fills its slot and exchanges it for the one in the middle; the single reader
//! exchanges its own for the one in the middle if that is new. It needs no pin, because each side owns its
//! slot. So it serves only one reader, and a side that dies takes its slot along.

use std::sync::atomic::Ordering;

use super::slots::{Copy, LINE, SLOTS, VERSION, copier, slot_size};
use crate::payload::{Bytes, check_bytes, number_of, touch};
use crate::place::SharedMemory;
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

pub(crate) struct Flip;

const MIDDLE: usize = LINE;
const NEW: u64 = 4;
const SLOT: u64 = 3;

pub(crate) struct Writer {
    memory: SharedMemory,
    copy: Copy,
    bytes: Bytes,
    back: u64,
}

pub(crate) struct Reader {
    memory: SharedMemory,
    front: u64,
    size: usize,
}

fn slot(memory: &SharedMemory, slot: u64, size: usize) -> *mut u8 {
    memory.bytes(SLOTS + slot as usize * slot_size(size), size)
}

impl Producer for Writer {
    #[inline]
    fn publish(&mut self, number: u64) {
        let from = self.bytes.numbered(number);
        let to = slot(&self.memory, self.back, from.len());
        // SAFETY: the slot has room for that many bytes, and belongs to the writer until the exchange.
        unsafe { (self.copy)(to.cast(), from.as_ptr().cast(), from.len()) };
        self.back = self.memory.word(MIDDLE).swap(self.back | NEW, Ordering::AcqRel) & SLOT;
    }
}

impl Reader {
    #[inline]
    fn load(&mut self) -> (&[u8], bool) {
        let middle = self.memory.word(MIDDLE);
        let new = middle.load(Ordering::Relaxed) & NEW != 0;
        if new {
            self.front = middle.swap(self.front, Ordering::AcqRel) & SLOT;
        }
        let from = slot(&self.memory, self.front, self.size).cast_const();
        // SAFETY: the slot lies in the mapping and belongs to the reader until its next exchange, which needs
        // `self` while this borrows it.
        (unsafe { std::slice::from_raw_parts(from, self.size) }, new)
    }
}

impl Consumer for Reader {
    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        number_of(self.load().0)
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        match self.load() {
            (bytes, true) => Some(touch(bytes)),
            (_, false) => None,
        }
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        let size = self.size;
        Ok(check_bytes(self.load().0, size, number)?)
    }
}

impl Subject for Flip {
    const NAME: &'static str = "flip";
    const KIND: Kind = Kind::Bare;
    type Producer = Writer;
    type Consumer = Reader;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "a triple buffer without a pin: a copy and one exchange; one reader, no recovery".to_owned()
    }

    fn measures(_size: usize) -> &'static [Measure] {
        &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::ReadZeroCopy,
            Measure::ReadUnchanged,
            Measure::ReadWhilePublished,
            Measure::HandoverSpinning,
        ]
    }

    fn producer(place: &Place, size: usize) -> Outcome<Writer> {
        let memory = SharedMemory::create(&place.path("flip"), SLOTS + 3 * slot_size(size))?;
        memory.word(MIDDLE).store(1, Ordering::Release);
        Ok(Writer { memory, copy: copier(), bytes: Bytes::new(size), back: 0 })
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Reader> {
        Ok(Reader { memory: SharedMemory::open(&place.path("flip"))?, front: 2, size })
    }
}
