//! Watching a value from a task: a stream. Relies on `position`, and on `cell` for the thread that waits.

use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::stream::{FusedStream, Stream};

use super::position::{Change, Event, Position};
use super::versions::Stored;
use crate::backoff::Backoff;
use crate::cell::Waiter;
use crate::codec::Codec;
use crate::error::Result;

/// How many versions a task may take in a row before others of its thread have a turn.
const TURN: u32 = 64;

/// The versions of a mapper as they come, for asynchronous programs. See
/// [`MemoryMapper::changes`](crate::MemoryMapper::changes).
///
/// ```
/// use handover::MemoryMapper;
/// use handover::mapper::Stream;
///
/// # let name = &format!("Changes in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
/// mapper.set(&10)?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let mut changes = mapper.changes();
/// assert_eq!(changes.changed().await.expect("it goes on")?.value, Some(10));
/// // It is a stream as well:
/// let stream: &mut (dyn Stream<Item = _> + Unpin) = &mut changes;
/// # let _ = stream;
/// # Ok::<(), handover::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// They own what they need: they can go to another task, and they keep the map's name.
#[must_use = "changes wait for nothing until they are polled"]
pub struct Changes<T, C> {
    position: Position<T, C>,
    waiter: Waiter,
    /// The pauses between looks for a name that was lost.
    backoff: Backoff,
    /// Versions that were taken without a pause.
    in_a_row: u32,
}

impl<T, C> fmt::Debug for Changes<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<T, C: Codec<T>> Changes<T, C> {
    pub(super) fn new(stored: Stored) -> Self {
        let waiter = stored.cell().waiter();
        Self { position: Position::new(stored), waiter, backoff: Backoff::NAME, in_a_row: 0 }
    }

    /// Leaves out versions up to `version`. Default: the first item is the value that is there.
    pub fn after(mut self, version: u64) -> Self {
        self.position.seen = version;
        self
    }

    /// Ends with the last writer that it meets; see [`Watch::while_written`](crate::Watch::while_written).
    pub fn while_written(mut self) -> Self {
        self.position.end_with_writers();
        self
    }

    /// Goes on with whoever has the name next, once it is lost; see
    /// [`Watch::follow_name`](crate::Watch::follow_name). The process's waiting thread wakes the task to look
    /// for the name at most 10 ms apart; opening it takes some 10 µs of the task's thread.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("changes follow in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
    /// mapper.set(&10)?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let mut changes = mapper.changes().follow_name();
    /// assert_eq!(changes.changed().await.expect("it goes on")?.value, Some(10));
    /// # Ok::<(), handover::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow_name(mut self) -> Self {
        self.position.follow_name();
        self
    }

    /// Tells of the writers too; see [`Watch::events`](crate::Watch::events).
    ///
    /// ```
    /// use handover::MemoryMapper;
    /// use handover::mapper::Event;
    ///
    /// # let name = &format!("changes events in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
    /// MemoryMapper::<u32>::open_existing(name)?.set(&10)?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let mut events = mapper.changes().events();
    /// while let Some(event) = events.event().await {
    ///     match event? {
    ///         Event::Changed(change) => assert_eq!(change.value, Some(10)),
    ///         Event::WriterGone => break,
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<(), handover::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn events(mut self) -> EventStream<T, C> {
        self.position.tell_of_writers();
        EventStream(self)
    }

    /// The next version, once there is one; `None` at the end, which only comes with
    /// [`while_written`](Self::while_written) or after an error that no later version can mend, such as
    /// `NameLost`.
    ///
    /// Cancel-safe: a future that is dropped before it is done has taken nothing.
    ///
    /// # Errors
    ///
    /// As for [`MemoryMapper::get`](crate::MemoryMapper::get). After `Decode`, `CodecMismatch` and
    /// `TypeMismatch` it can go on: the next version may be readable. `Io` where the thread that waits can't
    /// be started. `NameLost`, within 100 ms, unless it [follows](Self::follow_name).
    pub async fn changed(&mut self) -> Option<Result<Change<T>>> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// [`changed`](Self::changed) for callers that poll.
    ///
    /// # Errors
    ///
    /// As for [`changed`](Self::changed).
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Change<T>>>> {
        self.poll_event(context).map(|event| event.map(|event| event.map(Event::into_change)))
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event<T>>>> {
        if self.position.has_ended() {
            return Poll::Ready(None);
        }
        if self.in_a_row >= TURN {
            self.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let newest = if self.position.is_lost() {
                self.poll_name(context)
            } else {
                self.waiter.poll_newer(context, self.position.seen, self.position.until_written())
            };
            let Poll::Ready(newest) = newest else {
                self.in_a_row = 0;
                return Poll::Pending;
            };
            if let ControlFlow::Break(item) = self.position.advance(newest) {
                self.in_a_row += 1;
                return Poll::Ready(item);
            }
        }
    }

    /// `None` once a map has the name again.
    fn poll_name(&mut self, context: &Context<'_>) -> Poll<Result<Option<u64>>> {
        if self.position.find_name()? {
            self.waiter = self.position.cell().waiter();
            self.backoff = Backoff::NAME;
            return Poll::Ready(Ok(None));
        }
        self.waiter.wake_after(context, self.backoff.next(Duration::MAX))?;
        Poll::Pending
    }
}

/// The versions of a mapper as they come, and the coming and going of its writers, for asynchronous programs.
/// See [`Changes::events`].
#[must_use = "events wait for nothing until they are polled"]
pub struct EventStream<T, C>(Changes<T, C>);

impl<T, C> fmt::Debug for EventStream<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventStream").field(&self.0).finish()
    }
}

impl<T, C: Codec<T>> EventStream<T, C> {
    /// The next event, once there is one; `None` at the end. Cancel-safe, as [`Changes::changed`] is.
    ///
    /// # Errors
    ///
    /// As for [`Changes::changed`].
    pub async fn event(&mut self) -> Option<Result<Event<T>>> {
        poll_fn(|context| self.0.poll_event(context)).await
    }
}

impl<T, C: Codec<T>> Stream for EventStream<T, C> {
    type Item = Result<Event<T>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_event(context)
    }
}

impl<T, C: Codec<T>> FusedStream for EventStream<T, C> {
    fn is_terminated(&self) -> bool {
        self.0.is_terminated()
    }
}

impl<T, C: Codec<T>> Stream for Changes<T, C> {
    type Item = Result<Change<T>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_changed(context)
    }
}

impl<T, C: Codec<T>> FusedStream for Changes<T, C> {
    fn is_terminated(&self) -> bool {
        self.position.has_ended()
    }
}
