//! Only the system calls with which `handover` opens and creates a name, in its order.
//!
//! Besides those of [`Calls`](super::Calls) they ask for the owner and rights of the base directory, the
//! directory and the file, whether the path still leads to the directory, whether killed holders left
//! something there, whether a holder lives, and for the record. They also give the lock a separate
//! description, which a forked child does not keep. The difference to `system calls` is the cost of those
//! promises; the difference between `handover` and these is the cost of the library itself.

use std::fs::File;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir};
use rustix::process::Resource;

use super::calls::{Held, LENGTH, LIFE, Lock, byte_range, set_lock};
use super::slots::VERSION;
use crate::clock::now;
use crate::payload::SMALL;
use crate::record::Kind;
use crate::subject::{Measure, Outcome, Place, Subject, Timer};
use crate::worker::make_folder;

pub(crate) struct PromisedCalls;

/// The first pages of a map: its record, and the words of a cell.
const RECORD: [u8; 4096] = [1; 4096];
const HEAD: [u8; 12_288] = [1; 12_288];

const FILE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Whether somebody else has the lock that says that a holder lives.
fn is_held(file: &File) -> Outcome<bool> {
    let mut range = byte_range(LIFE, libc::F_WRLCK);
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `range` is a valid `flock`.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(range.l_type != libc::F_UNLCK as libc::c_short)
}

/// The directory of a name, checked, locked, and swept: this asks whether other files in it have a living
/// holder.
fn swept_directory(folder: &Path, name: &str) -> Outcome<File> {
    black_box(rustix::process::geteuid());
    rustix::fs::stat(folder.parent().ok_or("a directory lies in another one")?)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::openat(CWD, folder, flags, Mode::empty())?);
    rustix::fs::fstat(&directory)?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    rustix::fs::statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&directory, &mut buffer);
    let mut others = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let other = entry.file_name().to_bytes();
        if !other.starts_with(b".") && other != name.as_bytes() {
            others.push(entry.file_name().to_owned());
        }
    }
    for other in &others {
        let other = File::from(rustix::fs::openat(&directory, other, FILE, Mode::empty())?);
        black_box(is_held(&other)?);
    }
    Ok(directory)
}

fn hold(directory: &File, name: &str) -> Outcome<File> {
    let lock = File::from(rustix::fs::openat(directory, name, FILE, Mode::empty())?);
    rustix::fs::fstat(&lock)?;
    set_lock(&lock, LIFE, Lock::Shared)?;
    Ok(lock)
}

fn unlock(directory: &File) -> Outcome<()> {
    // A forked child may share the description.
    Ok(rustix::fs::flock(directory, FlockOperation::Unlock)?)
}

fn open(folder: &Path, name: &str) -> Outcome<Held> {
    let directory = swept_directory(folder, name)?;
    let file = File::from(rustix::fs::openat(&directory, name, FILE, Mode::empty())?);
    rustix::fs::fstat(&file)?;
    let mut record = [0; RECORD.len()];
    file.read_exact_at(&mut record, 0)?;
    if !is_held(&file)? {
        return Err("nobody holds the name".into());
    }
    let lock = hold(&directory, name)?;
    unlock(&directory)?;
    drop(directory);
    Held::map(file, Some(lock))
}

fn create(folder: &Path, temporary: &str, name: &str) -> Outcome<Held> {
    let directory = swept_directory(folder, name)?;
    black_box(rustix::process::getpid());
    let flags = FILE | OFlags::CREATE | OFlags::EXCL;
    let file = File::from(rustix::fs::openat(&directory, temporary, flags, Mode::RUSR | Mode::WUSR)?);
    rustix::fs::fstat(&file)?;
    let lock = hold(&directory, temporary)?;
    black_box(rustix::process::getrlimit(Resource::Fsize));
    file.set_len(LENGTH as u64)?;
    file.write_all_at(&HEAD, RECORD.len() as u64)?;
    file.write_all_at(&RECORD, 0)?;
    rustix::fs::renameat(&directory, temporary, &directory, name)?;
    unlock(&directory)?;
    drop(directory);
    Held::map(file, Some(lock))
}

const NAME: &str = "held";

/// A private directory, like the library's.
fn folder(place: &Place) -> std::path::PathBuf {
    place.path("names")
}

impl Subject for PromisedCalls {
    const NAME: &'static str = "system calls + promises";
    const KIND: Kind = Kind::Bare;
    type Producer = Held;
    type Consumer = Held;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "the calls with which handover opens and creates a name, without the library: who owns what, what the killed left, \
         who lives, a description for the lock"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::Open, Measure::Create] } else { &[] }
    }

    fn producer(place: &Place, _size: usize) -> Outcome<Held> {
        make_folder(&folder(place))?;
        create(&folder(place), ".new", NAME)
    }

    fn consumer(place: &Place, _size: usize) -> Outcome<Held> {
        open(&folder(place), NAME)
    }

    fn open(place: &Place, _size: usize, time: Timer<'_>) -> Outcome<f64> {
        let folder = folder(place);
        let start = now();
        let held = open(&folder, NAME)?;
        let end = now();
        drop(held);
        Ok(time(start, end))
    }

    fn create(place: &Place, _size: usize, time: Timer<'_>) -> Outcome<f64> {
        let folder = folder(place);
        let start = now();
        let held = create(&folder, ".new", "created")?;
        let end = now();
        drop(held);
        std::fs::remove_file(folder.join("created"))?;
        Ok(time(start, end))
    }
}
