//! A child keeps none of its parent's locks, even where the process may open no more files.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use handover::cell::{Cell, CellOptions};
use handover_tests::{Start, is_root, skip};

const FILE: &str = "HANDOVER_TEST_FILE";
const BARE: &str = "HANDOVER_TEST_BARE";

fn open(path: &Path) -> Cell {
    CellOptions::new().capacity(3000).create_or_open(path).unwrap()
}

/// What another process does; in the test's own process this does nothing. It has the lease, forks, and is
/// killed; the child lives on.
#[test]
fn role() {
    let Some(path) = std::env::var_os(FILE) else { return };
    if std::env::var_os(BARE).is_some() {
        // SAFETY: no memory is involved.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        for (kind, to, flags) in [(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE), (c"tmpfs", c"/dev", 0)] {
            let (kind, to) = (kind.as_ptr(), to.as_ptr());
            // SAFETY: the texts end with a zero.
            assert_eq!(unsafe { libc::mount(kind, to, kind, flags, std::ptr::null()) }, 0);
        }
    }
    let cell = open(Path::new(&path));
    let _lease = cell.try_writer().unwrap().unwrap();
    let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    let _all: Vec<_> = std::iter::from_fn(|| File::open("/").ok()).collect();
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
    child_keeps_no_lock(false);
}

#[test]
fn a_child_keeps_no_lock_where_there_are_no_devices() {
    if !is_root() {
        skip!("only root can hide them");
    }
    child_keeps_no_lock(true);
}

fn child_keeps_no_lock(is_bare: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell");
    let cell = open(&path);
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role", "--nocapture", "--test-threads=1"])
        .env(FILE, &path)
        .envs(is_bare.then_some((BARE, "")))
        .stdout(Stdio::piped())
        .start()
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
    // SAFETY: no memory is involved; the process is the child that the role forked, which sleeps.
    unsafe { libc::kill(child, libc::SIGKILL) };
    assert!(became_writer);
}
