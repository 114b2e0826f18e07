//! A program's own fork handlers may close and open maps, whether they come before or after the library's.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use handover::cell::{Cell, CellOptions};
use handover::map::MemoryMappedFile;

static PATH: OnceLock<PathBuf> = OnceLock::new();
static OPEN: Mutex<Option<(Cell, MemoryMappedFile)>> = Mutex::new(None);

extern "C" fn close() {
    *OPEN.lock().unwrap() = None;
}

extern "C" fn open() {
    let path = PATH.get().unwrap();
    let cell = CellOptions::new().capacity(3000).create_or_open(path).unwrap();
    cell.writer_timeout(std::time::Duration::from_secs(5)).unwrap().publish(b"again").unwrap();
    let map = MemoryMappedFile::create_or_open("beside it", 100).unwrap();
    *OPEN.lock().unwrap() = Some((cell, map));
}

#[test]
fn they_may_close_and_open_maps() {
    let dir = tempfile::tempdir().unwrap();
    // SAFETY: the test is the only one of the program, and nothing else runs yet.
    unsafe { std::env::set_var("HANDOVER_DIR", dir.path()) };
    PATH.set(dir.path().join("cell")).unwrap();
    // SAFETY: a process that hangs is ended by this signal.
    unsafe { libc::alarm(30) };
    for _ in 0..2 {
        // The first time the library has none yet; the second time it has.
        // SAFETY: the functions are not unwound through: a panic ends the process.
        assert_eq!(unsafe { libc::pthread_atfork(Some(close), Some(open), Some(open)) }, 0);
        open();
        // SAFETY: no other thread of this process uses the library.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut open = OPEN.lock().unwrap();
            let (cell, _) = open.as_mut().unwrap();
            let is_there = cell.copy().unwrap().unwrap().bytes.as_slice() == b"again";
            let lease = cell.writer_timeout(std::time::Duration::from_secs(5));
            let code = i32::from(!is_there || lease.is_err());
            // SAFETY: ends the process, and runs nothing of its parent's.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` takes the number; the child is this process's own.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    }
}
