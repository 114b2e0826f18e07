//! How far a watcher has come, and what it knows of the writers: what [`Watch`](super::Watch) and `Changes`
//! share. Relies on `versions`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::versions::Stored;
use crate::cell::Cell;
use crate::codec::Codec;
use crate::error::{ErrorKind, Result};

/// A version that a watcher came upon: see [`MemoryMapper::watch`](crate::MemoryMapper::watch).
///
/// `Debug` does not show the value.
///
/// ```
/// use handover::MemoryMapper;
///
/// # let name = &format!("Change in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
/// mapper.set(&10)?;
/// let mut watch = mapper.watch();
/// watch.next();
/// mapper.set(&11)?;
/// mapper.set(&12)?;
/// let change = watch.next().expect("it goes on")?;
/// assert_eq!((change.version, change.skipped, change.value), (3, 1, Some(12)));
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change<T> {
    /// The version.
    pub version: u64,
    /// How many versions came and went, unseen, since the change before.
    pub skipped: u64,
    /// The value; `None` where it was cleared, taken or has expired.
    pub value: Option<T>,
}

/// The value stays out of it: it may be a secret.
impl<T> fmt::Debug for Change<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("version", &self.version)
            .field("skipped", &self.skipped)
            .field("value", &self.value.as_ref().map(|_| format_args!("_")))
            .finish()
    }
}

/// What a watcher is told of that also wants to know whether anybody still writes: see
/// [`Watch::events`](crate::Watch::events).
///
/// ```
/// use handover::MemoryMapper;
/// use handover::mapper::Event;
///
/// # let name = &format!("Event in the docs {}", std::process::id());
/// let consumer = MemoryMapper::<u32>::create_or_open(name)?;
/// let mut events = consumer.watch().events();
///
/// let producer = MemoryMapper::<u32>::open_existing(name)?;
/// producer.set(&10)?;
/// assert!(matches!(events.next().unwrap()?, Event::Changed(change) if change.value == Some(10)));
/// drop(producer);
/// assert!(matches!(events.next().unwrap()?, Event::WriterGone));
///
/// let restarted = MemoryMapper::<u32>::open_existing(name)?;
/// restarted.set(&20)?;
/// assert!(matches!(events.next().unwrap()?, Event::WriterBack));
/// assert!(matches!(events.next().unwrap()?, Event::Changed(change) if change.value == Some(20)));
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<T> {
    /// There is a newer version.
    Changed(Change<T>),
    /// No handle that ever wrote lives any more, other than this mapper. The value stays readable.
    WriterGone,
    /// After [`WriterGone`](Self::WriterGone): a handle that writes is there again.
    WriterBack,
}

impl<T> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(change) => f.debug_tuple("Changed").field(change).finish(),
            Self::WriterGone => f.write_str("WriterGone"),
            Self::WriterBack => f.write_str("WriterBack"),
        }
    }
}

/// What a watcher knows of the writers, other than its own mapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writers {
    /// There was none yet.
    Awaited,
    Living,
    Gone,
}

/// Whether a watcher ends with the last writer that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Never,
    /// It does, and has met none.
    AfterMeeting,
    /// It does, and has met one.
    WithTheLast,
}

/// What a watcher has seen of a mapper's versions, and what it waits for.
pub(super) struct Position<T, C> {
    stored: Stored,
    /// The newest version that it gave, or was told to leave out.
    pub(super) seen: u64,
    /// Whether it tells of the writers too.
    events: bool,
    ends: Ends,
    /// The newest version when it first looked at the writers: a later one is a writer's work, or this
    /// mapper's own.
    start: u64,
    /// How many its own mapper had published by then.
    own_at_start: u64,
    writers: Writers,
    ended: bool,
    value: PhantomData<fn() -> (T, C)>,
}

