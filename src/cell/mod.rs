//! The cell: one value in a map, replaced as a whole, read without waiting, whoever crashes.
//!
//! Knows bytes and versions, no types and no names. `protocol` says how, `layout` where everything lies,
//! `shared` touches the memory; this file is the face. Stands on `map`; `mapper` stands on it.

mod layout;
#[cfg(all(test, loom))]
mod model;
mod protocol;
#[cfg(not(loom))]
mod reader;
#[cfg(not(loom))]
mod shared;
mod sync;
#[cfg(all(feature = "tokio", not(loom)))]
mod waiting;
#[cfg(not(loom))]
mod writer;

#[cfg(not(loom))]
pub use self::face::{Cell, CellInfo, CellOptions};
#[cfg(not(loom))]
pub(crate) use self::layout::MAGIC;
#[cfg(not(loom))]
pub use self::reader::{Reader, Snapshot, TrustedSnapshot, TrustingReader, Value};
#[cfg(all(feature = "tokio", not(loom)))]
pub(crate) use self::waiting::Waiter;
#[cfg(not(loom))]
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
    /// The loss of power: publishing returns when the version is on the disk.
    Sync,
}

#[cfg(not(loom))]
mod face {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use super::layout::{FLAG_CHECKSUMS, HEAD, Layout, MAGIC, SLOTS_AT};
    use super::protocol::{self, Current, Memory};
    use super::shared::{SLEEP_LIMIT, Shared};
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

        /// Makes a cell of a map that is all zeroes, or opens the cell that is in it.
        ///
        /// # Errors
        ///
        /// `OutOfRange` for a map that is too small; those of [`open`](Self::open).
        pub fn create(&self, map: MemoryMappedFile) -> Result<Cell> {
            self.attach(map, true)
        }

        /// Opens the cell in a map.
        ///
        /// # Errors
        ///
        /// `WrongKind` where there is none, or one of another layout or byte order: it says what was found.
        pub fn open(&self, map: MemoryMappedFile) -> Result<Cell> {
            self.attach(map, false)
        }

        /// A cell under `name`, for values of up to `capacity` bytes; an existing one keeps its capacity. The
        /// capacity costs address space: memory is taken as values are stored.
        pub fn create_named(&self, name: &str, capacity: u64, map: &MapOptions) -> Result<Cell> {
            self.create(map_for_cell(capacity, map)?.create_or_open(name, map_size(capacity)?)?)
        }

