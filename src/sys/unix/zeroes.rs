//! Reserves space for a file where the file system has no call for it.
//!
//! Relies on nothing; the systems' own modules rely on it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

/// Writes `len` zeroes from `start`, where a file system can't reserve space otherwise.
pub(super) fn write_zeroes(file: &File, start: u64, len: u64) -> rustix::io::Result<()> {
    const CHUNK: usize = 1 << 16;
    let zeroes = vec![0; CHUNK];
    let end = start + len;
    let mut at = start;
    while at < end {
        let count = (end - at).min(CHUNK as u64) as usize;
        file.write_all_at(&zeroes[..count], at).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        at += count as u64;
    }
    Ok(())
}
