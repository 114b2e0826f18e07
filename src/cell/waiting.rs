//! Waiting without a thread of one's own: the one thread of a process that sleeps for all its tasks.
//!
//! A task leaves its waker here, with the version that it has seen and the time at which it wants to look in
//! any case. The thread sleeps on the words of all such cells at once, and wakes the tasks whose version is
//! no longer the newest or whose time has come; they look for themselves what there is. It starts when the
//! first task waits, and ends a second after the last one has gone. Relies on `protocol` for the mark that
//! has publishers wake sleepers, and on `sys` for the sleep; `mapper` relies on it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::layout::{CURRENT_AT, SLEEPERS_AT};
use super::protocol::{self, Current, Memory};
use super::shared::{SLEEP_LIMIT, Shared};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::map::ViewAccessor;
use crate::sys::{self, Inherit, PerProcess};
use crate::terms::Access;

/// How long the thread stays when nobody waits. A task that takes a version waits for the next one soon
/// after.
const IDLE_LIMIT: Duration = Duration::from_secs(1);

/// Bytes before the slots that hold the words which a waiter looks at.
const WORDS: u64 = 256;

/// The words of a cell, mapped once more. The thread may look at them a moment longer than a task has the
/// cell, and a view does not keep the map's name.
#[derive(Debug)]
struct Words {
    view: ViewAccessor,
    /// Whether this process can leave the mark that has publishers wake it.
    can_mark: bool,
}

impl Words {
    fn of(shared: &Shared) -> Result<Self> {
        let access = if shared.can_write { Access::ReadWrite } else { Access::Read };
        let view = shared.map.create_view_accessor_with(0, WORDS, access)?;
        Ok(Self { view, can_mark: shared.can_write })
    }

    fn current(&self) -> u64 {
        // A cell has these words; the view was made with the access that they need.
        self.view.load::<AtomicU64>(CURRENT_AT as u64).unwrap_or_else(|_| unreachable!("within the view"))
    }

    /// The word to sleep on after the mark was left; `None` where the version is another than `seen` by now.
    fn prepare_sleep(&self, seen: u64) -> Option<&AtomicU64> {
        // SAFETY: everybody uses this word as 32 bits.
        let sleepers = unsafe { self.view.atomic::<AtomicU32>(SLEEPERS_AT as u64) };
        let sleepers = sleepers.unwrap_or_else(|_| unreachable!("within the view"));
        // SAFETY: everybody uses `current` as 64 bits.
        let current = unsafe { self.view.atomic::<AtomicU64>(CURRENT_AT as u64) };
        let current = current.unwrap_or_else(|_| unreachable!("within the view"));
        protocol::prepare_sleep_on::<super::words::Words>(sleepers, current, seen).then_some(current)
    }
}

/// A task in the line.
#[derive(Debug)]
struct Waiting {
    /// The words of the cell, and what `current` was when the task looked; `None` where it waits for a time
    /// alone.
    cell: Option<(Arc<Words>, u64)>,
    /// Whether it wants to know that the last writer has gone, or that one is back.
    for_writers: bool,
    /// When to wake it in any case.
    until: Option<Instant>,
    waker: Waker,
}

impl Waiting {
    fn seen(&self) -> Option<u64> {
        self.cell.as_ref().map(|(_, seen)| *seen)
    }

    /// Whether the thread has nothing to learn from `new`, which takes its place.
    fn waits_as(&self, new: &Self) -> bool {
        let in_time = match (self.until, new.until) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(until), Some(new)) => until <= new,
        };
        self.seen() == new.seen() && self.for_writers == new.for_writers && in_time
    }

    /// Whether there is something for it to look at. `writers` says whether it is time to look for writers.
    fn is_due(&self, now: Instant, writers: bool) -> bool {
        self.cell.as_ref().is_some_and(|(words, seen)| words.current() != *seen)
            || (self.for_writers && writers)
            || self.until.is_some_and(|until| until <= now)
    }
}

