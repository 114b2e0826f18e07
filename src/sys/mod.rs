//! The few things that differ by system: memory, names, locks, files.
//!
//! Each system's module offers the same items, used by `map` and the layers above it; nothing outside this
//! folder asks which system it runs on. `unix` serves Linux and macOS and keeps what differs between those two
//! in `linux` and `macos`; `windows` stands on the kernel's own named sections.

use std::path::Path;
#[cfg(any(windows, feature = "tokio"))]
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::map::{Access, MapName, Rights};

mod held;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{
    Mapping, Section, coarse_time, collect_garbage, file_access, fork_generation, grow_file, has_no_length,
    list, open_file, sleep_on, wake_all,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{
    Mapping, Section, coarse_time, collect_garbage, file_access, fork_generation, grow_file, has_no_length,
    list, open_file, sleep_on, wake_all,
};

#[cfg(all(unix, feature = "tokio"))]
pub(crate) use unix::{notice_forks, sleep_on_any};
#[cfg(all(windows, feature = "tokio"))]
pub(crate) use windows::{notice_forks, sleep_on_any};

/// Whether a part of a view can lack memory and must not be touched then: [`Mapping::has_memory`] tells.
pub(crate) const MAY_LACK_MEMORY: bool = cfg!(windows);

#[cfg(not(any(unix, windows)))]
compile_error!("handover runs on Linux, macOS and Windows");

/// A name and what its scope needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) name: &'a MapName,
    /// In place of the system's base directory.
    pub(crate) directory: Option<&'a Path>,
    /// Permission bits of a new map.
    pub(crate) mode: Option<u32>,
    /// The user whose maps are accepted in the global scope, if not this one's.
    pub(crate) owner: Option<u32>,
    /// The first bytes of a new map: there before anybody else can have it open.
    pub(crate) head: &'a [u8],
}

/// How a name is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    CreateNew,
    CreateOrOpen,
    OpenExisting,
}

/// What is asked of a section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Bytes; not looked at for `OpenExisting`.
    pub(crate) capacity: u64,
    /// What views of a new section may do.
    pub(crate) access: Access,
    /// What this handle may do.
    pub(crate) rights: Rights,
    pub(crate) delay_allocate_pages: bool,
    pub(crate) inheritable: bool,
}

/// What a call that opens or creates by name came back with.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) section: Section,
    pub(crate) capacity: u64,
    /// The access the section was created with: a ceiling for all its handles.
    pub(crate) protection: Access,
    pub(crate) created: bool,
}

/// Which of a section's locks: numbers, kept apart by the system's means (byte ranges, names). 0 is for the
/// system's own module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockId(pub(crate) u64);

impl LockId {
    /// Held while a value in the plain layout is read (shared) or written (exclusive).
    pub(crate) const VALUE: Self = Self(1);
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    Shared,
    Exclusive,
}

/// Nanoseconds since 1970-01-01 UTC: 0 for times before, the highest number for times beyond.
pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Calls `attempt` until it gives something or `limit` has passed, pausing a little longer each time
/// (20 µs to 2 ms). For locks that the system offers without a time-out.
pub(crate) fn poll<T>(
    limit: Duration,
    waiting_for: impl FnOnce() -> String,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let mut pause = Duration::from_micros(20);
    let mut since = None;
    loop {
        if let Some(got) = attempt()? {
            return Ok(got);
        }
        let since = *since.get_or_insert_with(Instant::now);
        if since.elapsed() >= limit {
            return Err(Error::TimedOut { waiting_for: waiting_for(), after: limit });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

/// Sleeps while each word is what is expected of it, `limit` at most, by looking again after 50 µs and then ever
/// less often, down to every 2 ms. For systems that can't sleep on several words, or not on as many.
#[cfg(any(windows, feature = "tokio"))]
pub(crate) fn poll_any(words: &[(&AtomicU32, u32)], limit: Duration) {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    while words.iter().all(|(word, expected)| word.load(Ordering::Acquire) == *expected) {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

/// A number for a name where the system takes no such name as it is: 128 bits of FNV-1a (Fowler, Noll, Vo)
/// over its UTF-8.
pub(crate) fn name_hash(name: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    name.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;

    /// Longer than any test may take: who is not woken before does not end.
    const LONG: Duration = Duration::from_secs(3600);

    fn ends_when_any_word_changes(sleep: fn(&[(&AtomicU32, u32)], Duration)) {
        for count in [1, 2, 128, 129, 300] {
            for changed in [0, count / 2, count - 1] {
                let words: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(7)).collect();
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let expected: Vec<_> = words.iter().map(|word| (word, 7)).collect();
                        // It may return early.
                        while words[changed].load(Ordering::Acquire) == 7 {
                            sleep(&expected, LONG);
                        }
                    });
                    std::thread::sleep(Duration::from_millis(5));
                    words[changed].store(8, Ordering::Release);
                    wake_all(&words[changed]);
                });
            }
        }
    }

    #[test]
    fn sleeping_on_many_words_ends_when_any_of_them_changes() {
        ends_when_any_word_changes(|words, limit| {
            sleep_on_any(words, limit);
        });
    }

    #[test]
    fn polling_many_words_ends_when_any_of_them_changes() {
        ends_when_any_word_changes(poll_any);
    }

    #[test]
    fn sleeping_ends_after_the_limit() {
        let word = AtomicU32::new(0);
        for count in [1, 200] {
            let words = vec![(&word, 0); count];
            sleep_on_any(&words, Duration::from_millis(1));
            poll_any(&words, Duration::from_millis(1));
        }
    }

    #[test]
    fn waking_tells_which_word_was_woken() {
        // Only where the system can sleep on several words.
        let words = [AtomicU32::new(0), AtomicU32::new(0)];
        std::thread::scope(|scope| {
            let sleeper =
                scope.spawn(|| sleep_on_any(&[(&words[0], 0), (&words[1], 0)], Duration::from_millis(500)));
            while !sleeper.is_finished() {
                wake_all(&words[1]);
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(matches!(sleeper.join(), Ok(None | Some(1))));
        });
    }
}
