//! The actor's side of [`cell`](crate::cell).

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use handover::cell::{Cell, CellOptions, Reader, Snapshot, Writer};
use handover::map::{Access, MapOptions};
use handover::{Error, ErrorKind, MapperOptions, MemoryMapper, Step};

use crate::cell::{Board, CellCommand, CellState, End, OpenCell, Random, Sums, Trigger, Work};
use crate::value;
use crate::{Failure, HANG, Reply};

/// The name of the mapper of [`Sums`].
const SUMS: &str = "sums";

/// The cells of an actor, and what it holds of them.
#[derive(Debug, Default)]
pub struct Cells {
    handles: HashMap<u32, Handle>,
    held: HashMap<u32, (Reader, Snapshot)>,
    sums: Option<MemoryMapper<Sums>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    last: u32,
}

// The order in which they are dropped.
#[derive(Debug)]
struct Handle {
    writer: Option<Writer>,
    reader: Reader,
    cell: Cell,
}

static ARMED: AtomicBool = AtomicBool::new(false);
static TRIGGERS: Mutex<VecDeque<Trigger>> = Mutex::new(VecDeque::new());

fn at_step(step: Step) {
    if !ARMED.load(Ordering::Relaxed) {
        return;
    }
    let mut triggers = TRIGGERS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(trigger) = triggers.front_mut().filter(|trigger| trigger.0 == step as u32) else { return };
    if trigger.1 > 0 {
        trigger.1 -= 1;
        return;
    }
    let end = trigger.2;
    triggers.pop_front();
    drop(triggers);
    match end {
        #[cfg(target_os = "linux")]
        // SAFETY: no handlers are installed.
        End::Stop => drop(unsafe { libc::raise(libc::SIGSTOP) }),
        #[cfg(target_os = "linux")]
        // SAFETY: as above.
        End::Die => drop(unsafe { libc::raise(libc::SIGKILL) }),
        #[cfg(windows)]
        End::Stop => crate::halt::here(),
        #[cfg(not(any(target_os = "linux", windows)))]
        End::Stop => panic!("no test asks for this here"),
        // No destructor, no handler runs.
        #[cfg(not(target_os = "linux"))]
        End::Die => std::process::abort(),
    }
}

fn library(error: &Error) -> Failure {
    Failure { kind: format!("{:?}", error.kind()), message: error.to_string() }
}

fn torn(message: String) -> Failure {
    Failure { kind: "Torn".to_owned(), message }
}

fn unknown() -> Failure {
    Failure { kind: "Command".to_owned(), message: "no such number".to_owned() }
}

/// The version, if the bytes are those of its value.
fn checked(version: u64, bytes: &[u8]) -> Result<Reply, Failure> {
    match value::check(bytes) {
        Ok(counter) if counter == version => Ok(Reply::Number(version)),
        Ok(counter) => Err(torn(format!("version {version} has the bytes of {counter}"))),
        Err(what) => Err(torn(format!("version {version}: {what}"))),
    }
}

fn checked_snapshot(snapshot: &Snapshot) -> Result<Reply, Failure> {
    checked(snapshot.version(), &snapshot.copy().map_err(|e| library(&e))?)
}

fn open(open: &OpenCell) -> handover::Result<Cell> {
    let mut map = MapOptions::new();
    if open.read_only {
        map = map.access(Access::Read);
    }
    if let Some(mode) = open.file_mode {
        map = map.file_mode(mode);
    }
    if let Some(uid) = open.owned_by {
        map = map.owned_by(uid);
    }
    let options = CellOptions::new().secret(open.secret).map(map);
    match &open.path {
        Some(path) if open.capacity > 0 => options.capacity(open.capacity).create_or_open(path),
        Some(path) => options.open_existing(path),
        None if open.capacity > 0 => options.capacity(open.capacity).create_or_open(&open.name),
        None => options.open_existing(&open.name),
    }
}

impl Cells {
    fn cell(&mut self, cell: u32) -> Result<&mut Handle, Failure> {
        self.handles.get_mut(&cell).ok_or_else(unknown)
    }

