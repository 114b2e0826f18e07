//! Copying alone: into and out of one place in shared memory, and nobody is told.

use super::slots::{Copy, VERSION, copier};
use crate::payload::{self, Bytes, check_bytes, number_of};
use crate::place::SharedMemory;
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

pub(crate) struct Memcpy;

pub(crate) struct Side {
    memory: SharedMemory,
    copy: Copy,
    bytes: Bytes,
    own: Vec<u8>,
    size: usize,
}

impl Side {
    fn new(memory: SharedMemory, size: usize) -> Self {
        Self { memory, copy: copier(), bytes: Bytes::new(size), own: vec![1; size], size }
    }
}

impl Producer for Side {
    #[inline]
    fn publish(&mut self, number: u64) {
        let from = self.bytes.numbered(number);
        let to = self.memory.bytes(0, from.len());
        // SAFETY: `to` has room for that many bytes, and nobody reads during the measurement.
        unsafe { (self.copy)(to.cast(), from.as_ptr().cast(), from.len()) };
    }

    fn publish_filled(&mut self, number: u64) {
        payload::fill(&mut self.own, number);
        let to = self.memory.bytes(0, self.size);
        // SAFETY: as above.
        unsafe { (self.copy)(to.cast(), self.own.as_ptr().cast(), self.size) };
    }

    fn publish_in_place(&mut self, number: u64) {
        let to = self.memory.bytes(0, self.size);
        // SAFETY: `to` has room for that many bytes, and nobody else uses them during the measurement.
        payload::fill(unsafe { std::slice::from_raw_parts_mut(to, self.size) }, number);
    }
}

impl Consumer for Side {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        let from = self.memory.bytes(0, self.size);
        // SAFETY: both have `size` bytes, and nobody writes during the measurement.
        unsafe { (self.copy)(self.own.as_mut_ptr().cast(), from.cast(), self.size) };
        number_of(std::hint::black_box(&self.own))
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.read_owned();
        Ok(check_bytes(&self.own, self.size, number)?)
    }
}

impl Subject for Memcpy {
    const NAME: &'static str = "memcpy";
    const KIND: Kind = Kind::Bare;
    type Producer = Side;
    type Consumer = Side;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "memcpy of as many bytes, to and from one place in shared memory; nobody is told, and a reader may see a \
         mix"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] =
            &[Measure::Publish, Measure::ReadOwned, Measure::PublishFilled, Measure::PublishInPlace];
        if size > payload::MEDIUM { ALL } else { &ALL[..2] }
    }

    fn series(_size: usize) -> &'static [Measure] {
        &[Measure::Publish, Measure::ReadOwned]
    }

    fn producer(place: &Place, size: usize) -> Outcome<Side> {
        Ok(Side::new(SharedMemory::create(&place.path("copy"), size)?, size))
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Side> {
        Ok(Side::new(SharedMemory::open(&place.path("copy"))?, size))
    }
}
