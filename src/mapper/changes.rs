//! Watching a value from a task: one version after the other, as they come.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use super::MemoryMapper;
use super::watch::{Change, Position};
use crate::cell::Waiter;
use crate::codec::Codec;
use crate::error::Result;

/// How many versions a task may take in a row before others of its thread have a turn.
const TURN: u32 = 64;

/// The versions of a mapper as they come, for asynchronous programs. See [`MemoryMapper::changes`].
#[derive(Debug)]
#[must_use]
pub struct Changes<'a, T, C> {
    mapper: &'a MemoryMapper<T, C>,
    position: Position,
    while_written: bool,
    /// Made when it is first needed: the plain layout has none.
    waiter: Option<Waiter>,
    /// Versions that were taken without a pause.
    in_a_row: u32,
}

impl<'a, T, C: Codec<T>> Changes<'a, T, C> {
    pub(super) fn new(mapper: &'a MemoryMapper<T, C>) -> Self {
        Self { mapper, position: Position::default(), while_written: false, waiter: None, in_a_row: 0 }
    }

    /// Leaves out versions up to `version`. Default: the first item is the value that is there.
    pub fn after(mut self, version: u64) -> Self {
        self.position.seen = version;
        self
    }

    /// Ends once no handle that ever wrote lives, other than this mapper, and everything written was seen.
    /// A writer that was killed is missed within 100 ms.
    pub fn while_written(mut self) -> Self {
        self.while_written = true;
        self
    }

    /// The next version, once there is one; `None` at the end, which only comes with
    /// [`while_written`](Self::while_written) or after an error that no later version can mend.
    ///
    /// Cancel-safe: a future that is dropped before it is done has taken nothing.
    ///
    /// # Errors
    ///
    /// As for [`MemoryMapper::get`]. After `Decode`, `CodecMismatch` and `TypeMismatch` it can go on: the next
    /// version may be readable. `Io` where the thread that waits can't be started.
    pub async fn changed(&mut self) -> Result<Option<Change<T>>> {
        poll_fn(|context| self.poll_changed(context)).await.transpose()
    }

    /// [`changed`](Self::changed) for those who poll.
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Change<T>>>> {
        if self.position.ended {
            return Poll::Ready(None);
        }
        if self.in_a_row >= TURN {
            self.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let newest = match self.poll_newest(context) {
            Poll::Ready(newest) => newest,
            Poll::Pending => {
                self.in_a_row = 0;
                return Poll::Pending;
            }
        };
        self.in_a_row += 1;
        Poll::Ready(self.position.advance(self.mapper, newest))
    }

    fn poll_newest(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<u64>>> {
        let waiter = match &mut self.waiter {
            Some(waiter) => waiter,
            None => self.waiter.insert(self.mapper.cell()?.waiter()),
        };
        waiter.poll_newer(context, self.position.seen, self.while_written)
    }
}

impl<T, C: Codec<T>> Stream for Changes<'_, T, C> {
    type Item = Result<Change<T>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_changed(context)
    }
}

impl<T, C: Codec<T>> FusedStream for Changes<'_, T, C> {
    fn is_terminated(&self) -> bool {
        self.position.ended
    }
}
