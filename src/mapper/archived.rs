//! Archived values without decoding: in a private copy for everybody, in the slot itself for programs that
//! trust all writers. Relies on `memory_mapper`, to which it adds methods.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::{Archive, Portable};

use super::memory_mapper::MemoryMapper;
use super::versions::check_stored_as;
use crate::cell::{Snapshot, TrustedSnapshot, TrustingReader};
use crate::codec::{Aligned, Codec, Rkyv, access};
use crate::error::{Error, Result};
use crate::terms::Subject;

/// The alignment of slots: more than any type needs.
const SLOT_ALIGNMENT: usize = 4096;

impl<T: Archive> MemoryMapper<T, Rkyv>
where
    Rkyv: Codec<T>,
    T::Archived: Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
{
    /// The value as an archive, copied into private memory and checked there once, not decoded; `None` where
    /// there is none.
    ///
    /// ```
    /// use handover::MemoryMapper;
    /// use handover::codec::Rkyv;
    ///
    /// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
    /// struct Scores {
    ///     names: Vec<String>,
    ///     points: Vec<u32>,
    /// }
    ///
    /// # let name = &format!("get_archived in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<Scores, Rkyv>::create_or_open(name)?;
    /// mapper.set(&Scores { names: vec!["Ada".into()], points: vec![36] })?;
    /// let scores = mapper.get_archived()?.expect("it was set");
    /// assert_eq!(scores.names[0], "Ada");
    /// assert_eq!(scores.points[0], 36);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_archived(&self) -> Result<Option<ArchivedValue<T>>> {
        let versions = self.versions();
        let Some(value) = versions.stored().read()? else { return Ok(None) };
        let bytes = check_stored_as::<T, Rkyv>(value.codec, value.type_name.as_deref(), versions.type_name())
            .and_then(|()| Aligned::checked::<T::Archived>(value.bytes))
            .map_err(|error| error.about(self.subject()))?;
        Ok(Some(ArchivedValue { bytes, version: value.version, archived: PhantomData }))
    }

    /// Declares that every process which can write to the map keeps the cell's protocol, and returns a reader
    /// that uses archives where they lie, without a copy. Each version is checked once.
    ///
    /// ```
    /// use handover::MemoryMapper;
    /// use handover::codec::Rkyv;
    ///
    /// # let name = &format!("trust_writers in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<Vec<u32>, Rkyv>::create_or_open(name)?;
    /// mapper.set(&(1..=100).collect())?;
    /// // SAFETY: only this program can write to the map, through this library.
    /// let mut reader = unsafe { mapper.trust_writers()? };
    /// let sum: u32 = reader.load()?.expect("it was set").iter().map(|number| number.to_native()).sum();
    /// assert_eq!(sum, 5050);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Safety
    ///
    /// What [`Reader::trust_writers`](crate::cell::Reader::trust_writers) asks for: while the reader or a
    /// snapshot of it lives, no process may change the bytes of a slot that an entry pins, nor shorten the
    /// file; and none of them may be used in a forked child.
    ///
    /// # Errors
    ///
    /// `AccessDenied` on a read-only map: a version in use is pinned, and that is a write.
    pub unsafe fn trust_writers(&self) -> Result<ArchivedReader<T>> {
        if !self.cell().can_write() {
            return Err(Error::read_only(self.subject().clone()));
        }
        let reader = self.cell().reader();
        // SAFETY: the caller declares the same.
        let reader = unsafe { reader.trust_writers() };
        Ok(ArchivedReader {
            reader,
            subject: self.subject().clone(),
            type_name: self.versions().type_name(),
            accepted: 0,
            check: true,
            archived: PhantomData,
        })
    }
}

/// An archived value in private memory, checked when it was made: `Deref` to the archived type. See
/// [`MemoryMapper::get_archived`]. Its bytes are wiped when it is dropped.
///
/// ```
/// use handover::MemoryMapper;
/// use handover::codec::Rkyv;
///
/// # let name = &format!("ArchivedValue in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<String, Rkyv>::create_or_open(name)?;
/// mapper.set(&"hello".to_owned())?;
/// let archived = mapper.get_archived()?.expect("it was set");
/// assert_eq!((archived.as_str(), archived.version()), ("hello", 1));
/// # Ok::<(), handover::Error>(())
/// ```
#[must_use = "an archived value is a copy that is made to be read"]
pub struct ArchivedValue<T: Archive> {
    bytes: Aligned,
    version: u64,
    archived: PhantomData<T::Archived>,
}

