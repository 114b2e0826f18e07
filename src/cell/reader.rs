//! The reading side of a cell: pinned snapshots, and copies.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::protocol::{self, Current, Memory};
use super::shared::{BAD_LENGTH, Shared};
use super::terms::is_send_and_sync;
use super::value::{Value, is_over, time, time_or_none};
use super::words::{Header, UNPINNED_CHUNK, Words};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::sys;

/// Reads a cell. One for each thread.
///
/// It keeps the newest version that it saw pinned, so loading that version again costs one look at one word.
///
/// ```
/// # use handover::cell::Cell;
/// # use handover::map::MemoryMappedFile;
/// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
/// let mut reader = cell.reader();
/// let mut writer = cell.try_writer()?.expect("nobody else writes");
/// for version in 1..=3 {
///     writer.publish(&[version; 100])?;
///     let snapshot = reader.load()?.expect("there is a value");
///     assert_eq!(snapshot.copy()?.as_slice(), [version; 100]);
/// }
/// # Ok::<(), handover::Error>(())
/// ```
#[must_use = "dropping a reader unpins its version"]
pub struct Reader {
    /// A copy of those in `shared`, at hand here.
    words: Words,
    shared: Arc<Shared>,
    last: Option<Snapshot>,
}

const _: () = is_send_and_sync::<Reader>();

/// One version, pinned: its bytes don't change while this or a clone lives. They are not copied.
///
/// `Debug` shows the version, the length and the codec, never the bytes.
///
/// ```
/// # use handover::cell::Cell;
/// # use handover::map::MemoryMappedFile;
/// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
/// let mut writer = cell.try_writer()?.expect("nobody else writes");
/// writer.publish(b"old")?;
/// let mut reader = cell.reader();
/// let snapshot = reader.load()?.expect("there is a value").clone();
///
/// writer.publish(b"new")?;
/// assert_eq!((snapshot.version(), snapshot.copy()?.as_slice()), (1, b"old".as_slice()));
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "dropping a snapshot releases its pin"]
pub struct Snapshot {
    pin: Arc<Pin>,
    /// Of `pin`.
    generation: u32,
    current: Current,
    header: Header,
}

const _: () = is_send_and_sync::<Snapshot>();

/// An entry and its pin.
struct Pin {
    shared: Arc<Shared>,
    entry: usize,
    generation: u32,
    current: AtomicU64,
}

fn text(name: Vec<u8>) -> Option<String> {
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

impl Shared {
    pub(super) fn copy_type_name(&self, slot: usize, header: &Header) -> Option<String> {
        text(self.copy_name(slot, header))
    }

    /// The value of a slot whose version is pinned, or checked afterwards.
    fn value(&self, current: Current, header: &Header, is_pinned: bool) -> Result<Value> {
        Ok(Value {
            version: current.version(),
            bytes: self.copy_value(current, header, is_pinned)?,
            codec: header.codec,
            type_name: self.copy_type_name(current.slot(), header),
            written: time(header.written),
            expires: time_or_none(header.expires),
        })
    }
}

/// Copies the newest value without a pin.
pub(super) fn copy(shared: &Shared) -> Result<Option<Value>> {
    shared.map.check_name_if_due()?;
    let copied = copy_unpinned(shared, usize::MAX, usize::MAX, |current, header| {
        shared.value(current, header, false)
    })?;
    copied.any_length().transpose()
}

/// The outcome of [`copy_unpinned`].
enum Copied<R> {
    Value(R),
    Nothing,
    TooLong,
}

impl<R> Copied<R> {
    /// For a copy where any length was allowed.
    fn any_length(self) -> Option<R> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing => None,
            Self::TooLong => unreachable!("no value is longer than that"),
        }
    }
}

