//! Sleeping on a word of a map until another process wakes the sleeper.
//!
//! The system's wait on an address (`WaitOnAddress`) does not reach other processes. So a map has a few names
//! for events, its *bells*. A process that is about to sleep makes the first bell that nobody has rung, or
//! shares the one that another sleeper made. It then looks at the word once more and waits for the bell. A
//! process that wakes rings all bells that exist. A rung bell stays rung and serves nobody again: it goes
//! with the last of those who waited for it. So no sleeper can take a wake-up from another, and none is lost:
//! either the bell existed and was rung, or the sleeper saw that the word had changed. If every bell was rung
//! and is still held, by sleepers that were woken and then stopped, the next sleeper polls at most 2 ms
//! apart.
//!
//! A word tells only its address, so a table lists the views. Words in no map and in anonymous maps concern
//! only this process, and their bells have no names. `mod.rs` relies on this.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::naming::prefix;
use super::{file, kernel};
use crate::name::MapName;
use crate::name::name_hash;
use crate::sys::poll::poll_any;
use crate::terms::Scope;

/// How many bells a map has: sleepers can be woken this many times while one of the first is still on its
/// way.
pub(super) const BELLS: u32 = 8;

/// Where sleepers on a map's words wait.
#[derive(Debug)]
pub(super) enum Named {
    /// In this process only. Holds the next sleeper's bell, if there is one.
    Here(Mutex<Option<Arc<OwnedHandle>>>),
    /// In any process, at events with names that start like this.
    Names(String),
}

/// For words that lie in no map.
static ELSEWHERE: Named = Named::here();

/// A view: its first byte, its length, and where its sleepers wait.
static VIEWS: RwLock<BTreeMap<usize, (usize, Arc<Named>)>> = RwLock::new(BTreeMap::new());

impl Named {
    pub(super) const fn here() -> Self {
        Self::Here(Mutex::new(None))
    }

    /// Hashed, because a name may be as long as the kernel allows. Two names with one hash would wake each
    /// other's sleepers, which then look and sleep on.
    pub(super) fn of_name(name: &MapName) -> Self {
        let prefix = prefix(name.scope());
        Self::Names(format!("{prefix}handover.bell.{:032x}", name_hash(name.text())))
    }

    /// Named by the file's number, because a file may have several paths. A file without one has its sleepers
    /// in this process only: if another process changes the word, they sleep until their limit.
    pub(super) fn of_file(file: &File) -> Self {
        file::identity(file).map_or(Self::here(), |(volume, number)| {
            // Events of this scope need no special right.
            let prefix = prefix(Scope::Global);
            Self::Names(format!("{prefix}handover.bell.file.{volume:08x}.{number:016x}"))
        })
    }

    pub(super) fn of_path(path: &Path) -> Self {
        file::open_for_locks(path).map_or(Self::here(), |file| Self::of_file(&file))
    }

    /// The bell to wait for; `None` where all have been rung.
    pub(super) fn bell(&self) -> io::Result<Option<Arc<OwnedHandle>>> {
        match self {
            Self::Here(next) => {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                if next.is_none() {
                    *next = Some(Arc::new(kernel::create_bell(None)?));
                }
                Ok(next.clone())
            }
            Self::Names(names) => {
                for number in 0..BELLS {
                    let bell = kernel::create_bell(Some(&named(names, number)))?;
                    if kernel::wait_for_any(&[&bell], Duration::ZERO)?.is_none() {
                        return Ok(Some(Arc::new(bell)));
                    }
                }
                Ok(None)
            }
        }
    }

    pub(super) fn ring(&self) {
        match self {
            Self::Here(next) => {
                let bell = next.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(bell) = bell {
                    kernel::ring(&bell);
                }
            }
            Self::Names(names) => {
                for number in 0..BELLS {
                    // If there is none, or it is another user's, nobody waits for it.
                    if let Ok(bell) = kernel::open_bell(&named(names, number)) {
                        kernel::ring(&bell);
                    }
                }
            }
        }
    }
}

fn named(names: &str, number: u32) -> Vec<u16> {
    kernel::wide(&format!("{names}.{number}"))
}

/// Enters a view: sleepers on its words wait in `place`. The caller must call [`leave`] before unmapping it.
pub(super) fn enter(first: usize, len: usize, place: Arc<Named>) {
    VIEWS.write().unwrap_or_else(PoisonError::into_inner).insert(first, (len, place));
}

pub(super) fn leave(first: usize) {
    VIEWS.write().unwrap_or_else(PoisonError::into_inner).remove(&first);
}

/// Where sleepers on a word wait; `None` where it lies in no map.
fn place_of(word: &AtomicU64) -> Option<Arc<Named>> {
    let at = word.as_ptr().addr();
    let views = VIEWS.read().unwrap_or_else(PoisonError::into_inner);
    let (first, (len, place)) = views.range(..=at).next_back()?;
    (at - first < *len).then(|| place.clone())
}

/// The woken word may be another one of the same map.
pub(crate) fn sleep_on_any(words: &[(&AtomicU64, u64)], limit: Duration) -> Option<usize> {
    // Lists each place once, with the first word in it.
    let mut places: Vec<(Option<Arc<Named>>, usize)> = Vec::new();
    for (at, (word, _)) in words.iter().enumerate() {
        let place = place_of(word);
        if !places.iter().any(|(known, _)| known.as_ref().map(Arc::as_ptr) == place.as_ref().map(Arc::as_ptr))
        {
            places.push((place, at));
        }
    }
    let bells: Option<Vec<_>> = (places.len() <= kernel::MOST_WAITS)
        .then(|| {
            let bell = |(place, _): &(Option<Arc<Named>>, usize)| {
                place.as_deref().unwrap_or(&ELSEWHERE).bell().ok().flatten()
            };
            places.iter().map(bell).collect()
        })
        .flatten();
    let Some(bells) = bells else {
        poll_any(words, limit);
        return None;
    };
    // The bells exist now: whoever changes a word from here on rings them.
    fence(Ordering::SeqCst);
    if words.iter().any(|(word, expected)| word.load(Ordering::Acquire) != *expected) {
        return None;
    }
    let bells: Vec<&OwnedHandle> = bells.iter().map(Arc::as_ref).collect();
    let Ok(rung) = kernel::wait_for_any(&bells, limit) else {
        poll_any(words, limit);
        return None;
    };
    rung.map(|rung| &places[rung]).filter(|(place, _)| place.is_some()).map(|(_, at)| *at)
}

pub(crate) fn sleep_on(word: &AtomicU64, expected: u64, limit: Duration) {
    sleep_on_any(&[(word, expected)], limit);
}

/// Wakes everyone who sleeps on words of the same map.
pub(crate) fn wake_all(word: &AtomicU64) {
    // Either this finds a sleeper's bell, or the sleeper finds the word changed.
    fence(Ordering::SeqCst);
    place_of(word).as_deref().unwrap_or(&ELSEWHERE).ring();
}
