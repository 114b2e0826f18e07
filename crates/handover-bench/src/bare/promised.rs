//! Only the system calls with which `handover` opens and creates a name, in its order.
//!
//! Besides those of [`Calls`](super::Calls) they ask for the owner and rights of the base directory, the
//! directory and the file, whether the path still leads to the directory, whether a holder lives, and for the
//! record. They map the file by a description of its own, so that a view does not keep the name. The
//! difference to `system calls` is the cost of those promises; the difference between `handover` and these is
//! the cost of the library itself. A sweep, which one creation in 16 makes, is left out.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::process::Resource;

use super::calls::{Held, LENGTH, LIFE, Lock, name, set_lock, unnamed};
use super::slots::VERSION;
use crate::clock::now;
use crate::payload::SMALL;
use crate::place::SharedMemory;
use crate::record::Kind;
use crate::subject::{Measure, Outcome, Place, Subject, Timer};
use crate::worker::make_folder;

pub(crate) struct PromisedCalls;

/// The first pages of a map: its record, and the words of a cell.
const RECORD: [u8; 4096] = [1; 4096];
const HEAD: [u8; 12_288] = [1; 12_288];

const FILE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The directory of a name, checked.
fn directory_of(folder: &Path) -> Outcome<File> {
    black_box(rustix::process::geteuid());
    rustix::fs::stat(folder.parent().ok_or("a directory lies in another one")?)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::openat(CWD, folder, flags, Mode::empty())?);
    rustix::fs::fstat(&directory)?;
    Ok(directory)
}

fn is_same(file: &Stat, path: &Path) -> Outcome<bool> {
    let there = rustix::fs::lstat(path)?;
    Ok((there.st_dev, there.st_ino) == (file.st_dev, file.st_ino))
}

/// Maps a held file by another description, which is closed at once.
fn map(held: File, path: &Path, file: &Stat) -> Outcome<Held> {
    let mapped = File::from(rustix::fs::openat(CWD, path, FILE, Mode::empty())?);
    let found = rustix::fs::fstat(&mapped)?;
    if (found.st_dev, found.st_ino) != (file.st_dev, file.st_ino) {
        return Err("another file was opened".into());
    }
    Ok(Held::with(held, SharedMemory::map_lazily(&mapped, LENGTH)?))
}

fn open(folder: &Path, name: &str) -> Outcome<Held> {
    let path = folder.join(name);
    let directory = directory_of(folder)?;
    let file = File::from(rustix::fs::openat(&directory, name, FILE, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    let mut record = [0; RECORD.len()];
    file.read_exact_at(&mut record, 0)?;
    // The claim, which somebody else's lock refuses.
    if set_lock(&file, LIFE, Lock::Exclusive).is_ok() {
        return Err("nobody holds the name".into());
    }
    set_lock(&file, LIFE, Lock::Shared)?;
    if !is_same(&stat, &path)? {
        return Err("the name leads elsewhere".into());
    }
    drop(directory);
    map(file, &path, &stat)
}

fn create(folder: &Path, file_name: &str) -> Outcome<Held> {
    let directory = directory_of(folder)?;
    if rustix::fs::openat(&directory, file_name, FILE, Mode::empty()).is_ok() {
        return Err("it is there already".into());
    }
    rustix::fs::statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW)?;
    let file = unnamed(&directory)?;
    set_lock(&file, LIFE, Lock::Shared)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o1600))?;
    black_box(rustix::process::getrlimit(Resource::Fsize));
    file.set_len(LENGTH as u64)?;
    file.write_all_at(&HEAD, RECORD.len() as u64)?;
    file.write_all_at(&RECORD, 0)?;
    let stat = rustix::fs::fstat(&file)?;
    name(&file, &directory, file_name)?;
    rustix::fs::statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW)?;
    drop(directory);
    map(file, &folder.join(file_name), &stat)
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
        "the calls with which handover opens and creates a name, without the library: who owns what, who lives, whether \
         the name leads there, a description for the mapping"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::Open, Measure::Create] } else { &[] }
    }

    fn producer(place: &Place, _size: usize) -> Outcome<Held> {
        make_folder(&folder(place))?;
        create(&folder(place), NAME)
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
        let held = create(&folder, "created")?;
        let end = now();
        drop(held);
        std::fs::remove_file(folder.join("created"))?;
        Ok(time(start, end))
    }
}
