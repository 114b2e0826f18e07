//! The cell: one value in a map, replaced as a whole, read without waiting, whoever crashes.
//!
//! Knows bytes and versions, no types and no names. `protocol` says how, `layout` where everything lies, `words`
//! touches the memory, `shared` is what a handle keeps of it; this file is the face. Stands on `map`; `mapper` stands on it.

mod layout;
#[cfg(all(test, handover_model))]
mod model;
mod protocol;
#[cfg(not(handover_model))]
mod reader;
#[cfg(not(handover_model))]
mod shared;
mod sync;
#[cfg(all(feature = "tokio", not(handover_model)))]
mod waiting;
#[cfg(not(handover_model))]
mod words;
#[cfg(not(handover_model))]
mod writer;

#[cfg(not(handover_model))]
pub(crate) use self::layout::{MARK, is_marked};

#[cfg(not(handover_model))]
pub use self::face::{Cell, CellInfo, CellOptions};
#[cfg(not(handover_model))]
pub use self::reader::{Reader, Snapshot, TrustedSnapshot, TrustingReader, Value};
#[cfg(all(feature = "tokio", not(handover_model)))]
pub(crate) use self::waiting::Waiter;
#[cfg(not(handover_model))]
pub use self::writer::{SlotBuffer, Writer};

/// What is stored with a version beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta<'a> {
    /// The codec's number; 0: bytes of no codec.
    pub codec: u32,
    /// The name of the value's type, at most 256 bytes.
    pub type_name: Option<&'a str>,
    /// When the value becomes unreadable, in nanoseconds since 1970-01-01 UTC; 0: never.
    pub expires: u64,
}

/// What a published version survives, for cells on files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The end of every process: the system writes the file when it sees fit. After a power loss the newest
    /// version that reached the disk whole is current.
    #[default]
    None,
    /// The same, and the system starts writing at once.
    Flush,
    /// The loss of power: publishing returns when the version is on the disk. Such a version stays there until a
    /// newer one is, also when handles without this durability publish in between.
    ///
    /// This relies on a disk that keeps what it said it has, and that writes an aligned word of 8 bytes whole.
    Sync,
}

