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
    /// The map's file was taken from its name: nobody finds this map any more. Only a watch that was asked to
    /// [`follow_name`](crate::Watch::follow_name) tells this as an event and waits for the name; any other
    /// ends with the error `NameLost`. Where this process may only read another user's map, and so keeps no
    /// name, it is told when the last holder has gone, too.
    NameLost,
    /// After [`NameLost`](Self::NameLost): the name leads to a map again, which the watch has opened. What
    /// follows, versions and writers, is that map's, as for a watch that begins.
    NameBack,
}

impl<T> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(change) => f.debug_tuple("Changed").field(change).finish(),
            Self::WriterGone => f.write_str("WriterGone"),
            Self::WriterBack => f.write_str("WriterBack"),
            Self::NameLost => f.write_str("NameLost"),
            Self::NameBack => f.write_str("NameBack"),
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

/// Whether the name leads to the map, for a watcher that goes on with whoever has it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Kept,
    /// The map that it leads to next is awaited.
    Lost,
    /// It leads to another map, and nobody was told yet.
    Found,
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
    /// Whether it goes on with whoever has the name next.
    follows: bool,
    name: Name,
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
            .field("name", &self.name)
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
            follows: false,
            name: Name::Kept,
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

    pub(super) fn follow_name(&mut self) {
        self.follows = self.stored.has_name();
    }

    /// Whether it waits for a map to have the name again: until [`find_name`](Self::find_name) finds one.
    pub(super) fn is_lost(&self) -> bool {
        self.name == Name::Lost
    }

    /// Goes on with the map that the name leads to now, if it leads to one. Lets go of the lost one.
    pub(super) fn find_name(&mut self) -> Result<bool> {
        let Some(stored) = self.stored.with_its_name()? else { return Ok(false) };
        self.stored = stored;
        (self.seen, self.name, self.writers) = (0, Name::Found, Writers::Awaited);
        if self.ends != Ends::Never {
            self.ends = Ends::AfterMeeting;
        }
        if self.events || self.ends != Ends::Never {
            self.look_at_writers();
        }
        Ok(true)
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
    /// [`until_written`](Self::until_written) came true, or after [`find_name`](Self::find_name) found it;
    /// the item is `None` at the end. Where there is nothing to tell it breaks with nothing, and the wait
    /// goes on.
    pub(super) fn advance(&mut self, newest: Result<Option<u64>>) -> ControlFlow<Option<Result<Event<T>>>> {
        if self.name == Name::Found {
            self.name = Name::Kept;
            return self.tell(Event::NameBack);
        }
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
            Err(error) if error.kind() == ErrorKind::NameLost && self.follows => {
                self.name = Name::Lost;
                self.tell(Event::NameLost)
            }
            Err(error) => {
                self.ended = error.kind() != ErrorKind::TimedOut && !may_be_mended(error.kind());
                ControlFlow::Break(Some(Err(error)))
            }
        }
    }

    /// Tells `event`, if it tells of more than versions.
    fn tell(&self, event: Event<T>) -> ControlFlow<Option<Result<Event<T>>>> {
        if self.events { ControlFlow::Break(Some(Ok(event))) } else { ControlFlow::Continue(()) }
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
            Self::WriterGone | Self::WriterBack | Self::NameLost | Self::NameBack => {
                unreachable!("nobody asked for events")
            }
        }
    }
}
