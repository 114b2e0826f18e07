//! A name that one thread closes ends at once, although other threads start programs in that moment: a child
//! between `vfork` and `exec` has a copy of each descriptor and keeps no name with it. A child of a real
//! `fork` is a holder until its `exec`, as documented, and what it held is gone after that.

#![cfg(target_os = "linux")]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use handover::map::{self, MapOptions};
use handover::{ErrorKind, MemoryMapper};
use handover_tests::role::{Role, asked};
use handover_tests::{Start, files_in, memory_dir};

const NAMES: u32 = 2000;
/// So many threads start programs meanwhile.
const THREADS: usize = 2;

/// Ends the threads also where the work fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// While `work` runs, other threads start programs, one after the other. Returns how many they started.
fn beside_programs(by_fork: bool, work: impl FnOnce()) -> u64 {
    let (over, started) = (AtomicBool::new(false), AtomicU64::new(0));
    let program = || {
        let mut command = Command::new("/bin/true");
        if by_fork {
            // With such a step the standard library forks, and does not use `posix_spawn`.
            // SAFETY: the step does nothing.
            unsafe { command.pre_exec(|| Ok(())) };
        }
        command
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(program().run().unwrap().success());
                    started.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&over);
        while started.load(Ordering::Relaxed) == 0 && !over.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        work();
    });
    started.into_inner()
}

fn scope() -> PathBuf {
    let base = PathBuf::from(std::env::var_os("HANDOVER_DIR").unwrap());
    let scopes = files_in(&base);
    assert_eq!(scopes.len(), 1, "{scopes:?}");
    scopes[0].clone()
}

/// The files of names that the scope has; what one sweep remembers for the next is none.
fn left() -> Vec<PathBuf> {
    let mut files = files_in(&scope());
    files.retain(|file| file.file_name().is_none_or(|name| name != ".sweep"));
    files
}

#[test]
fn nothing_stays_of_names_closed_while_programs_are_spawned() {
    let directory = memory_dir();
    Role::start(directory.path(), "spawning", &[]).finish();
}

#[test]
fn spawning() {
    let Some(_) = asked("spawning") else { return };
    let (mut lived, mut files) = (0, 0);
    let started = beside_programs(false, || {
        for at in 0..NAMES {
            let name = format!("name {at}");
            let mapper = MemoryMapper::<u32>::create_new(&name).unwrap();
            mapper.set(&at).unwrap();
            drop(mapper);
            files += left().len();
            match MapOptions::new().open_existing(&name) {
                Ok(_) => lived += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            }
        }
    });
    eprintln!(
        "of {NAMES} names closed while {started} programs were spawned, {lived} lived on, {files} files stayed"
    );
    assert!(started > 10, "{started} programs");
    assert_eq!((lived, files), (0, 0), "of {NAMES} names; {started} programs");
}

#[test]
fn nothing_stays_of_names_closed_while_the_process_forks_once_the_children_run_their_programs() {
    let directory = memory_dir();
    Role::start(directory.path(), "forking", &[]).finish();
}

#[test]
fn forking() {
    let Some(_) = asked("forking") else { return };
    let mut lived = 0;
    let started = beside_programs(true, || {
        for at in 0..NAMES {
            let name = format!("name {at}");
            let mapper = MemoryMapper::<u32>::create_new(&name).unwrap();
            mapper.set(&at).unwrap();
            drop(mapper);
            // A child that has not run its program yet may hold the name: with the bytes that it had.
            match MemoryMapper::<u32>::open_existing(&name) {
                Ok(mapper) => {
                    assert_eq!(mapper.get().unwrap(), Some(at));
                    lived += 1;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            }
        }
    });
    eprintln!(
        "of {NAMES} names closed beside {started} forks, {lived} lived on until the child's program ran"
    );
    assert!(started > 10, "{started} programs");
    // All the children run their programs, and have ended.
    for at in 0..NAMES {
        let error = MapOptions::new().open_existing(&format!("name {at}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    map::collect_garbage(&MapOptions::new()).unwrap();
    assert_eq!(left(), Vec::<PathBuf>::new());
}