impl<T: Archive> ArchivedValue<T> {
    /// The version.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl<T: Archive> Deref for ArchivedValue<T>
where
    T::Archived: Portable,
{
    type Target = T::Archived;

    fn deref(&self) -> &T::Archived {
        // SAFETY: these bytes were checked when `self` was made, at this place; nobody can have changed them.
        unsafe { rkyv::access_unchecked(self.bytes.bytes()) }
    }
}

/// Reads archived values where they lie. See [`MemoryMapper::trust_writers`].
///
/// ```
/// use handover::MemoryMapper;
/// use handover::codec::Rkyv;
///
/// # let name = &format!("ArchivedReader in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<String, Rkyv>::create_or_open(name)?;
/// mapper.set(&"hello".to_owned())?;
/// // SAFETY: only this program can write to the map, through this library.
/// let mut reader = unsafe { mapper.trust_writers()? };
/// assert_eq!(reader.load()?.expect("it was set").as_str(), "hello");
/// # Ok::<(), handover::Error>(())
/// ```
#[must_use = "a reader keeps the map's name, and a version pinned, only while it lives"]
pub struct ArchivedReader<T: Archive> {
    reader: TrustingReader,
    subject: Subject,
    type_name: Option<&'static str>,
    /// The newest version that was found to be an archive of the type.
    accepted: u64,
    check: bool,
    archived: PhantomData<T::Archived>,
}

impl<T: Archive> ArchivedReader<T>
where
    Rkyv: Codec<T>,
    T::Archived: Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
{
    /// Leaves out the check of the bytes; codec and type name are still compared.
    ///
    /// # Safety
    ///
    /// All that is stored in the map, as rkyv or as bytes of no codec, must be valid archives of `T`.
    pub unsafe fn unchecked(mut self) -> Self {
        self.check = false;
        self
    }

    /// The newest value, where it lies; `None` where there is none. While the version stays the same, this is
    /// one load of one word.
    ///
    /// # Errors
    ///
    /// As for [`Reader::load`](crate::cell::Reader::load), and `CodecMismatch`, `TypeMismatch`, `Decode`.
    #[inline]
    pub fn load(&mut self) -> Result<Option<&T::Archived>> {
        if !self.reader.stands_at(self.accepted) && !self.look_again()? {
            return Ok(None);
        }
        let Some((_, bytes)) = self.reader.last() else { return Ok(None) };
        // SAFETY: these bytes were accepted; as long as they are pinned nobody changes them, guaranteed by
        // the caller of `trust_writers`.
        Ok(Some(unsafe { rkyv::access_unchecked(bytes) }))
    }

    /// Loads the newest version, checks that it is an archive of the type unless it is the one of the last
    /// call, and says whether there is a value.
    #[inline(never)]
    fn look_again(&mut self) -> Result<bool> {
        if self.reader.load()?.is_none() {
            return Ok(false);
        }
        let Some((snapshot, bytes)) = self.reader.last() else { return Ok(false) };
        let version = snapshot.version();
        if version != self.accepted {
            accept::<T>(snapshot, bytes, self.type_name, self.check)
                .map_err(|error| error.about(&self.subject))?;
            self.accepted = version;
        }
        Ok(true)
    }

    /// The newest value as a snapshot that outlives the next load: its bytes stay while new versions come.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn hold(&mut self) -> Result<Option<ArchivedSnapshot<T>>> {
        if self.load()?.is_none() {
            return Ok(None);
        }
        let Some(snapshot) = self.reader.hold()? else { return Ok(None) };
        if snapshot.snapshot().version() != self.accepted {
            // A newer one came in between.
            accept::<T>(snapshot.snapshot(), &snapshot, self.type_name, self.check)
                .map_err(|error| error.about(&self.subject))?;
            self.accepted = snapshot.snapshot().version();
        }
        Ok(Some(ArchivedSnapshot { snapshot, archived: PhantomData }))
    }

    /// The newest version; 0: nothing was stored yet. One load.
    pub fn version(&self) -> u64 {
        self.reader.version()
    }
}

/// Whether a snapshot's bytes may be used as an archive of `T`.
fn accept<T: Archive>(snapshot: &Snapshot, bytes: &[u8], wanted: Option<&str>, check: bool) -> Result<()>
where
    Rkyv: Codec<T>,
    T::Archived: Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
{
    let stored = wanted.and_then(|_| snapshot.type_name());
    check_stored_as::<T, Rkyv>(snapshot.codec(), stored.as_deref(), wanted)?;
    if check {
        return access::<T::Archived>(bytes).map(|_| ());
    }
    if bytes.len() < size_of::<T::Archived>() || !bytes.as_ptr().addr().is_multiple_of(SLOT_ALIGNMENT) {
        return Err(Error::decode(
            "rkyv",
            format_args!("{} bytes are too few, or they are not aligned", bytes.len()),
        ));
    }
    Ok(())
}

/// An archived value where it lies, pinned: `Deref` to the archived type. See [`ArchivedReader::hold`].
///
/// ```
/// use handover::MemoryMapper;
/// use handover::codec::Rkyv;
///
/// # let name = &format!("ArchivedSnapshot in the docs {}", std::process::id());
/// let mapper = MemoryMapper::<String, Rkyv>::create_or_open(name)?;
/// mapper.set(&"hello".to_owned())?;
/// // SAFETY: only this program can write to the map, through this library.
/// let mut reader = unsafe { mapper.trust_writers()? };
/// let held = reader.hold()?.expect("it was set");
/// mapper.set(&"a newer one".to_owned())?;
/// assert_eq!(held.as_str(), "hello");
/// # Ok::<(), handover::Error>(())
/// ```
#[must_use = "a version stays pinned only while a snapshot of it lives"]
pub struct ArchivedSnapshot<T: Archive> {
    snapshot: TrustedSnapshot,
    archived: PhantomData<T::Archived>,
}

impl<T: Archive> ArchivedSnapshot<T> {
    /// The version.
    pub fn version(&self) -> u64 {
        self.snapshot.snapshot().version()
    }

    /// The archive's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.snapshot
    }
}

impl<T: Archive> Clone for ArchivedSnapshot<T> {
    fn clone(&self) -> Self {
        Self { snapshot: self.snapshot.clone(), archived: PhantomData }
    }
}

impl<T: Archive> Deref for ArchivedSnapshot<T>
where
    T::Archived: Portable,
{
    type Target = T::Archived;

    fn deref(&self) -> &T::Archived {
        // SAFETY: these bytes were accepted when `self` was made; they are pinned as long as it lives, and
        // nobody changes them, guaranteed by the caller of `trust_writers`.
        unsafe { rkyv::access_unchecked(&self.snapshot) }
    }
}

// The values stay out of these: they may be secrets.

impl<T: Archive> fmt::Debug for ArchivedValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedValue").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<T: Archive> fmt::Debug for ArchivedReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedReader")
            .field("subject", &self.subject)
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}

impl<T: Archive> fmt::Debug for ArchivedSnapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedSnapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}
