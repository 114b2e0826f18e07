//! Cells in tests: what an actor can be told to do with them, and how a test says it.
//!
//! All values are those of [`value`](crate::value), with the version as their counter. An actor checks what
//! it reads and answers with the version; what is not whole is a failure of kind `Torn`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub use crate::cell_messages::{CellCommand, CellState, End, OpenCell, Sums, Trigger, Work};
use crate::{Actor, Command, HANG, Obey, Outcome, Reply};
pub use handover::Step;

/// Memory in which threads count what they do, so that it is known when they are killed.
#[derive(Debug)]
pub struct Board {
    base: *const AtomicU64,
    path: PathBuf,
    /// Keeps the memory. Were it leaked, Windows would not let the test remove the file.
    #[cfg(not(target_os = "linux"))]
    _view: handover::map::ViewAccessor,
}

// SAFETY: the memory stays as long as the board, and is only accessed atomically.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

const LINES: usize = 64;
const LINE: usize = 8;
const MARKS: usize = 1 << 16;

impl Board {
    /// Makes the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(((LINES * LINE + MARKS) * 8) as u64)?;
        Self::open(path)
    }

    /// Opens it in another process.
    ///
    /// # Errors
    ///
    /// Those of the file.
    #[cfg(not(target_os = "linux"))]
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        let map = handover::map::MemoryMappedFile::from_file(file, 0)?;
        let view = map.create_view_accessor(0, 0)?;
        Ok(Self { base: view.as_ptr().cast_const().cast(), path: path.to_owned(), _view: view })
    }

    /// Opens it in another process.
    #[cfg(target_os = "linux")]
    pub fn open(path: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        let size = (LINES * LINE + MARKS) * 8;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the address is the kernel's choice, so no memory of this process is replaced.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast_const().cast(), path: path.to_owned() })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < LINES * LINE + MARKS);
        // SAFETY: within the mapping, which stays as long as this, and aligned as the mapping is; all
        // accesses are atomic.
        unsafe { &*self.base.wrapping_add(at) }
    }

    /// A version that is certainly published.
    pub fn published(&self) -> &AtomicU64 {
        self.word(0)
    }

    /// How far the thread with this line (1 to 63) is.
    pub fn progress(&self, line: usize) -> &AtomicU64 {
        assert!((1..LINES).contains(&line));
        self.word(line * LINE)
    }

    /// How often the value with this counter was taken.
    pub fn mark(&self, counter: u64) -> &AtomicU64 {
        assert!((counter as usize) < MARKS);
        self.word(LINES * LINE + counter as usize)
    }

    /// Writes down what must not happen.
    pub fn complain(&self, what: &str) {
        use io::Write;
        let file = std::fs::File::options().append(true).create(true).open(self.path.with_extension("txt"));
        let _ = file.and_then(|mut file| writeln!(file, "{what}"));
    }

    /// Panics if something was written down.
    #[track_caller]
    pub fn expect_no_complaint(&self) {
        if let Ok(text) = std::fs::read_to_string(self.path.with_extension("txt")) {
            panic!(
                "{} complaints, such as: {:?}",
                text.lines().count(),
                text.lines().take(5).collect::<Vec<_>>()
            );
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until each of these threads has gone on by `steps`: they live, so they must.
    #[track_caller]
    pub fn expect_progress(&self, lines: impl IntoIterator<Item = usize>, steps: u64) {
        let before: Vec<_> = lines.into_iter().map(|line| (line, self.progress(line).load(SeqCst))).collect();
        for (line, before) in before {
            wait_until(&format!("thread {line} stalls"), || {
                self.expect_no_complaint();
                self.progress(line).load(SeqCst) >= before + steps
            });
        }
    }
}

/// Looks every now and then whether something is so; panics after [`HANG`].
#[track_caller]
pub fn wait_until(otherwise: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANG, "{otherwise}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The number in an environment variable; `default` where it is not set.
pub fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// A small generator of random numbers (xorshift64), the same in each run.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// Asserts that a cell has no more memory than `largest`, the length of the longest value that somebody still
/// reads or may read, allows: by its own count, and by the system's for its file.
#[track_caller]
pub fn expect_memory(actor: &mut impl Obey, cell: u32, file: &Path, largest: u64) {
    expect_memory_beside(actor, cell, file, largest, 0);
}

/// The same where somebody has `pinned` bytes of an older version pinned: these and up to two pages come to
/// it.
#[track_caller]
pub fn expect_memory_beside(actor: &mut impl Obey, cell: u32, file: &Path, largest: u64, pinned: u64) {
    let beside = if pinned > 0 { pinned.next_multiple_of(4096) + 2 * 4096 } else { 0 };
    let bound = 3 * largest + (64 << 10) + beside;
    let reserved = actor.info(cell).reserved;
    #[cfg(unix)]
    let blocks =
        std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(file).expect("the map's file")) * 512;
    // A name has no file there.
    #[cfg(not(unix))]
    let (blocks, _) = (0, file);
    assert!(
        reserved <= bound && blocks <= bound,
        "{reserved} reserved, {blocks} in the file, {bound} allowed"
    );
}

/// Whether these bytes are anywhere in a map: the one named "cell", because names have no files here.
#[cfg(windows)]
pub fn file_contains(_: &Path, bytes: &[u8]) -> bool {
    let map = handover::map::MemoryMappedFile::open_existing("cell").expect("a map named \"cell\"");
    let mut all = Vec::new();
    let mut stream = map.create_view_stream(0, 0).expect("a view");
    std::io::Read::read_to_end(&mut stream, &mut all).expect("read the map");
    // Most of it is zeroes; pages with something in them that lie beside each other are one piece.
    let pages: Vec<&[u8]> = all.chunks(4096).collect();
    pages
        .split(|page| **page == [0; 4096][..page.len()])
        .map(<[&[u8]]>::concat)
        .any(|piece| piece.windows(bytes.len()).any(|window| window == bytes))
}

/// Whether these bytes are anywhere in a map's file.
#[cfg(target_os = "linux")]
pub fn file_contains(file: &Path, bytes: &[u8]) -> bool {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(file).expect("the map's file");
    let seek = |at: i64, what| {
        // SAFETY: the descriptor is open as long as `file` lives.
        unsafe { libc::lseek(file.as_raw_fd(), at, what) }
    };
    let mut end = 0;
    loop {
        // Only what has memory; what lies beside each other is one piece.
        let start = seek(end, libc::SEEK_DATA);
        if start < 0 {
            return false;
        }
        end = seek(start, libc::SEEK_HOLE);
        let mut piece = vec![0; (end - start) as usize];
        file.read_exact_at(&mut piece, start as u64).expect("read the map's file");
        if piece.windows(bytes.len()).any(|window| window == bytes) {
            return true;
        }
    }
}

/// The steps of a writer, and whether its version is published by then.
pub const WRITER_STEPS: [(Step, bool); 8] = [
    (Step::WriterLocked, false),
    (Step::WriterBeforeTake, false),
    (Step::WriterTook, false),
    (Step::WriterHalfFilled, false),
    (Step::WriterFilled, false),
    (Step::WriterBeforePublish, false),
    (Step::WriterPublished, true),
    (Step::WriterWoke, true),
];

/// What a test can have a process do with cells.
pub trait UseCells: Obey {
    /// Carries out a command that gives a number, or nothing.
    #[track_caller]
    fn try_cell(&mut self, command: CellCommand) -> Outcome<Option<u64>> {
        match self.ask(&Command::Cell(command))? {
            Reply::Number(number) => Ok(Some(number)),
            Reply::Nothing | Reply::Done => Ok(None),
            other => panic!("{other:?}"),
        }
    }

    /// The same, which must work.
    #[track_caller]
    fn on_cell(&mut self, command: CellCommand) -> Option<u64> {
        let shown = format!("{command:?}");
        self.try_cell(command).unwrap_or_else(|e| panic!("{shown}: {}: {}", e.kind, e.message))
    }

    /// Sends a command without waiting for its reply.
    fn start_cell(&mut self, command: CellCommand) {
        self.send(&Command::Cell(command));
    }

    /// The reply to a command that was sent.
    #[track_caller]
    fn finish_cell(&mut self) -> Option<u64> {
        match self.reply() {
            Some(Reply::Number(number)) => Some(number),
            Some(Reply::Nothing | Reply::Done) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Asserts that a command fails with an error of this kind; gives its text.
    #[track_caller]
    fn cell_refused(&mut self, command: CellCommand, kind: &str) -> String {
        match self.try_cell(command) {
            Err(failure) if failure.kind == kind => failure.message,
            other => panic!("should be refused with {kind}: {other:?}"),
        }
    }

    /// Opens a cell.
    #[track_caller]
    fn open_cell(&mut self, open: &OpenCell) -> u32 {
        self.on_cell(CellCommand::Open(open.clone())).expect("a number") as u32
    }

    /// Publishes values of so many bytes; gives the last version.
    #[track_caller]
    fn publish(&mut self, cell: u32, length: usize, times: u32) -> u64 {
        self.on_cell(CellCommand::Publish { cell, length, times }).expect("a version")
    }

    /// Whether it became the writer.
    #[track_caller]
    fn lock(&mut self, cell: u32) -> bool {
        self.on_cell(CellCommand::Lock(cell)) == Some(1)
    }

    /// Pins the newest version and keeps it.
    #[track_caller]
    fn hold(&mut self, cell: u32) -> u32 {
        self.on_cell(CellCommand::Hold(cell)).expect("a number") as u32
    }

    /// What can be told of the cell.
    #[track_caller]
    fn info(&mut self, cell: u32) -> CellState {
        match self.ask(&Command::Cell(CellCommand::Info(cell))) {
            Ok(Reply::Cell(state)) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Has it act at steps.
    #[track_caller]
    fn arm(&mut self, triggers: &[(Step, u32, End)]) {
        let triggers = triggers.iter().map(|(step, nth, end)| (*step as u32, *nth, *end)).collect();
        self.on_cell(CellCommand::Arm(triggers));
    }

    /// Starts a thread.
    #[track_caller]
    fn start(&mut self, cell: u32, work: &Work, board: &Board, line: usize) {
        let board = board.path().to_owned();
        self.on_cell(CellCommand::Start { cell, work: work.clone(), board, line });
    }
}

impl<T: Obey> UseCells for T {}

impl Actor {
    /// Waits until it has stopped itself.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn expect_stopped(&self) {
        let ended = self.wait_change(libc::WSTOPPED | libc::WEXITED);
        assert_eq!(ended, libc::CLD_STOPPED, "the actor ended and should have stopped");
    }

    /// Waits until it stands still at a step; one that was stopped does.
    #[cfg(windows)]
    #[track_caller]
    pub fn expect_stopped(&self) {
        let suspended = self.suspended.load(SeqCst);
        assert!(suspended || self.halts.expect(HANG), "the actor does not stop");
    }

    /// Waits until it has been killed, by itself or by another; it is gone when this returns.
    #[track_caller]
    pub fn expect_killed(mut self) {
        #[cfg(target_os = "linux")]
        assert_eq!(self.wait_change(libc::WEXITED), libc::CLD_KILLED, "the actor was not killed");
        #[cfg(not(target_os = "linux"))]
        assert!(!self.wait().success(), "the actor was not killed");
        self.end();
    }

    #[cfg(target_os = "linux")]
    #[track_caller]
    fn wait_change(&self, which: i32) -> i32 {
        let mut code = 0;
        wait_until("an actor neither stops nor ends", || {
            // SAFETY: a plain C struct for which all zeroes is a value.
            let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let flags = which | libc::WNOWAIT | libc::WNOHANG;
            // SAFETY: `found` is valid for a write.
            let result = unsafe { libc::waitid(libc::P_PID, self.id(), &raw mut found, flags) };
            assert_eq!(result, 0, "waitid: {}", io::Error::last_os_error());
            code = found.si_code;
            code != 0
        });
        code
    }
}