#[cfg(not(handover_model))]
mod face {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant, SystemTime};

    use super::layout::{FLAG_CHECKSUMS, HEAD, HEADERS_END, Layout, SLOTS_AT};
    use super::protocol::{self, Current, Memory};
    use super::shared::{BAD_LENGTH, SLEEP_LIMIT, Shared};
    use super::{Durability, Reader, Value, Writer};
    use crate::error::{Error, Result, Subject};
    use crate::map::{Access, MapOptions, MemoryMappedFile, OpenMode};
    use crate::sys;

    /// How long making a cell waits for another process that is making it.
    const CREATE_LIMIT: Duration = Duration::from_secs(10);

    /// How long a waiter watches the word before it sleeps. Waking a sleeper costs tens of microseconds, so a
    /// version that comes within this is had for less.
    const SPIN: Duration = Duration::from_micros(20);

    /// Options of a [`Cell`].
    #[derive(Clone, Debug, Default)]
    #[must_use]
    pub struct CellOptions {
        durability: Durability,
        secret: bool,
    }

    impl CellOptions {
        /// The defaults: no durability beyond the processes', no secret.
        pub fn new() -> Self {
            Self::default()
        }

        /// What a published version survives, for cells on files.
        pub fn durability(mut self, durability: Durability) -> Self {
            self.durability = durability;
            self
        }

        /// Keeps the cell's pages out of swap and core dumps, and wipes a version's bytes once it is replaced
        /// and nobody reads it.
        pub fn secret(mut self, secret: bool) -> Self {
            self.secret = secret;
            self
        }

        /// Makes a cell of a map whose first 16 KiB are zero, or opens the cell that is in it. A cell on a file
        /// whose making was cut short by a crash is completed.
        ///
        /// On a file, and with write access, this and [`open`](Self::open) recover from a crash of the machine:
        /// the newest version that is whole becomes the current one. See [`Cell::dropped`].
        ///
        /// # Errors
        ///
        /// `OutOfRange` for a map that is too small; `TimedOut` where there is something to recover and another
        /// process stays the writer; those of [`open`](Self::open).
        pub fn create(&self, map: MemoryMappedFile) -> Result<Cell> {
            self.attach(map, true)
        }

        /// Opens the cell in a map.
        ///
        /// # Errors
        ///
        /// `WrongKind` where there is none, or one of another layout or byte order: it says what was found.
        /// `Corrupt` where the newest version is not whole and the map can't be written.
        pub fn open(&self, map: MemoryMappedFile) -> Result<Cell> {
            self.attach(map, false)
        }

        /// A cell under `name`, for values of up to `capacity` bytes; an existing one keeps its capacity. The
        /// capacity costs address space: memory is taken as values are stored.
        pub fn create_named(&self, name: &str, capacity: u64, map: &MapOptions) -> Result<Cell> {
            let (map, size) = map_for_cell(capacity, map)?;
            self.create(map.create_or_open(name, size)?)
        }

        /// As [`create_named`](Self::create_named), where the name must have no holder.
        pub fn create_new_named(&self, name: &str, capacity: u64, map: &MapOptions) -> Result<Cell> {
            let (map, size) = map_for_cell(capacity, map)?;
            self.create(map.create_new(name, size)?)
        }

        /// A cell in the file at `path`, which is created if it does not exist.
        pub fn create_on_file(&self, path: &Path, capacity: u64, map: &MapOptions) -> Result<Cell> {
            let layout = Layout::for_values(capacity, FLAG_CHECKSUMS)?;
            let length = std::fs::metadata(path).map_or(0, |file| file.len());
            let size = if length == 0 { layout.map_size() } else { 0 };
            let options = map.clone().open_mode(OpenMode::OpenOrCreate).delay_allocate_pages(true);
            self.create(options.create_from_file(path, size)?)
        }

        fn attach(&self, map: MemoryMappedFile, create: bool) -> Result<Cell> {
            // Who makes a cell looks at all that comes before the slots.
            let ready = if create { SLOTS_AT } else { HEADERS_END } as u64;
            let view = match map.create_sparse_accessor(ready, Access::ReadWrite) {
                Err(Error::AccessDenied { .. }) if !create => {
                    map.create_sparse_accessor(ready, Access::Read)?
                }
                other => other?,
            };
            if view.capacity() < SLOTS_AT as u64 {
                let mut first = [0; HEAD];
                let count = view.read_bytes(0, &mut first)?;
                if create && first[..count].iter().all(|byte| *byte == 0) {
                    // Says how large it must be.
                    Layout::for_map(map.capacity(), 0)?;
                }
                return Err(Error::wrong_kind(
                    map.subject().clone(),
                    format!(
                        "a cell was expected; a map of {} bytes is too small to be one: it may be in the \
                         plain layout (open it as plain; on the command line: --plain)",
                        map.capacity()
                    ),
                ));
            }
            let mut head = [0; HEAD];
            view.read_bytes(0, &mut head)?;
            let flags = if map.is_on_file() { FLAG_CHECKSUMS } else { 0 };
            let unfinished = match Layout::for_map(map.capacity(), flags) {
                Ok(layout) if layout.is_unfinished(&head) => Some(layout),
                Err(error) if create && head == [0; HEAD] => return Err(error),
                _ => None,
            };
            if unfinished.is_some() && !create {
                return Err(Layout::unfinished(map.subject()));
            }
            let layout = match unfinished {
                Some(layout) => layout,
                None => Layout::read(&head, map.capacity(), map.subject())?,
            };
            if self.secret {
                view.keep_secret()?;
            }
            let is_on_file = map.is_on_file();
            let mut shared = Shared::new(map, view, layout, self.durability, self.secret);
            if unfinished.is_some() {
                poll_for_lock(&shared, || Ok(false))?;
                let made = shared.make();
                shared.unlock_alone();
                made?;
            }
            if self.durability == Durability::Sync && is_on_file && shared.can_write {
                shared.flush_file()?;
            }
            let shared = Arc::new(shared);
            let dropped = recover_from_power_loss(&shared)?;
            Ok(Cell { shared, dropped })
        }
    }

    /// Takes the writers' lock to look after the cell, unless `enough` says that this is not needed.
    fn poll_for_lock(shared: &Shared, mut enough: impl FnMut() -> Result<bool>) -> Result<bool> {
        sys::poll(
            CREATE_LIMIT,
            || format!("the writers' lock of {}: another process has it", shared.map.subject()),
            || Ok(if shared.try_lock_alone()? { Some(true) } else { enough()?.then_some(false) }),
        )
    }

    /// The map options of a cell, and the map's size: pages are taken as they are needed, but for those before the
    /// headers' end.
    fn map_for_cell(capacity: u64, map: &MapOptions) -> Result<(MapOptions, u64)> {
        let layout = Layout::for_values(capacity, 0)?;
        let mut options = map.clone().delay_allocate_pages(true);
        options.head = vec![0; HEADERS_END];
        options.head[..HEAD].copy_from_slice(&layout.head());
        Ok((options, layout.map_size()))
    }

    /// For cells on files: makes sure that the current version is whole. Gives the version that was dropped.
    fn recover_from_power_loss(shared: &Shared) -> Result<Option<u64>> {
        if !shared.layout.has_checksums() {
            return Ok(None);
        }
        if !shared.can_write {
            if shared.is_current_whole()? {
                return Ok(None);
            }
            return Err(shared
                .corrupt("the newest version is not whole; open it once with write access, which recovers"));
        }
        // Who writes has recovered the cell before, but who has the lock may be at it just now.
        if !poll_for_lock(shared, || shared.is_current_whole())? {
            return Ok(None);
        }
        let dropped = shared.recover_newest_whole();
        if dropped.is_err() {
            shared.unlock_alone();
        } else {
            shared.tidy();
            shared.unlock_writer();
        }
        dropped
    }

    /// One value in a map, replaced as a whole: each replacement is a version.
    ///
    /// ```
    /// use handover::{Cell, MemoryMappedFile};
    ///
    /// let cell = Cell::create(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// let mut reader = cell.reader();
    /// assert!(reader.load()?.is_none());
    ///
    /// let mut writer = cell.try_writer()?.expect("nobody else writes");
    /// assert_eq!(writer.publish(b"first")?, 1);
    /// assert_eq!(reader.load()?.unwrap().to_vec()?.as_slice(), b"first");
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// Readers never wait, for writers, for each other, or for anything that died; writers never wait for
    /// readers. Up to 62 snapshots can be held at a time, over all processes; a reader holds the last one that
    /// it loaded, and while less than half of the 62 were ever in use, a handle may keep two that it let go.
    #[derive(Clone, Debug)]
    pub struct Cell {
        pub(super) shared: Arc<Shared>,
        dropped: Option<u64>,
    }

    /// What can be told of a cell without its value.
    #[derive(Clone, Debug)]
    #[non_exhaustive]
    pub struct CellInfo {
        /// The newest version; 0: nothing was stored yet.
        pub version: u64,
        /// Bytes of the newest value; `None` where there is none: not yet, cleared, taken or expired.
        pub length: Option<u64>,
        /// The number of its codec.
        pub codec: u32,
        /// The name of its type, if it was stored with one.
        pub type_name: Option<String>,
        /// When it was written, in nanoseconds since 1970-01-01 UTC.
        pub written: u64,
        /// When it expires, likewise; 0: never.
        pub expires: u64,
        /// The most bytes that a value may have.
        pub capacity: u64,
        /// Bytes that have memory.
        pub reserved: u64,
        /// Entries of living readers, this handle's left out.
        pub readers: usize,
        /// Whether a handle that wrote lives, this one left out.
        pub has_writer: bool,
    }

    impl Cell {
        /// See [`CellOptions::create`].
        pub fn create(map: MemoryMappedFile) -> Result<Self> {
            CellOptions::new().create(map)
        }

        /// See [`CellOptions::open`].
        pub fn open(map: MemoryMappedFile) -> Result<Self> {
            CellOptions::new().open(map)
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

        /// The map below.
        pub fn map(&self) -> &MemoryMappedFile {
            &self.shared.map
        }

        /// What the map is called, for messages.
        pub fn subject(&self) -> &Subject {
            self.shared.map.subject()
        }

        /// Whether this handle can write, and its readers pin.
        pub fn can_write(&self) -> bool {
            self.shared.can_write
        }

        /// The newest version that opening this handle found and could not use, because the machine crashed
        /// before all of it reached the disk, or because the file was damaged; an older one, or none, is current
        /// now. For cells on files; `None` where nothing was dropped.
        ///
        /// With [`Durability::Sync`] that is never a version that publishing returned for. Its number is given
        /// again.
        pub fn dropped(&self) -> Option<u64> {
            self.dropped
        }

        /// A reader. It takes one of the 62 entries when it first pins a version.
        pub fn reader(&self) -> Reader {
            Reader::new(self.shared.clone())
        }

        /// Copies the newest value without pinning it; `None` where there is none.
        ///
        /// # Errors
        ///
        /// `Overtaken` where writers were faster 64 times in a row; `Corrupt`; `ClockWentBack`.
        pub fn copy(&self) -> Result<Option<Value>> {
            super::reader::copy(&self.shared)
        }

        /// Becomes the writer, if there is no other.
        ///
        /// # Errors
        ///
        /// `Unsupported` on a handle that can't write.
        pub fn try_writer(&self) -> Result<Option<Writer>> {
            if !self.shared.try_lock_writer()? {
                return Ok(None);
            }
            let writer = Writer::new(self.shared.clone());
            self.shared.be_present()?;
            Ok(Some(writer))
        }

        /// Becomes the writer, waiting up to `limit` while another one is.
        ///
        /// # Errors
        ///
        /// `TimedOut`; `Unsupported` on a handle that can't write.
        pub fn writer_timeout(&self, limit: Duration) -> Result<Writer> {
            sys::poll(
                limit,
                || format!("the writers' lock of {}: another process is its writer", self.subject()),
                || self.try_writer(),
            )
        }

        /// Waits for a version newer than `than`, and gives it.
        ///
        /// Watches for 20 µs, then sleeps. A publisher that dies between publishing and waking delays this by
        /// at most 100 ms. A handle that can't write can't announce that it sleeps: it looks every 1 to 10 ms.
        ///
        /// # Errors
        ///
        /// `TimedOut` after `limit`.
        pub fn wait_newer(&self, than: u64, limit: Duration) -> Result<u64> {
            let waited = self.wait(than, limit, false)?;
            Ok(waited.unwrap_or_else(|| unreachable!("waits for versions only")))
        }

        /// As [`wait_newer`](Self::wait_newer); `None` once no handle that ever wrote lives and there is
        /// nothing newer. Handles of this process count, this one and its clones don't.
        pub fn wait_newer_while_written(&self, than: u64, limit: Duration) -> Result<Option<u64>> {
            self.wait(than, limit, true)
        }

        fn wait(&self, than: u64, limit: Duration, while_written: bool) -> Result<Option<u64>> {
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
            let mut pause = Duration::from_millis(1);
            loop {
                let seen = shared.current().load(Ordering::Acquire);
                if let Some(version) = newer(seen) {
                    return Ok(Some(version));
                }
                if while_written && !shared.has_writer()? {
                    // It may have published just before it went.
                    return Ok(newer(shared.current().load(Ordering::Acquire)));
                }
                let left = limit.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Err(Error::TimedOut {
                        waiting_for: format!("a version newer than {than} in {}", self.subject()),
                        after: limit,
                    });
                }
                if !shared.can_write {
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(Duration::from_millis(10));
                } else if protocol::prepare_sleep(&shared.words, seen) {
                    sys::sleep_on(shared.sleep_word(), seen as u32, left.min(SLEEP_LIMIT));
                }
            }
        }

        /// Whether a value that was read before has expired since.
        #[inline]
        pub(crate) fn has_expired(&self, written: SystemTime, expires: Option<SystemTime>) -> Result<bool> {
            let Some(expires) = expires else { return Ok(false) };
            self.shared.has_expired(sys::nanoseconds(written), sys::nanoseconds(expires))
        }

        /// A place in the line of the thread that waits for all tasks of the process.
        #[cfg(feature = "tokio")]
        pub(crate) fn waiter(&self) -> super::Waiter {
            super::Waiter::new(self.shared.clone())
        }

        /// What can be told without the value.
        pub fn info(&self) -> Result<CellInfo> {
            let shared = &*self.shared;
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

        /// Removes the value if it has expired, where that can be done without waiting. Says whether it did.
        pub(crate) fn remove_expired(&self) -> Result<bool> {
            if !self.shared.can_write {
                return Ok(false);
            }
            // Looked at first: who asks for a value that is not there keeps no writer waiting.
            match protocol::copy(&self.shared.words, |current| self.shared.header(current.slot())) {
                Ok((_, Some(header))) if !header.is_empty() && self.shared.is_expired(&header)? => {}
                _ => return Ok(false),
            }
            if self.shared.try_lock_writer()? {
                return Writer::new(self.shared.clone()).remove_expired();
            }
            Ok(false)
        }
    }
}
