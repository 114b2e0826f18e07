//! Waiting without a thread of one's own: the one thread of a process that sleeps for all its tasks.
//!
//! A task leaves its waker here, with the version that it has seen. The thread sleeps on the words of all such
//! cells at once, and wakes the tasks whose version is no longer the newest; they look for themselves what
//! there is. It starts when the first task waits, and ends a second after the last one has gone. Relies on
//! `protocol` for the mark that has publishers wake sleepers, and on `sys` for the sleep; `mapper` relies on it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::layout::{CURRENT_AT, SLEEP_WORD_AT, SLEEPERS_AT};
use super::protocol::{self, Current, Memory};
use super::shared::{SLEEP_LIMIT, Shared};
use crate::error::{Error, Result};
use crate::map::{Access, ViewAccessor};
use crate::sys;

/// How long the thread stays when nobody waits. A task that takes a version waits for the next one soon after.
const IDLE_LIMIT: Duration = Duration::from_secs(1);

/// How often cells are looked at on which this process can't leave its mark: ever less often between the two.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(10);

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
    fn prepare_sleep(&self, seen: u64) -> Option<&AtomicU32> {
        let half = |at: usize| {
            self.view.atomic::<AtomicU32>(at as u64).unwrap_or_else(|_| unreachable!("within the view"))
        };
        let current = self.view.atomic::<AtomicU64>(CURRENT_AT as u64);
        let current = current.unwrap_or_else(|_| unreachable!("within the view"));
        protocol::prepare_sleep_on(half(SLEEPERS_AT), current, seen).then(|| half(SLEEP_WORD_AT))
    }
}

/// A task in the line.
#[derive(Debug)]
struct Waiting {
    words: Arc<Words>,
    /// What `current` was when the task looked.
    seen: u64,
    /// Whether it wants to know that the last writer has gone.
    while_written: bool,
    waker: Waker,
}

/// The tasks that wait in this process, and the thread that sleeps for them.
#[derive(Debug)]
struct Line {
    /// After a fork the child has no thread, and the parent's lock may be held for ever: it makes a new line.
    generation: u32,
    /// Changes to have the thread look at the line.
    bell: AtomicU32,
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
    pause: Duration,
}

static LINE: AtomicPtr<Line> = AtomicPtr::new(ptr::null_mut());

impl Line {
    /// This process's line.
    fn get() -> &'static Self {
        sys::notice_forks();
        let generation = sys::fork_generation();
        loop {
            let there = LINE.load(Ordering::Acquire);
            // SAFETY: null, or a line that was leaked below and so is never freed.
            if let Some(line) = unsafe { there.as_ref() }
                && line.generation == generation
            {
                return line;
            }
            // Leaked: one for each generation of processes, and for each thread that is just as early.
            let new: &'static Self = Box::leak(Box::new(Self {
                generation,
                bell: AtomicU32::new(0),
                state: Mutex::new(State {
                    waiting: BTreeMap::new(),
                    next_id: 0,
                    running: false,
                    asleep: false,
                    pause: FIRST_PAUSE,
                }),
            }));
            let new_ptr = ptr::from_ref(new).cast_mut();
            if LINE.compare_exchange(there, new_ptr, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return new;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look at the line again. The bell's word changes under the state's lock, so that a thread
    /// which read it there and then went to sleep does not miss it.
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
            thread.map_err(|source| Error::Io {
                doing: "start the thread that waits for new versions".to_owned(),
                source,
            })?;
            state.running = true;
        }
        let id = place.unwrap_or_else(|| {
            state.next_id += 1;
            state.next_id
        });
        let is_known = state
            .waiting
            .get(&id)
            .is_some_and(|there| there.seen == new.seen && there.while_written == new.while_written);
        if !new.words.can_mark {
            state.pause = FIRST_PAUSE;
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
            let tick = since_tick.elapsed() >= SLEEP_LIMIT;
            if tick {
                since_tick = Instant::now();
            }
            let mut state = self.state();
            state.asleep = false;
            let due: Vec<u64> = state
                .waiting
                .iter()
                .filter(|(id, waiting)| {
                    waiting.words.current() != waiting.seen
                        || (waiting.while_written && (tick || woken == Some(**id)))
                })
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
                .map(|(id, waiting)| (*id, waiting.words.clone(), waiting.seen))
                .collect();
            let limit = if all.iter().all(|(_, words, _)| words.can_mark) {
                SLEEP_LIMIT
            } else {
                let pause = state.pause;
                state.pause = (pause * 2).min(LAST_PAUSE);
                pause
            };
            state.asleep = true;
            drop(state);
            let mut ids = vec![0];
            let mut words = vec![(&self.bell, bell)];
            let mut all_asleep = true;
            for (id, cell, seen) in all.iter().filter(|(_, words, _)| words.can_mark) {
                match cell.prepare_sleep(*seen) {
                    Some(word) => words.push((word, *seen as u32)),
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
pub(crate) struct Waiter {
    shared: Arc<Shared>,
    words: Option<Arc<Words>>,
    place: Option<(&'static Line, u64)>,
}

impl Waiter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, words: None, place: None }
    }

    /// A version newer than `than`, once there is one; with `while_written`, `None` once no handle that ever
    /// wrote lives and there is nothing newer. As [`Cell::wait_newer`](super::Cell::wait_newer), for tasks.
    pub(crate) fn poll_newer(
        &mut self,
        context: &Context<'_>,
        than: u64,
        while_written: bool,
    ) -> Poll<Result<Option<u64>>> {
        let found = self.look(context, than, while_written);
        if found.is_ready() {
            self.leave();
        }
        found
    }

    fn look(&mut self, context: &Context<'_>, than: u64, while_written: bool) -> Poll<Result<Option<u64>>> {
        let newer = |word: u64| Some(Current(word).version()).filter(|version| *version > than);
        let seen = self.shared.current().load(Ordering::Acquire);
        if let Some(version) = newer(seen) {
            return Poll::Ready(Ok(Some(version)));
        }
        if while_written && !self.shared.has_writer()? {
            // It may have published just before it went.
            return Poll::Ready(Ok(newer(self.shared.current().load(Ordering::Acquire))));
        }
        // The thread looks before it sleeps: a version that comes now is not missed.
        self.join(seen, while_written, context.waker().clone())?;
        Poll::Pending
    }

    fn join(&mut self, seen: u64, while_written: bool, waker: Waker) -> Result<()> {
        let words = match &self.words {
            Some(words) => words.clone(),
            None => self.words.insert(Arc::new(Words::of(&self.shared)?)).clone(),
        };
        let line = Line::get();
        let id = self.place.filter(|(there, _)| ptr::eq(*there, line)).map(|(_, id)| id);
        let id = line.join(id, Waiting { words, seen, while_written, waker })?;
        self.place = Some((line, id));
        Ok(())
    }

    fn leave(&mut self) {
        // Not in a forked child: see `Line::generation`.
        if let Some((line, id)) = self.place.take()
            && line.generation == sys::fork_generation()
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
