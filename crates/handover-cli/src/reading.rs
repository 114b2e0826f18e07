//! Opens cells for `get`, `take` and `watch`: for values of any type and codec.
//!
//! Relies on `source` for the map, and on `patience` for how long it may take to appear.

use handover::cell::{Contents, contents};
use handover::map::Access;
use handover::mapper::UntypedMapper;
use handover::{ErrorKind, MapperOptions, Result};

use crate::failure::no_value;
use crate::patience::Patience;
use crate::source::Source;

/// What a cell is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To look: nothing in it changes.
    Look,
    /// To wait: with write access if that is allowed, because only then can it sleep until it is woken.
    Wait,
    /// To write.
    Write,
}

/// Opens the cell, waiting for it as long as there is patience.
pub(crate) fn open(source: &Source<'_>, purpose: Purpose, patience: &mut Patience) -> Result<UntypedMapper> {
    patience.retry(|| open_now(source, purpose))
}

/// Opens the cell without waiting.
pub(crate) fn open_now(source: &Source<'_>, purpose: Purpose) -> Result<UntypedMapper> {
    let map = source.open(Access::Read)?;
    if contents(&map)? == Contents::Nothing {
        // Its producer may be making a cell of it.
        return Err(no_value(map.subject()));
    }
    let open = |access| MapperOptions::new().map(source.options(access)).open_existing(source.place);
    match open(if purpose == Purpose::Look { Access::Read } else { Access::ReadWrite }) {
        Err(error) if error.kind() == ErrorKind::AccessDenied && purpose == Purpose::Wait => {
            open(Access::Read)
        }
        other => other,
    }
}
