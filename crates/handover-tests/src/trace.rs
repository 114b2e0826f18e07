//! Stops an actor before the n-th system call of a command, or has chosen ones of its calls fail (`ptrace`).
//!
//! What others see of a process, and what it leaves behind when it is killed, depends only on the system
//! calls that it has made. So a test that stops it before each of them sees every possible state, without
//! hooks in the library.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::{Actor, Command, Obey};

/// A command that is halted before one of its system calls. Goes on when dropped.
#[derive(Debug)]
pub struct Stopped<'a> {
    tracer: Tracer<'a>,
    /// The system call that it is about to make.
    pub call: Call,
}

/// Where to stop.
#[derive(Clone, Copy, Debug)]
pub enum Before {
    /// Before the call with this place in the order, from 0. Calls that concern its own memory alone don't
    /// count.
    Call(usize),
}

/// A system call, as it is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number, one of `libc::SYS_*`.
    pub number: i64,
    /// What it is given; numbers beyond those that it takes mean nothing.
    pub arguments: [u64; 6],
}

impl Call {
    /// Whether it concerns nothing but the memory and the numbers of the process itself: nobody else can tell
    /// whether it has been made.
    fn is_private(&self) -> bool {
        match self.number {
            libc::SYS_mmap => self.arguments[3] & libc::MAP_ANONYMOUS as u64 != 0,
            number => [
                libc::SYS_brk,
                libc::SYS_mprotect,
                libc::SYS_mremap,
                libc::SYS_futex,
                libc::SYS_getpid,
                libc::SYS_gettid,
                libc::SYS_getuid,
                libc::SYS_geteuid,
                libc::SYS_getrandom,
                libc::SYS_clock_gettime,
                libc::SYS_clock_nanosleep,
                libc::SYS_nanosleep,
                libc::SYS_rt_sigaction,
                libc::SYS_rt_sigprocmask,
                libc::SYS_sched_yield,
            ]
            .contains(&number),
        }
    }
}

#[derive(Debug)]
struct Tracer<'a> {
    actor: &'a mut Actor,
    /// Only the thread that attached can trace.
    one_thread: PhantomData<*const ()>,
}

enum Event {
    Entry(Call),
    Exit { value: i64 },
    Ended,
    Other,
}

/// More system calls than any command makes: one that makes as many goes round in circles.
const ENDLESS: usize = 5_000;

/// Sends `command` and stops the actor where `before` says. `None`: the command never came there, and is
/// carried out.
pub fn send_stopped<'a>(actor: &'a mut Actor, command: &Command, before: Before) -> Option<Stopped<'a>> {
    let Before::Call(place) = before;
    send_traced(actor, command, |at, _| if at == place { Fate::Stopped } else { Fate::Made }).1
}

/// What becomes of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is made.
    Made,
    /// It is not made, and fails with this error number. But a `close` is made all the same, as the system
    /// does it. Written for x86-64 only.
    Refused(i32),
    /// The actor is stopped before it.
    Stopped,
    /// It is made, and so is everything after it.
    AllMade,
}

/// Sends `command` and decides for each of its system calls what becomes of it. `fate` learns the place of
/// the call in the order; those that concern the actor's own memory alone are left out. Returns the calls
/// that it was asked about. The actor may have died of it: then there is no reply.
pub fn send_traced<'a>(
    actor: &'a mut Actor,
    command: &Command,
    mut fate: impl FnMut(usize, &Call) -> Fate,
) -> (Vec<Call>, Option<Stopped<'a>>) {
    let tracer = Tracer::attach(actor);
    tracer.actor.send(command);
    let mut calls = Vec::new();
    let mut started = false;
    let mut current = None;
    let mut error = None;
    loop {
        match tracer.next() {
            Event::Entry(call) => {
                current = Some(call);
                if !started || call.is_private() {
                    continue;
                }
                if is_answer(&call) {
                    return (calls, None);
                }
                assert!(calls.len() < ENDLESS, "it goes on and on: {:?}", &calls[ENDLESS - 20..]);
                let fate = fate(calls.len(), &call);
                calls.push(call);
                match fate {
                    Fate::Made => {}
                    Fate::Refused(number) => {
                        error = Some(number);
                        if call.number != libc::SYS_close {
                            tracer.leave_out_call();
                        }
                    }
                    Fate::Stopped => return (calls, Some(Stopped { tracer, call })),
                    Fate::AllMade => return (calls, None),
                }
            }
            Event::Exit { value } => {
                started |= current.take().is_some_and(|call| is_question(&call)) && value > 0;
                if let Some(error) = error.take() {
                    tracer.set_result(-i64::from(error));
                }
            }
            Event::Ended => return (calls, None),
            Event::Other => {}
        }
    }
}

