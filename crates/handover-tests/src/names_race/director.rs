//! The process that forks the racers, kills and stops them, and starts others in their place.
//!
//! It has one thread and uses the library only when all racers have ended, so that each racer is a process
//! that never used it before. It waits for all that descend from it: racers' children become its own when
//! their parent dies.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::oracle::{NAMES, Oracle, RACERS};
use super::racer;
use super::setup::{Dice, Report, Setup};

/// How long racers may take to end when the race is over: longer than any call of the library waits.
const LAST_CALLS: Duration = Duration::from_secs(60);

/// Holds a race in this process, which must have one thread and must not have used the library.
pub fn direct(setup: &Setup) -> io::Result<Report> {
    switch_on(setup)?;
    let oracle = Oracle::new()?;
    let mut director = Director {
        oracle,
        setup,
        dice: Dice(seed()),
        racers: Vec::new(),
        report: Report::default(),
        start: Instant::now(),
    };
    for seat in 0..RACERS {
        let process = director.start(seat)?;
        director.racers.push(Running { seat, process, stopped_until: None });
    }
    director.hold()?;
    director.wait_for_all();
    Ok(director.finish())
}

/// Another one each time: a race can't be repeated anyway.
fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64 ^ u64::from(std::process::id()) << 40
}

/// What holds for this process and all that descend from it.
fn switch_on(setup: &Setup) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    // SAFETY: as above. The thread that started this waits for it.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    handover::on_step(racer::at_step);
    if setup.without_tmpfile {
        forbid_tmpfile()?;
    }
    if let Some(fault) = setup.fault {
        handover::commit(fault.into());
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// From now on `openat` with `O_TMPFILE` fails as on a file system that has no such files.
fn forbid_tmpfile() -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUALS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const HAS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// `O_TMPFILE` without `O_DIRECTORY`, which it contains.
    const TMPFILE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    let number = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    // The lower half of the third argument, the flags.
    let third = std::mem::offset_of!(libc::seccomp_data, args) + 2 * size_of::<u64>();
    let flags = (third + if cfg!(target_endian = "big") { 4 } else { 0 }) as u32;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, number),
        step(EQUALS, 0, 3, libc::SYS_openat as u32),
        step(LOAD, 0, 0, flags),
        step(HAS, 0, 1, TMPFILE),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the program is valid for a read, and so are the steps that it leads to.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) })?;
    Ok(())
}

struct Running {
    seat: usize,
    process: libc::pid_t,
    stopped_until: Option<Instant>,
}

impl Running {
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: nobody has waited for this child, so the id is its own.
        unsafe { libc::kill(self.process, signal) };
    }
}

struct Director<'a> {
    oracle: &'static Oracle,
    setup: &'a Setup,
    dice: Dice,
    racers: Vec<Running>,
    report: Report,
    start: Instant,
}

