//! A handle of a cell: what it gives at once, and waiting for what is to come.
//!
//! `options` makes it, `reader` and `writer` do what it hands out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::holders::{self, Holder};
use super::protocol::{self, Current, Memory};
use super::reader::{self, Reader};
use super::shared::{SLEEP_LIMIT, Shared};
use super::terms::is_send_and_sync;
use super::value::Value;
#[cfg(feature = "async")]
use super::waiting::Waiter;
use super::writer::Writer;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::map::MemoryMappedFile;
use crate::sys;
use crate::terms::Subject;

/// How long a waiter watches the word before it sleeps. Waking a sleeper costs tens of microseconds, so a
/// version that comes within this time is cheaper to await awake.
const SPIN: Duration = Duration::from_micros(20);

/// One value in a map, replaced as a whole: each replacement is a version.
///
/// ```
/// use handover::cell::Cell;
/// use handover::map::MemoryMappedFile;
///
/// let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
/// let mut reader = cell.reader();
/// assert!(reader.load()?.is_none());
///
/// let mut writer = cell.try_writer()?.expect("nobody else writes");
/// assert_eq!(writer.publish(b"first")?, 1);
/// assert_eq!(reader.load()?.unwrap().copy()?.as_slice(), b"first");
/// # Ok::<(), handover::Error>(())
/// ```
///
/// Readers never wait, for writers, for each other, or for anything that died; writers never wait for
/// readers. Up to 62 snapshots can be held at a time, over all processes; a reader holds the last one that
/// it loaded, and while less than half of the 62 were ever in use, a handle may keep two that it let go.
///
/// Clones are the same handle; the map and its name live until the last of them, and of its readers, writers
/// and snapshots, is dropped.
///
/// Somebody may take the name's file away meanwhile: a cleaner, a log-out, an `rm`. Then nobody finds this
/// map any more. Whoever writes, reads a version that it has not seen, or waits is told so: with `NameLost`,
/// within 100 ms; from then on everything fails but reading again what was read before. Snapshots keep their
/// bytes.
#[derive(Clone)]
#[must_use = "its name is gone as soon as its last handle is dropped"]
pub struct Cell {
    pub(super) shared: Arc<Shared>,
    dropped: Option<u64>,
}

const _: () = is_send_and_sync::<Cell>();

impl Cell {
    pub(super) fn new(shared: Arc<Shared>, dropped: Option<u64>) -> Self {
        Self { shared, dropped }
    }

    /// The most bytes that a value may have.
    pub fn capacity(&self) -> u64 {
        self.shared.layout.value_capacity
    }

    /// The newest version; 0: nothing was stored yet. One load.
    #[inline]
    pub fn version(&self) -> u64 {
        Current(self.shared.current().load(Ordering::Acquire)).version()
    }

    /// How many versions this handle and its clones have published, and the one that they are about to.
    pub(crate) fn published(&self) -> u64 {
        self.shared.published.load(Ordering::Acquire)
    }

    /// The map below.
    pub fn map(&self) -> &MemoryMappedFile {
        &self.shared.map
    }

    /// What the map is called, for messages.
    pub fn subject(&self) -> &Subject {
        self.shared.map.subject()
    }

    /// Fails if the map's name has been lost: its file was deleted, moved or replaced, so that whoever opens
    /// the name finds another map, or none. See [`MemoryMappedFile::check_name`].
    ///
    /// ```
    /// use handover::cell::Cell;
    ///
    /// # let name = &format!("check_name in the docs {}", std::process::id());
    /// let cell = Cell::create_or_open(name)?;
    /// cell.check_name()?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NameLost`.
    pub fn check_name(&self) -> Result<()> {
        self.shared.map.check_name()
    }

    /// Whether this handle can write, and its readers pin.
    pub fn can_write(&self) -> bool {
        self.shared.can_write
    }

    /// The newest version that opening this handle found and could not use, because the machine crashed
    /// before all of it reached the disk, or because the file was damaged; an older one, or none, is current
    /// now. For cells on files; `None` where nothing was dropped.
    ///
    /// With [`Durability::Sync`](crate::Durability::Sync) that is never a version that publishing returned
    /// for. Its number is used again.
    pub fn dropped(&self) -> Option<u64> {
        self.dropped
    }