/// Copies the newest value with `copy`, at most `room` bytes of it, without a pin, if that is at most `most`
/// bytes.
fn copy_unpinned<R>(
    shared: &Shared,
    most: usize,
    room: usize,
    mut copy: impl FnMut(Current, &Header) -> R,
) -> Result<Copied<R>> {
    // A value that may not be read is not copied.
    let copied = protocol::copy(&shared.words, |current| {
        let header = shared.header(current.slot())?;
        if header.is_empty() {
            return Some(Ok(Copied::Nothing));
        }
        Some(shared.is_expired(&header).map(|expired| match header.length.min(room) {
            _ if expired => Copied::Nothing,
            length if length > most => Copied::TooLong,
            _ => Copied::Value(copy(current, &header)),
        }))
    });
    match copied {
        Ok((_, Some(copied))) => copied,
        Ok((_, None)) => Err(shared.corrupt(BAD_LENGTH)),
        Err(missed) => shared.missed(missed).map(|()| Copied::Nothing),
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { words: shared.words, shared, last: None }
    }

    /// Pins the newest version; `None` where there is no value: nothing was stored yet, or the value was
    /// cleared, taken or has expired.
    ///
    /// Releases the snapshot that was loaded before, unless it was cloned.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// let mut reader = cell.reader();
    /// assert!(reader.load()?.is_none());
    ///
    /// cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// let snapshot = reader.load()?.expect("there is a value");
    /// assert_eq!(snapshot.copy()?.as_slice(), b"hello");
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TooManyReaders` where all 62 entries are taken; `AccessDenied` on a handle that can't write (it can
    /// still [`copy`](Self::copy)); `Corrupt`; `ClockWentBack`; `NameLost` for a version that this reader has
    /// not seen, where the map's file was taken from its name. What was loaded before stays readable.
    #[inline]
    pub fn load(&mut self) -> Result<Option<&Snapshot>> {
        let word = self.words.current().load(Ordering::Acquire);
        let readable = self.stands(word, Header::is_readable_always) || self.look_again(word)?;
        Ok(self.last.as_ref().filter(|_| readable))
    }

    /// Whether what was loaded last is what `word` names, and `is_such`.
    #[inline]
    fn stands(&self, word: u64, is_such: impl FnOnce(&Header) -> bool) -> bool {
        self.last.as_ref().is_some_and(|last| {
            last.current.0 == word && is_such(&last.header) && last.generation == sys::fork_generation()
        })
    }

    /// Loads the newest version if it differs from the one before. Returns whether there is a value.
    fn look_again(&mut self, word: u64) -> Result<bool> {
        if !self.stands(word, |_| true) {
            self.load_new()?;
        }
        let Some(Snapshot { header, .. }) = &self.last else { return Ok(false) };
        if header.expires != 0 && !header.is_empty() && self.shared.is_expired(header)? {
            // Nobody may read the value any more: a pin would only keep it from being wiped.
            self.last = None;
            return Ok(false);
        }
        Ok(!header.is_empty())
    }

    /// The newest version; 0: nothing was stored yet. One load.
    #[inline]
    pub fn version(&self) -> u64 {
        Current(self.words.current().load(Ordering::Acquire)).version()
    }

    /// Copies the newest value; `None` where there is no value. Pins a long one meanwhile, where possible.
    /// Unpins the version that was loaded last.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// # cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// let value = cell.reader().copy()?.expect("there is a value");
    /// assert_eq!((value.version, value.bytes.as_slice()), (1, b"hello".as_slice()));
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Overtaken`, `Corrupt`, `ClockWentBack`, `NameLost`.
    pub fn copy(&mut self) -> Result<Option<Value>> {
        self.copy_with(usize::MAX, Shared::value)?.transpose()
    }

    /// Copies the newest value's first bytes into `to`, as many as fit, and returns the value's length;
    /// `None` where there is no value. Allocates nothing; otherwise as [`copy`](Self::copy). Beyond the
    /// value, and after an error, `to` may hold anything.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// # cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// let mut first = [0; 4];
    /// assert_eq!(cell.reader().copy_into(&mut first)?, Some(5));
    /// assert_eq!(&first, b"hell");
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Overtaken`, `Corrupt`, `ClockWentBack`, `NameLost`.
    pub fn copy_into(&mut self, to: &mut [u8]) -> Result<Option<usize>> {
        let words = self.words;
        self.copy_with(to.len(), |_, current, header, is_pinned| {
            let count = header.length.min(to.len());
            words.copy_first(current, is_pinned, &mut to[..count]);
            header.length
        })
    }

    /// Copies the newest value with `copy`, at most `room` bytes of it: few bytes without a pin, many under a
    /// pin if it can get one. Pins nothing when it returns.
    #[inline]
    fn copy_with<R>(
        &mut self,
        room: usize,
        mut copy: impl FnMut(&Shared, Current, &Header, bool) -> R,
    ) -> Result<Option<R>> {
        self.last = None;
        let (words, shared) = (self.words, &*self.shared);
        shared.map.check_name_if_due()?;
        // The usual case: a short value that nobody replaces meanwhile.
        if let Ok(current) = protocol::newest(&words)
            && let Some(Some(copied)) = protocol::copy_once(&words, current, |current| {
                let header = shared.header_in(words, current.slot())?;
                let is_short = header.length.min(room) <= UNPINNED_CHUNK;
                (is_short && header.is_readable_always()).then(|| copy(shared, current, &header, false))
            })
        {
            return Ok(Some(copied));
        }
        self.copy_slowly(room, copy)
    }

    #[cold]
    fn copy_slowly<R>(
        &mut self,
        room: usize,
        mut copy: impl FnMut(&Shared, Current, &Header, bool) -> R,
    ) -> Result<Option<R>> {
        let mut unpinned = |shared: &Shared, most| {
            copy_unpinned(shared, most, room, |current, header| copy(shared, current, header, false))
        };
        if !self.shared.can_write {
            return Ok(unpinned(&self.shared, usize::MAX)?.any_length());
        }
        match unpinned(&self.shared, UNPINNED_CHUNK) {
            Ok(Copied::Value(value)) => return Ok(Some(value)),
            Ok(Copied::Nothing) => return Ok(None),
            // The second reason: the value was replaced too often.
            Ok(Copied::TooLong) => {}
            Err(error) if error.kind() == ErrorKind::Overtaken => {}
            Err(other) => return Err(other),
        }
        let copied = match self.load() {
            Ok(Some(pinned)) => Ok(Some(copy(&pinned.pin.shared, pinned.current, &pinned.header, true))),
            Ok(None) => Ok(None),
            Err(error) if error.kind() == ErrorKind::TooManyReaders => {
                unpinned(&self.shared, usize::MAX).map(Copied::any_length)
            }
            Err(other) => Err(other),
        };
        self.last = None;
        copied
    }

    /// Declares that every process that can write to the cell keeps its protocol. Snapshots then lend their
    /// bytes as `&[u8]`, without a copy.
    ///
    /// # Safety
    ///
    /// While a snapshot of the reader lives, no process may change the bytes of a slot that an entry pins, or
    /// shorten the file. All handles of this library comply; you trust everyone whom the map's owner and mode
    /// allow to open it for writing. A snapshot must not be used in a forked child.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// # cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// // SAFETY: nobody else can open this map, and this process writes only through the library.
    /// let mut reader = unsafe { cell.reader().trust_writers() };
    /// assert_eq!(reader.load()?, Some(b"hello".as_slice()));
    /// # Ok::<(), handover::Error>(())
    /// ```
    pub unsafe fn trust_writers(self) -> TrustingReader {
        TrustingReader { reader: self }
    }

    #[inline]
    fn load_new(&mut self) -> Result<()> {
        let words = self.words;
        self.shared.map.check_name_if_due()?;
        if let Some(last) = &mut self.last
            && last.generation == sys::fork_generation()
            && Arc::strong_count(&last.pin) == 1
        {
            // Nobody else has the snapshot, and whatever others did with their clones comes before this. So
            // its entry moves on to the new version.
            fence(Ordering::Acquire);
            if let Ok(current) = protocol::pin(&words, last.pin.entry)
                && let Some(header) = self.shared.header_in(words, current.slot())
            {
                let old = std::mem::replace(&mut last.current, current);
                last.header = header;
                last.pin.current.store(current.0, Ordering::Relaxed);
                if words.is_marked() {
                    self.shared.wipe_what_was_let_go(old);
                }
                return Ok(());
            }
        }
        self.load_first()
    }

    /// Loads as if nothing was loaded before.
    #[cold]
    fn load_first(&mut self) -> Result<()> {
        self.last = None;
        let (words, shared) = (self.words, &self.shared);
        let entry = shared.claim_entry().map_err(|error| error.about(shared.map.subject()))?;
        let pinned = protocol::pin(&words, entry).map(|current| (current, shared.header(current.slot())));
        if let Ok((current, Some(header))) = pinned {
            let generation = sys::fork_generation();
            let current_word = AtomicU64::new(current.0);
            let pin = Pin { shared: shared.clone(), entry, generation, current: current_word };
            self.last = Some(Snapshot { pin: Arc::new(pin), generation, current, header });
            return Ok(());
        }
        shared.release_entry(entry);
        match pinned {
            Ok(_) => Err(shared.corrupt(BAD_LENGTH)),
            Err(missed) => shared.missed(missed),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("subject", self.shared.map.subject())
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version())
            .field("length", &self.len())
            .field("codec", &self.codec())
            .finish_non_exhaustive()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // After a fork the entry is the parent's.
        if self.generation != sys::fork_generation() {
            return;
        }
        self.shared.release_entry(self.entry);
        fence(Ordering::SeqCst);
        if self.shared.is_marked() {
            self.shared.wipe_what_was_let_go(Current(*self.current.get_mut()));
        }
    }
}