    fn number(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// Carries out a command.
    ///
    /// # Errors
    ///
    /// The library's error, or `Torn`.
    pub fn obey(&mut self, command: CellCommand) -> Result<Reply, Failure> {
        self.carry_out(command).unwrap_or_else(|e| Err(library(&e)))
    }

    fn carry_out(&mut self, command: CellCommand) -> handover::Result<Result<Reply, Failure>> {
        macro_rules! cell {
            ($number:expr) => {
                match self.cell($number) {
                    Ok(cell) => cell,
                    Err(failure) => return Ok(Err(failure)),
                }
            };
        }
        Ok(match command {
            CellCommand::Open(how) => {
                let cell = open(&how)?;
                let number = self.number();
                self.handles.insert(number, Handle { writer: None, reader: cell.reader(), cell });
                Ok(Reply::Number(number.into()))
            }
            CellCommand::Close(cell) => {
                self.handles.remove(&cell);
                Ok(Reply::Done)
            }
            CellCommand::Info(cell) => {
                let info = cell!(cell).cell.info()?;
                Ok(Reply::Cell(CellState {
                    version: info.version,
                    length: info.length,
                    reserved: info.reserved,
                    readers: info.readers,
                    has_writer: info.has_writer,
                }))
            }
            CellCommand::Lock(cell) => {
                let handle = cell!(cell);
                handle.writer = handle.cell.try_writer()?;
                Ok(Reply::Number(handle.writer.is_some().into()))
            }
            CellCommand::Unlock(cell) => {
                cell!(cell).writer = None;
                Ok(Reply::Done)
            }
            CellCommand::Publish { cell, length, times } => {
                let mut version = 0;
                cell!(cell).with_writer(|writer| {
                    for _ in 0..times {
                        version = writer.publish(&value::make(writer.version() + 1, length))?;
                    }
                    Ok(())
                })?;
                Ok(Reply::Number(version))
            }
            CellCommand::Clear(cell) => Ok(Reply::Number(cell!(cell).with_writer(Writer::clear)?)),
            CellCommand::Take(cell) => match cell!(cell).with_writer(Writer::take)? {
                Some(taken) => checked(taken.version, &taken.bytes),
                None => Ok(Reply::Nothing),
            },
            CellCommand::Load(cell) => match cell!(cell).reader.load()? {
                Some(snapshot) => checked_snapshot(snapshot),
                None => Ok(Reply::Nothing),
            },
            CellCommand::Read(cell) => match cell!(cell).reader.copy()? {
                Some(found) => checked(found.version, &found.bytes),
                None => Ok(Reply::Nothing),
            },
            CellCommand::Copy(cell) => match cell!(cell).cell.copy()? {
                Some(found) => checked(found.version, &found.bytes),
                None => Ok(Reply::Nothing),
            },
            CellCommand::Hold(cell) => {
                let mut reader = cell!(cell).cell.reader();
                let Some(snapshot) = reader.load()?.cloned() else { return Ok(Ok(Reply::Nothing)) };
                let number = self.number();
                self.held.insert(number, (reader, snapshot));
                Ok(Reply::Number(number.into()))
            }
            CellCommand::CheckHeld(held) => match self.held.get(&held) {
                Some((_, snapshot)) => checked_snapshot(snapshot),
                None => Err(unknown()),
            },
            CellCommand::DropHeld(held) => {
                self.held.remove(&held);
                Ok(Reply::Done)
            }
            CellCommand::Wait { cell, than, limit, while_written } => {
                let cell = &cell!(cell).cell;
                let found = if while_written {
                    cell.wait_newer_while_written(than, limit)?
                } else {
                    Some(cell.wait_newer(than, limit)?)
                };
                Ok(found.map_or(Reply::Nothing, Reply::Number))
            }
            CellCommand::Arm(triggers) => {
                handover::on_step(at_step);
                ARMED.store(!triggers.is_empty(), SeqCst);
                *TRIGGERS.lock().unwrap_or_else(PoisonError::into_inner) = triggers.into();
                Ok(Reply::Done)
            }
            CellCommand::Start { cell, work, board, line } => {
                // Each thread has its own handle, as separate programs do.
                let cell = if work == Work::Add { None } else { Some(cell!(cell).cell.clone()) };
                self.start(cell, work, &board, line);
                Ok(Reply::Done)
            }
            CellCommand::StopAll => {
                self.stop.store(true, SeqCst);
                for thread in self.threads.drain(..) {
                    thread.join().expect("no thread panics");
                }
                self.stop.store(false, SeqCst);
                Ok(Reply::Done)
            }
            CellCommand::MakeSums(participants) => {
                let sums = MapperOptions::new().capacity(4096).create_or_open(SUMS)?;
                sums.set(&Sums { sum: 0, each: vec![0; participants] })?;
                self.sums = Some(sums);
                Ok(Reply::Done)
            }
            CellCommand::ReadSums => {
                let sums: MemoryMapper<Sums> = MemoryMapper::open_existing(SUMS)?;
                Ok(Reply::Sums(sums.get()?.expect("the sums were stored")))
            }
            CellCommand::Feed { cell, times } => {
                let handle = cell!(cell);
                for _ in 0..times {
                    let version = handle.with_writer(|writer| {
                        writer.publish(&value::make(writer.version() + 1, value::SHORTEST))
                    })?;
                    handle.cell.wait_newer(version, HANG)?;
                }
                Ok(Reply::Done)
            }
            CellCommand::PingPong { wait, publish, first, rounds } => {
                let (input, output) = (cell!(wait).cell.clone(), cell!(publish).cell.clone());
                ping_pong(&input, &output, first, rounds)
            }
        })
    }

    fn start(&mut self, cell: Option<Cell>, work: Work, board: &Path, line: usize) {
        let board = Board::open(board).expect("the board");
        let stop = self.stop.clone();
        self.threads.push(std::thread::spawn(move || {
            let result = match (cell, work) {
                (_, Work::Add) => add(&board, line, &stop).map_err(|e| e.to_string()),
                (Some(cell), work) => Worker { cell, board: &board, line, stop: &stop }.run(&work),
                (None, _) => Err("no cell".to_owned()),
            };
            if let Err(what) = result {
                board.complain(&format!("thread {line}: {what}"));
            }
        }));
    }
}

impl Handle {
    fn with_writer<T>(
        &mut self,
        act: impl FnOnce(&mut Writer) -> handover::Result<T>,
    ) -> handover::Result<T> {
        match &mut self.writer {
            Some(writer) => act(writer),
            None => act(&mut self.cell.writer_timeout(HANG)?),
        }
    }
}

/// There is a pause between a version and its answer in which the other side falls asleep.
fn ping_pong(input: &Cell, output: &Cell, first: bool, rounds: u32) -> Result<Reply, Failure> {
    let start = Instant::now();
    let mut writer = output.writer_timeout(HANG).map_err(|e| library(&e))?;
    let (mut seen, mut long) = (0, 0);
    for round in 0..rounds {
        if round > 0 || !first {
            let since = Instant::now();
            seen = input.wait_newer(seen, HANG).map_err(|e| library(&e))?;
            long += u64::from(since.elapsed() >= Duration::from_millis(100));
        }
        let since = Instant::now();
        while since.elapsed() < Duration::from_micros(60) {
            std::hint::spin_loop();
        }
        writer.publish(&value::make(writer.version() + 1, value::SHORTEST)).map_err(|e| library(&e))?;
        if start.elapsed() > HANG {
            return Err(torn(format!("only {round} of {rounds} rounds in {HANG:?}")));
        }
    }
    Ok(Reply::Number(long))
}

fn add(board: &Board, line: usize, stop: &AtomicBool) -> handover::Result<()> {
    let sums: MemoryMapper<Sums> = MemoryMapper::open_existing(SUMS)?;
    let change = |mut sums: Sums| {
        sums.sum += 1;
        sums.each[line] += 1;
        sums
    };
    let mut turn = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        if turn.is_multiple_of(2) {
            sums.update(change)?;
        } else {
            let (version, value) = sums.get_with_version()?.expect("it was set");
            match sums.compare_and_set(version, &change(value)) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Conflict => continue,
                Err(e) => return Err(e),
            }
        }
        board.progress(line).fetch_add(1, SeqCst);
    }
    Ok(())
}

