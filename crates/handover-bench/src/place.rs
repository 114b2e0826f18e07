//! Memory shared by processes, for the bare loops and for the harness itself.

use std::fs::File;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

use crate::subject::Outcome;

/// A mapped file in memory: words that are accessed atomically, and bytes that the user's protocol guards.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: *mut u8,
    length: usize,
}

impl SharedMemory {
    /// Creates the file, with memory for all of it.
    pub(crate) fn create(path: &Path, length: usize) -> Outcome<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length as u64)?;
        Self::map(&file, length, MapFlags::POPULATE)
    }

    /// Maps the existing file.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let length = file.metadata()?.len() as usize;
        Self::map(&file, length, MapFlags::POPULATE)
    }

    /// Maps a file without touching it.
    pub(crate) fn map_lazily(file: &File, length: usize) -> Outcome<Self> {
        Self::map(file, length, MapFlags::empty())
    }

    fn map(file: &File, length: usize, flags: MapFlags) -> Outcome<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | flags,
                file,
                0,
            )?
        };
        Ok(Self { start: start.cast(), length })
    }

    #[inline]
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.length);
        // SAFETY: within the mapping, which lives as long as `self`, and aligned as the assertion says;
        // everyone who shares the memory accesses words atomically.
        unsafe { &*self.start.wrapping_add(at).cast::<AtomicU64>() }
    }

    #[inline]
    pub(crate) fn half(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.length);
        // SAFETY: as for `word`.
        unsafe { &*self.start.wrapping_add(at).cast::<AtomicU32>() }
    }

    /// The bytes from `at` on.
    #[inline]
    pub(crate) fn bytes(&self, at: usize, length: usize) -> *mut u8 {
        assert!(at <= self.length && length <= self.length - at);
        self.start.wrapping_add(at)
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and everything lent from it borrowed `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.length) };
    }
}

/// Sleeps while the word is `value`, for at most 100 ms.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
    let limit = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let _ = futex::wait(word, futex::Flags::empty(), value, Some(&limit));
}

/// Wakes everyone who sleeps on the word, in every process.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

/// How long a process waits for another one of its case.
const LIMIT: Duration = Duration::from_secs(60);

const ARRIVED: usize = 0;
const GENERATION: usize = 64;
const STOP: usize = 128;
const READY: usize = 192;
const SENT_AT: usize = 256;
const NUMBER: usize = 320;
const BESIDE: usize = 384;
const STAGE: usize = 4096;

/// Where the processes of one case meet. A waiting process sleeps, so it takes nothing from those that
/// measure.
#[derive(Debug)]
pub(crate) struct Stage {
    memory: SharedMemory,
    parties: u32,
}

impl Stage {
    pub(crate) fn create(path: &Path) -> Outcome<()> {
        SharedMemory::create(path, STAGE).map(drop)
    }

    pub(crate) fn open(path: &Path, parties: u32) -> Outcome<Self> {
        Ok(Self { memory: SharedMemory::open(path)?, parties })
    }

    /// Waits until all parties are here.
    pub(crate) fn meet(&self) -> Outcome<()> {
        let generation = self.memory.half(GENERATION);
        let seen = generation.load(Ordering::Acquire);
        if self.memory.half(ARRIVED).fetch_add(1, Ordering::AcqRel) + 1 == self.parties {
            self.memory.half(ARRIVED).store(0, Ordering::Relaxed);
            generation.store(seen.wrapping_add(1), Ordering::Release);
            futex_wake(generation);
            return Ok(());
        }
        let start = Instant::now();
        while generation.load(Ordering::Acquire) == seen {
            if start.elapsed() > LIMIT {
                return Err("the other process of this case does not come".into());
            }
            futex_wait(generation, seen);
        }
        Ok(())
    }

    /// Whether the measuring process still measures.
    #[inline]
    pub(crate) fn goes_on(&self) -> bool {
        self.memory.half(STOP).load(Ordering::Relaxed) == 0
    }

    pub(crate) fn set_going(&self, goes_on: bool) {
        self.memory.half(STOP).store(u32::from(!goes_on), Ordering::Release);
    }

    /// Whether the measuring process still measures. The other process asks this each time it has done
    /// something, and this counts it.
    #[inline]
    pub(crate) fn goes_on_beside(&self) -> bool {
        let beside = self.memory.half(BESIDE);
        beside.store(beside.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        self.goes_on()
    }

    /// How often that was done.
    #[inline]
    pub(crate) fn done_beside(&self) -> u32 {
        self.memory.half(BESIDE).load(Ordering::Acquire)
    }

    /// Waits until the other process has begun.
    pub(crate) fn wait_beside(&self) {
        while self.done_beside() == 0 {
            std::hint::spin_loop();
        }
    }

    /// Called before a measurement with something beside it.
    pub(crate) fn set_nothing_beside(&self) {
        self.memory.half(BESIDE).store(0, Ordering::Release);
    }

    /// The number that the reader is waiting after.
    pub(crate) fn ready(&self) -> &AtomicU64 {
        self.memory.word(READY)
    }

    /// The number of the newest publication when a measure begins.
    pub(crate) fn number(&self) -> &AtomicU64 {
        self.memory.word(NUMBER)
    }

    /// When the value was on its way, in ticks.
    pub(crate) fn sent_at(&self) -> &AtomicU64 {
        self.memory.word(SENT_AT)
    }
}
