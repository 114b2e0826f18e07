//! rkyv: values whose bytes can be used in place.
//!
//! The codec, and the private memory in which an archive is checked. Relies on `contract`; `mapper` has the
//! access without decoding.

use std::num::NonZeroUsize;

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::{Positional, Writer};
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::validation::shared::SharedValidator;
use rkyv::{Archive, Deserialize, Portable, Serialize};
use zeroize::Zeroizing;

use super::contract::Codec;
use super::numbers;
use super::wiped::Growing;
use crate::error::{Error, Result};

/// rkyv 0.8 archives, checked before they are used.
/// [`get_archived`](crate::MemoryMapper::get_archived) reads them without decoding.
///
/// Producer and consumer must agree on rkyv's format features (byte order, width of pointers). rkyv itself
/// writes no types that need an alignment of more than 32 bytes. Archives nested more than 128 deep are
/// refused. Not for the plain layout, which loses zero bytes at both ends.
///
/// ```
/// use handover::codec::{Codec, Rkyv};
///
/// let bytes = Rkyv::encode(&vec![1u16, 2])?;
/// let numbers: Vec<u16> = Rkyv::decode(&bytes)?;
/// assert_eq!(numbers, [1, 2]);
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Rkyv;

impl Rkyv {
    /// Its number.
    pub const ID: u32 = numbers::RKYV;
}

/// Where [`Rkyv`] writes an archive: memory that is wiped when it is dropped, and also when it grows.
///
/// A program needs it only where it is generic over what [`Rkyv`] can write:
///
/// ```
/// use handover::MemoryMapper;
/// use handover::codec::{Codec, Rkyv};
///
/// fn store<T>(mapper: &MemoryMapper<T, Rkyv>, value: &T) -> handover::Result<u64>
/// where
///     Rkyv: Codec<T>,
/// {
///     mapper.set(value)
/// }
/// # let name = &format!("ArchiveWriter in the docs {}", std::process::id());
/// # store(&MemoryMapper::<u32, Rkyv>::create_or_open(name)?, &1)?;
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ArchiveWriter(Growing);

impl Positional for ArchiveWriter {
    fn pos(&self) -> usize {
        self.0.len()
    }
}

impl<E> Writer<E> for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.0.push(bytes);
        Ok(())
    }
}

impl<T> Codec<T> for Rkyv
where
    T: Archive + for<'a> Serialize<HighSerializer<ArchiveWriter, ArenaHandle<'a>, Failure>>,
    T::Archived: Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
    T::Archived: Deserialize<T, HighDeserializer<Failure>>,
{
    const ID: u32 = numbers::RKYV;
    const NAME: &'static str = "rkyv";

    fn encode(value: &T) -> Result<Zeroizing<Vec<u8>>> {
        rkyv::api::high::to_bytes_in::<_, Failure>(value, ArchiveWriter::default())
            .map(|writer| writer.0.into_bytes())
            .map_err(|Failure| Error::encode("rkyv", "the type's own serialisation failed"))
    }

    fn decode(bytes: &[u8]) -> Result<T> {
        let decode = |bytes: &[u8]| {
            rkyv::api::high::deserialize::<T, Failure>(access::<T::Archived>(bytes)?)
                .map_err(|Failure| invalid(bytes.len()))
        };
        match decode(bytes) {
            Err(_) if !is_aligned(bytes) => decode(Aligned::copy(bytes).bytes()),
            decoded => decoded,
        }
    }
}

/// rkyv's own errors contain addresses and may quote the value.
fn invalid(length: usize) -> Error {
    Error::decode("rkyv", format_args!("{length} bytes that are no valid archive of this type"))
}

/// The root of an archive, after checking everything that it leads to.
pub(crate) fn access<A>(bytes: &[u8]) -> Result<&A>
where
    A: Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
{
    let depth = NonZeroUsize::new(MAX_DEPTH);
    let mut validator =
        Validator::new(ArchiveValidator::with_max_depth(bytes, depth), SharedValidator::new());
    // With too few bytes rkyv looks for the root at position 0, and finds that it is too long.
    rkyv::api::access_with_context::<A, _, Failure>(bytes, &mut validator)
        .map_err(|Failure| invalid(bytes.len()))
}

/// How deeply parts that lie elsewhere in an archive may be nested. Checking and decoding take stack for each
/// level, and a hostile archive may have as many levels as bytes.
const MAX_DEPTH: usize = 128;

/// The alignment of private copies of archives.
const ALIGNMENT: usize = 32;

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGNMENT)
}

/// Bytes in private memory, aligned for every type that [`Rkyv`] can write; wiped when dropped.
pub(crate) struct Aligned {
    memory: Zeroizing<Vec<u8>>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let length = bytes.len();
        let mut memory = Zeroizing::new(vec![0; length + ALIGNMENT - 1]);
        // The memory of a vector stays where it is as long as it does not grow.
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT - 1);
        memory[start..start + length].copy_from_slice(bytes);
        Self { memory, start, length }
    }

    /// Checks that the bytes are an archive of `A`. Copies them only where they are not one in place.
    pub(crate) fn checked<A>(memory: Zeroizing<Vec<u8>>) -> Result<Self>
    where
        A: Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
    {
        match access::<A>(&memory) {
            Ok(_) => Ok(Self { start: 0, length: memory.len(), memory }),
            Err(failed) if is_aligned(&memory) => Err(failed),
            Err(_) => {
                let copy = Self::copy(&memory);
                access::<A>(copy.bytes())?;
                Ok(copy)
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}