struct Worker<'a> {
    cell: Cell,
    board: &'a Board,
    line: usize,
    stop: &'a AtomicBool,
}

impl Worker<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn step(&self) {
        self.board.progress(self.line).fetch_add(1, SeqCst);
    }

    fn run(&self, work: &Work) -> Result<(), String> {
        match *work {
            Work::Publish { lease, shortest, longest } => self.publish(lease, shortest, longest),
            Work::Load => self.load(),
            Work::Hold => self.hold(),
            Work::Copy => self.copy(),
            Work::Wait => self.wait(),
            Work::Take => self.take(),
            Work::Add => Ok(()),
        }
    }

    fn publish(&self, lease: u32, shortest: usize, longest: usize) -> Result<(), String> {
        let mut random = Random(0x1234_5678_9ABC_DEF1 + self.line as u64 + u64::from(std::process::id()));
        while self.goes_on() {
            let mut writer = match self.cell.writer_timeout(Duration::from_millis(20)) {
                Ok(writer) => writer,
                // The other writer has it, and may be stopped.
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    self.step();
                    continue;
                }
                Err(e) => return Err(e.to_string()),
            };
            for _ in 0..lease {
                let next = writer.version() + 1;
                let least = self.board.published().load(SeqCst);
                if next <= least {
                    return Err(format!("version {next} follows {least}"));
                }
                let length = shortest + random.below((longest - shortest + 1) as u64) as usize;
                let version = writer.publish(&value::make(next, length)).map_err(|e| e.to_string())?;
                if version != next {
                    return Err(format!("published {version} and not {next}"));
                }
                self.board.published().fetch_max(version, SeqCst);
                self.step();
                if !self.goes_on() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Checks a value, and that it is no older than the last one and than what was certainly published.
    fn check(last: &mut u64, least: u64, version: u64, bytes: &[u8]) -> Result<(), String> {
        checked(version, bytes).map_err(|e| e.message)?;
        if version < *last || version < least {
            return Err(format!("went back to {version}, saw {last}, published was {least}"));
        }
        *last = version;
        Ok(())
    }

    /// Pinned, and copied to a buffer, by turns.
    fn load(&self) -> Result<(), String> {
        let mut reader = self.cell.reader();
        let mut copier = self.cell.reader();
        let mut buffer = vec![0; self.cell.capacity() as usize];
        let mut last = 0;
        while self.goes_on() {
            let least = self.board.published().load(SeqCst);
            if let Some(snapshot) = reader.load().map_err(|e| e.to_string())? {
                let count = snapshot.copy_into(&mut buffer).map_err(|e| e.to_string())?;
                Self::check(&mut last, least, snapshot.version(), &buffer[..count])?;
            }
            let least = self.board.published().load(SeqCst);
            if let Some(count) = copier.copy_into(&mut buffer).map_err(|e| e.to_string())? {
                let version = value::check(&buffer[..count])?;
                Self::check(&mut last, least, version, &buffer[..count])?;
            }
            self.step();
        }
        Ok(())
    }

    fn hold(&self) -> Result<(), String> {
        let mut reader = self.cell.reader();
        let mut held = VecDeque::<Snapshot>::new();
        let mut last = 0;
        while self.goes_on() {
            let least = self.board.published().load(SeqCst);
            if let Some(snapshot) = reader.load().map_err(|e| e.to_string())? {
                let bytes = snapshot.copy().map_err(|e| e.to_string())?;
                Self::check(&mut last, least, snapshot.version(), &bytes)?;
                held.push_back(snapshot.clone());
            }
            if held.len() > 5 {
                let oldest = held.pop_front().expect("some");
                checked_snapshot(&oldest).map_err(|e| format!("held: {}", e.message))?;
            }
            self.step();
        }
        Ok(())
    }

    fn copy(&self) -> Result<(), String> {
        let mut last = 0;
        while self.goes_on() {
            let least = self.board.published().load(SeqCst);
            match self.cell.copy() {
                Ok(Some(value)) => Self::check(&mut last, least, value.version, &value.bytes)?,
                Ok(None) => {}
                // The error that a copying reader gets where writers are faster.
                Err(e) if e.kind() == ErrorKind::Overtaken => {}
                Err(e) => return Err(e.to_string()),
            }
            self.step();
        }
        Ok(())
    }

    fn wait(&self) -> Result<(), String> {
        let mut reader = self.cell.reader();
        let mut last = 0;
        while self.goes_on() {
            match self.cell.wait_newer(last, Duration::from_millis(20)) {
                Ok(newest) => {
                    let found = reader.copy().map_err(|e| e.to_string())?;
                    let found = found.ok_or("no value after a version")?;
                    Self::check(&mut last, newest, found.version, &found.bytes)?;
                }
                // Its writers are dead or stopped.
                Err(e) if e.kind() == ErrorKind::TimedOut => {}
                Err(e) => return Err(e.to_string()),
            }
            self.step();
        }
        Ok(())
    }

    fn take(&self) -> Result<(), String> {
        while self.goes_on() {
            let taken = self.cell.writer_timeout(HANG).and_then(|mut writer| writer.take());
            if let Some(taken) = taken.map_err(|e| e.to_string())? {
                checked(taken.version, &taken.bytes).map_err(|e| e.message)?;
                self.board.mark(taken.version).fetch_add(1, SeqCst);
                self.step();
            } else {
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}