        /// As [`create_named`](Self::create_named), where the name must have no holder.
        pub fn create_new_named(&self, name: &str, capacity: u64, map: &MapOptions) -> Result<Cell> {
            self.create(map_for_cell(capacity, map)?.create_new(name, map_size(capacity)?)?)
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
            let ready = SLOTS_AT as u64;
            let view = match map.create_sparse_accessor(ready, Access::ReadWrite) {
                Err(Error::AccessDenied { .. }) if !create => {
                    map.create_sparse_accessor(ready, Access::Read)?
                }
                other => other?,
            };
            let mut head = [0; HEAD];
            let small = view.capacity() < SLOTS_AT as u64;
            let read_head = |head: &mut [u8; HEAD]| {
                let count = HEAD.min(view.capacity() as usize);
                view.read_bytes(0, &mut head[..count]).map(|_| ())
            };
            read_head(&mut head)?;
            if small && head == [0; HEAD] {
                if create {
                    // Says how large it must be.
                    Layout::for_map(map.capacity(), 0)?;
                }
                return Err(Error::wrong_kind(
                    map.subject().clone(),
                    format!("a cell was expected; a map of {} bytes is too small to be one", map.capacity()),
                ));
            }
            if create && head == [0; HEAD] {
                let _lock = map.lock(super::layout::WRITER_LOCK, sys::LockMode::Exclusive, CREATE_LIMIT)?;
                read_head(&mut head)?;
                if head == [0; HEAD] {
                    let flags = if map.is_on_file() { FLAG_CHECKSUMS } else { 0 };
                    let new = Layout::for_map(map.capacity(), flags)?.head();
                    map.section().reserve(0, SLOTS_AT as u64, map.subject())?;
                    // The magic comes last: without it there is no cell.
                    view.write_array(MAGIC.len() as u64, &new[MAGIC.len()..])?;
                    std::sync::atomic::fence(Ordering::SeqCst);
                    view.write_array(0, &new[..MAGIC.len()])?;
                    if self.durability != Durability::None {
                        view.flush_range(0, SLOTS_AT, true)?;
                    }
                    head = new;
                }
            }
            let layout = Layout::read(&head, map.capacity(), map.subject())?;
            if self.secret {
                view.keep_secret()?;
            }
            let shared = Arc::new(Shared::new(map, view, layout, self.durability, self.secret));
            let dropped = recover_from_power_loss(&shared)?;
            Ok(Cell { shared, dropped })
        }
    }

    fn map_size(capacity: u64) -> Result<u64> {
        Ok(Layout::for_values(capacity, 0)?.map_size())
    }

    /// The map options of a cell: pages are taken as they are needed, but for those before the slots.
    fn map_for_cell(capacity: u64, map: &MapOptions) -> Result<MapOptions> {
        let mut head = Layout::for_values(capacity, 0)?.head().to_vec();
        head.resize(SLOTS_AT, 0);
        let mut options = map.clone().delay_allocate_pages(true);
        options.head = head;
        Ok(options)
    }

    /// For cells on files: makes sure that the current version is whole. Gives the version that was dropped.
    fn recover_from_power_loss(shared: &Shared) -> Result<Option<u64>> {
        if !shared.layout.has_checksums() {
            return Ok(None);
        }
        if !shared.can_write {
            return match protocol::copy(shared, |current| shared.is_whole(current.slot(), current.version()))
            {
                Ok((_, false)) => {
                    Err(shared
                        .corrupt("the newest version is not whole; open it with write access to recover"))
                }
                Ok((_, true)) => Ok(None),
                Err(missed) => shared.missed(missed).map(|()| None),
            };
        }
        // A writer that lives did this when it opened the cell.
        if !shared.try_lock_writer()? {
            return Ok(None);
        }
        let dropped = shared.choose_newest_whole();
        shared.unlock_writer();
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
    /// readers. Up to 62 snapshots can be held at a time, over all processes.
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

        /// The version that was current when the machine crashed and was not whole, so that an older one is
        /// current now. For cells on files; `None` where nothing was dropped.
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
                } else if protocol::prepare_sleep(shared, seen) {
                    sys::sleep_on(shared.sleep_word(), seen as u32, left.min(SLEEP_LIMIT));
                }
            }
        }

        /// A place in the line of the thread that waits for all tasks of the process.
        #[cfg(feature = "tokio")]
        pub(crate) fn waiter(&self) -> super::Waiter {
            super::Waiter::new(self.shared.clone())
        }

        /// What can be told without the value.
        pub fn info(&self) -> Result<CellInfo> {
            let shared = &*self.shared;
            let found = protocol::copy(shared, |current| {
                let header = shared.header(current.slot());
                let name = header.as_ref().map(|header| shared.copy_type_name(current.slot(), header));
                (header, name)
            });
            let (version, header, type_name) = match found {
                Ok((current, (Some(header), name))) => (current.version(), Some(header), name.flatten()),
                Ok((_, (None, _))) => return Err(shared.corrupt("a length is larger than the capacity")),
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

        /// Removes the value if it has expired, where that can be done without waiting.
        pub(crate) fn remove_expired(&self) -> Result<()> {
            if !self.shared.can_write {
                return Ok(());
            }
            if self.shared.try_lock_writer()? {
                Writer::new(self.shared.clone()).remove_expired()?;
            }
            Ok(())
        }
    }
}
