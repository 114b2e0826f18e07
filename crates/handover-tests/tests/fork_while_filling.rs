//! A child that was forked while its parent filled a slot does not write to it: it may have been published
//! since.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};

use handover::ErrorKind;
use handover::cell::Cell;
use handover::map::MemoryMappedFile;

#[test]
fn the_slot_is_the_parents() {
    let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20).unwrap()).unwrap();
    let (mut published, mut publish) = std::io::pipe().unwrap();
    let mut child = 0;
    let mut writer = cell.try_writer().unwrap().unwrap();
    let result = writer.publish_with(1000, |buffer| {
        // SAFETY: the child writes to a pipe and to memory, and allocates, which the C library allows it to.
        child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a child that hangs is ended by this signal.
            unsafe { libc::alarm(20) };
            published.read_exact(&mut [0]).unwrap();
            let refused = buffer.write_all(&[b'c'; 1000]).map_err(handover::Error::from);
            let is_refused = refused.is_err_and(|error| error.kind() == ErrorKind::Forked);
            // SAFETY: ends the process, and runs nothing of its parent's.
            unsafe { libc::_exit(i32::from(!is_refused)) };
        }
        Ok(buffer.write_all(&[b'p'; 1000])?)
    });
    assert_eq!(result.unwrap(), 1);
    publish.write_all(&[1]).unwrap();
    let mut status = 0;
    // SAFETY: `status` takes the number; the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(*cell.copy().unwrap().unwrap().bytes, [b'p'; 1000]);
    assert_eq!(status, 0);
}
