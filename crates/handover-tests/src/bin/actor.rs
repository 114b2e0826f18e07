//! A process that does what a test tells it: one command a line on standard input, one reply a line on
//! standard output. It keeps maps and views under numbers until told to close them.

use std::collections::HashMap;
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::process::ExitCode;

use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile, ViewStream};
use handover::{ErrorKind, Scope};
use handover_tests::{Command, Failure, How, Map, Open, Reply};

type Answer = Result<Reply, Failure>;

#[derive(Default)]
struct State {
    maps: HashMap<u32, MemoryMappedFile>,
    views: HashMap<u32, ViewStream>,
    cells: handover_tests::cell_actor::Cells,
    /// The last number given out.
    last: u32,
}

/// Reports after an exec that the new program runs.
#[cfg(target_os = "linux")]
const ANNOUNCE: &str = "announce";

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if std::env::args().nth(1).as_deref() == Some(ANNOUNCE) {
        answer(&Reply::Done);
    }
    #[cfg(windows)]
    if handover_tests::race::be_worker() {
        return ExitCode::SUCCESS;
    }
    let mut state = State::default();
    let mut line = String::new();
    loop {
        line.clear();
        // This lock is released at once: a forked child goes on with another pipe.
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(1..) => {}
            // The test is over.
            _ => return ExitCode::SUCCESS,
        }
        let reply = match serde_json::from_str(&line) {
            Ok(command) => state.obey(command).unwrap_or_else(Reply::Failed),
            Err(e) => Reply::Failed(Failure { kind: "Command".to_owned(), message: e.to_string() }),
        };
        answer(&reply);
    }
}

