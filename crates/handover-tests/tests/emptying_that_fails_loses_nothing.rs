//! A file that was to be emptied has its bytes again where the map could not be made after all.
#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use handover::ErrorKind;
use handover::map::MapOptions;
use handover::map::dotnet::{FileMode, create_from_file};
use handover_tests::Start;
use handover_tests::{is_root, skip};

const DIRECTORY: &str = "HANDOVER_TEST_DIRECTORY";

fn expect_refused(path: &Path, capacity: u64) {
    let before = std::fs::read(path).unwrap();
    let error = create_from_file(path, FileMode::Create, capacity, &MapOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(std::fs::read(path).unwrap() == before, "{capacity}: the file is another");
}

/// Has a process of its own run a function of this file, with a directory.
fn alone(role: &str) {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", role, "--ignored", "--test-threads=1"])
        .env(DIRECTORY, dir.path())
        .run()
        .unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_file_that_is_longer_than_this_process_may_make_one() {
    alone("the_limit");
}

#[test]
#[ignore = "for a process of its own"]
fn the_limit() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let path = Path::new(&dir).join("file");
    std::fs::write(&path, vec![7; 300_000]).unwrap();
    let limit = libc::rlimit { rlim_cur: 100_000, rlim_max: 100_000 };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    for capacity in [200_000, 300_000, 400_000] {
        expect_refused(&path, capacity);
    }
}

#[test]
fn a_file_with_holes_on_a_full_disk() {
    if !is_root() {
        skip!("only root can mount a small file system");
    }
    alone("the_holes");
}

#[test]
#[ignore = "for a process of its own"]
fn the_holes() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let at = CString::new(dir.as_bytes()).unwrap();
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    let mount = |kind: &std::ffi::CStr, to: &std::ffi::CStr, flags, options: &std::ffi::CStr| {
        // SAFETY: all are texts that end with a zero.
        unsafe { libc::mount(kind.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) }
    };
    assert_eq!(mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c""), 0);
    assert_eq!(mount(c"tmpfs", &at, 0, c"size=1m"), 0);
    let path = Path::new(&dir).join("file");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(4 << 20).unwrap();
    file.write_all_at(b"at the end", (4 << 20) - 10).unwrap();
    expect_refused(&path, 4 << 20);
    expect_refused(&path, 2 << 20);
}
