//! What a forked child must not share with its parent: the descriptors that carry locks of values and cells.
//!
//! A lock belongs to the open file description, which parent and child share after a fork. Were it left so, a
//! child that lives on would keep a dead parent's locks. So the child lets go of these descriptors at once; a
//! handle opens one anew when it finds that it was forked. (The lock that keeps a *name* is another description
//! and stays: a child keeps its parent's maps alive.)

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

static GENERATION: AtomicU32 = AtomicU32::new(0);
/// What a child's descriptors for locks are made to lead to: opened before, since a fork may come where no file can be.
static NOTHING: OnceLock<Option<File>> = OnceLock::new();
static DESCRIPTORS: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

thread_local! {
    static HELD: RefCell<Option<MutexGuard<'static, Vec<RawFd>>>> = const { RefCell::new(None) };
}

/// How many forks lie between the first process and this one, since the library was first used.
#[inline]
pub(crate) fn fork_generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

fn descriptors() -> MutexGuard<'static, Vec<RawFd>> {
    DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor for locks, which a forked child does not keep.
#[derive(Debug)]
pub(super) struct LockFile(File);

/// Has forks counted from now on.
pub(crate) fn notice_forks() {
    NOTHING.get_or_init(|| {
        // SAFETY: the three functions only use what is allowed between fork and exec: a lock that the
        // first one takes before the fork, `open`, `dup3`/`dup2`, `close` and an atomic.
        unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) };
        File::open("/dev/null").ok()
    });
}

impl LockFile {
    /// Opens one: no fork comes between the opening and the list.
    pub(super) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        notice_forks();
        let mut descriptors = descriptors();
        let file = open()?;
        descriptors.push(file.as_raw_fd());
        Ok(Self(file))
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Taken off the list before its number can be another file's.
        let number = self.0.as_raw_fd();
        let mut descriptors = descriptors();
        if let Some(at) = descriptors.iter().position(|other| *other == number) {
            descriptors.swap_remove(at);
        }
    }
}

extern "C" fn before() {
    // No thread changes the list during the fork, so the child finds it whole.
    HELD.with(|held| *held.borrow_mut() = Some(descriptors()));
}

extern "C" fn parent() {
    HELD.with(|held| *held.borrow_mut() = None);
}

extern "C" fn child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    HELD.with(|held| {
        if let Some(descriptors) = held.borrow_mut().take() {
            let null = NOTHING.get().and_then(Option::as_ref).map_or(-1, AsRawFd::as_raw_fd);
            for number in descriptors.iter() {
                // The number stays open, on nothing, until its owner closes it.
                // SAFETY: both are descriptors of this process; the list's are owned by `LockFile`s, which
                // do nothing with them but lock and close.
                unsafe { libc::dup2(null, *number) };
                // SAFETY: as above.
                unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
        }
    });
}
