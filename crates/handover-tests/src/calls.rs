//! Counts the system calls of single operations (`ptrace`), without hooks in the library.
//!
//! A process marks where an operation begins and ends by a system call that nothing else makes; another one
//! traces it and collects what lies between. Relies on nothing; the tests of what a name costs rely on it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::marker::PhantomData;

/// The system calls of operations, by what they were called: for each time the numbers of its calls.
pub type Calls = BTreeMap<u32, Vec<Vec<u64>>>;

/// A process group of this number and above can't be: no process has so high a number.
const MARK: u64 = 1 << 30;
const END: u32 = u32::MAX >> 4;
const LAST: u32 = END - 1;

fn mark(number: u32) {
    // SAFETY: the call takes a number, fails, and changes nothing.
    unsafe { libc::syscall(libc::SYS_getpgid, MARK + u64::from(number)) };
}

/// Does an operation whose system calls the tracing process collects under this number.
pub fn counted<R>(what: u32, operation: impl FnOnce() -> R) -> R {
    mark(what);
    let result = operation();
    mark(END);
    result
}

/// Lets another process trace this thread while `operations` run: says on standard output which thread it is,
/// and waits for a line on standard input.
pub fn be_traced<R>(operations: impl FnOnce() -> R) -> R {
    // SAFETY: no conditions.
    println!("thread {}", unsafe { libc::gettid() });
    io::stdout().flush().expect("the tracing process reads");
    io::stdin().lock().read_line(&mut String::new()).expect("the tracing process answers");
    let result = operations();
    mark(LAST);
    result
}

/// Traces the process with these ends of its standard output and input, which is in [`be_traced`], until its
/// operations are done.
pub fn collect(output: impl BufRead, mut input: impl Write) -> Calls {
    let thread = output
        .lines()
        .find_map(|line| line.ok()?.rsplit_once("thread ")?.1.parse().ok())
        .expect("the process says which thread it is");
    let tracer = Tracer::attach(thread);
    input.write_all(b"go\n").expect("the process waits for a line");
    let mut calls = Calls::new();
    let mut current: Option<u32> = None;
    loop {
        let Some((call, first, second)) = tracer.next() else { continue };
        // A build with debug assertions asks, before it closes a file, whether it is open.
        if call == libc::SYS_fcntl as u64 && second == libc::F_GETFD as u64 {
            continue;
        }
        let marked = (call == libc::SYS_getpgid as u64).then(|| first.checked_sub(MARK)).flatten();
        match (marked.map(|number| number as u32), current) {
            (Some(LAST), _) => return calls,
            (Some(END), _) => current = None,
            (Some(what), _) => {
                calls.entry(what).or_default().push(Vec::new());
                current = Some(what);
            }
            (None, Some(what)) => {
                let one = calls.get_mut(&what).and_then(|all| all.last_mut()).expect("it has begun");
                one.push(call);
            }
            (None, None) => {}
        }
    }
}

/// How many system calls it takes: of the times, the middle one.
pub fn median(times: &[Vec<u64>]) -> usize {
    let mut counts: Vec<usize> = times.iter().map(Vec::len).collect();
    counts.sort_unstable();
    counts[counts.len() / 2]
}

/// How many system calls it takes on average.
pub fn mean(times: &[Vec<u64>]) -> f64 {
    times.iter().map(Vec::len).sum::<usize>() as f64 / times.len() as f64
}

/// One of the times that take as many as the middle one.
pub fn typical(times: &[Vec<u64>]) -> &[u64] {
    let count = median(times);
    times.iter().find(|one| one.len() == count).expect("the median is one of them")
}

struct Tracer {
    thread: libc::pid_t,
    /// Only the thread that attached can trace.
    one_thread: PhantomData<*const ()>,
}

impl Tracer {
    fn attach(thread: libc::pid_t) -> Self {
        let tracer = Self { thread, one_thread: PhantomData };
        tracer.request(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD as usize);
        tracer.request(libc::PTRACE_INTERRUPT, 0);
        tracer.wait();
        tracer
    }

    fn request(&self, request: libc::c_uint, data: usize) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: these requests take a number, and no memory of this process is written.
        let result = unsafe { libc::ptrace(request, self.thread, nothing, data) };
        assert_eq!(result, 0, "ptrace {request:#x}: {}", io::Error::last_os_error());
    }

    fn wait(&self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: `status` is valid for a write.
        let id = unsafe { libc::waitpid(self.thread, &raw mut status, libc::__WALL) };
        assert_eq!(id, self.thread, "waitpid: {}", io::Error::last_os_error());
        assert!(libc::WIFSTOPPED(status), "the process ended: {status:#x}");
        status
    }

    /// Lets it run to the next start of a system call: its number and its first arguments. `None`: it stopped
    /// for something else.
    fn next(&self) -> Option<(u64, u64, u64)> {
        self.request(libc::PTRACE_SYSCALL, 0);
        if libc::WSTOPSIG(self.wait()) != libc::SIGTRAP | 0x80 {
            return None;
        }
        // SAFETY: a plain C struct, for which all zeroes is a value.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let size = size_of_val(&info);
        // SAFETY: `info` is valid for a write of `size` bytes.
        let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, self.thread, size, &raw mut info) };
        assert!(got > 0, "PTRACE_GET_SYSCALL_INFO: {}", io::Error::last_os_error());
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return None;
        }
        // SAFETY: `op` says that this part was filled.
        let entry = unsafe { info.u.entry };
        Some((entry.nr, entry.args[0], entry.args[1]))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: takes numbers only. Fails if the process has ended; then there is nothing to do.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.thread, nothing, nothing) };
    }
}
