//! What can be known of a cell without reading its value.

use std::time::SystemTime;

use super::handle::Cell;
use super::protocol;
use super::shared::BAD_LENGTH;
use super::terms::is_send_and_sync;
use super::value::{is_over, time_or_none};
use crate::error::Result;
use crate::map::MapOptions;
use crate::terms::{Access, Place};

/// What can be known of a cell without reading its value.
///
/// ```
/// use handover::cell::Cell;
/// use handover::map::MemoryMappedFile;
///
/// let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
/// cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
///
/// let info = cell.info()?;
/// assert_eq!((info.version, info.length), (1, Some(5)));
/// assert!(info.written_at().is_some() && info.expires_at().is_none());
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CellInfo {
    /// The newest version; 0: nothing was stored yet.
    pub version: u64,
    /// Bytes of the newest value; `None` where there is none: nothing was stored yet, or the value was
    /// cleared, taken or has expired.
    pub length: Option<u64>,
    /// The number of the value's codec.
    pub codec: u32,
    /// The name of the value's type, if it was stored with one.
    pub type_name: Option<String>,
    /// When the value was written, in nanoseconds since 1970-01-01 UTC.
    pub written: u64,
    /// When the value expires, in the same unit; 0: never.
    pub expires: u64,
    /// The most bytes that a value may have.
    pub capacity: u64,
    /// Bytes that have memory.
    pub reserved: u64,
    /// Entries of living readers, not counting this handle's.
    pub readers: usize,
    /// Whether another handle that wrote is alive.
    pub has_writer: bool,
}

const _: () = is_send_and_sync::<CellInfo>();

impl CellInfo {
    /// When the newest version was written; `None` where nothing was stored yet.
    pub fn written_at(&self) -> Option<SystemTime> {
        time_or_none(self.written)
    }

    /// When the newest value becomes unreadable; `None`: never.
    pub fn expires_at(&self) -> Option<SystemTime> {
        time_or_none(self.expires)
    }

    /// Whether the newest version had an expiry that has passed. Such a value can't be read, but its bytes
    /// stay until somebody removes them ([`Cell::remove_expired`]).
    pub fn is_expired(&self) -> bool {
        is_over(self.expires_at())
    }
}

impl Cell {
    /// What can be known without reading the value. Pins nothing.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// let info = cell.info()?;
    /// assert_eq!((info.version, info.length, info.has_writer), (0, None, false));
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Overtaken` where writers were faster 64 times in a row; `Corrupt`; `Io` where the system can't tell
    /// which of the cell's locks are held; `NameLost`.
    pub fn info(&self) -> Result<CellInfo> {
        self.look().map_err(|error| error.about(self.subject()))
    }

    fn look(&self) -> Result<CellInfo> {
        let shared = &*self.shared;
        shared.map.check_name_if_due()?;
        let found = protocol::copy(&shared.words, |current| {
            let header = shared.header(current.slot());
            let name = header.as_ref().map(|header| shared.copy_type_name(current.slot(), header));
            (header, name)
        });
        let (version, header, type_name) = match found {
            Ok((current, (Some(header), name))) => (current.version(), Some(header), name.flatten()),
            Ok((_, (None, _))) => return Err(shared.corrupt(BAD_LENGTH)),
            Err(missed) => {
                shared.missed(missed)?;
                (0, None, None)
            }
        };
        let readable = header
            .as_ref()
            .filter(|header| !header.is_empty() && !matches!(shared.is_expired(header), Ok(true)));
        Ok(CellInfo {
            version,
            length: readable.map(|header| header.length as u64),
            codec: header.as_ref().map_or(0, |header| header.codec),
            type_name,
            written: header.as_ref().map_or(0, |header| header.written),
            expires: header.as_ref().map_or(0, |header| header.expires),
            capacity: shared.layout.value_capacity,
            reserved: shared.reserved(),
            readers: shared.readers()?,
            has_writer: shared.has_writer()?,
        })
    }
}

/// What can be known of the cell under a name or in a file without reading its value. Opens the cell
/// read-only: this becomes neither a reader nor a writer of the cell, and changes nothing in it.
///
/// ```
/// use handover::cell::{Cell, inspect};
/// use handover::map::MapOptions;
///
/// # let dir = std::env::temp_dir().join(format!("handover-doc-inspect-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # let path = dir.join("state.cell");
/// let cell = Cell::create_new(&path)?;
/// cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
///
/// let info = inspect(&path, &MapOptions::new())?;
/// assert_eq!((info.version, info.length, info.readers), (1, Some(5), 0));
/// # drop(cell);
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`MapOptions::open_existing`] and [`Cell::info`]; `WrongKind` where there is no cell that this
/// library knows: the error says what was found.
pub fn inspect<'a>(place: impl Into<Place<'a>>, options: &MapOptions) -> Result<CellInfo> {
    let options = options.clone().rights(Access::Read.rights()).access(Access::Read);
    Cell::open_in(options.open_existing(place)?)?.info()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_cell_is_inspected_without_becoming_its_reader_or_writer() {
        let path = std::env::temp_dir().join(format!("handover-inspect-{}", std::process::id()));
        let cell = Cell::create_new(&path).unwrap();
        let mut writer = cell.try_writer().unwrap().unwrap();
        writer.publish(b"hello").unwrap();
        let info = inspect(&path, &MapOptions::new()).unwrap();
        assert_eq!((info.version, info.length, info.readers), (1, Some(5), 0));
        assert!(info.has_writer && !cell.info().unwrap().has_writer);
        drop((writer, cell));
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(inspect(&path, &MapOptions::new()).unwrap_err().kind(), ErrorKind::WrongKind);
        std::fs::remove_file(path).unwrap();
    }
}
