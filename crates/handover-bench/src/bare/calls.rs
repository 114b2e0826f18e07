//! Only the system calls that cannot be left out.
//!
//! - `set_one_shot`: the lock of one byte of a file (`F_OFD_SETLK`), and its release.
//! - `open`: lock the directory, so that the name stays meanwhile; open the file, ask for its size, lock the
//!   byte that marks a living holder, unlock the directory, map the file, look at the first word.
//! - `create`: create a file, take that lock, give it a size and a head of one page, map it, look at the
//!   first word, give it its name under the directory's lock.

use std::ffi::CString;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

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
    /// A separate description for the lock, where there is one.
    _lock: Option<File>,
    memory: SharedMemory,
}

impl Held {
    /// Maps a file that is locked.
    pub(super) fn map(file: File, lock: Option<File>) -> Outcome<Self> {
        let memory = SharedMemory::map_lazily(&file, LENGTH)?;
        let held = Self { _file: file, _lock: lock, memory };
        held.look();
        Ok(held)
    }

    fn look(&self) -> u64 {
        black_box(self.memory.word(0).load(Ordering::Relaxed))
    }
}

/// The directory of a name, locked; closing it releases the lock.
fn locked_directory(path: &std::path::Path) -> Outcome<File> {
    let directory = File::open(path.parent().ok_or("a name lies in a directory")?)?;
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(directory)
}

fn open(path: &std::path::Path) -> Outcome<Held> {
    let directory = locked_directory(path)?;
    let file = File::options().read(true).write(true).open(path)?;
    if file.metadata()?.len() != LENGTH as u64 {
        return Err("another file was opened".into());
    }
    set_lock(&file, LIFE, Lock::Shared)?;
    drop(directory);
    Held::map(file, None)
}

fn create(path: &std::path::Path, temporary: &CString, name: &CString) -> Outcome<Held> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    set_lock(&file, LIFE, Lock::Shared)?;
    file.set_len(LENGTH as u64)?;
    file.write_all_at(&HEAD, 0)?;
    let held = Held::map(file, None)?;
    let _directory = locked_directory(path)?;
    rustix::fs::rename(temporary, name)?;
    Ok(held)
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
        "the calls that can't be left out: set_one_shot lock and unlock; open: the directory's lock, open, \
         fstat, lock, mmap, first look; create: create, lock, size, head, mmap, first look, the directory's lock, rename"
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
        let (path, temporary) = (place.path("created"), place.path("new"));
        let c = |path: &std::path::Path| CString::new(path.as_os_str().as_bytes());
        let (to, from) = (c(&path)?, c(&temporary)?);
        let start = now();
        let held = create(&temporary, &from, &to)?;
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