    /// A reader. It takes one of the 62 entries when it first pins a version.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// # cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// let mut reader = cell.reader();
    /// let snapshot = reader.load()?.expect("there is a value");
    /// assert_eq!((snapshot.version(), snapshot.len()), (1, 5));
    /// # Ok::<(), handover::Error>(())
    /// ```
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// Copies the newest value; `None` where there is none. It is pinned meanwhile only where writers were
    /// faster than the copy 64 times in a row.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// assert!(cell.copy()?.is_none());
    /// cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// assert_eq!(cell.copy()?.expect("it was just stored").bytes.as_slice(), b"hello");
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Overtaken` on a handle that can't write, and so can't pin, where writers were that fast; `Corrupt`;
    /// `ClockWentBack`; `NoSpace` where there is no memory for the copy; `NameLost`.
    pub fn copy(&self) -> Result<Option<Value>> {
        match reader::copy(&self.shared) {
            Err(error) if error.kind() == ErrorKind::Overtaken && self.can_write() => self.reader().copy(),
            other => other,
        }
    }

    /// Becomes the writer, if there is no other.
    ///
    /// ```
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// let writer = cell.try_writer()?.expect("nobody else writes");
    /// assert!(cell.try_writer()?.is_none());
    /// drop(writer);
    /// assert!(cell.try_writer()?.is_some());
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `AccessDenied` on a handle that can't write; `NameLost`.
    pub fn try_writer(&self) -> Result<Option<Writer>> {
        self.lock_writer().map_err(|error| error.about(self.subject()))
    }

    fn lock_writer(&self) -> Result<Option<Writer>> {
        self.shared.map.check_name_if_due()?;
        if !self.shared.try_lock_writer()? {
            return Ok(None);
        }
        let writer = Writer::new(self.shared.clone());
        self.shared.be_present()?;
        Ok(Some(writer))
    }

    /// Becomes the writer, waiting up to `limit` while another one is.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    ///
    /// let mut writer = cell.writer_timeout(Duration::from_secs(1))?;
    /// assert_eq!(writer.publish(b"hello")?, 1);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut`; `AccessDenied` on a handle that can't write; `NameLost`.
    pub fn writer_timeout(&self, limit: Duration) -> Result<Writer> {
        let waiting_for = || format!("the writers' lock, which {}", holders::holder(&self.shared).describe());
        Backoff::LOCK
            .poll(limit, waiting_for, || self.try_writer())
            .map_err(|error| error.about(self.subject()))
    }

    /// Whether the thread that asks has the writers' lock itself: it would wait in vain.
    pub(crate) fn is_written_by_this_thread(&self) -> bool {
        holders::holder(&self.shared) == Holder::ThisThread
    }

