//! Who creates or opens a file gets one that others find at its path, also while another's refused call
//! removes the file that it had created there.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use handover::map::MemoryMappedFile;
use handover::{Error, ErrorKind, Result};
use handover_tests::own_dir;

fn is_at_its_path(path: &Path) -> Result<()> {
    let map = match MemoryMappedFile::create_or_open(path, 100) {
        // The other one looks whether anybody is there.
        Err(error) if error.kind() == ErrorKind::SharingViolation => return Ok(()),
        map => map?,
    };
    let length = path.metadata().map(|found| found.len());
    if length.as_ref().is_ok_and(|length| *length == map.capacity()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, format!("{} has {length:?} bytes", path.display())))
}

#[test]
fn nobody_is_left_with_a_file_that_was_removed() {
    let dir = own_dir();
    let path = |round: u32| dir.path().join(round.to_string());
    let (round, done) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // No file can have as many bytes.
                assert!(
                    MemoryMappedFile::create_or_open(&path(round.load(Ordering::Relaxed)), u64::MAX).is_err()
                );
            }
        });
        let result = (0..2_000).try_for_each(|number: u32| {
            round.store(number, Ordering::Relaxed);
            is_at_its_path(&path(number))
        });
        done.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}
