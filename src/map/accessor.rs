//! Random access to a map: typed reads and writes at any position.
//!
//! Relies on `view`; `map` hands accessors out, and `cell` and `dotnet` use them.

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
};

use bytemuck::{AnyBitPattern, NoUninit};

use super::view::View;
use crate::error::{Error, Result};
use crate::memory::Word;
use crate::terms::Access;

/// Random access to a part of a map.
///
/// Positions are in bytes from the start of the view and need no alignment; numbers are in the machine's byte
/// order. Every read and write copies. Another process may be writing to the same bytes, so a value that is
/// larger than a machine word, or not aligned, can come back as a mix. [`load`](Self::load) and
/// [`atomic`](Self::atomic) are for words that must not.
///
/// ```
/// use handover::map::MemoryMappedFile;
///
/// let map = MemoryMappedFile::anonymous(64)?;
/// let view = map.create_view_accessor(0, 0)?;
/// view.write(3, 0x1234_5678u32)?;
/// assert_eq!(view.read::<u32>(3)?, 0x1234_5678);
/// assert!(view.read::<u32>(61).is_err()); // it would reach beyond the end
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a view unmaps its bytes"]
pub struct ViewAccessor {
    view: View,
}

mod sealed {
    pub trait Sealed {
        type Integer;

        /// As `memory::Word::load_acquire`.
        unsafe fn load_acquire(at: *const u8) -> Self::Integer;
    }
}

/// An atomic integer that can lie in a map: `AtomicU8` to `AtomicU64`, `AtomicI8` to `AtomicI64`.
///
/// ```
/// use std::sync::atomic::AtomicI16;
///
/// use handover::map::{AtomicWord, MemoryMappedFile, ViewAccessor};
///
/// fn first<A: AtomicWord>(view: &ViewAccessor) -> handover::Result<A::Value> {
///     view.load::<A>(0)
/// }
///
/// let view = MemoryMappedFile::anonymous(64)?.create_view_accessor(0, 0)?;
/// view.write(0, -5i16)?;
/// assert_eq!(first::<AtomicI16>(&view)?, -5);
/// # Ok::<(), handover::Error>(())
/// ```
pub trait AtomicWord: sealed::Sealed<Integer = Self::Value> + Sized {
    /// The integer.
    type Value: Copy;
}

