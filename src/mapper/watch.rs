//! Watching a value in a thread: a blocking iterator. Relies on `position`.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::position::{Change, Event, Position};
use super::versions::Stored;
use crate::backoff::Backoff;
use crate::cell::Cell;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result};
use crate::terms::Subject;

/// The versions of a mapper as they come: a blocking iterator. See
/// [`MemoryMapper::watch`](crate::MemoryMapper::watch).
///
/// ```
/// use std::time::Duration;
///
/// use handover::{ErrorKind, MemoryMapper};
///
/// # let name = &format!("Watch in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
/// mapper.set(&10)?;
/// mapper.set(&11)?;
/// let mut watch = mapper.watch().after(1).timeout(Duration::from_millis(1));
/// assert_eq!(watch.next().expect("it goes on")?.value, Some(11));
/// assert_eq!(watch.next().expect("it goes on").unwrap_err().kind(), ErrorKind::TimedOut);
/// # Ok::<(), handover::Error>(())
/// ```
///
/// It owns what it needs: it can go to another thread, and it keeps the map's name.
#[must_use = "a watch waits for nothing until it is iterated"]
pub struct Watch<T, C> {
    position: Position<T, C>,
    limit: Option<Duration>,
    /// Ends it from outside once set.
    stop: Option<Arc<Stop>>,
}

/// Ends a watch from another thread.
#[derive(Debug)]
pub(super) struct Stop {
    is_set: AtomicBool,
    /// The one that is watched; its own thread may be asleep in it.
    cell: Mutex<Cell>,
}

impl Stop {
    fn of(cell: &Cell) -> Arc<Self> {
        Arc::new(Self { is_set: AtomicBool::new(false), cell: Mutex::new(cell.clone()) })
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
    }

    pub(super) fn subject(&self) -> Subject {
        self.cell().subject().clone()
    }

    /// Has the watch look whether it is stopped.
    pub(super) fn nudge(&self) {
        self.cell().nudge();
    }

    fn cell(&self) -> Cell {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another cell is watched now.
    fn move_to(&self, cell: &Cell) {
        let mut there = self.cell.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *there, cell.clone());
        // The last handle of a lost map closes it: not under the lock.
        drop(there);
        drop(old);
    }
}

/// A watch that tells of writers too. See [`Watch::events`].
#[must_use = "a watch waits for nothing until it is iterated"]
pub struct Events<T, C>(Watch<T, C>);

impl<T, C> fmt::Debug for Watch<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("position", &self.position)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<T, C> fmt::Debug for Events<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0).finish()
    }
}

impl<T, C: Codec<T>> Watch<T, C> {
    pub(super) fn new(stored: Stored) -> Self {
        Self { position: Position::new(stored), limit: None, stop: None }
    }

    /// Leaves out versions up to `version`. Default: the first item is the value that is there.
    pub fn after(mut self, version: u64) -> Self {
        self.position.seen = version;
        self
    }

