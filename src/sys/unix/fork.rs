//! What a forked child must not share with its parent: the descriptors that carry locks of values and cells.
//!
//! A lock belongs to the open file description, which parent and child share after a fork. If that stayed so,
//! a child that lives on would keep a dead parent's locks. So the child gives up these descriptors at once,
//! and a handle opens a new one when it finds that it was forked. (The lock that keeps a *name* belongs to
//! another description and stays: a child keeps its parent's maps alive.)
//!
//! The thread that forks holds the registry's own lock across the fork, so the child finds the registry whole
//! and free. Nothing else here waits: a child may be forked while another thread is anywhere in this file.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static FORKS: AtomicU32 = AtomicU32::new(0);
/// Whether forks call the three functions below.
static NOTICED: AtomicBool = AtomicBool::new(false);
/// The file that a child's descriptors for locks are redirected to. It is opened beforehand, because a fork
/// may come when no file can be opened.
static NOTHING: AtomicI32 = AtomicI32::new(NONE);
static DESCRIPTORS: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

const NONE: RawFd = -1;

/// The registry, locked during a fork.
type Registry = MutexGuard<'static, Vec<RawFd>>;

thread_local! {
    /// The end of the thread never drops it, so that a fork is possible then too.
    static HELD: RefCell<ManuallyDrop<Option<Registry>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// How many forks lie between the first process and this one, since the library was first used. Each counts
/// at least once.
#[inline]
pub(crate) fn fork_generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// How many forks this process and those before it have begun and ended, as far as they are noticed: unlike
/// [`fork_generation`], it changes in the parent too. The number is odd while this process forks.
pub(super) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Calls `act` while no other thread forks. It must neither open nor drop a [`LockFile`].
pub(super) fn without_forks<R>(act: impl FnOnce() -> R) -> R {
    let forks_itself = HELD.with(|held| held.borrow().is_some());
    let _registry = (!forks_itself).then(descriptors);
    act()
}

fn descriptors() -> Registry {
    DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes the list. A thread that forks has it locked already: other handlers of forks may open and close
/// maps.
fn change<R>(act: impl FnOnce(&mut Vec<RawFd>) -> R) -> R {
    HELD.with(|held| {
        let mut held = held.borrow_mut();
        if let Some(descriptors) = &mut **held {
            return act(descriptors);
        }
        drop(held);
        act(&mut descriptors())
    })
}

/// A descriptor for locks, which a forked child does not keep.
#[derive(Debug)]
#[must_use = "dropping it releases its locks"]
pub(super) struct LockFile(ManuallyDrop<File>);

/// Counts forks from now on.
#[inline]
pub(crate) fn notice_forks() {
    if !NOTICED.load(Ordering::Acquire) {
        start_noticing();
    }
}

/// Uses no `Once`: a child forked meanwhile would wait for a thread that it does not have. So two threads, or
/// a parent and its child, may both do this, and the functions tolerate being called twice.
#[cold]
fn start_noticing() {
    open_nothing();
    // SAFETY: the three functions use only what is allowed between fork and exec: a lock that the first one
    // takes before the fork, `dup2`, `fcntl` and atomics.
    unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) };
    NOTICED.store(true, Ordering::Release);
}

fn open_nothing() {
    if NOTHING.load(Ordering::Acquire) == NONE
        // Some processes are kept from all devices.
        && let Ok(file) = File::open("/dev/null").or_else(|_| File::open("/"))
        && NOTHING.compare_exchange(NONE, file.as_raw_fd(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    {
        // It stays open until the process ends.
        let _ = file.into_raw_fd();
    }
}

impl LockFile {
    /// Opens a file. No fork comes between opening it and listing it.
    pub(super) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        notice_forks();
        // In case it failed before.
        open_nothing();
        change(|descriptors| {
            let file = open()?;
            descriptors.push(file.as_raw_fd());
            Ok(Self(ManuallyDrop::new(file)))
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // No fork comes between unlisting and closing: a child would keep the description and its locks. And
        // the number leaves the list before another file can have it.
        let number = self.0.as_raw_fd();
        change(|descriptors| {
            if let Some(at) = descriptors.iter().position(|other| *other == number) {
                descriptors.swap_remove(at);
            }
            // SAFETY: it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        });
    }
}

extern "C" fn before() {
    // No thread changes the list during the fork, so that the child finds it whole.
    HELD.with(|held| {
        let mut held = held.borrow_mut();
        if held.is_none() {
            **held = Some(descriptors());
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
    });
}

extern "C" fn parent() {
    HELD.with(|held| {
        if let Some(registry) = held.borrow_mut().take() {
            FORKS.fetch_add(1, Ordering::Relaxed);
            drop(registry);
        }
    });
}

extern "C" fn child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    HELD.with(|held| {
        if let Some(descriptors) = held.borrow_mut().take() {
            FORKS.fetch_add(1, Ordering::Relaxed);
            let null = NOTHING.load(Ordering::Relaxed);
            for number in descriptors.iter() {
                // The number stays open, leading to nothing, until its owner closes it.
                // SAFETY: both are descriptors of this process; the list's are owned by `LockFile`s, which
                // do nothing with them but lock and close.
                unsafe { libc::dup2(null, *number) };
                // SAFETY: as above.
                unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
        }
    });
}