macro_rules! atomic_words {
    ($($atomic:ty => $value:ty),*) => {$(
        impl sealed::Sealed for $atomic {
            type Integer = $value;

            unsafe fn load_acquire(at: *const u8) -> $value {
                // SAFETY: guaranteed by the caller.
                unsafe { <$value as Word>::load_acquire(at) }
            }
        }
        impl AtomicWord for $atomic {
            type Value = $value;
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

    /// Bytes between the start of the view's first page (Windows: of its 64 KiB block) and the view.
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

    /// The first byte of the view, for unsafe code.
    ///
    /// Valid while the accessor lives; other processes may change the bytes at any time. A write through the
    /// pointer of a read view ends the process with a fault.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.view.as_ptr()
    }

    /// Flushes changes to the file behind the map and waits. Does nothing for other maps.
    ///
    /// ```
    /// use handover::map::MemoryMappedFile;
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-flush-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # let path = dir.join("numbers");
    ///
    /// let map = MemoryMappedFile::create_new(&path, 64)?;
    /// let view = map.create_view_accessor(0, 0)?;
    /// view.write(0, *b"kept")?;
    /// view.flush()?;
    /// # drop((view, map));
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Io` where the system can't write the file.
    pub fn flush(&self) -> Result<()> {
        self.view.flush()
    }

    /// The value at `position`.
    ///
    /// ```
    /// # use handover::map::MemoryMappedFile;
    /// # let view = MemoryMappedFile::anonymous(64)?.create_view_accessor(0, 0)?;
    /// view.write(10, [1u16, 2, 3])?;
    /// assert_eq!(view.read::<[u16; 3]>(10)?, [1, 2, 3]);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `AccessDenied` on a write view; `OutOfRange` for a position at or beyond the end; `InvalidArgument`
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
    /// ```
    /// use handover::map::bytemuck::{Pod, Zeroable};
    ///
    /// #[derive(Clone, Copy, Pod, Zeroable)]
    /// #[repr(C)]
    /// # #[bytemuck(crate = "handover::map::bytemuck")]
    /// struct Point {
    ///     x: f64,
    ///     y: f64,
    /// }
    ///
    /// # let view = handover::map::MemoryMappedFile::anonymous(64)?.create_view_accessor(0, 0)?;
    /// view.write(16, Point { x: 1.5, y: -2.0 })?;
    /// assert_eq!(view.read::<Point>(16)?.y, -2.0);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `AccessDenied` on a read view; `OutOfRange` for a position at or beyond the end; `InvalidArgument`
    /// where the value would reach beyond the end. In all cases nothing is written.
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

    /// Reads elements from `position` into `to`, as many as the view has and `to` has room for, and returns
    /// their number.
    ///
    /// As in .NET, elements of 3 bytes and more lie at multiples of 4 bytes from `position`.
    ///
    /// ```
    /// # let view = handover::map::MemoryMappedFile::anonymous(64)?.create_view_accessor(0, 0)?;
    /// view.write_array(0, &[1u32, 2, 3])?;
    /// let mut three = [0u32; 3];
    /// assert_eq!(view.read_array(0, &mut three)?, 3);
    /// assert_eq!(three, [1, 2, 3]);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `AccessDenied` on a write view; `OutOfRange` for a position at or beyond the end.
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
    /// `OutOfRange` for a position at or beyond the end; `AccessDenied` on a read view; `InvalidArgument`
    /// where they don't all fit. In all cases nothing is written.
    pub fn write_array<T: NoUninit>(&self, position: u64, from: &[T]) -> Result<()> {
        let at = self.check_position(position)?;
        self.view.check_writable()?;
        let stride = stride::<T>();
        let needed = stride.checked_mul(from.len());
        if needed.is_none_or(|needed| needed > self.view.len() - at) {
            return Err(self.invalid(
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
    /// # use handover::map::MemoryMappedFile;
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
        let at = self.check_word::<A>(position)?;
        // SAFETY: the word is aligned and lies within the mapping, which lives as long as `self` and is
        // readable; in this process shared memory is accessed by `memory` and by atomics alone.
        Ok(unsafe { A::load_acquire(self.view.as_ptr().wrapping_add(at)) })
    }

    /// The naturally aligned word at `position` as an atomic that all processes share.
    ///
    /// ```
    /// # use handover::map::MemoryMappedFile;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// # let view = MemoryMappedFile::anonymous(64)?.create_view_accessor(0, 0)?;
    ///
    /// // SAFETY: bytes 8 to 15 of this map are a counter, and no atomic of another size is made over them.
    /// let counter = unsafe { view.atomic::<AtomicU64>(8)? };
    /// counter.fetch_add(1, Ordering::Relaxed);
    /// assert_eq!(view.load::<AtomicU64>(8)?, 1);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load), and `AccessDenied` unless the view can both read and write: a
    /// compare-exchange in read-only memory is a fault.
    ///
    /// # Safety
    ///
    /// In this process, accesses to the word's bytes that may race with those through the atomic must be of
    /// three kinds: atomic accesses of the word's size at the word's position; [`load`](Self::load); and the
    /// copies of this library (`read`, `write`, streams), which may tear. An `AtomicU32` and an `AtomicU64`
    /// over the same bytes, in this view or in another one of the same map, are undefined behaviour in the
    /// language if they race.
    pub unsafe fn atomic<A: AtomicWord>(&self, position: u64) -> Result<&A> {
        self.view.check_readable()?;
        self.view.check_writable()?;
        let at = self.check_word::<A>(position)?;
        // SAFETY: within the mapping, which lives as long as `self`, and aligned. It can be read and written.
        // All bytes are such an integer. Other processes may use it too, as atomics allow, and the caller
        // guarantees the accesses of this one; those of `memory` are compatible with any others.
        Ok(unsafe { &*self.view.as_ptr().wrapping_add(at).cast::<A>() })
    }

    /// The offset in the view of the word at `position`.
    fn check_word<A: AtomicWord>(&self, position: u64) -> Result<usize> {
        let at = self.check_fits(position, size_of::<A>())?;
        if !self.view.as_ptr().wrapping_add(at).addr().is_multiple_of(size_of::<A>()) {
            return Err(self.invalid(
                "position",
                format!("{position} is not a multiple of the word's {} bytes", size_of::<A>()),
            ));
        }
        Ok(at)
    }

    /// Whether a part of the view, which must lie within it, can be touched. Always true except for views
    /// from `create_sparse_accessor`.
    pub(crate) fn has_memory(&self, position: usize, len: usize) -> bool {
        self.view.has_memory(position, len)
    }

    /// Keeps the pages out of swap and core dumps. Windows can do this only for pages that have memory: call
    /// it again there when more pages have some.
    pub(crate) fn keep_secret(&self) -> Result<()> {
        self.view.keep_secret()
    }

    /// Flushes a part of the view to the file behind the map, and with `wait` waits.
    pub(crate) fn flush_range(&self, position: usize, len: usize, wait: bool) -> Result<()> {
        self.view.flush_range(position, len, wait)
    }

    /// Copies bytes out, at most up to the end of the view.
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
            let reason = format!("{position}, and the view has {} bytes", self.view.len());
            Error::out_of_range("position", reason).about(self.view.subject())
        })
    }

    fn check_fits(&self, position: u64, size: usize) -> Result<usize> {
        let at = self.check_position(position)?;
        if size > self.view.len() - at {
            return Err(self.invalid(
                "position",
                format!(
                    "{size} bytes from {position} reach beyond the end of the view ({} bytes)",
                    self.view.len()
                ),
            ));
        }
        Ok(at)
    }

    /// An error of class `InvalidArgument` that names the map.
    pub(super) fn invalid(&self, argument: &str, reason: String) -> Error {
        Error::invalid(argument, reason).about(self.view.subject())
    }
}

/// The distance between elements, after .NET's `SafeBuffer`: the size, rounded up to 4 unless 1 or 2.
fn stride<T>() -> usize {
    match size_of::<T>() {
        small @ 0..=2 => small,
        size => size.next_multiple_of(4),
    }
}