    /// How long to wait for each next item; then the item is the error `TimedOut`, and the watch can go on.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Ends with the last writer that it meets: once no handle that ever wrote lives, other than this mapper,
    /// and everything written was seen. A killed writer is noticed within 100 ms.
    ///
    /// Where no writer lives yet, or any more, it gives the value that is there, if there is one, and waits
    /// for a writer. So a consumer can come first, and a program that watches in a loop waits there for its
    /// producer to be restarted:
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("while_written in the docs {}", std::process::id());
    /// let consumer = MemoryMapper::<u32>::create_or_open(name)?;
    /// # let name = name.clone();
    /// let producing = std::thread::spawn(move || {
    ///     for run in 0..2 {
    ///         let producer = MemoryMapper::<u32>::open_existing(&name)?;
    ///         producer.set(&run)?;
    ///         # std::thread::sleep(std::time::Duration::from_millis(200));
    ///     }
    ///     Ok::<(), handover::Error>(())
    /// });
    /// let mut last = None;
    /// while last != Some(1) {
    ///     for change in consumer.watch().while_written() {
    ///         last = change?.value;
    ///     }
    ///     println!("the producer has gone");
    /// }
    /// # producing.join().unwrap()?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    pub fn while_written(mut self) -> Self {
        self.position.end_with_writers();
        self
    }

    /// Tells of the writers too: once when the last one has gone, once when one is back, each within 100 ms,
    /// and goes on. This mapper itself is not among them.
    ///
    /// The first of these items is always [`Event::WriterGone`]. Where no writer lives at the start and a
    /// version is there, that comes first. Before the first writer there is nothing to tell:
    /// [`MemoryMapper::wait_for_writer`](crate::MemoryMapper::wait_for_writer) waits for it. A writer that
    /// comes and goes between two looks may go untold, but not what it wrote.
    pub fn events(mut self) -> Events<T, C> {
        self.position.tell_of_writers();
        Events(self)
    }

    /// Goes on with whoever has the name next, once it is lost: once the map's file was deleted, moved or
    /// replaced. Without this the watch ends with the error `NameLost`. Maps without a name are never lost.
    ///
    /// It then looks for the name at most 10 ms apart, opens the map that has it with the options of this one
    /// (it never creates one), lets go of the lost one, and gives the new one's newest version, whatever its
    /// number; so a version may be lower than the one before. With [`events`](Self::events) it tells both as
    /// well, by [`Event::NameLost`] and [`Event::NameBack`]. A [`timeout`](Self::timeout) holds for this wait
    /// too. The mapper that it came from stays with the lost map.
    ///
    /// An error other than `NameLost`, such as one about what has the name now, ends it as always.
    ///
    /// ```
    /// use handover::map::MapOptions;
    /// use handover::mapper::Event;
    /// use handover::{MapperOptions, MemoryMapper};
    ///
    /// # if cfg!(unix) {
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-follow-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// let options = MapperOptions::new().map(MapOptions::new().directory(&dir));
    /// let producer: MemoryMapper<u32> = options.create_new("state")?;
    /// producer.set(&10)?;
    /// let mut watch = options.open_existing::<u32, handover::codec::Json>("state")?.watch().follow_name();
    /// assert_eq!(watch.next().expect("it goes on")?.value, Some(10));
    ///
    /// // Somebody tidies up, and the producer starts again.
    /// # for entry in std::fs::read_dir(&dir)? {
    /// #     std::fs::remove_dir_all(entry?.path())?;
    /// # }
    /// let restarted: MemoryMapper<u32> = options.create_new("state")?;
    /// restarted.set(&20)?;
    /// assert_eq!(watch.next().expect("it goes on")?.value, Some(20));
    /// # drop((watch, producer, restarted));
    /// # std::fs::remove_dir_all(dir)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow_name(mut self) -> Self {
        self.position.follow_name();
        self
    }

    fn cell(&self) -> &Cell {
        self.position.cell()
    }

    /// What ends it from outside.
    pub(super) fn stop(&mut self) -> Arc<Stop> {
        self.stop.insert(Stop::of(self.position.cell())).clone()
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.is_set())
    }

    /// Waits for the next version, or for what `position` waits for beside it: then `None`.
    fn wait(&self, start: Instant) -> Result<Option<u64>> {
        let (cell, seen, until_written) =
            (self.position.cell(), self.position.seen, self.position.until_written());
        let ends = || match until_written {
            Some(until) if cell.has_writer()? == until => Ok(true),
            _ => Ok(self.is_stopped()),
        };
        loop {
            // Without a limit of its own it waits in pieces of an hour.
            let limit =
                self.limit.map_or(Duration::from_secs(3600), |limit| limit.saturating_sub(start.elapsed()));
            match (cell.wait_unless(seen, limit, ends), self.limit) {
                (Err(error), None) if error.kind() == ErrorKind::TimedOut => {}
                (Err(error), Some(limit)) if error.kind() == ErrorKind::TimedOut => {
                    let what = match until_written {
                        Some(true) => "a writer".to_owned(),
                        _ => format!("a version newer than {seen}"),
                    };
                    return Err(Error::timed_out(what, limit).about(cell.subject()));
                }
                (other, _) => return other,
            }
        }
    }

    fn next_event(&mut self) -> Option<Result<Event<T>>> {
        if self.position.has_ended() {
            return None;
        }
        let start = Instant::now();
        loop {
            let newest = if self.position.is_lost() { self.wait_for_name(start) } else { self.wait(start) };
            if self.is_stopped() {
                return None;
            }
            if let ControlFlow::Break(item) = self.position.advance(newest) {
                return item;
            }
        }
    }

    /// Waits until a map has the name again, or the watch is stopped: then `None`, always.
    fn wait_for_name(&mut self, start: Instant) -> Result<Option<u64>> {
        let mut backoff = Backoff::NAME;
        while !self.is_stopped() && !self.position.find_name()? {
            let left = self.limit.map_or(Duration::MAX, |limit| limit.saturating_sub(start.elapsed()));
            if left.is_zero() {
                let error = Error::timed_out("a map to have the name again", self.limit.unwrap_or_default());
                return Err(error.about(self.cell().subject()));
            }
            std::thread::sleep(backoff.next(left));
        }
        if let Some(stop) = &self.stop {
            stop.move_to(self.position.cell());
        }
        Ok(None)
    }
}

impl<T, C: Codec<T>> Events<T, C> {
    /// What ends it from outside.
    pub(super) fn stop(&mut self) -> Arc<Stop> {
        self.0.stop()
    }
}

impl<T, C: Codec<T>> Iterator for Watch<T, C> {
    type Item = Result<Change<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().map(|event| event.map(Event::into_change))
    }
}

impl<T, C: Codec<T>> FusedIterator for Watch<T, C> {}

impl<T, C: Codec<T>> Iterator for Events<T, C> {
    type Item = Result<Event<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_event()
    }
}

impl<T, C: Codec<T>> FusedIterator for Events<T, C> {}