fn answer(reply: &Reply) {
    let mut line = serde_json::to_string(reply).expect("replies are JSON");
    line.push('\n');
    let mut out = std::io::stdout().lock();
    // Without a listener there is nothing left to do.
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn library(error: &handover::Error) -> Failure {
    Failure { kind: format!("{:?}", error.kind()), message: error.to_string() }
}

fn system(error: &std::io::Error) -> Failure {
    Failure { kind: format!("{:?}", error.kind()), message: error.to_string() }
}

fn unknown(what: &str) -> Failure {
    Failure { kind: "Command".to_owned(), message: format!("no such {what}") }
}

fn scope(global: bool) -> Scope {
    if global { Scope::Global } else { Scope::User }
}

impl State {
    fn obey(&mut self, command: Command) -> Answer {
        match command {
            Command::Open(open) => self.open(&open).map_err(|e| library(&e)),
            Command::Close { map } => {
                drop(self.maps.remove(&map).ok_or_else(|| unknown("map"))?);
                Ok(Reply::Done)
            }
            Command::View { map, read_only } => {
                let map = self.maps.get(&map).ok_or_else(|| unknown("map"))?;
                let access = if read_only { Access::Read } else { Access::ReadWrite };
                let view = map.create_view_stream_with(0, 0, access).map_err(|e| library(&e))?;
                self.last += 1;
                self.views.insert(self.last, view);
                Ok(Reply::Number(self.last.into()))
            }
            Command::CloseView { view } => {
                drop(self.views.remove(&view).ok_or_else(|| unknown("view"))?);
                Ok(Reply::Done)
            }
            Command::Read { view, offset, len } => {
                let view = self.view_at(view, offset)?;
                let mut bytes = vec![0; len as usize];
                view.read_exact(&mut bytes).map_err(|e| system(&e))?;
                Ok(Reply::Bytes(bytes))
            }
            Command::Write { view, offset, bytes } => {
                self.view_at(view, offset)?.write_all(&bytes).map_err(|e| system(&e))?;
                Ok(Reply::Done)
            }
            #[cfg(any(target_os = "linux", windows))]
            Command::Race { notes, slot } => handover_tests::race::Notes::open(&notes)
                .and_then(|notes| handover_tests::race::take_part(&notes, slot))
                .map(|()| Reply::Done)
                .map_err(|e| system(&e)),
            Command::CollectGarbage { global } => {
                handover::map::collect_garbage(&handover::map::MapOptions::new().scope(scope(global)))
                    .map(Reply::Names)
                    .map_err(|e| library(&e))
            }
            Command::List { global } => {
                let maps = handover::map::list(&handover::map::MapOptions::new().scope(scope(global)))
                    .map_err(|e| library(&e))?;
                Ok(Reply::Names(maps.into_iter().map(|map| map.name).collect()))
            }
            Command::ListDirectory(path) => {
                let names = handover_tests::files_in(&path).into_iter();
                let names = names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
                Ok(Reply::Names(names.collect()))
            }
            Command::FileLength(path) => {
                Ok(Reply::Number(std::fs::metadata(path).map_err(|e| system(&e))?.len()))
            }
            Command::WriteFile { path, bytes } => {
                let mut file = std::fs::File::create_new(path).map_err(|e| system(&e))?;
                file.write_all(&bytes).map_err(|e| system(&e))?;
                Ok(Reply::Done)
            }
            Command::Environment { name, value } => {
                match value {
                    // SAFETY: this process has one thread.
                    Some(value) => unsafe { std::env::set_var(name, value) },
                    // SAFETY: as above.
                    None => unsafe { std::env::remove_var(name) },
                }
                Ok(Reply::Done)
            }
            Command::Exit => std::process::exit(0),
            Command::Cell(command) => self.cells.obey(command),
            Command::Threads { threads, rounds, name } => threads_agree(threads, rounds, &name),
            #[cfg(target_os = "linux")]
            other => linux::obey(other).map_err(|e| system(&e)),
            #[cfg(not(target_os = "linux"))]
            _ => Err(unknown("command on this system")),
        }
    }

    fn open(&mut self, open: &Open) -> handover::Result<Reply> {
        let mut options = MapOptions::new().delay_allocate_pages(open.delay).inheritable(open.inheritable);
        if open.read_only {
            options = options.access(Access::Read);
        }
        if let Some(mode) = open.file_mode {
            options = options.file_mode(mode);
        }
        if let Some(uid) = open.owned_by {
            options = options.owned_by(uid);
        }
        if let Some(directory) = &open.directory {
            options = options.directory(directory);
        }
        let map = match open.how {
            How::CreateNew => options.create_new(&open.name, open.capacity),
            How::CreateOrOpen => options.create_or_open(&open.name, open.capacity),
            How::OpenExisting => options.open_existing(&open.name),
            How::FromFile => {
                if !open.name.is_empty() {
                    options = options.map_name(&open.name);
                }
                let path = open.path.clone().unwrap_or_default();
                create_from_file(path, FileMode::OpenOrCreate, open.capacity, &options)
            }
        }?;
        self.last += 1;
        let reply = Map { id: self.last, capacity: map.capacity(), created: map.was_created() };
        self.maps.insert(self.last, map);
        Ok(Reply::Map(reply))
    }

    fn view_at(&mut self, view: u32, offset: u64) -> Result<&mut ViewStream, Failure> {
        let view = self.views.get_mut(&view).ok_or_else(|| unknown("view"))?;
        view.seek(SeekFrom::Start(offset)).map_err(|e| system(&e))?;
        Ok(view)
    }
}

/// Threads that hold the name at one time must hold one map. Returns how many maps there were.
fn threads_agree(threads: u32, rounds: u32, name: &str) -> Answer {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    let tokens = AtomicU32::new(0);
    let created = AtomicU64::new(0);
    // The tokens of maps that are certainly held.
    let held = Mutex::new(Vec::<u32>::new());
    let together = std::sync::Barrier::new(threads as usize);
    let turn = |round: u32| -> Result<(), Failure> {
        let opened = match round % 3 {
            0 => MemoryMappedFile::open_existing(name),
            1 => MemoryMappedFile::create_new(name, 64),
            _ => MemoryMappedFile::create_or_open(name, 64),
        };
        let map = match opened {
            Ok(map) => map,
            Err(e) if round.is_multiple_of(3) && e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) if round % 3 == 1 && e.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(e) => return Err(library(&e)),
        };
        created.fetch_add(map.was_created().into(), Ordering::Relaxed);
        let view = map.create_view_accessor(0, 0).map_err(|e| library(&e))?;
        let own = tokens.fetch_add(1, Ordering::Relaxed) + 1;
        let word = handover_tests::word::<AtomicU32>(&view, 0).map_err(|e| library(&e))?;
        let token = match word.compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => own,
            Err(there) => there,
        };
        {
            let mut held = held.lock().expect("no thread panics");
            held.push(token);
            if held.iter().any(|other| *other != token) {
                let message = format!("threads hold different maps at one time: {held:?}");
                return Err(Failure { kind: "Race".to_owned(), message });
            }
        }
        std::thread::yield_now();
        let mut held = held.lock().expect("no thread panics");
        let at = held.iter().position(|other| *other == token).expect("it was put in");
        held.swap_remove(at);
        Ok(())
    };
    let run = || {
        let mut result = Ok(());
        for round in 0..rounds {
            // From time to time nobody holds the name, so that the next map is another.
            if round.is_multiple_of(9) {
                together.wait();
            }
            result = result.and(turn(round));
        }
        result
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    results.into_iter().collect::<Result<Vec<()>, Failure>>()?;
    Ok(Reply::Number(created.into_inner()))
}

