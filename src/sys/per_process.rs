//! What a forked child must not share with its parent: values, and the locks around them.
//!
//! A fork copies the memory and one thread. A lock that another thread held at that moment stays locked in
//! the child forever, and what it protects may be half changed. So everything in this library that is under a
//! lock is a [`ForkMutex`] or lies in a [`PerProcess`]: a child finds a new, empty one in its place. Relies
//! on the system's module for the count of forks.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::system::fork::{fork_generation, notice_forks};

/// A value that each process has for itself: see [`PerProcess`].
pub(crate) trait Inherit: Default {
    /// Called once, in the child, on the parent's value before it is leaked. Other threads may have been
    /// changing the value when the process forked.
    fn forget(&self) {}
}

/// A `T` for each process: a new one replaces the one inherited from a parent.
///
/// The inherited one is never dropped, because it may be half changed.
pub(crate) struct PerProcess<T: Inherit> {
    /// The process that `first` belongs to.
    generation: u32,
    first: ManuallyDrop<T>,
    /// What takes its place after a fork: null, or a node that was leaked.
    later: AtomicPtr<Later<T>>,
    /// Whoever shares it may make a value that another thread drops: to share it, `T` must be `Send` too, as
    /// in a mutex.
    _later: PhantomData<Mutex<T>>,
}

struct Later<T> {
    generation: u32,
    value: T,
}

impl<T: Inherit> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        // From here on, because a fork that is not counted would go unseen.
        notice_forks();
        let mut new = Self::for_static(value);
        new.generation = fork_generation();
        new
    }

    /// For a `static`, which is used only once a [`ForkMutex`] exists: forks are counted from then on.
    pub(crate) const fn for_static(value: T) -> Self {
        let later = AtomicPtr::new(ptr::null_mut());
        Self { generation: 0, first: ManuallyDrop::new(value), later, _later: PhantomData }
    }

    /// This process's value.
    #[inline]
    pub(crate) fn get(&self) -> &T {
        if self.generation == fork_generation() { &self.first } else { self.get_later() }
    }

    /// Whether a value handed out earlier is still this process's.
    #[cfg(feature = "async")]
    pub(crate) fn is_current(&self, value: &T) -> bool {
        self.current().is_some_and(|current| ptr::eq(current, value))
    }

    /// This process's value, if it has one by now.
    fn current(&self) -> Option<&T> {
        let generation = fork_generation();
        if self.generation == generation {
            return Some(&self.first);
        }
        let later = self.later.load(Ordering::Acquire);
        // SAFETY: null, or a node that was leaked in `get_later` and is freed only by the drop of `self`.
        unsafe { later.as_ref() }.filter(|later| later.generation == generation).map(|later| &later.value)
    }

    #[cold]
    fn get_later(&self) -> &T {
        loop {
            let there = self.later.load(Ordering::Acquire);
            if let Some(current) = self.current() {
                return current;
            }
            let new = Box::into_raw(Box::new(Later { generation: fork_generation(), value: T::default() }));
            match self.later.compare_exchange(there, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => self.forget(there),
                // SAFETY: the pointer came from a box above, and nobody else has seen it.
                Err(_) => drop(unsafe { Box::from_raw(new) }),
            }
        }
    }

    /// Lets the value of this process's parent do what it can before it is leaked.
    fn forget(&self, there: *mut Later<T>) {
        // SAFETY: as in `current`.
        unsafe { there.as_ref() }.map_or(&*self.first, |later| &later.value).forget();
    }
}

impl<T: Inherit> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let generation = fork_generation();
        let later = *self.later.get_mut();
        if self.generation == generation {
            // SAFETY: it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.first) };
        } else if self.current().is_some() {
            // SAFETY: the node came from a box in `get_later`; its users are this process's threads, and they
            // are done with it.
            drop(unsafe { Box::from_raw(later) });
        } else {
            self.forget(later);
        }
    }
}

/// A mutex that a forked child can take, whoever held it at the fork. The child finds `T::default()` under
/// it.
///
/// Panics don't poison it.
pub(crate) struct ForkMutex<T: Default>(PerProcess<Mutex<T>>);

impl<T: Default> ForkMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(PerProcess::new(Mutex::new(value)))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for ForkMutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Default> Inherit for Mutex<T> {
    /// The value is whole where no thread held the lock: then it need not be leaked.
    fn forget(&self) {
        match self.try_lock() {
            Ok(mut whole) => drop(std::mem::take(&mut *whole)),
            Err(TryLockError::Poisoned(whole)) => drop(std::mem::take(&mut *whole.into_inner())),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

impl<T: Inherit> Deref for PerProcess<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.get()
    }
}

impl<T: Inherit> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerProcess").finish_non_exhaustive()
    }
}

/// Leaves out the value: it may be a secret, and printing must not wait for the lock.
impl<T: Default> fmt::Debug for ForkMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkMutex").finish_non_exhaustive()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Forks. The child exits with the number that `act` returns, and this returns it too.
    fn in_child(act: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child takes only the locks of this file, and allocates, which the C library allows.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: this signal ends a child that hangs.
            unsafe { libc::alarm(20) };
            let code = act();
            // SAFETY: ends the process, and runs nothing of its parent's.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` takes the number; the child is this process's own.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
    }

    #[test]
    fn each_child_finds_its_own_value_whoever_holds_the_parents_lock() {
        let mutex = ForkMutex::new(5);
        for is_held in [false, true] {
            let held = is_held.then(|| mutex.lock());
            let seen = std::thread::scope(|scope| {
                let forks = scope.spawn(|| {
                    in_child(|| {
                        let first = std::mem::replace(&mut *mutex.lock(), 7);
                        // Held in the child, for the grandchild.
                        let own = mutex.lock();
                        let second = in_child(|| std::mem::replace(&mut *mutex.lock(), 8));
                        first * 100 + second * 10 + *own
                    })
                });
                forks.join().unwrap()
            });
            assert_eq!(seen, 7);
            drop(held);
            assert_eq!(*mutex.lock(), 5);
        }
    }
}