impl Snapshot {
    /// The version.
    pub fn version(&self) -> u64 {
        self.current.version()
    }

    /// Bytes of the value.
    pub fn len(&self) -> usize {
        self.header.length
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of the value's codec.
    pub fn codec(&self) -> u32 {
        self.header.codec
    }

    /// When the value was written.
    pub fn written(&self) -> SystemTime {
        time(self.header.written)
    }

    /// When the value becomes unreadable.
    pub fn expires(&self) -> Option<SystemTime> {
        time_or_none(self.header.expires)
    }

    /// Whether it has expired since it was loaded.
    pub fn is_expired(&self) -> bool {
        is_over(self.expires())
    }

    /// The name of the value's type, if it was stored with one.
    pub fn type_name(&self) -> Option<String> {
        self.pin.shared.copy_type_name(self.current.slot(), &self.header)
    }

    /// Copies the first bytes of the value into `to`, as many as fit, and returns their number.
    ///
    /// # Errors
    ///
    /// `Forked` in a child of the process that loaded the snapshot.
    pub fn copy_into(&self, to: &mut [u8]) -> Result<usize> {
        self.check_generation()?;
        let count = self.len().min(to.len());
        self.pin.shared.copy_out(self.current.slot(), 0, &mut to[..count]);
        Ok(count)
    }

    /// A copy of the value's bytes, wiped when it is dropped.
    ///
    /// # Errors
    ///
    /// As for [`copy_into`](Self::copy_into), and `NoSpace` where there is no memory for the copy.
    pub fn copy(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = memory::room_for(self.len(), self.pin.shared.map.subject())?;
        self.copy_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the bytes are those that were stored. Checks cells whose versions have checksums (cells on
    /// files); `true` for others.
    pub fn is_whole(&self) -> bool {
        self.pin.shared.is_still(self.current.slot(), self.version(), &self.header)
    }

    /// # Safety
    ///
    /// What [`Reader::trust_writers`] requires; and the words must be those of the pin's cell.
    #[inline]
    unsafe fn bytes(&self, words: Words) -> &[u8] {
        let first = words.slot_ptr(self.current.slot()).cast_const();
        // SAFETY: the length was checked against the slot. The slot lies in the view, which lives as long as
        // `self`. The entry pins the slot that long, so nobody changes it, as the caller guarantees.
        unsafe { std::slice::from_raw_parts(first, self.header.length) }
    }

    fn check_generation(&self) -> Result<()> {
        if self.generation == sys::fork_generation() {
            return Ok(());
        }
        Err(Error::forked(self.pin.shared.subject()))
    }
}

/// A [`Reader`] whose snapshots lend their bytes. See [`Reader::trust_writers`].
#[derive(Debug)]
#[must_use = "dropping a reader unpins its version"]
pub struct TrustingReader {
    reader: Reader,
}

impl TrustingReader {
    /// The newest value's bytes, where they lie; `None` where there is no value.
    ///
    /// # Errors
    ///
    /// As for [`Reader::load`].
    #[inline]
    pub fn load(&mut self) -> Result<Option<&[u8]>> {
        let words = self.reader.words;
        Ok(self.reader.load()?.map(|snapshot| {
            // SAFETY: the caller of `trust_writers` guaranteed what this needs.
            unsafe { snapshot.bytes(words) }
        }))
    }

    /// Whether what was loaded last is `version`, is still the newest and never expires.
    #[cfg(feature = "rkyv")]
    #[inline]
    pub(crate) fn stands_at(&self, version: u64) -> bool {
        let word = self.reader.words.current().load(Ordering::Acquire);
        self.reader.stands(word, Header::is_readable_always)
            && self.reader.last.as_ref().is_some_and(|last| last.version() == version)
    }

    /// What was loaded last, and its bytes.
    #[cfg(feature = "rkyv")]
    #[inline]
    pub(crate) fn last(&self) -> Option<(&Snapshot, &[u8])> {
        self.reader.last.as_ref().map(|snapshot| {
            // SAFETY: as in `load`.
            (snapshot, unsafe { snapshot.bytes(self.reader.words) })
        })
    }

    /// The newest version as a snapshot that outlives the next load.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// # let mut writer = cell.try_writer()?.expect("nobody else writes");
    /// # writer.publish(b"old")?;
    /// # // SAFETY: nobody else can open this map, and this process writes only through the library.
    /// # let mut reader = unsafe { cell.reader().trust_writers() };
    /// let held = reader.hold()?.expect("there is a value");
    /// writer.publish(b"new")?;
    /// assert_eq!((&*held, reader.load()?), (b"old".as_slice(), Some(b"new".as_slice())));
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Reader::load`].
    pub fn hold(&mut self) -> Result<Option<TrustedSnapshot>> {
        Ok(self.reader.load()?.cloned().map(TrustedSnapshot))
    }

    /// The newest version; 0: nothing was stored yet. One load.
    pub fn version(&self) -> u64 {
        self.reader.version()
    }
}

/// A [`Snapshot`] that lends its bytes: `Deref` to `[u8]`. See [`TrustingReader::hold`].
///
/// `Debug` shows the same as the snapshot's, never the bytes.
#[derive(Clone, Debug)]
#[must_use = "dropping a snapshot releases its pin"]
pub struct TrustedSnapshot(Snapshot);

const _: () = is_send_and_sync::<(TrustingReader, TrustedSnapshot)>();

impl TrustedSnapshot {
    /// The subject of its cell.
    pub fn snapshot(&self) -> &Snapshot {
        &self.0
    }
}

impl Deref for TrustedSnapshot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the reader that made this came from `trust_writers`, whose caller guaranteed what this
        // needs.
        unsafe { self.0.bytes(self.0.pin.shared.words) }
    }
}
