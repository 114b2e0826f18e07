//! One word: how long another processor takes to see it change, and how long a sleeper takes to wake.

use std::sync::atomic::Ordering;

use super::slots::{LINE, VERSION};
use crate::payload::SMALL;
use crate::place::{SharedMemory, futex_wait, futex_wake};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

const WORD: usize = LINE;

/// The word changes hands and nothing else does.
pub(crate) struct CacheLine;

/// The word changes and its sleeper is woken.
pub(crate) struct Futex;

pub(crate) struct Side(SharedMemory);

impl Producer for Side {
    #[inline]
    fn publish(&mut self, number: u64) {
        self.0.half(WORD).store(number as u32, Ordering::Release);
    }

    #[inline]
    fn publish_and_wake(&mut self, number: u64) {
        self.publish(number);
        futex_wake(self.0.half(WORD));
    }
}

impl Consumer for Side {
    #[inline]
    fn take_other(&mut self, seen: u64) -> Option<u64> {
        let number = u64::from(self.0.half(WORD).load(Ordering::Acquire));
        (number != seen).then_some(number)
    }

    fn sleep_other(&mut self, seen: u64) -> u64 {
        loop {
            if let Some(number) = self.take_other(seen) {
                return number;
            }
            futex_wait(self.0.half(WORD), seen as u32);
        }
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        let found = self.0.half(WORD).load(Ordering::Acquire);
        if u64::from(found) == number { Ok(()) } else { Err(format!("{found} in place of {number}").into()) }
    }
}

fn producer(place: &Place) -> Outcome<Side> {
    Ok(Side(SharedMemory::create(&place.path("word"), 4096)?))
}

fn consumer(place: &Place) -> Outcome<Side> {
    Ok(Side(SharedMemory::open(&place.path("word"))?))
}

impl Subject for CacheLine {
    const NAME: &'static str = "cache line";
    const KIND: Kind = Kind::Bare;
    type Producer = Side;
    type Consumer = Side;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "one word that two processors change in turn, each spinning until it sees the other's".to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::HandoverSpinning] } else { &[] }
    }

    fn producer(place: &Place, _size: usize) -> Outcome<Side> {
        producer(place)
    }

    fn consumer(place: &Place, _size: usize) -> Outcome<Side> {
        consumer(place)
    }
}

impl Subject for Futex {
    const NAME: &'static str = "futex";
    const KIND: Kind = Kind::Bare;
    type Producer = Side;
    type Consumer = Side;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "one word, and a shared futex on which the reader sleeps until it is woken".to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::HandoverAsleep] } else { &[] }
    }

    fn producer(place: &Place, _size: usize) -> Outcome<Side> {
        producer(place)
    }

    fn consumer(place: &Place, _size: usize) -> Outcome<Side> {
        consumer(place)
    }
}
