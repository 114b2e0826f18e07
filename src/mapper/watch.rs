//! Watching a value in a thread: a blocking iterator. Relies on `position`.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::position::{Change, Event, Position};
use super::versions::Stored;
use crate::cell::Cell;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result};

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
    /// Ends it from outside once true.
    stop: Option<Arc<AtomicBool>>,
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

    pub(super) fn cell(&self) -> &Cell {
        self.position.cell()
    }

    /// The same, until `stop` is true.
    pub(super) fn until(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = Some(stop);
        self
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Acquire))
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
            let newest = self.wait(start);
            if self.is_stopped() {
                return None;
            }
            if let ControlFlow::Break(item) = self.position.advance(newest) {
                return item;
            }
        }
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
