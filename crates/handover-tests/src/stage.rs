//! Where a test's processes play: a directory of the test's own, and the actors that it tells what to do.
//!
//! Relies on `protocol`; the tests and `cell` rely on it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use handover_test_support::{Alone, Start, memory_dir};

use crate::protocol::{Command, Failure, Map, Open, Reply};

/// Reads and writes at a place in a file.
#[cfg(unix)]
pub use std::os::unix::fs::FileExt as FileAt;

/// Reads and writes at a place in a file.
#[cfg(windows)]
#[allow(missing_docs, reason = "as on Unix")]
pub trait FileAt {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()>;
    fn write_all_at(&self, bytes: &[u8], at: u64) -> std::io::Result<()>;
}

#[cfg(windows)]
impl FileAt for std::fs::File {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match std::os::windows::fs::FileExt::seek_read(self, &mut bytes[done..], at + done as u64)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                more => done += more,
            }
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            done += std::os::windows::fs::FileExt::seek_write(self, &bytes[done..], at + done as u64)?;
        }
        Ok(())
    }
}

/// Longer than any command takes, even where everything is slow: a test that waits as long hangs.
pub const HANG: Duration = Duration::from_secs(300);

/// What a command came to.
pub type Outcome<T> = Result<T, Failure>;

/// Ends a test that can't run here, saying why.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        eprintln!("skipped: {}", format_args!($($why)*));
        return;
    }};
}

/// Whether tests can act as other users and mount file systems.
pub fn is_root() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: no conditions.
    return unsafe { libc::geteuid() == 0 };
    #[cfg(not(target_os = "linux"))]
    false
}

/// Options for names in this directory, where names lie in directories.
pub fn names_in(directory: impl AsRef<Path>) -> handover::map::MapOptions {
    let options = handover::map::MapOptions::new();
    if cfg!(windows) { options } else { options.directory(directory.as_ref()) }
}

/// The capacity that an opener finds by name where a map was created with this one: whole pages on Windows,
/// because the kernel keeps no other number.
pub fn found_capacity(created: u64) -> u64 {
    if cfg!(windows) { created.next_multiple_of(4096) } else { created }
}

/// A word of a map that processes share.
///
/// Tests access the bytes of such a word in one size only, but for those that play a hostile program: what
/// these disturb are words that the library accesses as atomics too.
pub fn word<A: handover::map::AtomicWord>(
    view: &handover::map::ViewAccessor,
    position: u64,
) -> handover::Result<&A> {
    // SAFETY: see above; this library's own copies go with an atomic of any size.
    unsafe { view.atomic(position) }
}

/// A directory of the test's own, and the actors' program.
#[derive(Debug)]
pub struct Stage {
    program: PathBuf,
    directory: tempfile::TempDir,
    _alone: Alone,
}

impl Stage {
    /// `program` is `env!("CARGO_BIN_EXE_actor")`.
    pub fn new(program: &str) -> Self {
        Self { _alone: Alone::new(), program: program.into(), directory: memory_dir() }
    }

    /// One in whose directory all users can create files.
    #[cfg(unix)]
    pub fn for_all_users(program: &str) -> Self {
        let stage = Self::new(program);
        set_mode(stage.path(), 0o1777);
        stage
    }

