//! Being the only writer of a mapper's value. Relies on `versions`.

use std::fmt;
use std::marker::PhantomData;

use super::versions::Versions;
use crate::cell::Writer;
use crate::codec::Codec;
use crate::error::Result;

/// The right to be the only writer of a mapper's value, until it is dropped. See
/// [`MemoryMapper::lease`](crate::MemoryMapper::lease).
///
/// The system takes it back when its process dies. A lease is of the thread that took it or that set a value
/// under it last: writing past it from there would wait for itself, and is refused with `WouldDeadlock`.
///
/// ```
/// use std::time::Duration;
///
/// use handover::{ErrorKind, MemoryMapper};
///
/// # let name = &format!("Lease in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<u64>::create_or_open(name)?;
/// let mut lease = mapper.lease(Duration::from_secs(1))?;
/// lease.set(&1)?;
/// let another = MemoryMapper::<u64>::open_existing(name)?;
/// assert_eq!(another.lease(Duration::ZERO).unwrap_err().kind(), ErrorKind::TimedOut);
/// drop(lease);
/// another.set(&2)?;
/// # Ok::<(), handover::Error>(())
/// ```
#[must_use = "the lease ends as soon as it is dropped"]
pub struct Lease<'a, T, C> {
    versions: &'a Versions<T>,
    writer: Writer,
    codec: PhantomData<fn() -> C>,
}

impl<T, C> fmt::Debug for Lease<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("subject", self.versions.subject()).finish_non_exhaustive()
    }
}

impl<'a, T, C: Codec<T>> Lease<'a, T, C> {
    pub(super) fn new(versions: &'a Versions<T>, writer: Writer) -> Self {
        Self { versions, writer, codec: PhantomData }
    }

    /// Replaces the value, and returns its version.
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`, `Encode`, `NoSpace`, `NameLost`: the old value stays. `Forked` in a child of the
    /// process that took the lease.
    pub fn set(&mut self, value: &T) -> Result<u64> {
        self.writer.move_here();
        let bytes = self.versions.encode::<C>(value)?;
        self.versions.publish::<C>(&mut self.writer, value, bytes, None)
    }

    /// Removes the value and wipes its bytes; returns the version that stands for its absence.
    ///
    /// # Errors
    ///
    /// `NoSpace`; `NameLost`; `Forked` in a child of the process that took the lease.
    pub fn clear(&mut self) -> Result<u64> {
        self.writer.move_here();
        let version = self.writer.clear()?;
        self.versions.forget();
        Ok(version)
    }

    /// The writer of the cell below.
    pub fn writer(&mut self) -> &mut Writer {
        self.writer.move_here();
        &mut self.writer
    }
}
