//! LMDB through heed: one key in one database, a transaction for each read and each write, no flush to disk.
//! Values are whole; readers do not wait; a reader that dies leaves its entry until somebody clears it.

use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::versions::version_of;
use crate::payload::{self, SMALL, check_bytes, number_of, touch};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

pub(crate) struct Lmdb;

const KEY: &str = "value";

pub(crate) struct Side {
    /// Never closed: a database borrows it, and the process ends with the case.
    env: &'static Env,
    database: Database<'static, Str, Bytes>,
    bytes: payload::Bytes,
    own: Vec<u8>,
    size: usize,
}

impl Side {
    fn new(place: &Place, size: usize) -> Outcome<Self> {
        let path = place.path("lmdb");
        std::fs::create_dir_all(&path)?;
        let mut options = EnvOpenOptions::new();
        // Room for what old readers keep.
        options.map_size((size * 12).next_multiple_of(4096) + (16 << 20));
        // SAFETY: without a flush a crash of the machine may damage the file, which lies in memory anyway.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
        // SAFETY: only this crate's processes open the file, through the same library.
        let env = unsafe { options.open(&path)? };
        let env: &'static Env = Box::leak(Box::new(env));
        let write = env.write_txn()?;
        let database = env
            .create_databases_and_commit(write, |opener, write| {
                opener.create_database::<Str, Bytes>(write, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self { database, env, bytes: payload::Bytes::new(size), own: vec![1; size], size })
    }

    #[inline]
    fn with<R>(&mut self, using: impl FnOnce(&[u8], &mut Vec<u8>) -> R) -> R {
        let read = self.env.read_txn().expect("an entry is free");
        let value = self.database.get(&read, KEY).expect("it can be read").expect("there is a value");
        using(value, &mut self.own)
    }
}

impl Producer for Side {
    #[inline]
    fn publish(&mut self, number: u64) {
        let mut write = self.env.write_txn().expect("nobody else writes");
        self.database.put(&mut write, KEY, self.bytes.numbered(number)).expect("there is room");
        write.commit().expect("there is room");
    }
}

impl Consumer for Side {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        self.with(|bytes, own| {
            own.copy_from_slice(bytes);
            number_of(std::hint::black_box(own))
        })
    }

    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        self.with(|bytes, _| number_of(bytes))
    }

    #[inline]
    fn take_other(&mut self, seen: u64) -> Option<u64> {
        self.with(|bytes, _| (number_of(bytes) != seen).then(|| touch(bytes)))
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.read_owned();
        check_bytes(&self.own, self.size, number)?;
        let size = self.size;
        Ok(self.with(|bytes, _| check_bytes(bytes, size, number))?)
    }
}

impl Subject for Lmdb {
    const NAME: &'static str = "LMDB";
    const KIND: Kind = Kind::Peer;
    // Each read is a transaction, whether the value is new or not; and a process may open a file only once.
    const PAIRS: usize = 0;
    type Producer = Side;
    type Consumer = Side;

    fn version() -> String {
        format!("heed {}", version_of("heed"))
    }

    fn what() -> String {
        "one key, bytes; a transaction for each put and each get, NO_SYNC; reads are repeated".to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] = &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::ReadOwned,
            Measure::ReadZeroCopy,
            Measure::ReadUnchanged,
            Measure::ReadWhilePublished,
            Measure::HandoverSpinning,
            Measure::Memory,
            Measure::Readers,
        ];
        if size == SMALL { ALL } else { &ALL[..8] }
    }

    fn series(_size: usize) -> &'static [Measure] {
        &[Measure::Publish, Measure::ReadOwned, Measure::ReadZeroCopy]
    }

    fn producer(place: &Place, size: usize) -> Outcome<Side> {
        Side::new(place, size)
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Side> {
        Side::new(place, size)
    }

    fn memory(place: &Place, size: usize) -> Outcome<(u64, u64)> {
        let mut side = Side::new(place, size)?;
        let mut held = [0; 2];
        for (held, size) in held.iter_mut().zip([size, SMALL]) {
            side.bytes = payload::Bytes::new(size);
            for number in 0..8 {
                side.publish(number);
                side.read_zero_copy();
            }
            *held = place.memory()?;
        }
        Ok((held[0], held[1]))
    }
}
