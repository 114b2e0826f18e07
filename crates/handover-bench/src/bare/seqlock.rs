//! A sequence lock around one value: the writer makes the number odd, copies, makes it even; the reader
//! copies and checks whether the number stood still. A reader may start again forever, and one writer that
//! dies in between stops all readers.

use std::sync::atomic::{Ordering, fence};

use super::slots::{Copy, LINE, SLOTS, VERSION, copier, slot_size};
use crate::payload::{Bytes, SMALL, check_bytes, number_of};
use crate::place::SharedMemory;
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

pub(crate) struct Seqlock;

const SEQUENCE: usize = LINE;

pub(crate) struct Side {
    memory: SharedMemory,
    copy: Copy,
    bytes: Bytes,
    own: Vec<u8>,
    size: usize,
    seen: u64,
}

impl Side {
    fn new(memory: SharedMemory, size: usize) -> Self {
        Self { memory, copy: copier(), bytes: Bytes::new(size), own: vec![1; size], size, seen: 0 }
    }
}

impl Producer for Side {
    #[inline]
    fn publish(&mut self, number: u64) {
        let sequence = self.memory.word(SEQUENCE);
        let before = sequence.load(Ordering::Relaxed);
        sequence.store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let from = self.bytes.numbered(number);
        let to = self.memory.bytes(SLOTS, from.len());
        // SAFETY: the slot has room for that many bytes; readers that copy meanwhile discard what they got.
        unsafe { (self.copy)(to.cast(), from.as_ptr().cast(), from.len()) };
        sequence.store(before + 2, Ordering::Release);
    }
}

impl Consumer for Side {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        let sequence = self.memory.word(SEQUENCE);
        loop {
            let before = sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let from = self.memory.bytes(SLOTS, self.size);
                // SAFETY: both have `size` bytes; what is copied counts only if the number stands.
                unsafe { (self.copy)(self.own.as_mut_ptr().cast(), from.cast(), self.size) };
                fence(Ordering::Acquire);
                if sequence.load(Ordering::Relaxed) == before {
                    self.seen = before;
                    return number_of(std::hint::black_box(&self.own));
                }
            }
            std::hint::spin_loop();
        }
    }

    #[inline]
    fn read_unchanged(&mut self) -> u64 {
        if self.memory.word(SEQUENCE).load(Ordering::Acquire) == self.seen {
            number_of(&self.own)
        } else {
            self.read_owned()
        }
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        let changed = self.memory.word(SEQUENCE).load(Ordering::Acquire) != self.seen;
        changed.then(|| self.read_owned())
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.read_owned();
        Ok(check_bytes(&self.own, self.size, number)?)
    }
}

impl Subject for Seqlock {
    const NAME: &'static str = "seqlock";
    const KIND: Kind = Kind::Bare;
    type Producer = Side;
    type Consumer = Side;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "one slot and a sequence number: the reader copies and looks whether it was overtaken; a writer that \
         dies stops all readers"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] = &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::ReadOwned,
            Measure::ReadUnchanged,
            Measure::HandoverSpinning,
            // A reader may never get a whole copy of a larger value beside a writer that does not pause.
            Measure::ReadWhilePublished,
        ];
        if size == SMALL { ALL } else { &ALL[..5] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<Side> {
        Ok(Side::new(SharedMemory::create(&place.path("seqlock"), SLOTS + slot_size(size))?, size))
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Side> {
        Ok(Side::new(SharedMemory::open(&place.path("seqlock"))?, size))
    }
}
