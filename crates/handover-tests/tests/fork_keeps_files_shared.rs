//! A forked child that lets go of its parent's map lets go of nothing that is the parent's.
#![cfg(target_os = "linux")]

use std::fs::{File, TryLockError};

use handover::map::MemoryMappedFile;

#[test]
fn a_file_that_the_parent_has_mapped_is_not_another_programs_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let map = MemoryMappedFile::create_new(&path, 100).unwrap();
    let other = File::open(&path).unwrap();
    let is_shared = || matches!(other.try_lock(), Err(TryLockError::WouldBlock));
    assert!(is_shared());
    // SAFETY: the child closes a map, for which it may allocate, as the C library allows it to.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(map);
        // SAFETY: ends the process, and runs nothing of its parent's.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: `status` takes the number; the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(is_shared());
    drop(map);
    assert!(!is_shared());
}
