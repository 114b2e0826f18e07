//! Random access to a map: typed reads and writes at any position.

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
};

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};

use super::access::Access;
use super::view::View;
use crate::error::{Error, Result};

/// Random access to a part of a map.
///
/// Positions are in bytes from the start of the view and need no alignment; numbers are in the machine's byte
/// order. Every read and write copies: another process may be writing to the same bytes, and a value that is
/// larger than a machine word, or not aligned, can come back as a mix. [`load`](Self::load) and
/// [`atomic`](Self::atomic) are for words that must not.
///
/// ```
/// use handover::MemoryMappedFile;
///
/// let map = MemoryMappedFile::anonymous(64)?;
/// let view = map.create_view_accessor(0, 0)?;
/// view.write(3, 0x1234_5678u32)?;
/// assert_eq!(view.read::<u32>(3)?, 0x1234_5678);
/// assert!(view.read::<u32>(61).is_err()); // would reach beyond the end
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Debug)]
pub struct ViewAccessor {
    view: View,
}

/// A .NET `decimal` as it lies in memory: 96 bits of integer, a sign, and a power of ten to divide by.
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
    fn is_valid(self) -> bool {
        self.flags & 0x7F00_FFFF == 0 && (self.flags >> 16) & 0xFF <= 28
    }
}

mod sealed {
    pub trait Sealed {}
}

/// An atomic integer that can lie in a map: `AtomicU8` to `AtomicU64`, `AtomicI8` to `AtomicI64`.
pub trait AtomicWord: sealed::Sealed + Sized {
    /// The integer.
    type Value: Copy;

    /// Loads the value with acquire ordering: one plain load, which works in read-only memory too.
    fn load_acquire(&self) -> Self::Value;
}

macro_rules! atomic_words {
    ($($atomic:ty => $value:ty),*) => {$(
        impl sealed::Sealed for $atomic {}
        impl AtomicWord for $atomic {
            type Value = $value;

            fn load_acquire(&self) -> $value {
                self.load(Ordering::Acquire)
            }
        }
    )*};
}

atomic_words!(
    AtomicU8 => u8, AtomicU16 => u16, AtomicU32 => u32, AtomicU64 => u64,
    AtomicI8 => i8, AtomicI16 => i16, AtomicI32 => i32, AtomicI64 => i64
);

impl ViewAccessor {
    pub(super) fn new(view: View) -> Self {
        Self { view }
    }

    /// Bytes in the view.
    pub fn capacity(&self) -> u64 {
        self.view.len() as u64
    }

    /// Bytes between the start of the view's first page (on Windows: of its 64 KiB block) and the view.
    pub fn pointer_offset(&self) -> u64 {
        self.view.pointer_offset()
    }

    /// What the view may do.
    pub fn access(&self) -> Access {
        self.view.access()
    }

    /// Whether bytes can be read.
    pub fn can_read(&self) -> bool {
        self.view.access().can_read()
    }

    /// Whether bytes can be written.
    pub fn can_write(&self) -> bool {
        self.view.access().can_write()
    }