#[cfg(target_os = "linux")]
mod linux {
    //! Commands that only Linux has.

    use std::ffi::CString;
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::CommandExt;
    use std::path::Path;

    use handover_tests::{Command, Reply};

    fn check(result: libc::c_int) -> io::Result<libc::c_int> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    pub(crate) fn obey(command: Command) -> io::Result<Reply> {
        match command {
            Command::Become { uid, gid } => {
                // SAFETY: an empty list needs no memory.
                check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
                // SAFETY: no conditions.
                check(unsafe { libc::setgid(gid) })?;
                // SAFETY: no conditions.
                check(unsafe { libc::setuid(uid) })?;
            }
            Command::Umask(mask) => {
                // SAFETY: no conditions.
                unsafe { libc::umask(mask) };
            }
            Command::PrivateMounts => {
                // SAFETY: no conditions.
                check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
                mount(c"none", Path::new("/"), libc::MS_REC | libc::MS_PRIVATE, "")?;
            }
            Command::MountTmpfs { path, options } => mount(c"tmpfs", &path, 0, &options)?,
            Command::LimitFileSize(bytes) => {
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
                // SAFETY: `limit` is valid for a read.
                check(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) })?;
            }
            Command::Fork { input, output } => {
                // Nobody waits for the child.
                // SAFETY: no handler is installed.
                unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
                // SAFETY: this process has one thread, so the child has everything it needs.
                let child = check(unsafe { libc::fork() })?;
                if child > 0 {
                    return Ok(Reply::Number(child as u64));
                }
                let input = File::open(input)?;
                let output = OpenOptions::new().write(true).open(output)?;
                // SAFETY: both are open; nothing owns a descriptor for standard input by value.
                check(unsafe { libc::dup2(input.as_raw_fd(), 0) })?;
                // SAFETY: as above, for standard output.
                check(unsafe { libc::dup2(output.as_raw_fd(), 1) })?;
                drop((input, output));
            }
            Command::Exec => {
                return Err(std::process::Command::new(std::env::current_exe()?).arg(super::ANNOUNCE).exec());
            }
            other => unreachable!("{other:?} is carried out elsewhere"),
        }
        Ok(Reply::Done)
    }

    fn mount(kind: &std::ffi::CStr, path: &Path, flags: libc::c_ulong, options: &str) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let options = CString::new(options)?;
        // SAFETY: all four are C strings.
        check(unsafe {
            libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
        })?;
        Ok(())
    }
}