impl<T, C> fmt::Debug for Position<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Position")
            .field("subject", self.stored.cell().subject())
            .field("seen", &self.seen)
            .field("ends", &self.ends)
            .field("writers", &self.writers)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<T, C: Codec<T>> Position<T, C> {
    pub(super) fn new(stored: Stored) -> Self {
        Self {
            stored,
            seen: 0,
            events: false,
            ends: Ends::Never,
            start: 0,
            own_at_start: 0,
            writers: Writers::Awaited,
            ended: false,
            value: PhantomData,
        }
    }

    pub(super) fn end_with_writers(&mut self) {
        self.ends = Ends::AfterMeeting;
        self.look_at_writers();
    }

    pub(super) fn tell_of_writers(&mut self) {
        self.events = true;
        if self.ends == Ends::Never {
            self.look_at_writers();
        }
    }

    fn look_at_writers(&mut self) {
        self.own_at_start = self.cell().published();
        self.start = self.cell().version();
        // Where the system can't tell now, the first wait says why.
        let lives = self.cell().has_writer().unwrap_or(false);
        if lives {
            self.meet();
        }
        if lives || self.start > 0 {
            self.writers = Writers::Living;
        }
    }

    fn meet(&mut self) {
        if self.ends == Ends::AfterMeeting {
            self.ends = Ends::WithTheLast;
        }
    }

    pub(super) fn cell(&self) -> &Cell {
        self.stored.cell()
    }

    /// Whether there is nothing more to come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Beside a newer version: whether it waits until there is a writer (true), or until there is none
    /// (false).
    pub(super) fn until_written(&self) -> Option<bool> {
        let tracks = self.events || self.ends != Ends::Never;
        // One that it met may have come and gone between two looks.
        tracks.then_some(self.writers != Writers::Living && self.ends != Ends::WithTheLast)
    }

    /// The item for what was waited for: a newer version, or `None` where
    /// [`until_written`](Self::until_written) came true; the item is `None` at the end. Where there is
    /// nothing to tell it breaks with nothing, and the wait goes on.
    pub(super) fn advance(&mut self, newest: Result<Option<u64>>) -> ControlFlow<Option<Result<Event<T>>>> {
        let step = newest.and_then(|newest| match newest {
            Some(newest) => self.step_to(newest).map(ControlFlow::Break),
            None => Ok(self.turn()),
        });
        match step {
            Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
            Ok(ControlFlow::Break(event)) => {
                self.ended |= event.is_none();
                ControlFlow::Break(event.map(Ok))
            }
            Err(error) => {
                self.ended = error.kind() != ErrorKind::TimedOut && !may_be_mended(error.kind());
                ControlFlow::Break(Some(Err(error)))
            }
        }
    }

    /// There is a newer version.
    fn step_to(&mut self, newest: u64) -> Result<Option<Event<T>>> {
        if self.until_written().is_some() && self.writers != Writers::Living {
            let before = self.writers;
            if self.cell().has_writer()? {
                self.meet();
                self.writers = Writers::Living;
                if self.events && before == Writers::Gone {
                    return Ok(Some(Event::WriterBack));
                }
            } else if newest.saturating_sub(self.start) > self.cell().published() - self.own_at_start {
                // It came and went unseen.
                self.meet();
                if before == Writers::Awaited {
                    self.writers = Writers::Living;
                }
            }
        }
        self.change(newest).map(|change| Some(Event::Changed(change)))
    }

    /// The first writer came, or the last one went, and there is nothing newer.
    fn turn(&mut self) -> ControlFlow<Option<Event<T>>> {
        let before = self.writers;
        let gone = self.until_written() == Some(false);
        if gone {
            self.writers = Writers::Gone;
            let ends = self.ends == Ends::WithTheLast;
            return if self.events && before == Writers::Living {
                self.ended = ends;
                ControlFlow::Break(Some(Event::WriterGone))
            } else if ends {
                ControlFlow::Break(None)
            } else {
                ControlFlow::Continue(())
            };
        }
        self.meet();
        self.writers = Writers::Living;
        if self.events && before == Writers::Gone {
            return ControlFlow::Break(Some(Event::WriterBack));
        }
        ControlFlow::Continue(())
    }

    fn change(&mut self, newest: u64) -> Result<Change<T>> {
        // What came since is newer still.
        let mut version = newest;
        let value = loop {
            if let Some(value) = self.stored.read()? {
                version = value.version;
                let decoded = self.stored.decode::<T, C>(value);
                if decoded.as_ref().is_err_and(|error| may_be_mended(error.kind())) {
                    // This version can't be read; the next one may be.
                    self.seen = version;
                }
                break Some(decoded?);
            }
            // Reading may have removed it, being expired; where none came since, the version is that of the
            // removal.
            let now = self.cell().version();
            if now == version {
                break None;
            }
            version = now;
        };
        // The first version of a watch from the beginning skips nothing that it was asked for.
        let skipped = if self.seen == 0 { 0 } else { version.saturating_sub(self.seen + 1) };
        self.seen = version;
        Ok(Change { version, skipped, value })
    }
}

/// Whether the next version may be readable where one failed to be so.
fn may_be_mended(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Decode | ErrorKind::CodecMismatch | ErrorKind::TypeMismatch)
}

impl<T> Event<T> {
    /// The change, which is all that a watcher is told that did not ask for events.
    pub(super) fn into_change(self) -> Change<T> {
        match self {
            Self::Changed(change) => change,
            Self::WriterGone | Self::WriterBack => unreachable!("nobody asked for events"),
        }
    }
}
