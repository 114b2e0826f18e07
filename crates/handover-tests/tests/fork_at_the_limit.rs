//! A child keeps none of its parent's locks, also where the process may open no more files.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use handover::{Cell, CellOptions, MapOptions};

const FILE: &str = "HANDOVER_TEST_FILE";

fn open(path: &Path) -> Cell {
    CellOptions::new().create_on_file(path, 3000, &MapOptions::new()).unwrap()
}

/// What another process does; nothing in the test's own. It has the lease, forks, and is killed; the child lives on.
#[test]
fn role() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let cell = open(Path::new(&path));
    let _lease = cell.try_writer().unwrap().unwrap();
    let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    let _all: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // SAFETY: the child does nothing but sleep.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: no preconditions.
            unsafe { libc::sleep(60) };
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "child {child}").unwrap();
    out.flush().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_child_keeps_no_lock_of_its_dead_parent_that_could_open_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell");
    let cell = open(&path);
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role", "--nocapture", "--test-threads=1"])
        .env(FILE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let child: i32 = lines
        .find_map(|line| line.unwrap().rsplit_once("child ")?.1.parse().ok())
        .expect("the child's number");
    assert!(cell.try_writer().unwrap().is_none());
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The child may not have run yet.
    let became_writer = cell.writer_timeout(Duration::from_secs(3)).is_ok();
    // SAFETY: no memory is involved; it is the child that the role forked, which sleeps.
    unsafe { libc::kill(child, libc::SIGKILL) };
    assert!(became_writer);
}
