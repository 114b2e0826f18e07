//! Who of this process has a writers' lock: so that whoever waits for one can be told whose it is.
//!
//! The system knows the processes that hold a lock, at best, and not the threads. `writer` tells this table
//! when it has the lock and when it lets go of it; `handle` asks. Relies on `shared`.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::shared::Shared;
use crate::sys::{Inherit, PerProcess};
use crate::terms::Subject;

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// This thread's, through this handle or another one of the same cell.
    ThisThread,
    /// Another thread's, through this handle.
    ThisHandle,
    /// Another thread's, through another handle of this process.
    ThisProcess,
    /// Nobody's of this process.
    Another,
}

impl Holder {
    /// For messages.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::ThisThread => "this thread holds",
            Self::ThisHandle => "another thread holds through this handle",
            Self::ThisProcess => "another handle of this process holds",
            Self::Another => "another process holds",
        }
    }
}

/// A thread of this process. No other one ever has the same: a lease may outlive the thread that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadId(u64);

impl ThreadId {
    pub(super) fn current() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        thread_local! {
            /// 0 before it is asked for.
            static HERE: Cell<u64> = const { Cell::new(0) };
        }
        Self(HERE.with(|here| {
            if here.get() == 0 {
                here.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
            }
            here.get()
        }))
    }
}

#[derive(Debug)]
struct Held {
    shared: Weak<Shared>,
    thread: ThreadId,
}

#[derive(Debug)]
struct Table(Mutex<Vec<Held>>);

/// A forked child has none of its parent's locks, so it begins with an empty table.
static TABLE: PerProcess<Table> = PerProcess::for_static(Table::new());

impl Inherit for Table {}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This thread has the writers' lock of `shared` now.
pub(super) fn enter(shared: &Arc<Shared>) {
    TABLE.get().held().push(Held { shared: Arc::downgrade(shared), thread: ThreadId::current() });
}

/// The writer of `shared` is this thread's now.
pub(super) fn move_here(shared: &Arc<Shared>) {
    let here = ThreadId::current();
    for held in TABLE.get().held().iter_mut().filter(|held| held.shared.as_ptr() == Arc::as_ptr(shared)) {
        held.thread = here;
    }
}

/// Nobody of this process has the writers' lock of `shared` any more.
pub(super) fn leave(shared: &Arc<Shared>) {
    let mut held = TABLE.get().held();
    if let Some(at) = held.iter().position(|held| held.shared.as_ptr() == Arc::as_ptr(shared)) {
        held.swap_remove(at);
    }
}

/// Who has the writers' lock of `shared`, as far as this process can know.
pub(super) fn holder(shared: &Arc<Shared>) -> Holder {
    // A handle that is dropped here is not dropped under the lock.
    let all: Vec<_> = TABLE
        .get()
        .held()
        .iter()
        .filter_map(|held| held.shared.upgrade().map(|shared| (shared, held.thread)))
        .collect();
    let here = ThreadId::current();
    let found = all.iter().find(|(held, _)| Arc::ptr_eq(held, shared));
    if let Some((_, thread)) = found {
        return if *thread == here { Holder::ThisThread } else { Holder::ThisHandle };
    }
    match all.iter().find(|(held, _)| is_same_cell(held, shared)) {
        Some((_, thread)) if *thread == here => Holder::ThisThread,
        Some(_) => Holder::ThisProcess,
        None => Holder::Another,
    }
}

/// Whether both are handles of one cell.
fn is_same_cell(one: &Shared, other: &Shared) -> bool {
    let (one, other) = (&one.map, &other.map);
    let may_be = match (one.subject(), other.subject()) {
        // A file has many paths.
        (Subject::Path(_), Subject::Path(_)) => true,
        (one, other) => *one != Subject::Anonymous && one == other,
    };
    ptr::eq(one.section(), other.section()) || (may_be && one.section().is_same_as(other.section()))
}
