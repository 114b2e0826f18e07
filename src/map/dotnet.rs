//! What is special to .NET: its way of opening a file, and its decimal numbers.
//!
//! For programs that work beside C# ones, and for bindings. Relies on the options and views of `map`.

use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::accessor::ViewAccessor;
use super::file::{self, Length};
use super::handle::MemoryMappedFile;
use super::options::MapOptions;
use crate::error::Result;
pub use crate::terms::FileMode;

/// Maps the file at `path` as `MemoryMappedFile.CreateFromFile` does.
///
/// Capacity 0 means the file's length. With a larger capacity the file grows to it and keeps that length.
///
/// ```
/// use handover::map::MapOptions;
/// use handover::map::dotnet::{FileMode, create_from_file};
/// # let path = std::env::temp_dir().join(format!("handover-doc-dotnet-{}", std::process::id()));
///
/// let map = create_from_file(&path, FileMode::OpenOrCreate, 4096, &MapOptions::new())?;
/// assert_eq!((map.was_created(), map.capacity()), (true, 4096));
/// # drop(map);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `InvalidArgument` for an empty file with capacity 0, for a capacity beyond the length with read access, or
/// for a mode that makes an empty file with an access that can't write; `OutOfRange` for a capacity below the
/// file's length; otherwise those of [`MemoryMappedFile::create_or_open`]. Any refusal leaves the file as it
/// was.
pub fn create_from_file(
    path: impl AsRef<Path>,
    mode: FileMode,
    capacity: u64,
    options: &MapOptions,
) -> Result<MemoryMappedFile> {
    file::by_path(path.as_ref(), mode, Length::of(capacity), options)
}

/// A .NET `decimal` as it lies in memory: 96 bits of integer, a sign, and a power of ten to divide by.
///
/// ```
/// use handover::map::MemoryMappedFile;
/// use handover::map::dotnet::Decimal;
///
/// let view = MemoryMappedFile::anonymous(64)?.create_view_accessor(0, 0)?;
/// let price = Decimal { lo: 1999, flags: 2 << 16, ..Decimal::default() }; // 19.99
/// view.write(0, price)?;
/// assert_eq!(Decimal::read(&view, 0)?, price);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Decimal {
    /// Bits 0 to 31 of the integer.
    pub lo: u32,
    /// Bits 32 to 63.
    pub mid: u32,
    /// Bits 64 to 95.
    pub hi: u32,
    /// Bit 31: the sign; bits 16 to 23: the power of ten, 0 to 28; all others zero.
    pub flags: u32,
}

impl Decimal {
    /// Reads the decimal at `position` of a view. [`ViewAccessor::write`] writes one.
    ///
    /// # Errors
    ///
    /// As for [`ViewAccessor::read`], and `InvalidArgument` where the 16 bytes are not a decimal.
    pub fn read(view: &ViewAccessor, position: u64) -> Result<Self> {
        let value: Self = view.read(position)?;
        if !value.is_valid() {
            return Err(view.invalid(
                "decimal",
                format!("no decimal has the flags {:#x} (at position {position})", value.flags),
            ));
        }
        Ok(value)
    }

    fn is_valid(self) -> bool {
        self.flags & 0x7F00_FFFF == 0 && (self.flags >> 16) & 0xFF <= 28
    }
}