/// The tasks that wait in this process, and the thread that sleeps for them.
#[derive(Debug)]
struct Line {
    /// Changes to have the thread look at the line.
    bell: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: BTreeMap<u64, Waiting>,
    next_id: u64,
    /// Whether there is a thread.
    running: bool,
    /// Whether it sleeps, or is about to, so that the bell must be rung.
    asleep: bool,
    /// How long it sleeps before it looks at cells that can't wake it.
    backoff: Backoff,
}

/// A forked child has no thread that attends to its parent's line, so it makes a line of its own.
static LINE: PerProcess<Line> = PerProcess::for_static(Line::new());

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Inherit for Line {}

impl Line {
    const fn new() -> Self {
        Self {
            bell: AtomicU64::new(0),
            state: Mutex::new(State {
                waiting: BTreeMap::new(),
                next_id: 0,
                running: false,
                asleep: false,
                backoff: Backoff::UNMARKED,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look at the line again. The bell's word changes under the state's lock, so that a
    /// thread which read it there and then went to sleep does not miss it.
    fn ring(&self, mut state: MutexGuard<'_, State>) {
        if !state.asleep {
            return;
        }
        state.asleep = false;
        self.bell.fetch_add(1, Ordering::Release);
        drop(state);
        sys::wake_all(&self.bell);
    }

    /// Puts a task in the line, or what it waits for now in the place that it has there.
    fn join(&'static self, place: Option<u64>, new: Waiting) -> Result<u64> {
        let mut state = self.state();
        if !state.running {
            let thread = thread::Builder::new().name("handover-wait".to_owned()).spawn(|| self.attend());
            // Its first step is to take the lock.
            thread.map_err(|source| {
                Error::io("start the thread that waits for new versions".to_owned(), source)
            })?;
            state.running = true;
        }
        let id = place.unwrap_or_else(|| {
            state.next_id += 1;
            state.next_id
        });
        let is_known = state.waiting.get(&id).is_some_and(|there| there.waits_as(&new));
        if new.cell.as_ref().is_some_and(|(words, _)| !words.can_mark) {
            state.backoff = Backoff::UNMARKED;
        }
        let old = state.waiting.insert(id, new);
        if is_known {
            // Only the waker is another.
            drop(state);
        } else {
            self.ring(state);
        }
        // A waker is somebody else's code: not under the lock.
        drop(old);
        Ok(id)
    }

    fn leave(&self, id: u64) {
        let mut state = self.state();
        let Some(old) = state.waiting.remove(&id) else { return };
        self.ring(state);
        drop(old);
    }

    /// What the thread does.
    fn attend(&self) {
        let mut since_tick = Instant::now();
        let mut idle_since = None;
        // The task whose word was woken though it did not change: its last writer may have gone.
        let mut woken = None;
        loop {
            let now = Instant::now();
            let tick = now - since_tick >= SLEEP_LIMIT;
            if tick {
                since_tick = now;
            }
            let mut state = self.state();
            state.asleep = false;
            let due: Vec<u64> = state
                .waiting
                .iter()
                .filter(|(id, waiting)| waiting.is_due(now, tick || woken == Some(**id)))
                .map(|(id, _)| *id)
                .collect();
            woken = None;
            if !due.is_empty() {
                let due: Vec<_> = due.iter().filter_map(|id| state.waiting.remove(id)).collect();
                drop(state);
                for waiting in due {
                    // A waker that panics must not take the thread with it: the others still wait.
                    let _ = catch_unwind(AssertUnwindSafe(|| waiting.waker.wake()));
                }
                continue;
            }
            let bell = self.bell.load(Ordering::Relaxed);
            if state.waiting.is_empty() {
                let left = IDLE_LIMIT.saturating_sub(idle_since.get_or_insert_with(Instant::now).elapsed());
                if left.is_zero() {
                    state.running = false;
                    return;
                }
                state.asleep = true;
                drop(state);
                sys::sleep_on(&self.bell, bell, left);
                continue;
            }
            idle_since = None;
            let all: Vec<_> = state
                .waiting
                .iter()
                .filter_map(|(id, waiting)| waiting.cell.clone().map(|(words, seen)| (*id, words, seen)))
                .collect();
            // To the next tick: a bell that rang in between must not put it off.
            let tick = since_tick + SLEEP_LIMIT;
            let until = state.waiting.values().filter_map(|waiting| waiting.until).min();
            let left = until.map_or(tick, |until| until.min(tick)).saturating_duration_since(Instant::now());
            let limit =
                if all.iter().all(|(_, words, _)| words.can_mark) { left } else { state.backoff.next(left) };
            state.asleep = true;
            drop(state);
            let mut ids = vec![0];
            let mut words = vec![(&self.bell, bell)];
            let mut all_asleep = true;
            for (id, cell, seen) in all.iter().filter(|(_, words, _)| words.can_mark) {
                match cell.prepare_sleep(*seen) {
                    Some(word) => words.push((word, *seen)),
                    None => all_asleep = false,
                }
                ids.push(*id);
            }
            if all_asleep {
                woken = sys::sleep_on_any(&words, limit).map(|at| ids[at]);
            }
        }
    }
}

/// One task's place in the line, and the cell that it waits for.
#[derive(Debug)]
#[must_use = "a waiter that is dropped leaves the line"]
pub(crate) struct Waiter {
    shared: Arc<Shared>,
    words: Option<Arc<Words>>,
    place: Option<(&'static Line, u64)>,
}

impl Waiter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, words: None, place: None }
    }

    /// A version newer than `than`, once there is one. With `until_written`, `None` once there is nothing
    /// newer and a handle that ever wrote lives (true), or none does (false). As
    /// [`Cell::wait_newer`](crate::cell::Cell::wait_newer), for tasks.
    pub(crate) fn poll_newer(
        &mut self,
        context: &Context<'_>,
        than: u64,
        until_written: Option<bool>,
    ) -> Poll<Result<Option<u64>>> {
        let found = self.look(context, than, until_written);
        if found.is_ready() {
            self.leave();
        }
        found
    }

    fn look(
        &mut self,
        context: &Context<'_>,
        than: u64,
        until_written: Option<bool>,
    ) -> Poll<Result<Option<u64>>> {
        let newer = |word: u64| Some(Current(word).version()).filter(|version| *version > than);
        let seen = self.shared.current().load(Ordering::Acquire);
        if let Some(version) = newer(seen) {
            return Poll::Ready(Ok(Some(version)));
        }
        let has_ended = self.shared.map.has_ended_if_due()?;
        if let Some(until) = until_written
            && self.shared.has_writer().map_err(|error| error.about(self.shared.map.subject()))? == until
        {
            // A writer that was told that the name is lost has gone; so was this task.
            self.shared.map.has_ended()?;
            // The last writer may have published just before it went.
            return Poll::Ready(Ok(newer(self.shared.current().load(Ordering::Acquire))));
        }
        if has_ended {
            // Nobody who could publish can come.
            self.shared.map.check_name()?;
        }
        // The thread looks before it sleeps: a version that comes now is not missed.
        self.join(seen, until_written.is_some(), context.waker().clone())?;
        Poll::Pending
    }

    fn join(&mut self, seen: u64, for_writers: bool, waker: Waker) -> Result<()> {
        let words = match &self.words {
            Some(words) => words.clone(),
            None => self.words.insert(Arc::new(Words::of(&self.shared)?)).clone(),
        };
        let until = self.shared.map.next_look().map(|left| Instant::now() + left);
        self.take_place(Waiting { cell: Some((words, seen)), for_writers, until, waker })
    }

    /// Has the task woken after `pause`, whatever happens to the cell.
    pub(crate) fn wake_after(&mut self, context: &Context<'_>, pause: Duration) -> Result<()> {
        let until = Some(Instant::now() + pause);
        self.take_place(Waiting { cell: None, for_writers: false, until, waker: context.waker().clone() })
    }

    fn take_place(&mut self, waiting: Waiting) -> Result<()> {
        let line = LINE.get();
        let id = self.place.filter(|(there, _)| ptr::eq(*there, line)).map(|(_, id)| id);
        self.place = Some((line, line.join(id, waiting)?));
        Ok(())
    }

    fn leave(&mut self) {
        // A line that a forked child has from its parent serves nobody there.
        if let Some((line, id)) = self.place.take()
            && LINE.is_current(line)
        {
            line.leave(id);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave();
    }
}
