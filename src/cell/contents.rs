//! What a map holds, asked before it is opened as a cell.

use super::layout::{self, HEAD};
use super::terms::is_send_and_sync;
use crate::error::Result;
use crate::map::MemoryMappedFile;
use crate::terms::Access;

/// What a map holds, as far as its first bytes tell. See [`contents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contents {
    /// Zeroes: nothing was stored, or the producer is about to make a cell in it.
    Nothing,
    /// A cell.
    #[non_exhaustive]
    Cell {
        /// The version of its layout. This library opens cells of version 1.
        layout_version: u32,
        /// Whether a machine of the other byte order made it. If so, this library can't open it.
        is_foreign: bool,
    },
    /// Something else: a value in the plain layout, or what another program stored.
    Other,
}

const _: () = is_send_and_sync::<Contents>();

/// What a map holds, as far as its first bytes tell: whether it is a cell, of whatever layout version. Takes
/// no lock.
///
/// ```
/// use handover::cell::{Cell, Contents, contents};
/// use handover::map::MemoryMappedFile;
///
/// let map = MemoryMappedFile::anonymous(1 << 20)?;
/// assert_eq!(contents(&map)?, Contents::Nothing);
///
/// let cell = Cell::make_in(map)?;
/// assert!(matches!(contents(cell.map())?, Contents::Cell { layout_version: 1, .. }));
/// # Ok::<(), handover::Error>(())
/// ```
///
/// # Errors
///
/// `AccessDenied` for a map that can't be read; `NoSpace` where its first page has no memory and can't get
/// any.
pub fn contents(map: &MemoryMappedFile) -> Result<Contents> {
    let size = map.capacity().min(HEAD as u64);
    // Zeroes follow the end of a map that is shorter.
    let mut head = [0; HEAD];
    map.create_view_accessor_with(0, size, Access::Read)?.read_bytes(0, &mut head[..size as usize])?;
    Ok(if layout::has_no_magic_yet(&head) {
        Contents::Nothing
    } else {
        match layout::version_and_order(&head) {
            Some((layout_version, is_foreign)) => Contents::Cell { layout_version, is_foreign },
            None => Contents::Other,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(bytes: &[u8]) -> Contents {
        let map = MemoryMappedFile::anonymous(64 << 10).unwrap();
        map.create_view_accessor(0, 0).unwrap().write_array(0, bytes).unwrap();
        contents(&map).unwrap()
    }

    #[test]
    fn contents_tell_cells_of_every_version_and_byte_order_from_others() {
        assert_eq!(holding(&[]), Contents::Nothing);
        assert_eq!(holding(b"{\"a\":1}"), Contents::Other);
        assert_eq!(holding(b"HANDCELL is not all"), Contents::Other);
        for is_foreign in [false, true] {
            let number = |number: u32| if is_foreign { number.swap_bytes() } else { number }.to_ne_bytes();
            let head = [b"HANDCELL".as_slice(), &number(7), &number(0x0A0B_0C0D)].concat();
            assert_eq!(holding(&head), Contents::Cell { layout_version: 7, is_foreign });
        }
    }

    #[test]
    fn the_shortest_map_has_contents_too() {
        assert_eq!(contents(&MemoryMappedFile::anonymous(1).unwrap()).unwrap(), Contents::Nothing);
    }
}
