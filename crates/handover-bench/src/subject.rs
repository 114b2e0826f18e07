//! What each subject provides to the harness: one side that publishes and one that reads, and how to make
//! them.
//!
//! The harness is compiled for each subject separately, so that it measures no call through a table.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::record::Kind;

/// A result, or what went wrong, for a person.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Returns the nanoseconds between two times in ticks.
pub(crate) type Timer<'a> = &'a dyn Fn(u64, u64) -> f64;

/// Where a subject keeps what it shares: a private directory in memory, and a name that no other case has.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{name}", self.name))
    }

    /// Another one in the same directory.
    pub(crate) fn other(&self, number: usize) -> Self {
        Self { folder: self.folder.clone(), name: format!("{}-{number}", self.name) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of memory that the files in the directory have.
    pub(crate) fn memory(&self) -> Outcome<u64> {
        let mut total = 0;
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() != "stage" {
                    total += metadata.blocks() * 512;
                }
            }
        }
        Ok(total)
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Measure {
    Publish,
    PublishWhileRead,
    /// Where nobody ever read. (For `Publish` there is a reader that holds an old version.)
    PublishUnread,
    /// The producer fills its own memory, which is then copied.
    PublishFilled,
    /// The producer fills the place where readers find it.
    PublishInPlace,
    /// The producer writes it to that place piece by piece.
    PublishInPieces,
    SetOneShot,
    ReadOwned,
    ReadZeroCopy,
    ReadUnchanged,
    ReadWhilePublished,
    HandoverSpinning,
    HandoverAsleep,
    /// One, two, four, eight readers.
    Readers,
    Open,
    Create,
    /// What is held with values of this size, and after them.
    Memory,
    /// Checks that publishing makes no system call.
    NoSystemCall,
}

impl Measure {
    /// The names of figures in the record. `Readers` and `Memory` have several.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::PublishWhileRead => "publish_while_read",
            Self::PublishUnread => "publish_unread",
            Self::PublishFilled => "publish_filled",
            Self::PublishInPlace => "publish_in_place",
            Self::PublishInPieces => "publish_in_pieces",
            Self::SetOneShot => "set_one_shot",
            Self::ReadOwned => "read_owned",
            Self::ReadZeroCopy => "read_zero_copy",
            Self::ReadUnchanged => "read_unchanged",
            Self::ReadWhilePublished => "read_while_published",
            Self::HandoverSpinning => "handover_spinning",
            Self::HandoverAsleep => "handover_asleep",
            Self::Readers => "readers_",
            Self::Open => "open",
            Self::Create => "create",
            Self::Memory => "memory_bytes",
            Self::NoSystemCall => "no_system_call",
        }
    }
}

/// One side of a subject: publishes.
pub(crate) trait Producer {
    /// Publishes the value with this number.
    fn publish(&mut self, number: u64);

    /// Publishes what is built in the producer's own memory.
    fn publish_filled(&mut self, _number: u64) {
        unimplemented!("not measured for this subject")
    }

    /// Publishes what is built where readers will find it.
    fn publish_in_place(&mut self, _number: u64) {
        unimplemented!("not measured for this subject")
    }

    /// Publishes what is built piece by piece where readers will find it.
    fn publish_in_pieces(&mut self, _number: u64) {
        unimplemented!("not measured for this subject")
    }

    /// Answers requests as long as `go_on` returns `true`, where readers need a server.
    fn serve(&mut self, _go_on: &dyn Fn() -> bool) {}

    /// Whether `serve` must run while others read.
    fn serves(&self) -> bool {
        false
    }

    /// Publishes, and wakes sleepers where publishing itself does not.
    fn publish_and_wake(&mut self, number: u64) {
        self.publish(number);
    }
}

/// The other side: reads.
pub(crate) trait Consumer {
    /// Reads the newest value to an owned one, and returns its number.
    fn read_owned(&mut self) -> u64 {
        unimplemented!("not measured for this subject")
    }

    /// Reads one word of the newest value in place, and returns its number.
    fn read_zero_copy(&mut self) -> u64 {
        unimplemented!("not measured for this subject")
    }

    /// Reads the newest value again.
    fn read_unchanged(&mut self) -> u64 {
        self.read_zero_copy()
    }

    /// Looks for a value with a number other than `seen`. If there is one, uses each line of it.
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        unimplemented!("not measured for this subject")
    }

    /// Sleeps until there is a value with a number other than `seen`, and uses it as `take_other` does.
    fn sleep_other(&mut self, _seen: u64) -> u64 {
        unimplemented!("not measured for this subject")
    }

    /// Reads in each measured way, and compares the whole value with the one of this number.
    fn check(&mut self, number: u64) -> Outcome<()>;
}

/// A way to hand over a value.
pub(crate) trait Subject {
    const NAME: &'static str;
    const KIND: Kind;
    /// How many pairs of a publication and a read are measured at a time, in one process, so that the clock
    /// can resolve them. For subjects where reading a new version costs something other than reading the same
    /// one again, or finds it only once. Where this is 0, reads are repeated.
    const PAIRS: usize = 16;
    type Producer: Producer;
    type Consumer: Consumer;

    /// Its version.
    fn version() -> String;

    /// How it is used, in one line.
    fn what() -> String;

    /// What is measured with values of this size: nothing where the subject has none of this size.
    fn measures(size: usize) -> &'static [Measure];

    /// What is measured for the series of sizes.
    fn series(_size: usize) -> &'static [Measure] {
        &[]
    }

    /// What comes first.
    fn producer(place: &Place, size: usize) -> Outcome<Self::Producer>;

    /// Made once the producer exists and has published.
    fn consumer(place: &Place, size: usize) -> Outcome<Self::Consumer>;

    /// Both in one process.
    fn pair(place: &Place, size: usize) -> Outcome<(Self::Producer, Self::Consumer)> {
        let mut producer = Self::producer(place, size)?;
        producer.publish(1);
        let consumer = Self::consumer(place, size)?;
        Ok((producer, consumer))
    }

    /// Opens the existing place once, and returns the nanoseconds it took, without closing it.
    fn open(_place: &Place, _size: usize, _time: Timer<'_>) -> Outcome<f64> {
        Err("not measured for this subject".into())
    }

    /// Creates and removes; as `open`.
    fn create(_place: &Place, _size: usize, _time: Timer<'_>) -> Outcome<f64> {
        Err("not measured for this subject".into())
    }

    /// Stores a value without keeping anything between calls except what is open anyway.
    fn one_shot(_place: &Place, _size: usize) -> Outcome<Box<dyn FnMut(u64)>> {
        Err("not measured for this subject".into())
    }

    /// Bytes of memory held at this place while values of this size come and go beside a reader, and then
    /// with values of S.
    fn memory(_place: &Place, _size: usize) -> Outcome<(u64, u64)> {
        Err("not measured for this subject".into())
    }
}