impl Director<'_> {
    fn start(&mut self, seat: usize) -> io::Result<libc::pid_t> {
        let seed = self.dice.roll(u64::MAX);
        let director = std::process::id();
        // SAFETY: this process has one thread, so the child has everything it needs.
        let process = check(unsafe { libc::fork() })?;
        if process == 0 {
            // SAFETY: takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
            if std::os::unix::process::parent_id() == director {
                racer::run(self.oracle, self.setup, seat, seed);
            }
            // SAFETY: no conditions.
            unsafe { libc::_exit(0) };
        }
        Ok(process)
    }

    /// Until the race is over.
    fn hold(&mut self) -> io::Result<()> {
        while !self.oracle.is_over() {
            // When to strike: there is nothing to wait for.
            std::thread::sleep(Duration::from_micros(300 + self.dice.roll(3000)));
            self.reap();
            if self.oracle.is_over() {
                return Ok(());
            }
            self.wake();
            match self.dice.roll(32) {
                _ if self.setup.calm => self.expect_tidy(),
                0 => {
                    for seat in 0..RACERS {
                        self.kill(seat)?;
                    }
                }
                1..10 => {
                    let seat = self.dice.roll(RACERS as u64) as usize;
                    self.kill(seat)?;
                }
                10..24 => {
                    // The death of a last holder is what others must notice, wherever they are just then.
                    if self.dice.roll(2) == 0 {
                        self.stop();
                    }
                    if let Some(seat) = self.oracle.only_holder() {
                        self.kill(seat)?;
                    }
                }
                _ => self.stop(),
            }
            self.report.complete = self.is_complete();
            if self.report.complete || self.start.elapsed().as_secs() >= self.setup.seconds {
                self.oracle.end();
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let enough = self.setup.calm || self.report.kills.min(self.report.stops) >= self.setup.kills;
        enough
            && racer::goals(self.setup)
                .into_iter()
                .all(|what| self.oracle.counted(what) >= self.setup.outcomes)
    }

    fn expect_tidy(&self) {
        for name in 0..NAMES {
            if let Err(what) = self.oracle.is_tidy(name, || racer::path_of(self.setup, name).exists()) {
                self.oracle.complain(&what);
            }
        }
    }

    /// Kills a racer, unless it forks just now, and starts another.
    fn kill(&mut self, seat: usize) -> io::Result<()> {
        self.oracle.doom(seat, true);
        if self.oracle.forking(seat).load(SeqCst) != 0 {
            self.oracle.doom(seat, false);
            return Ok(());
        }
        self.racers[seat].signal(libc::SIGKILL);
        let (_, status) = wait(self.racers[seat].process, 0);
        self.judge(status);
        self.report.kills += 1;
        self.oracle.finish_all(seat);
        // Its child, if it lives, is now a child of this process.
        let child = self.oracle.process(seat + RACERS).load(SeqCst);
        if child != 0 {
            match wait(child as libc::pid_t, libc::WNOHANG) {
                (0, _) => {}
                // Where the racer had waited for it already, there is no status.
                (_, status) => self.child_ended(seat + RACERS, status),
            }
        }
        self.oracle.doom(seat, false);
        let process = self.start(seat)?;
        self.racers[seat] = Running { seat, process, stopped_until: None };
        Ok(())
    }

    fn child_ended(&self, seat: usize, status: libc::c_int) {
        racer::judge_child(self.oracle, status);
        self.oracle.finish_all(seat);
        self.oracle.process(seat).store(0, SeqCst);
    }

    fn judge(&self, status: libc::c_int) {
        if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) != libc::SIGKILL {
            let signal = libc::WTERMSIG(status);
            self.oracle.complain(&format!("a racer died of signal {signal} (7 is SIGBUS)"));
        } else if libc::WIFEXITED(status) && !self.oracle.is_over() {
            self.oracle.complain("a racer ended by itself");
        }
    }

    /// Stops a racer for a while.
    fn stop(&mut self) {
        let until = Instant::now() + Duration::from_micros(200 + self.dice.roll(25_000));
        let seat = self.dice.roll(RACERS as u64) as usize;
        let racer = &mut self.racers[seat];
        if racer.stopped_until.is_none() {
            racer.signal(libc::SIGSTOP);
            racer.stopped_until = Some(until);
            self.report.stops += 1;
        }
    }

    /// Has those go on that were stopped long enough.
    fn wake(&mut self) {
        let (now, over) = (Instant::now(), self.oracle.is_over());
        for racer in &mut self.racers {
            if racer.stopped_until.is_some_and(|until| over || until <= now) {
                racer.signal(libc::SIGCONT);
                racer.stopped_until = None;
            }
        }
    }

    /// Takes note of those who ended by themselves. Whether there may be others.
    fn reap(&mut self) -> bool {
        loop {
            let (process, status) = wait(-1, libc::WNOHANG);
            if process <= 0 {
                return process == 0;
            }
            if let Some(index) = self.racers.iter().position(|racer| racer.process == process) {
                self.judge(status);
                // No signal may go to whoever has this id next; and the race is over, if it was not before.
                let ended = self.racers.remove(index);
                self.oracle.finish_all(ended.seat);
                continue;
            }
            let children = RACERS..2 * RACERS;
            let of = |seat: &usize| self.oracle.process(*seat).load(SeqCst) == process as u64;
            if let Some(seat) = children.into_iter().find(of) {
                self.child_ended(seat, status);
            }
        }
    }

    fn wait_for_all(&mut self) {
        self.report.millis = self.start.elapsed().as_millis() as u64;
        let start = Instant::now();
        while self.reap() {
            self.wake();
            if start.elapsed() > LAST_CALLS {
                self.oracle.complain("a racer does not end");
                self.racers.iter().for_each(|racer| racer.signal(libc::SIGKILL));
                // Their children end soon, or never.
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(mut self) -> Report {
        self.report.fault = self.oracle.complaint().or_else(|| self.left_behind().err());
        let steps = handover::Step::NAMES.map(|step| (racer::STEPS_AT + step as usize, format!("{step:?}")));
        let counted = racer::COUNTED.iter().enumerate().map(|(index, name)| (index, (*name).to_owned()));
        let counts = counted.chain(steps).map(|(index, name)| (name, self.oracle.counted(index)));
        self.report.counts = counts.filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>();
        self.report
    }

    /// All processes have ended: what there is has no holder, and goes.
    fn left_behind(&self) -> Result<(), String> {
        let options = racer::options(self.setup);
        let said = |e: handover::Error| format!("when all had ended: {e}");
        handover::map::collect_garbage(&options).map_err(said)?;
        let scope = racer::scope_of(self.setup);
        let left = crate::files_in(&scope);
        if !left.is_empty() {
            return Err(format!("when all had ended, these stayed: {left:?}"));
        }
        for number in 0..NAMES {
            match options.open_existing(&racer::name_of(number)) {
                Err(e) if e.kind() == handover::ErrorKind::NotFound => {}
                other => return Err(format!("when all had ended, a name was found: {other:?}")),
            }
        }
        Ok(())
    }
}

/// The process that ended, and how; 0 where none has, negative where there is none.
fn wait(process: libc::pid_t, options: libc::c_int) -> (libc::pid_t, libc::c_int) {
    let mut status = 0;
    // SAFETY: `status` is valid for a write.
    let ended = unsafe { libc::waitpid(process, &raw mut status, options) };
    (ended, status)
}
