//! Watching by a callback: a thread that calls it, and the guard that ends the thread. Relies on `watch`.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::position::{Change, Event};
use super::watch::{Events, Stop, Watch};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::sys;
use crate::terms::Subject;

/// Keeps a callback going; see [`MemoryMapper::on_change`](crate::MemoryMapper::on_change).
///
/// Dropping it ends the thread that calls, within 100 ms, and waits for a call that is under way. Dropped
/// inside the callback it does not wait: that call is the last one. It keeps the map's name.
///
/// A callback that panics is not called again. The panic is reported as every panic of a thread is, on
/// standard error unless the program has a hook of its own; [`is_finished`](Self::is_finished) tells, and
/// [`end`](Self::end) gives it.
#[must_use = "the callback ends as soon as its guard is dropped"]
pub struct WatchGuard {
    stop: Arc<Stop>,
    subject: Subject,
    thread: Option<JoinHandle<()>>,
    /// A forked child does not have the thread.
    generation: u32,
}

impl WatchGuard {
    /// Whether the callback will not be called again: it panicked, or the watch ended with an error, which
    /// was passed to it; or this is a forked child, and the thread its parent's.
    pub fn is_finished(&self) -> bool {
        self.generation != sys::fork_generation() || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it as dropping does, and says whether the callback panicked.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("WatchGuard in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
    /// mapper.set(&10)?;
    /// let guard = mapper.on_change(|_| panic!("this ends it"))?;
    /// while !guard.is_finished() {
    ///     std::thread::yield_now();
    /// }
    /// assert!(guard.end().is_err());
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the callback panicked with.
    pub fn end(mut self) -> thread::Result<()> {
        self.stop()
    }

    fn stop(&mut self) -> thread::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        if self.generation != sys::fork_generation() {
            // The thread is the parent's, and goes on there.
            mem::forget(thread);
            return Ok(());
        }
        self.stop.set();
        if thread.thread().id() == thread::current().id() {
            return Ok(());
        }
        self.stop.nudge();
        thread.join()
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        // A panic was reported when it happened.
        let _ = self.stop();
    }
}

impl fmt::Debug for WatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchGuard")
            .field("subject", &self.subject)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl<T: 'static, C: Codec<T> + 'static> Watch<T, C> {
    /// Passes the versions to `callback`, in a thread of its own, until the guard is dropped: what
    /// [`MemoryMapper::on_change`](crate::MemoryMapper::on_change) does, for a watch with options.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("Watch::on_change in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
    /// mapper.set(&10)?;
    /// let (sender, seen) = mpsc::channel();
    /// let guard = mapper.watch().after(1).follow_name().on_change(move |change| {
    ///     sender.send(change.map(|change| change.value)).expect("somebody listens");
    /// })?;
    /// mapper.set(&11)?;
    /// assert_eq!(seen.recv()??, Some(11));
    /// # drop(guard);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Io` where no thread can be started.
    pub fn on_change(
        mut self,
        callback: impl FnMut(Result<Change<T>>) + Send + 'static,
    ) -> Result<WatchGuard> {
        let stop = self.stop();
        run(self, stop, callback)
    }
}

impl<T: 'static, C: Codec<T> + 'static> Events<T, C> {
    /// Passes the events to `callback`, in a thread of its own, until the guard is dropped: what
    /// [`MemoryMapper::on_event`](crate::MemoryMapper::on_event) does, for a watch with options.
    ///
    /// # Errors
    ///
    /// `Io` where no thread can be started.
    pub fn on_event(mut self, callback: impl FnMut(Result<Event<T>>) + Send + 'static) -> Result<WatchGuard> {
        let stop = self.stop();
        run(self, stop, callback)
    }
}

/// Passes what comes to a callback, in a thread of its own, until `stop`.
fn run<I: Iterator + Send + 'static>(
    items: I,
    stop: Arc<Stop>,
    mut callback: impl FnMut(I::Item) + Send + 'static,
) -> Result<WatchGuard> {
    let subject = stop.subject();
    let is_stopped = stop.clone();
    let call = move || {
        for item in items {
            callback(item);
            if is_stopped.is_set() {
                return;
            }
        }
    };
    let thread = thread::Builder::new()
        .name("handover-watch".to_owned())
        .spawn(call)
        .map_err(|source| Error::io("start a thread that watches", source).about(&subject))?;
    Ok(WatchGuard { stop, subject, thread: Some(thread), generation: sys::fork_generation() })
}