    /// The first byte of the view, for those who take the responsibility: valid while the accessor lives,
    /// changed by other processes at any time. A write through the pointer of a read view is a fault.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.view.as_ptr()
    }

    /// Writes what was changed to the file behind the map, and waits for it. Nothing to do for other maps.
    pub fn flush(&self) -> Result<()> {
        self.view.flush()
    }

    /// The value at `position`.
    ///
    /// # Errors
    ///
    /// `Unsupported` on a write view; `OutOfRange` for a position at or beyond the end; `InvalidArgument`
    /// where the value would reach beyond the end.
    pub fn read<T: AnyBitPattern>(&self, position: u64) -> Result<T> {
        self.view.check_readable()?;
        let at = self.check_fits(position, size_of::<T>())?;
        let mut value = T::zeroed();
        let size = size_of::<T>();
        // SAFETY: any bytes are a T (AnyBitPattern), `value` is `size` bytes that only this function uses,
        // and the slice ends before `value` is used again.
        let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut value).cast::<u8>(), size) };
        self.view.load(at, bytes);
        Ok(value)
    }

    /// Writes `value` at `position`.
    ///
    /// # Errors
    ///
    /// `Unsupported` on a read view; `OutOfRange` for a position at or beyond the end; `InvalidArgument` where
    /// the value would reach beyond the end. Nothing is written then.
    pub fn write<T: NoUninit>(&self, position: u64, value: T) -> Result<()> {
        self.view.check_writable()?;
        let at = self.check_fits(position, size_of::<T>())?;
        self.view.store(at, bytemuck::bytes_of(&value));
        Ok(())
    }

    /// The boolean at `position`: any byte but zero is `true`.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn read_bool(&self, position: u64) -> Result<bool> {
        Ok(self.read::<u8>(position)? != 0)
    }

    /// Writes a boolean as one byte, 1 or 0.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub fn write_bool(&self, position: u64, value: bool) -> Result<()> {
        self.write(position, u8::from(value))
    }

    /// The .NET `decimal` at `position`.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read), and `InvalidArgument` where the 16 bytes are not a decimal.
    pub fn read_decimal(&self, position: u64) -> Result<Decimal> {
        let value: Decimal = self.read(position)?;
        if !value.is_valid() {
            return Err(Error::invalid(
                "decimal",
                format!("the flags {:#x} at position {position} are those of no decimal", value.flags),
            ));
        }
        Ok(value)
    }

    /// Reads elements from `position` into `to`, as many as there is room for in both, and gives their number.
    ///
    /// As in .NET, elements of 3 bytes and more lie at multiples of 4 bytes from `position`.
    ///
    /// # Errors
    ///
    /// `Unsupported` on a write view; `OutOfRange` for a position at or beyond the end.
    pub fn read_array<T: AnyBitPattern>(&self, position: u64, to: &mut [T]) -> Result<usize> {
        self.view.check_readable()?;
        let at = self.check_position(position)?;
        let stride = stride::<T>();
        let room = self.view.len() - at;
        let count = room.checked_div(stride).map_or(to.len(), |fit| fit.min(to.len()));
        for (index, element) in to[..count].iter_mut().enumerate() {
            *element = self.read((at + index * stride) as u64)?;
        }
        Ok(count)
    }

    /// Writes all elements of `from` at `position`, spaced as [`read_array`](Self::read_array) has it.
    ///
    /// # Errors
    ///
    /// `OutOfRange` for a position at or beyond the end; `Unsupported` on a read view; `InvalidArgument` where
    /// they don't all fit. Nothing is written then.
    pub fn write_array<T: NoUninit>(&self, position: u64, from: &[T]) -> Result<()> {
        let at = self.check_position(position)?;
        self.view.check_writable()?;
        let stride = stride::<T>();
        let needed = stride.checked_mul(from.len());
        if needed.is_none_or(|needed| needed > self.view.len() - at) {
            return Err(Error::invalid(
                "array",
                format!(
                    "{} elements of {stride} bytes don't fit in the {} bytes from {position}",
                    from.len(),
                    self.view.len() - at
                ),
            ));
        }
        if stride == size_of::<T>() {
            self.view.store(at, bytemuck::cast_slice(from));
        } else {
            for (index, element) in from.iter().enumerate() {
                self.view.store(at + index * stride, bytemuck::bytes_of(element));
            }
        }
        Ok(())
    }

    /// The naturally aligned word at `position`, whole, with acquire ordering; works on read views too.
    ///
    /// ```
    /// # use handover::MemoryMappedFile;
    /// use std::sync::atomic::AtomicU32;
    /// # let view = MemoryMappedFile::anonymous(64)?.create_view_accessor(0, 0)?;
    /// view.write(8, 7u32)?;
    /// assert_eq!(view.load::<AtomicU32>(8)?, 7);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read), and `InvalidArgument` for a position that is not a multiple of the word's
    /// size.
    pub fn load<A: AtomicWord>(&self, position: u64) -> Result<A::Value> {
        self.view.check_readable()?;
        Ok(self.word::<A>(position)?.load_acquire())
    }

    /// The naturally aligned word at `position` as an atomic that all processes share.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load), and `Unsupported` unless the view can read and write: a compare-exchange
    /// in read-only memory is a fault.
    pub fn atomic<A: AtomicWord>(&self, position: u64) -> Result<&A> {
        self.view.check_readable()?;
        self.view.check_writable()?;
        self.word(position)
    }

    fn word<A: AtomicWord>(&self, position: u64) -> Result<&A> {
        let at = self.check_fits(position, size_of::<A>())?;
        let pointer = self.view.as_ptr().wrapping_add(at).cast::<A>();
        if !pointer.is_aligned() {
            return Err(Error::invalid(
                "position",
                format!("{position} is not a multiple of the word's {} bytes", size_of::<A>()),
            ));
        }
        // SAFETY: within the mapping, which lives as long as `self`; aligned; atomics may be shared with
        // other processes, and this library accesses shared memory with atomic operations only. In read-only
        // memory the caller is `load`, which only loads.
        Ok(unsafe { &*pointer })
    }

    /// Whether a part of the view, which must lie within it, can be touched. Only parts of views from
    /// `create_sparse_accessor` can't.
    pub(crate) fn has_memory(&self, position: usize, len: usize) -> bool {
        self.view.has_memory(position, len)
    }

    /// Keeps the pages out of swap and core dumps. Windows can do it only for those that have memory: there it
    /// is to be called again when more have.
    pub(crate) fn keep_secret(&self) -> Result<()> {
        self.view.keep_secret()
    }

    /// Writes changed bytes of a part of the view to the file behind the map, and with `wait` waits for it.
    pub(crate) fn flush_range(&self, position: usize, len: usize, wait: bool) -> Result<()> {
        self.view.flush_range(position, len, wait)
    }

    /// Copies bytes out, as many as there are up to the end of the view.
    pub(crate) fn read_bytes(&self, position: u64, to: &mut [u8]) -> Result<usize> {
        self.view.check_readable()?;
        let at = self.check_position(position)?;
        let count = to.len().min(self.view.len() - at);
        self.view.load(at, &mut to[..count]);
        Ok(count)
    }

    /// Sets bytes to zero, up to the end of the view at most.
    pub(crate) fn zero(&self, position: u64, len: u64) -> Result<()> {
        self.view.check_writable()?;
        if len > 0 {
            let at = self.check_fits(position, len as usize)?;
            self.view.zero(at, len as usize);
        }
        Ok(())
    }

    fn check_position(&self, position: u64) -> Result<usize> {
        usize::try_from(position).ok().filter(|at| *at < self.view.len()).ok_or_else(|| {
            Error::out_of_range("position", format!("{position}, and the view has {} bytes", self.view.len()))
        })
    }

    fn check_fits(&self, position: u64, size: usize) -> Result<usize> {
        let at = self.check_position(position)?;
        if size > self.view.len() - at {
            return Err(Error::invalid(
                "position",
                format!(
                    "{size} bytes from {position} reach beyond the end of the view ({} bytes)",
                    self.view.len()
                ),
            ));
        }
        Ok(at)
    }
}

/// The distance between elements, after .NET's `SafeBuffer`: the size, rounded up to 4 unless 1 or 2.
fn stride<T>() -> usize {
    match size_of::<T>() {
        small @ 0..=2 => small,
        size => size.next_multiple_of(4),
    }
}
