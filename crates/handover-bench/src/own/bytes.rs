//! The cell with raw bytes: a lease that publishes, a reader that pins. Crash-safe, whole versions; zero-copy
//! reads trust the writers, owned ones are copied to the reader's buffer.

use std::io::Write;

use handover::cell::{Cell, CellOptions, Reader, TrustingReader, Writer};
use handover::{MemoryMapper, codec};

use super::options::{LIMIT, map_options, options, version};
use crate::clock::now;
use crate::payload::{self, check_bytes, number_of, touch};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject, Timer};

pub(crate) struct Bytes;

/// The size of a piece where a value is built in pieces: a producer's buffer.
const PIECE: usize = 16 << 10;

pub(crate) struct Publisher {
    writer: Writer,
    bytes: payload::Bytes,
    /// What the producer fills.
    filled: Vec<u8>,
    size: usize,
}

pub(crate) struct Reading {
    cell: Cell,
    trusting: TrustingReader,
    reader: Reader,
    own: Vec<u8>,
    size: usize,
    version: u64,
}

fn cell(place: &Place) -> Outcome<Cell> {
    Ok(CellOptions::new().map(map_options(place)).open_existing(&place.name)?)
}

fn create(place: &Place, size: usize) -> Outcome<Cell> {
    let options = CellOptions::new().capacity(size as u64).map(map_options(place));
    Ok(options.create_or_open(&place.name)?)
}

impl Producer for Publisher {
    #[inline]
    fn publish(&mut self, number: u64) {
        self.writer.publish(self.bytes.numbered(number)).expect("there is room");
    }

    fn publish_filled(&mut self, number: u64) {
        if self.filled.is_empty() {
            self.filled = vec![1; self.size];
        }
        payload::fill(&mut self.filled, number);
        self.writer.publish(&self.filled).expect("there is room");
    }

    fn publish_in_place(&mut self, number: u64) {
        let built = self.writer.publish_with(self.size, |buffer| {
            // SAFETY: only this crate's processes open the cell, through the library.
            payload::fill(unsafe { buffer.as_mut_slice() }, number);
            Ok(())
        });
        built.expect("there is room");
    }

    fn publish_in_pieces(&mut self, number: u64) {
        let built = self.writer.publish_with(self.size, |buffer| {
            let (mut piece, mut value) = ([0; PIECE], number);
            while buffer.remaining() > 0 {
                let piece = &mut piece[..buffer.remaining().min(PIECE)];
                value = payload::fill_from(piece, value);
                buffer.write_all(piece).expect("there is room for all");
            }
            Ok(())
        });
        built.expect("there is room");
    }
}

impl Consumer for Reading {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        self.reader.copy_into(&mut self.own).expect("an entry is free").expect("there is a value");
        number_of(std::hint::black_box(&self.own))
    }

    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        number_of(self.trusting.load().expect("an entry is free").expect("there is a value"))
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        let version = self.trusting.version();
        if version == self.version {
            return None;
        }
        self.version = version;
        Some(touch(self.trusting.load().expect("an entry is free").expect("there is a value")))
    }

    fn sleep_other(&mut self, seen: u64) -> u64 {
        self.cell.wait_newer(self.version, LIMIT).expect("the producer lives");
        self.take_other(seen).expect("it is newer")
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.read_owned();
        check_bytes(&self.own, self.size, number)?;
        check_bytes(self.trusting.load()?.ok_or("no value")?, self.size, number)?;
        let value = self.reader.copy()?.ok_or("no value")?;
        check_bytes(&value.bytes, self.size, number)?;
        Ok(())
    }
}

impl Subject for Bytes {
    const NAME: &'static str = "handover";
    const KIND: Kind = Kind::Handover;
    type Producer = Publisher;
    type Consumer = Reading;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "the cell with bytes: Writer::publish under a lease; owned: Reader::copy_into; zero-copy: \
         TrustingReader::load; asleep: Cell::wait_newer. Whole versions, crash-safe"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] = &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::PublishUnread,
            Measure::ReadOwned,
            Measure::ReadZeroCopy,
            Measure::ReadUnchanged,
            Measure::ReadWhilePublished,
            Measure::HandoverSpinning,
            Measure::HandoverAsleep,
            Measure::SetOneShot,
            Measure::Open,
            Measure::Create,
            Measure::Readers,
            Measure::NoSystemCall,
            Measure::Memory,
        ];
        const LARGE: &[Measure] = &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::PublishUnread,
            Measure::PublishFilled,
            Measure::PublishInPlace,
            Measure::PublishInPieces,
            Measure::ReadOwned,
            Measure::ReadZeroCopy,
            Measure::ReadUnchanged,
            Measure::ReadWhilePublished,
            Measure::HandoverSpinning,
            Measure::Memory,
        ];
        if size == payload::SMALL { ALL } else { LARGE }
    }

    fn series(_size: usize) -> &'static [Measure] {
        &[Measure::Publish, Measure::ReadOwned, Measure::ReadZeroCopy]
    }

    fn producer(place: &Place, size: usize) -> Outcome<Publisher> {
        let writer = create(place, size)?.try_writer()?.ok_or("somebody else writes")?;
        Ok(Publisher { writer, bytes: payload::Bytes::new(size), filled: Vec::new(), size })
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Reading> {
        let cell = cell(place)?;
        // SAFETY: only this crate's processes open the cell, through the library; they do not fork.
        let trusting = unsafe { cell.reader().trust_writers() };
        Ok(Reading {
            trusting,
            reader: cell.reader(),
            own: vec![1; size],
            size,
            version: cell.version(),
            cell,
        })
    }

    fn open(place: &Place, _size: usize, time: Timer<'_>) -> Outcome<f64> {
        let start = now();
        let opened = cell(place)?;
        let end = now();
        drop(opened);
        Ok(time(start, end))
    }

    fn create(place: &Place, size: usize, time: Timer<'_>) -> Outcome<f64> {
        let name = format!("{}-created", place.name);
        let options = CellOptions::new().capacity(size as u64).map(map_options(place));
        let start = now();
        let created = options.create_new(&name)?;
        let end = now();
        drop(created);
        Ok(time(start, end))
    }

    fn one_shot(place: &Place, size: usize) -> Outcome<Box<dyn FnMut(u64)>> {
        let place = place.other(1);
        let mapper: MemoryMapper<Vec<u8>, codec::Bytes> =
            options(&place).capacity(size as u64).create_or_open(&place.name)?;
        let mut bytes = payload::Bytes::new(size);
        let mut value = bytes.numbered(0).to_vec();
        Ok(Box::new(move |number| {
            value[..payload::NUMBER].copy_from_slice(&number.to_le_bytes());
            mapper.set(&value).expect("nobody else writes");
        }))
    }

    fn memory(place: &Place, size: usize) -> Outcome<(u64, u64)> {
        let mut producer = Self::producer(place, size)?;
        let mut reader = cell(place)?.reader();
        let (large, small) = (vec![7; size], vec![9; payload::SMALL]);
        let mut held = [0; 2];
        for (held, value) in held.iter_mut().zip([large, small]) {
            for _ in 0..8 {
                producer.writer.publish(&value)?;
                if reader.load()?.ok_or("no value")?.copy()?.as_slice() != value {
                    return Err("another value was read".into());
                }
            }
            *held = place.memory()?;
        }
        Ok((held[0], held[1]))
    }
}
