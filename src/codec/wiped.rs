//! Memory that may hold a secret: wiped before it is freed, where it grows too.

use std::fmt;
use std::io;

use zeroize::{Zeroize, Zeroizing};

/// Wipes and frees memory that is no longer needed. Dropping does the same a byte at a time, and takes ten
/// times as long.
pub(crate) fn wipe(bytes: Zeroizing<Vec<u8>>) {
    let mut bytes = bytes;
    // The rest is empty: nothing remains for its drop.
    let mut bytes = std::mem::take(&mut *bytes);
    let room = bytes.capacity();
    bytes.resize(room, 0);
    let (first, words, last) = bytemuck::pod_align_to_mut::<u8, u64>(&mut bytes);
    first.zeroize();
    words.zeroize();
    last.zeroize();
}

/// The buffer for a value of unknown length.
#[derive(Default)]
pub(super) struct Growing(Zeroizing<Vec<u8>>);

impl fmt::Debug for Growing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Growing {
    /// Room for a token; it grows for longer values.
    const FIRST: usize = 1024;

    #[cfg(any(feature = "rkyv", test))]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let need = self.0.len() + bytes.len();
        if need > self.0.capacity() {
            // A vector that grows by itself would leave a copy of a secret behind.
            let room = need.max(self.0.capacity() * 2).max(Self::FIRST);
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&self.0);
            wipe(std::mem::replace(&mut self.0, larger));
        }
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_holds_all_that_was_written() {
        let mut growing = Growing::default();
        let mut expected = Vec::new();
        for piece in 0..200 {
            let bytes = vec![piece; usize::from(piece) * 3];
            growing.push(&bytes);
            expected.extend(bytes);
            assert_eq!(growing.len(), expected.len());
        }
        assert_eq!(*growing.into_bytes(), expected);
    }
}