    /// Waits for a version newer than `than`, and gives it.
    ///
    /// Watches for 20 µs, then sleeps. A publisher that dies between publishing and waking delays this by
    /// at most 100 ms. A handle that can't write can't announce that it sleeps: it polls every 1 to 10 ms.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    ///
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| cell.try_writer()?.expect("nobody else writes").publish(b"news"));
    ///     let version = cell.wait_newer(0, Duration::from_secs(10))?;
    ///     assert_eq!(version, 1);
    ///     # Ok::<(), handover::Error>(())
    /// })?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut` after `limit`; `NameLost`, within 100 ms, where the map's file was taken from its name.
    pub fn wait_newer(&self, than: u64, limit: Duration) -> Result<u64> {
        let waited = self.wait_unless(than, limit, || Ok(false))?;
        Ok(waited.unwrap_or_else(|| unreachable!("waits for versions only")))
    }

    /// As [`wait_newer`](Self::wait_newer); `None` once no handle that ever wrote lives and there is
    /// nothing newer. Handles of this process count, this one and its clones don't.
    ///
    /// # Errors
    ///
    /// `TimedOut` after `limit`; `NameLost`.
    pub fn wait_newer_while_written(&self, than: u64, limit: Duration) -> Result<Option<u64>> {
        self.wait_unless(than, limit, || self.has_writer().map(|lives| !lives))
    }

    /// Whether a handle that ever wrote lives, other than this one and its clones.
    ///
    /// ```
    /// use handover::cell::Cell;
    ///
    /// # let name = &format!("has_writer in the docs {}", std::process::id());
    /// let producer = Cell::create_or_open(name)?;
    /// let consumer = Cell::open_existing(name)?;
    /// assert!(!consumer.has_writer()?);
    /// producer.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// assert!(consumer.has_writer()?);
    /// drop(producer);
    /// assert!(!consumer.has_writer()?);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Io` where the system can't say who holds a lock; `NameLost`.
    pub fn has_writer(&self) -> Result<bool> {
        if self.shared.map.has_ended_if_due()? {
            return Ok(false);
        }
        self.shared.has_writer().map_err(|error| error.about(self.subject()))
    }

    /// Waits until a handle that ever wrote lives, other than this one and its clones. A handle becomes one
    /// that wrote when it first has the writers' lock; that is noticed within 100 ms.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::ErrorKind;
    /// use handover::cell::Cell;
    ///
    /// # let name = &format!("wait_for_writer in the docs {}", std::process::id());
    /// let consumer = Cell::create_or_open(name)?;
    /// let error = consumer.wait_for_writer(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    ///
    /// let producer = Cell::open_existing(name)?;
    /// producer.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// consumer.wait_for_writer(Duration::ZERO)?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut` after `limit`; `NameLost`.
    pub fn wait_for_writer(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while !self.has_writer()? {
            let left = limit.saturating_sub(start.elapsed());
            match self.wait_unless(self.version(), left, || self.has_writer()) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(Error::timed_out("a writer", limit).about(self.subject()));
                }
                other => other?,
            };
        }
        Ok(())
    }

    /// Waits for a value whose version is newer than `than`, and copies it. Versions that hold no value
    /// (cleared, taken or expired) are passed over.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use handover::cell::Cell;
    /// # use handover::map::MemoryMappedFile;
    /// # let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    ///
    /// cell.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    /// let value = cell.wait_value(0, Duration::from_secs(1))?;
    /// assert_eq!(value.bytes.as_slice(), b"hello");
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut` after `limit`, which may be 0; those of [`copy`](Self::copy).
    pub fn wait_value(&self, than: u64, limit: Duration) -> Result<Value> {
        let start = Instant::now();
        loop {
            let seen = self.version();
            if seen > than
                && let Some(value) = self.copy()?
                && value.version > than
            {
                return Ok(value);
            }
            let left = limit.saturating_sub(start.elapsed());
            let newer = self.wait_unless(seen.max(than), left, || Ok(false));
            if newer.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
                // The whole time, not what was left of it.
                return Err(Error::timed_out(format!("a value newer than version {than}"), limit)
                    .about(self.subject()));
            }
            newer?;
        }
    }

    /// Waits for a version newer than `than`; gives `None` once `ends` and there is nothing newer. It asks
    /// `ends` whenever it looks, which is 100 ms apart at most, and as often whether the name is lost.
    pub(crate) fn wait_unless(
        &self,
        than: u64,
        limit: Duration,
        ends: impl Fn() -> Result<bool>,
    ) -> Result<Option<u64>> {
        let shared = &*self.shared;
        let start = Instant::now();
        let newer = |word: u64| Some(Current(word).version()).filter(|version| *version > than);
        // At first many looks between two looks at the clock.
        loop {
            for _ in 0..64 {
                if let Some(version) = newer(shared.current().load(Ordering::Acquire)) {
                    return Ok(Some(version));
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= SPIN.min(limit) {
                break;
            }
        }
        let mut backoff = Backoff::UNMARKED;
        loop {
            let seen = shared.current().load(Ordering::Acquire);
            if let Some(version) = newer(seen) {
                return Ok(Some(version));
            }
            let has_ended = shared.map.has_ended_if_due()?;
            if ends()? {
                // A writer that was told that the name is lost has gone; so was this one.
                shared.map.has_ended()?;
                // The last writer may have published just before it went.
                return Ok(newer(shared.current().load(Ordering::Acquire)));
            }
            if has_ended {
                // Nobody who could publish can come.
                shared.map.check_name()?;
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(
                    Error::timed_out(format!("a version newer than {than}"), limit).about(self.subject())
                );
            }
            if !shared.can_write {
                std::thread::sleep(backoff.next(left));
            } else if protocol::prepare_sleep(&shared.words, seen) {
                let limit = shared.map.next_look().unwrap_or(SLEEP_LIMIT).min(SLEEP_LIMIT);
                sys::sleep_on(shared.current(), seen, left.min(limit));
            }
        }
    }

    /// Has all who wait look again: a thread of this process that is to end is among them.
    pub(crate) fn nudge(&self) {
        // One that can't write can't sleep on the word either.
        if self.can_write() {
            self.shared.wake();
        }
    }

    /// Whether a value that was read before has expired since.
    #[inline]
    pub(crate) fn has_expired(&self, written: SystemTime, expires: Option<SystemTime>) -> Result<bool> {
        let Some(expires) = expires else { return Ok(false) };
        self.shared.has_expired(sys::nanoseconds(written), sys::nanoseconds(expires))
    }

    /// A place in the line of the thread that waits for all tasks of the process.
    #[cfg(feature = "async")]
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter::new(self.shared.clone())
    }

    /// Removes and wipes the value if it has expired, where that can be done without waiting. Whether it did.
    ///
    /// An expired value can't be read in any case: this gives its memory back, and leaves no secret behind.
    ///
    /// # Errors
    ///
    /// `ClockWentBack`; `NoSpace`; `NameLost`.
    pub fn remove_expired(&self) -> Result<bool> {
        if !self.shared.can_write {
            return Ok(false);
        }
        self.shared.map.check_name_if_due()?;
        // Looked at first: asking for a value that is not there keeps no writer waiting.
        match protocol::copy(&self.shared.words, |current| self.shared.header(current.slot())) {
            Ok((_, Some(header))) if !header.is_empty() && self.shared.is_expired(&header)? => {}
            _ => return Ok(false),
        }
        if self.shared.try_lock_writer().map_err(|error| error.about(self.subject()))? {
            return Writer::new(self.shared.clone()).remove_expired();
        }
        Ok(false)
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("subject", self.subject())
            .field("version", &self.version())
            .field("capacity", &self.capacity())
            .field("can_write", &self.can_write())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{MapOptions, MemoryMappedFile};

    const SECRET: &[u8] = b"the secret";

    /// A handle that writes a map that others see, and one that only reads it.
    fn both(name: &str) -> (Cell, Cell, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("handover-{name}-{}", std::process::id()));
        let written = Cell::create_new(&path).unwrap();
        let read_only = MapOptions::new().access(crate::terms::Access::Read);
        let read = Cell::open_in(read_only.open_existing(&path).unwrap()).unwrap();
        (written, read, path)
    }

    #[test]
    fn debug_shows_no_value() {
        let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20).unwrap()).unwrap();
        let mut writer = cell.try_writer().unwrap().unwrap();
        let mut shown = Vec::new();
        writer
            .publish_with(SECRET.len(), |buffer| {
                std::io::Write::write_all(buffer, SECRET)?;
                shown.push(format!("{buffer:?}"));
                Ok(())
            })
            .unwrap();
        let value = cell.copy().unwrap().unwrap();
        let mut reader = cell.reader();
        let snapshot = reader.load().unwrap().unwrap().clone();
        // SAFETY: this process alone knows the map, and writes nothing more.
        let mut trusting = unsafe { cell.reader().trust_writers() };
        let trusted = trusting.hold().unwrap().unwrap();
        shown.push(format!("{value:?} {reader:?} {snapshot:?} {trusting:?} {trusted:?}"));
        shown.push(format!("{value:#?} {cell:?} {writer:?} {:?}", cell.info()));
        let bytes = format!("{SECRET:?}");
        for shown in shown {
            assert!(!shown.contains("secret") && !shown.contains(&bytes[1..bytes.len() - 1]), "{shown}");
            assert!(shown.contains("10"), "the length is not shown: {shown}");
        }
    }

    #[test]
    fn a_handle_that_only_reads_is_denied_writing_and_pinning() {
        let (written, read, path) = both("read-only");
        let _ = written.try_writer().unwrap().unwrap().publish(SECRET);
        let denied = [
            read.try_writer().map(|_| ()).unwrap_err(),
            read.writer_timeout(Duration::ZERO).map(|_| ()).unwrap_err(),
            read.reader().load().map(|_| ()).unwrap_err(),
        ];
        for error in denied {
            assert_eq!((error.kind(), error.subject()), (ErrorKind::AccessDenied, Some(read.subject())));
        }
        assert_eq!(read.copy().unwrap().unwrap().bytes.as_slice(), SECRET);
        assert!(!read.remove_expired().unwrap());
        // Windows removes no file that is mapped.
        drop((written, read));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_waited_for_in_vain_is_said_with_its_map() {
        let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20).unwrap()).unwrap();
        let _writer = cell.try_writer().unwrap().unwrap();
        let errors = [
            cell.wait_newer(3, Duration::ZERO).unwrap_err(),
            cell.wait_value(3, Duration::ZERO).unwrap_err(),
            cell.clone().writer_timeout(Duration::ZERO).unwrap_err(),
        ];
        for error in errors {
            assert_eq!((error.kind(), error.subject()), (ErrorKind::TimedOut, Some(&Subject::Anonymous)));
        }
    }

    #[test]
    fn a_value_is_waited_for_past_versions_without_one() {
        let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20).unwrap()).unwrap();
        let mut writer = cell.try_writer().unwrap().unwrap();
        writer.publish(b"one").unwrap();
        writer.clear().unwrap();
        assert!(cell.wait_value(0, Duration::ZERO).is_err());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| cell.wait_value(1, Duration::from_secs(10)));
            writer.publish(b"two").unwrap();
            assert_eq!(waiter.join().unwrap().unwrap().bytes.as_slice(), b"two");
        });
    }
}
