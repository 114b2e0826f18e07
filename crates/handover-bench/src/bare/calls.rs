//! Only the system calls that cannot be left out.
//!
//! - `set_one_shot`: the lock of one byte of a file (`F_OFD_SETLK`), and its release.
//! - `open`: open the file, ask for its size, lock the byte that marks a living holder, look whether the path
//!   leads to that file, map it, look at the first word.
//! - `create`: create a file without a name, take that lock, give it a size and a head of one page, give it
//!   its name, map it, look at the first word.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::slots::VERSION;
use crate::clock::now;
use crate::payload::SMALL;
use crate::place::SharedMemory;
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject, Timer};

pub(crate) struct Calls;

/// Maps as large as those of a cell for S.
pub(super) const LENGTH: usize = 344_064;
const HEAD: [u8; 4096] = [1; 4096];

/// The byte that holders lock shared, and the one that a writer locks exclusively.
pub(super) const LIFE: i64 = 1 << 40;
const WRITER: i64 = LIFE + 1;

#[derive(Clone, Copy)]
pub(super) enum Lock {
    Shared,
    Exclusive,
    None,
}

/// One byte, for a lock of this kind.
pub(super) fn byte_range(byte: i64, kind: libc::c_int) -> libc::flock {
    // SAFETY: `flock` is a plain C struct for which all zeroes is a value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = byte;
    range.l_len = 1;
    range
}

pub(super) fn set_lock(file: &File, byte: i64, lock: Lock) -> Outcome<()> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::None => libc::F_UNLCK,
    };
    let range = byte_range(byte, kind);
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `range` is a valid `flock`.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// A held file: locked and mapped.
pub(crate) struct Held {
    _file: File,
    memory: SharedMemory,
}

impl Held {
    /// Maps a file that is locked.
    fn map(file: File) -> Outcome<Self> {
        let memory = SharedMemory::map_lazily(&file, LENGTH)?;
        Ok(Self::with(file, memory))
    }

    /// A locked file that is mapped.
    pub(super) fn with(file: File, memory: SharedMemory) -> Self {
        let held = Self { _file: file, memory };
        held.look();
        held
    }

    fn look(&self) -> u64 {
        black_box(self.memory.word(0).load(Ordering::Relaxed))
    }
}

fn open(path: &Path) -> Outcome<Held> {
    let file = File::options().read(true).write(true).open(path)?;
    let opened = file.metadata()?;
    set_lock(&file, LIFE, Lock::Shared)?;
    let there = rustix::fs::lstat(path)?;
    if opened.len() != LENGTH as u64 || (there.st_dev, there.st_ino) != (opened.dev(), opened.ino()) {
        return Err("another file was opened".into());
    }
    Held::map(file)
}

/// Makes a file without a name in this directory.
pub(super) fn unnamed(directory: impl AsFd) -> Outcome<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)?))
}

/// Gives such a file its name.
pub(super) fn name(file: &File, directory: impl AsFd, name: &str) -> Outcome<()> {
    Ok(rustix::fs::linkat(file, "", directory, name, AtFlags::EMPTY_PATH)?)
}

fn create(path: &Path) -> Outcome<Held> {
    let directory = File::open(path.parent().ok_or("a name lies in a directory")?)?;
    let file = unnamed(&directory)?;
    set_lock(&file, LIFE, Lock::Shared)?;
    file.set_len(LENGTH as u64)?;
    file.write_all_at(&HEAD, 0)?;
    name(&file, &directory, path.file_name().and_then(|name| name.to_str()).ok_or("a name is text")?)?;
    Held::map(file)
}

impl Producer for Held {
    fn publish(&mut self, number: u64) {
        self.memory.word(0).store(number, Ordering::Release);
    }
}

impl Consumer for Held {
    fn check(&mut self, number: u64) -> Outcome<()> {
        if self.look() == number { Ok(()) } else { Err("another file was opened".into()) }
    }
}

impl Subject for Calls {
    const NAME: &'static str = "system calls";
    const KIND: Kind = Kind::Bare;
    type Producer = Held;
    type Consumer = Held;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "the calls that can't be left out: set_one_shot lock and unlock; open: open, fstat, lock, a look at the path, \
         mmap, first look; create: create without a name, lock, size, head, link, mmap, first look"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::SetOneShot, Measure::Open, Measure::Create] } else { &[] }
    }

    fn producer(place: &Place, _size: usize) -> Outcome<Held> {
        let path = place.path("held");
        File::options().write(true).create(true).truncate(true).open(&path)?.set_len(LENGTH as u64)?;
        open(&path)
    }

    fn consumer(place: &Place, _size: usize) -> Outcome<Held> {
        open(&place.path("held"))
    }

    fn open(place: &Place, _size: usize, time: Timer<'_>) -> Outcome<f64> {
        let path = place.path("held");
        let start = now();
        let held = open(&path)?;
        let end = now();
        drop(held);
        Ok(time(start, end))
    }

    fn create(place: &Place, _size: usize, time: Timer<'_>) -> Outcome<f64> {
        let path = place.path("created");
        let start = now();
        let held = create(&path)?;
        let end = now();
        drop(held);
        std::fs::remove_file(&path)?;
        Ok(time(start, end))
    }

    fn one_shot(place: &Place, _size: usize) -> Outcome<Box<dyn FnMut(u64)>> {
        let file = File::options().read(true).write(true).open(place.path("held"))?;
        Ok(Box::new(move |_number| {
            set_lock(&file, WRITER, Lock::Exclusive).expect("nobody else has this lock");
            set_lock(&file, WRITER, Lock::None).expect("it is held");
        }))
    }
}