    /// `HANDOVER_DIR` of the actors.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts an actor.
    pub fn actor(&self) -> Actor {
        let mut command = std::process::Command::new(&self.program);
        command.env("HANDOVER_DIR", self.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.start().expect("start an actor");
        let input = child.stdin.take().expect("was piped");
        let output = child.stdout.take().expect("was piped");
        Actor {
            line: Line::new(input, output),
            #[cfg(windows)]
            halts: crate::halt::Halts::of(child.id()),
            #[cfg(windows)]
            suspended: false.into(),
            child,
        }
    }

    /// Starts an actor and makes it another user.
    pub fn actor_of(&self, uid: u32) -> Actor {
        let mut actor = self.actor();
        actor.tell(&Command::Become { uid, gid: uid });
        actor
    }

    /// The directory of this user's scope.
    #[cfg(unix)]
    pub fn scope(&self) -> PathBuf {
        self.path().join(format!("handover-{}", self.user()))
    }

    /// The directory of this user's names in the global scope.
    #[cfg(unix)]
    pub fn global_scope(&self) -> PathBuf {
        self.global_scope_of(self.user())
    }

    /// The directory of a user's names in the global scope.
    #[cfg(unix)]
    pub fn global_scope_of(&self, uid: u32) -> PathBuf {
        self.path().join(format!("handover-{uid}-global"))
    }

    #[cfg(unix)]
    fn user(&self) -> u32 {
        use std::os::unix::fs::MetadataExt;
        // The user that this process runs as owns what it has just made.
        self.path().metadata().expect("the stage's directory").uid()
    }

    /// The files in the user's scope, sorted; none on Windows.
    pub fn files(&self) -> Vec<PathBuf> {
        #[cfg(unix)]
        return files_in(&self.scope());
        #[cfg(not(unix))]
        Vec::new()
    }

    /// The one file in the user's scope; on Windows there is none, and the path is empty.
    pub fn only_file(&self) -> PathBuf {
        #[cfg(unix)]
        return self.files().remove(0);
        #[cfg(not(unix))]
        PathBuf::new()
    }

    /// The file that a name of the user's scope leads to; it is not there now.
    #[cfg(unix)]
    pub fn file_of(&self, name: &str) -> PathBuf {
        let mut actor = self.actor();
        let before = self.files();
        let map = actor.create_new(name, 1);
        let mut files = self.files();
        files.retain(|file| !before.contains(file));
        actor.close(map);
        assert_eq!(files.len(), 1);
        files.remove(0)
    }
}

/// Sets the mode of a file or directory.
#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set a mode");
}

/// What tells whether somebody has touched a file, but for its bytes.
#[cfg(unix)]
pub fn attributes(metadata: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!(
        "{} {:o} {} {} {} {:?}",
        metadata.ino(),
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.nlink(),
        metadata.modified().expect("a time"),
    )
}

/// The entries of a directory, sorted; none where it does not exist. Without the place where a sweep stopped.
pub fn files_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| !file.ends_with(".sweep"));
    files.sort();
    files
}

/// The two pipes to an actor.
struct Line {
    input: Box<dyn Write + Send>,
    replies: Receiver<String>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// The lines that a process writes, read by a thread: so that a reader can wait for one for a limited time.
pub fn lines_of(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Line {
    fn new(input: impl Write + Send + 'static, output: impl std::io::Read + Send + 'static) -> Self {
        Self { input: Box::new(input), replies: lines_of(output) }
    }

    fn send(&mut self, command: &Command) {
        let mut line = serde_json::to_string(command).expect("commands are JSON");
        line.push('\n');
        self.input.write_all(line.as_bytes()).expect("the actor listens");
    }

    fn reply(&mut self) -> Option<Reply> {
        match self.replies.recv_timeout(HANG) {
            Ok(line) => {
                Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("no reply: {line:?}: {e}")))
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("an actor hangs"),
        }
    }
}

/// What a test can have a process do.
pub trait Obey {
    /// Sends a command.
    fn send(&mut self, command: &Command);

    /// The reply to a command that was sent; `None` where the process has ended.
    fn reply(&mut self) -> Option<Reply>;

    /// Has it carry out a command. Panics where it dies of it.
    #[track_caller]
    fn ask(&mut self, command: &Command) -> Outcome<Reply> {
        self.send(command);
        match self.reply() {
            Some(Reply::Failed(failure)) => Err(failure),
            Some(reply) => Ok(reply),
            None => panic!("the actor died of {command:?}"),
        }
    }

    /// Carries out a command that must work.
    #[track_caller]
    fn tell(&mut self, command: &Command) {
        if let Err(failure) = self.ask(command) {
            panic!("{command:?}: {}", failure.message);
        }
    }

    /// Opens a map.
    #[track_caller]
    fn open(&mut self, open: &Open) -> Outcome<Map> {
        match self.ask(&Command::Open(open.clone()))? {
            Reply::Map(map) => Ok(map),
            other => panic!("{other:?}"),
        }
    }

    /// Opens a map, which must work.
    #[track_caller]
    fn must_open(&mut self, open: &Open) -> Map {
        self.open(open).unwrap_or_else(|e| panic!("{open:?}: {}: {}", e.kind, e.message))
    }

    /// `create_new`, which must work.
    #[track_caller]
    fn create_new(&mut self, name: &str, capacity: u64) -> Map {
        self.must_open(&Open::create_new(name, capacity))
    }

    /// `create_or_open`, which must work.
    #[track_caller]
    fn create_or_open(&mut self, name: &str, capacity: u64) -> Map {
        self.must_open(&Open::create_or_open(name, capacity))
    }

