//! Stops an actor before the n-th system call of a command (`ptrace`).
//!
//! What a killed process leaves behind depends only on the system calls that it has made. So a test that
//! kills it before each of them sees every possible state, without hooks in the library.

use std::io;
use std::marker::PhantomData;

use crate::{Actor, Command, Obey};

/// A command that is halted before one of its system calls. Goes on when dropped.
#[derive(Debug)]
pub struct Stopped<'a> {
    tracer: Tracer<'a>,
    /// Whether it has the lock of a directory now.
    pub has_lock: bool,
    /// The number of the system call that it is about to make.
    pub call: u64,
}

/// Where to stop; all count from 0.
#[derive(Clone, Copy, Debug)]
pub enum Before {
    /// Before the call with this place in the order.
    Call(usize),
    /// Before an attempt to lock a directory.
    Lock(usize),
    /// Before the call that follows the locking of a directory.
    UsingLock(usize),
}

#[derive(Debug)]
struct Tracer<'a> {
    actor: &'a mut Actor,
    /// Only the thread that attached can trace.
    one_thread: PhantomData<*const ()>,
}

enum Event {
    Entry { call: u64, first: u64, second: u64 },
    Exit { value: i64 },
    Other,
}

/// Sends `command` and stops the actor where `before` says. `None`: the command never came there, and is
/// carried out.
pub fn send_stopped<'a>(actor: &'a mut Actor, command: &Command, before: Before) -> Option<Stopped<'a>> {
    let tracer = Tracer::attach(actor);
    tracer.actor.send(command);
    let (mut calls, mut tries, mut locks) = (0, 0, 0);
    let (mut started, mut has_lock) = (false, false);
    let mut current = (0, 0, 0);
    loop {
        match tracer.next() {
            Event::Entry { call, first, second } => {
                current = (call, first, second);
                if !started {
                    continue;
                }
                if call == libc::SYS_write as u64 && first == 1 {
                    return None;
                }
                let locking = call == libc::SYS_flock as u64 && second & libc::LOCK_EX as u64 != 0;
                let here = match before {
                    Before::Call(place) => calls == place,
                    Before::Lock(place) => locking && tries == place,
                    Before::UsingLock(place) => has_lock && locks == place + 1,
                };
                if here {
                    return Some(Stopped { tracer, has_lock, call });
                }
                calls += 1;
                tries += usize::from(locking);
            }
            Event::Exit { value } => {
                let (call, first, second) = current;
                if call == libc::SYS_read as u64 && first == 0 && value > 0 {
                    started = true;
                } else if call == libc::SYS_flock as u64 && value == 0 {
                    has_lock = second & libc::LOCK_EX as u64 != 0;
                    locks += usize::from(has_lock);
                }
            }
            Event::Other => {}
        }
    }
}

impl Stopped<'_> {
    /// Kills it; it is gone when this returns.
    pub fn kill(self) {
        self.tracer.actor.end();
    }

    /// Leaves it stopped (SIGSTOP), so that it goes on at SIGCONT.
    pub fn leave_stopped(self) {
        self.tracer.actor.signal(libc::SIGSTOP);
    }
}

impl Tracer<'_> {
    fn attach(actor: &mut Actor) -> Tracer<'_> {
        let tracer = Tracer { actor, one_thread: PhantomData };
        tracer.request(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD as usize);
        tracer.request(libc::PTRACE_INTERRUPT, 0);
        tracer.wait();
        tracer
    }

    fn id(&self) -> libc::pid_t {
        self.actor.id() as libc::pid_t
    }

    fn request(&self, request: libc::c_uint, data: usize) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: these requests take a number, and no memory of this process is written.
        let result = unsafe { libc::ptrace(request, self.id(), nothing, data) };
        assert_eq!(result, 0, "ptrace {request:#x}: {}", io::Error::last_os_error());
    }

    fn wait(&self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: `status` is valid for a write.
        let id = unsafe { libc::waitpid(self.id(), &raw mut status, libc::__WALL) };
        assert_eq!(id, self.id(), "waitpid: {}", io::Error::last_os_error());
        assert!(libc::WIFSTOPPED(status), "the actor ended: {status:#x}");
        status
    }

    /// Lets it run to the next start or end of a system call.
    fn next(&self) -> Event {
        self.request(libc::PTRACE_SYSCALL, 0);
        let status = self.wait();
        if libc::WSTOPSIG(status) != libc::SIGTRAP | 0x80 {
            return Event::Other;
        }
        // SAFETY: a plain C struct, for which all zeroes is a value.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let size = size_of_val(&info);
        // SAFETY: `info` is valid for a write of `size` bytes.
        let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, self.id(), size, &raw mut info) };
        assert!(got > 0, "PTRACE_GET_SYSCALL_INFO: {}", io::Error::last_os_error());
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: `op` says that this part was filled.
                let entry = unsafe { info.u.entry };
                Event::Entry { call: entry.nr, first: entry.args[0], second: entry.args[1] }
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                // SAFETY: `op` says that this part was filled.
                let exit = unsafe { info.u.exit };
                Event::Exit { value: exit.sval }
            }
            _ => Event::Other,
        }
    }
}

impl Drop for Tracer<'_> {
    fn drop(&mut self) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: takes numbers only. Fails if the actor was killed; then there is nothing to do.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.id(), nothing, nothing) };
    }
}
