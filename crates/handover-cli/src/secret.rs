//! Reading values that may be secrets, without copies of them left in memory.
//!
//! `put` and the demo's processes rely on it.

use std::io::{self, Read};

use handover::codec::Zeroizing;

/// All that `from` gives, in memory that is wiped when it is dropped.
///
/// A vector that grows leaves its old memory as it was; this wipes each.
pub(crate) fn read_all(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; 4096]);
    let mut len = 0;
    loop {
        if len == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; bytes.len() * 2]);
            larger[..len].copy_from_slice(&bytes);
            bytes = larger;
        }
        match from.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}