/// Whether somebody has claimed the name that this file keeps: others wait for who has.
pub fn is_claimed(file: &Path) -> bool {
    let Ok(file) = std::fs::File::open(file) else { return false };
    // SAFETY: a plain C struct, for which all zeroes is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_RDLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = 1 << 62;
    lock.l_len = 1;
    // SAFETY: `lock` is valid for reads and writes.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    asked == 0 && lock.l_type == libc::F_WRLCK as libc::c_short
}

/// The actor reads its next command.
fn is_question(call: &Call) -> bool {
    call.number == libc::SYS_read && call.arguments[0] == 0
}

/// The actor writes its reply.
fn is_answer(call: &Call) -> bool {
    call.number == libc::SYS_write && call.arguments[0] == 1
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
        tracer.request(libc::PTRACE_SEIZE, 0, libc::PTRACE_O_TRACESYSGOOD as usize);
        tracer.request(libc::PTRACE_INTERRUPT, 0, 0);
        assert!(tracer.wait().is_some(), "the actor ended");
        tracer
    }

    fn id(&self) -> libc::pid_t {
        self.actor.id() as libc::pid_t
    }

    fn request(&self, request: libc::c_uint, address: usize, data: usize) {
        // SAFETY: these requests take numbers, and no memory of this process is written.
        let result = unsafe { libc::ptrace(request, self.id(), address, data) };
        assert_eq!(result, 0, "ptrace {request:#x}: {}", io::Error::last_os_error());
    }

    /// There is no call with this number.
    #[cfg(target_arch = "x86_64")]
    fn leave_out_call(&self) {
        let number = std::mem::offset_of!(libc::user_regs_struct, orig_rax);
        self.request(libc::PTRACE_POKEUSER, number, usize::MAX);
    }

    #[cfg(target_arch = "x86_64")]
    fn set_result(&self, value: i64) {
        self.request(
            libc::PTRACE_POKEUSER,
            std::mem::offset_of!(libc::user_regs_struct, rax),
            value as usize,
        );
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn leave_out_call(&self) {
        panic!("not written for this processor");
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn set_result(&self, _value: i64) {
        panic!("not written for this processor");
    }

    /// Waits until it stops; gives the signal, `None` where it ended.
    fn wait(&self) -> Option<libc::c_int> {
        // Its end is left for those who wait for their child.
        // SAFETY: a plain C struct, for which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        // SAFETY: `info` is valid for a write.
        let waited = unsafe { libc::waitid(libc::P_PID, self.actor.id(), &raw mut info, flags) };
        assert_eq!(waited, 0, "waitid: {}", io::Error::last_os_error());
        if ![libc::CLD_TRAPPED, libc::CLD_STOPPED].contains(&info.si_code) {
            return None;
        }
        let mut status = 0;
        // SAFETY: `status` is valid for a write.
        let id = unsafe { libc::waitpid(self.id(), &raw mut status, libc::__WALL) };
        assert_eq!(id, self.id(), "waitpid: {}", io::Error::last_os_error());
        Some(libc::WSTOPSIG(status))
    }

    /// Lets it run to the next start or end of a system call.
    fn next(&self) -> Event {
        self.request(libc::PTRACE_SYSCALL, 0, 0);
        match self.wait() {
            None => return Event::Ended,
            Some(signal) if signal != libc::SIGTRAP | 0x80 => return Event::Other,
            Some(_) => {}
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
                Event::Entry(Call { number: entry.nr as i64, arguments: entry.args })
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
