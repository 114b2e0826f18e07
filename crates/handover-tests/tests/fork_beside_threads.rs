//! A child that is forked while other threads are anywhere in the library does not hang. Each call, on an
//! inherited handle or on a new one, returns, either with its result or with `Forked`.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use handover::cell::{Cell, CellOptions, Reader};
use handover::map::{MapOptions, MemoryMappedFile};
use handover::{Error, ErrorKind, MapperOptions, MemoryMapper};

/// How long a child may take. Its calls wait only moments for the parent's threads.
const LIMIT: u32 = 30;

/// How many forks there are, if time permits.
const FORKS: u32 = 400;
const TIME: Duration = Duration::from_secs(15);

type Mapper = MemoryMapper<Vec<u64>>;

/// What the child has from its parent.
struct Inherited {
    mapper: &'static Mapper,
    cell: &'static Cell,
    reader: Reader,
    map: &'static MemoryMappedFile,
    directory: PathBuf,
}

/// The calls of a child, in turn, each with its name.
type Call = (&'static str, fn(&mut Inherited) -> Result<(), Error>);

const CALLS: [Call; 16] = [
    ("get", |it| it.mapper.get().map(drop)),
    ("get_shared", |it| it.mapper.get_shared().map(drop)),
    ("set", |it| it.mapper.set(&vec![9; 100]).map(drop)),
    ("get_shared again", |it| it.mapper.get_shared().map(drop)),
    ("load with an inherited reader", |it| it.reader.load().map(drop)),
    ("load with a new reader", |it| it.cell.reader().load().map(drop)),
    ("wait", |it| fine(it.cell.wait_newer(it.cell.version(), Duration::from_millis(2)).map(drop))),
    ("watch", |it| fine(it.mapper.watch().timeout(Duration::from_millis(2)).next().unwrap().map(drop))),
    ("wait while written", |it| {
        fine(it.cell.wait_newer_while_written(it.cell.version(), Duration::from_millis(2)).map(drop))
    }),
    ("changes", changes),
    ("lease", |it| {
        it.mapper.lease(Duration::from_secs(20)).and_then(|mut lease| lease.set(&vec![3])).map(drop)
    }),
    ("a view of an inherited map", |it| it.map.create_view_accessor(0, 0).map(drop)),
    ("open what the parent holds", |_| {
        Mapper::open_existing("mapper").and_then(|own| own.set(&vec![2])).map(drop)
    }),
    ("create and close", |_| Cell::create_or_open("childs").map(drop)),
    ("an anonymous map", |_| MemoryMappedFile::anonymous(10_000).map(drop)),
    ("list", |it| handover::map::list(&MapOptions::new().directory(&it.directory)).map(drop)),
];

/// A wait that has ended.
fn fine(waited: Result<(), Error>) -> Result<(), Error> {
    waited.or_else(|error| if error.kind() == ErrorKind::TimedOut { Ok(()) } else { Err(error) })
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits for a version as a task does, and writes it itself.
fn changes(it: &mut Inherited) -> Result<(), Error> {
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = flag.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut changes = pin!(it.mapper.changes().after(it.mapper.version()));
    let mut written = false;
    loop {
        match changes.poll_changed(&mut context) {
            Poll::Ready(change) => return change.unwrap().map(drop),
            Poll::Pending if !written => {
                written = true;
                it.mapper.set(&vec![4; 10])?;
            }
            Poll::Pending => {}
        }
        while !flag.0.swap(false, Ordering::Acquire) {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// A number shared by parent and child.
fn shared_number() -> &'static AtomicU32 {
    // SAFETY: the address is the kernel's choice, so no memory of this process is replaced.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: the page stays mapped until the process ends, is zero, and is used only as this.
    unsafe { &*page.cast::<AtomicU32>() }
}

/// In the child: makes each call once. The exit code is 0, or 1 after a call that failed with another error.
fn be_child(it: &mut Inherited, at: &AtomicU32, first: usize) -> ! {
    // SAFETY: the signal ends this process, which is its purpose.
    unsafe { libc::alarm(LIMIT) };
    let mut code = 0;
    for step in 0..CALLS.len() {
        let index = (first + step) % CALLS.len();
        at.store(index as u32, Ordering::Relaxed);
        match CALLS[index].1(it) {
            Err(error) if error.kind() != ErrorKind::Forked => {
                eprintln!("{}: {error}", CALLS[index].0);
                code = 1;
                break;
            }
            _ => {}
        }
    }
    // SAFETY: ends the process, and runs nothing of its parent's.
    unsafe { libc::_exit(code) }
}

fn forever(mut act: impl FnMut() + Send + 'static) {
    thread::spawn(move || {
        loop {
            act();
        }
    });
}

/// Threads that are in every call of the library, over and over.
fn start_threads(mapper: &'static Mapper, cell: &'static Cell, directory: &Path) {
    let shared = move || drop(mapper.get_shared());
    let writes = move || {
        drop(mapper.set(&vec![7; 3000]));
        // Others want to write too.
        thread::sleep(Duration::from_micros(200));
    };
    let loads = move || {
        let mut reader = cell.reader();
        drop(reader.load().map(drop));
        // Two at once: more entries than a handle keeps come and go.
        drop((cell.reader().load().map(drop), cell.reader().load().map(drop)));
    };
    let waits = move || drop(cell.wait_newer(cell.version(), Duration::from_millis(1)));
    let tasks = move || {
        let flag = Arc::new(Flag(AtomicBool::new(false))).into();
        let mut changes = mapper.changes().after(mapper.version());
        let _ = changes.poll_changed(&mut Context::from_waker(&flag));
    };
    let opens = move || drop(CellOptions::new().capacity(100).create_or_open("others"));
    let within = directory.to_owned();
    let lists = move || drop(handover::map::list(&MapOptions::new().directory(&within)));
    forever(shared);
    forever(writes);
    forever(loads);
    forever(waits);
    forever(tasks);
    forever(opens);
    forever(lists);
}

#[test]
fn no_call_of_a_forked_child_hangs() {
    let directory = tempfile::tempdir().unwrap();
    // SAFETY: the one test of this program has started no thread yet.
    unsafe { std::env::set_var("HANDOVER_DIR", directory.path()) };
    let mapper: &'static Mapper =
        Box::leak(Box::new(MapperOptions::new().capacity(200_000).create_new("mapper").unwrap()));
    mapper.set(&vec![1; 3000]).unwrap();
    let cell: &'static Cell = mapper.cell();
    let map: &'static MemoryMappedFile =
        Box::leak(Box::new(MemoryMappedFile::create_new("map", 10_000).unwrap()));
    let mut reader = cell.reader();
    assert!(reader.load().unwrap().is_some());
    let mut inherited = Inherited { mapper, cell, reader, map, directory: directory.path().to_owned() };
    let at = shared_number();
    start_threads(mapper, cell, &inherited.directory);
    let mut hung = Vec::new();
    let mut failed = Vec::new();
    let mut forks = 0;
    let start = Instant::now();
    for fork in (0..FORKS).take_while(|_| start.elapsed() < TIME) {
        // SAFETY: the child calls the code under test, which must work after a fork, and the C library's
        // allocator, which does.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            be_child(&mut inherited, at, fork as usize % CALLS.len());
        }
        assert!(pid > 0);
        forks += 1;
        let mut ended = 0;
        // SAFETY: `ended` takes the number; the child is this process's own.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut ended, 0) }, pid);
        let call = CALLS[at.load(Ordering::Relaxed) as usize].0;
        if libc::WIFSIGNALED(ended) {
            hung.push(format!("{call} (signal {})", libc::WTERMSIG(ended)));
            // Each takes its time, and one is enough.
            break;
        }
        if ended != 0 {
            failed.push(call);
        }
    }
    println!("{forks} forks");
    assert!(hung.is_empty() && failed.is_empty(), "hung: {hung:?}; failed: {failed:?}");
}