    /// `open_existing`, which must work.
    #[track_caller]
    fn open_existing(&mut self, name: &str) -> Map {
        self.must_open(&Open::open_existing(name))
    }

    /// Closes a map.
    #[track_caller]
    fn close(&mut self, map: Map) {
        self.tell(&Command::Close { map: map.id });
    }

    /// Opens a view on the whole of a map.
    #[track_caller]
    fn view(&mut self, map: Map) -> u32 {
        match self.ask(&Command::View { map: map.id, read_only: false }) {
            Ok(Reply::Number(view)) => view as u32,
            other => panic!("{other:?}"),
        }
    }

    /// Reads through a view.
    #[track_caller]
    fn read_view(&mut self, view: u32, offset: u64, len: u64) -> Vec<u8> {
        match self.ask(&Command::Read { view, offset, len }) {
            Ok(Reply::Bytes(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Writes through a view.
    #[track_caller]
    fn write_view(&mut self, view: u32, offset: u64, bytes: &[u8]) {
        self.tell(&Command::Write { view, offset, bytes: bytes.to_vec() });
    }

    /// Reads from a map through a view that is closed again.
    #[track_caller]
    fn read(&mut self, map: Map, offset: u64, len: u64) -> Vec<u8> {
        let view = match self.ask(&Command::View { map: map.id, read_only: true }) {
            Ok(Reply::Number(view)) => view as u32,
            other => panic!("{other:?}"),
        };
        let bytes = self.read_view(view, offset, len);
        self.tell(&Command::CloseView { view });
        bytes
    }

    /// Writes to a map through a view that is closed again.
    #[track_caller]
    fn write(&mut self, map: Map, offset: u64, bytes: &[u8]) {
        let view = self.view(map);
        self.write_view(view, offset, bytes);
        self.tell(&Command::CloseView { view });
    }

    /// Removes leftovers; gives the names.
    #[track_caller]
    fn collect_garbage(&mut self, global: bool) -> Vec<String> {
        match self.ask(&Command::CollectGarbage { global }) {
            Ok(Reply::Names(names)) => names,
            other => panic!("{other:?}"),
        }
    }

    /// The entries of a directory as the actor sees it; none where it does not exist.
    #[track_caller]
    fn list_directory(&mut self, path: &Path) -> Vec<String> {
        match self.ask(&Command::ListDirectory(path.to_owned())) {
            Ok(Reply::Names(names)) => names,
            other => panic!("{other:?}"),
        }
    }

    /// Asserts that opening fails with an error of this kind; gives its text.
    #[track_caller]
    fn expect_refused(&mut self, open: &Open, kind: &str) -> String {
        match self.open(open) {
            Err(failure) if failure.kind == kind => failure.message,
            other => panic!("{open:?} should be refused with {kind}: {other:?}"),
        }
    }

    /// Asserts that the name has no holder.
    #[track_caller]
    fn expect_gone(&mut self, name: &str) {
        self.expect_refused(&Open::open_existing(name), "NotFound");
    }

    /// Asserts that nothing of an earlier map is found: `create_or_open` gives `capacity` zeroes. Closes it.
    #[track_caller]
    fn expect_fresh(&mut self, name: &str, capacity: u64) {
        let map = self.create_or_open(name, capacity);
        assert!(map.created, "{name:?} was there");
        assert_eq!(map.capacity, capacity);
        assert!(self.read(map, 0, capacity).iter().all(|byte| *byte == 0), "{name:?} starts with old bytes");
        self.close(map);
    }
}

/// A process that obeys a test. Killed on drop.
#[derive(Debug)]
pub struct Actor {
    line: Line,
    child: Child,
    #[cfg(windows)]
    pub(crate) halts: crate::halt::Halts,
    /// Whether it is stopped where it was, and not at a step.
    #[cfg(windows)]
    pub(crate) suspended: std::sync::atomic::AtomicBool,
}

impl Obey for Actor {
    fn send(&mut self, command: &Command) {
        self.line.send(command);
    }

    fn reply(&mut self) -> Option<Reply> {
        self.line.reply()
    }
}

impl Actor {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL); it is gone when this returns.
    pub fn kill(mut self) {
        self.end();
    }

    /// Has it end without closing anything; it is gone when this returns.
    pub fn exit(mut self) {
        self.send(&Command::Exit);
        let status = self.child.wait().expect("an actor ends");
        assert!(status.success(), "{status}");
    }

    pub(crate) fn end(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Splits it in two: the child has everything that it has.
    #[cfg(target_os = "linux")]
    pub fn fork(&mut self, stage: &Stage) -> Forked {
        Forked::of(self, stage)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("an actor ends")
    }

    /// Stops it at whatever moment this is, until it is told to [go on](Self::go_on).
    pub fn stop(&self) {
        #[cfg(target_os = "linux")]
        {
            self.signal(libc::SIGSTOP);
            self.expect_stopped();
        }
        #[cfg(windows)]
        self.suspend(true);
        #[cfg(not(any(target_os = "linux", windows)))]
        panic!("not written for this system");
    }

    /// Goes on after a stop.
    pub fn go_on(&self) {
        #[cfg(target_os = "linux")]
        self.signal(libc::SIGCONT);
        #[cfg(windows)]
        if self.suspended.load(std::sync::atomic::Ordering::Relaxed) {
            self.suspend(false);
        } else {
            self.halts.go_on();
        }
    }

    #[cfg(windows)]
    fn suspend(&self, stop: bool) {
        use std::os::windows::io::AsRawHandle;
        #[link(name = "ntdll")]
        unsafe extern "system" {
            fn NtSuspendProcess(process: *mut std::ffi::c_void) -> i32;
            fn NtResumeProcess(process: *mut std::ffi::c_void) -> i32;
        }
        let handle = self.child.as_raw_handle();
        let code = if stop {
            // SAFETY: the handle is open as long as the child is borrowed.
            unsafe { NtSuspendProcess(handle) }
        } else {
            // SAFETY: as above.
            unsafe { NtResumeProcess(handle) }
        };
        assert_eq!(code, 0);
        self.suspended.store(stop, std::sync::atomic::Ordering::Relaxed);
    }

    /// Sends a signal.
    #[cfg(target_os = "linux")]
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is a child that was not waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.end();
    }
}

/// The child that an actor forked. Killed on drop.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Forked {
    line: Line,
    process: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Obey for Forked {
    fn send(&mut self, command: &Command) {
        self.line.send(command);
    }

    fn reply(&mut self) -> Option<Reply> {
        self.line.reply()
    }
}

#[cfg(target_os = "linux")]
impl Forked {
    fn of(actor: &mut Actor, stage: &Stage) -> Self {
        use std::os::fd::FromRawFd;
        use std::os::unix::ffi::OsStrExt;
        let pipes = tempfile::tempdir_in(stage.path()).expect("a directory for two pipes");
        let pipe = |name: &str| {
            let path = pipes.path().join(name);
            let text = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no NUL");
            // SAFETY: `text` is a C string.
            assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
            path
        };
        let (input, output) = (pipe("input"), pipe("output"));
        let id = match actor.ask(&Command::Fork { input: input.clone(), output: output.clone() }) {
            Ok(Reply::Number(id)) => id,
            other => panic!("{other:?}"),
        };
        // SAFETY: takes numbers only; the child waits for its pipes, so the id is its own.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, id as libc::pid_t, 0) };
        assert!(process >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        // SAFETY: it was just opened, and nobody else has it.
        let process = unsafe { std::os::fd::OwnedFd::from_raw_fd(process as i32) };
        // Each waits for the child to open its end.
        let input = std::fs::OpenOptions::new().write(true).open(input).expect("the child listens");
        let output = std::fs::File::open(output).expect("the child answers");
        let mut forked = Self { line: Line::new(input, output), process };
        assert!(matches!(forked.reply(), Some(Reply::Done)));
        forked
    }

    /// Kills it (SIGKILL); it is gone when this returns.
    pub fn kill(self) {}

    /// Has it end without closing anything; it is gone when this returns.
    pub fn exit(mut self) {
        self.send(&Command::Exit);
        self.wait();
    }

    fn wait(&self) {
        use std::os::fd::AsRawFd;
        // The end of its pipes would come too early: descriptors are closed one after the other.
        let mut poll = libc::pollfd { fd: self.process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` is one valid entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, HANG.as_millis() as i32) };
        assert_eq!(ready, 1, "a forked actor does not end");
    }
}

#[cfg(target_os = "linux")]
impl Drop for Forked {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        let fd = self.process.as_raw_fd();
        let information = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is a process, and no information goes with the signal. Fails where the
        // process has ended.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, information, 0) };
        if !std::thread::panicking() {
            self.wait();
        }
    }
}
