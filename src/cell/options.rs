//! Makes and opens cells, and cleans up one that a crash left behind.

use std::sync::Arc;
use std::time::Duration;

use super::contents::{Contents, contents};
use super::handle::Cell;
use super::layout::{FLAG_CHECKSUMS, HEAD, HEADERS_END, Layout, SLOTS_AT};
use super::shared::Shared;
use super::terms::{Durability, is_send_and_sync};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{MapOptions, MemoryMappedFile};
use crate::terms::{Access, Place};

/// How long making a cell waits for another process that is making it.
const CREATE_LIMIT: Duration = Duration::from_secs(10);

/// The default for the most bytes of a value.
const CAPACITY: u64 = 64 << 10;

/// Options of a [`Cell`].
///
/// ```
/// use handover::cell::CellOptions;
///
/// # let dir = std::env::temp_dir().join(format!("handover-doc-cell-options-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # let path = dir.join("state.cell");
/// let cell = CellOptions::new().capacity(1 << 20).secret(true).create_or_open(&path)?;
/// assert!(cell.capacity() >= 1 << 20);
/// # drop(cell);
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a cell is created or opened with them"]
pub struct CellOptions {
    durability: Durability,
    secret: bool,
    capacity: Option<u64>,
    wait: Option<Duration>,
    map: MapOptions,
}

const _: () = is_send_and_sync::<CellOptions>();

impl CellOptions {
    /// The defaults: values of up to 64 KiB, no durability beyond the processes', no secret, no waiting.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a published version survives, for cells on files.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Keeps the cell's pages out of swap and core dumps, and wipes a version's bytes once the version is
    /// replaced and nobody reads it.
    pub fn secret(mut self, secret: bool) -> Self {
        self.secret = secret;
        self
    }

    /// The most bytes that a value of a new cell may have. Default: 64 KiB. An existing cell keeps its own. A
    /// cell on a file has room for up to 4 KiB more.
    ///
    /// This costs address space; memory is taken only as values are stored.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// How long [`open_existing`](Self::open_existing) waits for a cell that does not exist yet. Default: not
    /// at all.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = Some(limit);
        self
    }

    /// The options of the map below.
    pub fn map(mut self, options: MapOptions) -> Self {
        self.map = options;
        self
    }

    /// Makes a cell in a map whose first 16 KiB are zero, or opens the cell that is in it. Completes a cell
    /// on a file if a crash cut its making short.
    ///
    /// On a file, and with write access, this and [`open_in`](Self::open_in) recover from a crash of the
    /// machine: the newest whole version becomes the current one. See [`Cell::dropped`].
    ///
    /// # Errors
    ///
    /// `OutOfRange` for a map that is too small; `AccessDenied` for a map that can't be written; `TimedOut`
    /// where recovery is needed and another process stays the writer; those of [`open_in`](Self::open_in).
    pub fn make_in(&self, map: MemoryMappedFile) -> Result<Cell> {
        self.attach(map, true)
    }

    /// Opens the cell in a map. With a read-only map, the handle copies, and neither writes nor pins.
    ///
    /// # Errors
    ///
    /// `WrongKind` where there is no cell, or one of another layout or byte order: the error says what was
    /// found. `Corrupt` where the newest version is not whole and the map can't be written.
    pub fn open_in(&self, map: MemoryMappedFile) -> Result<Cell> {
        self.attach(map, false)
    }

    /// Makes a cell under a name that has no holder, or in a file that does not exist. See
    /// [`Cell::create_new`].
    ///
    /// # Errors
    ///
    /// `OutOfRange` for a capacity of 0 or one that fits in no address space; those of
    /// [`MemoryMappedFile::create_new`].
    pub fn create_new<'a>(&self, place: impl Into<Place<'a>>) -> Result<Cell> {
        let place = place.into();
        let (map, size) = self.map_for(place)?;
        self.make_in(map.create_new(place, size)?)
    }

    /// Opens the cell under a name or in a file, or makes it. See [`Cell::create_or_open`].
    ///
    /// # Errors
    ///
    /// `OutOfRange` for a capacity of 0 or one that fits in no address space; those of
    /// [`MemoryMappedFile::create_or_open`] and [`make_in`](Self::make_in).
    pub fn create_or_open<'a>(&self, place: impl Into<Place<'a>>) -> Result<Cell> {
        let place = place.into();
        let (map, size) = self.map_for(place)?;
        let Place::File(_) = place else { return self.make_in(map.create_or_open(place, size)?) };
        // A file with content keeps its length. So this opens the file first, and gives the new cell's length
        // only to one that is missing or empty. Nothing inspects the file before it is open.
        let opened = match map.open_existing(place) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) => {
                map.create_or_open(place, size)
            }
            other => other,
        };
        self.make_in(opened?)
    }

    /// Opens the cell under a name or in a file. Waits for it as long as [`wait`](Self::wait) says. See
    /// [`Cell::open_existing`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::ErrorKind;
    /// use handover::cell::CellOptions;
    ///
    /// let options = CellOptions::new().wait(Duration::from_millis(10));
    /// let error = options.open_existing("nobody makes this").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::open_existing`] and [`open_in`](Self::open_in); `TimedOut` instead of
    /// `NotFound` where [`wait`](Self::wait) is set.
    pub fn open_existing<'a>(&self, place: impl Into<Place<'a>>) -> Result<Cell> {
        let place = place.into();
        let Some(limit) = self.wait else { return self.open_in(self.map.open_existing(place)?) };
        self.map.wait_for(place, "its producer to create it", limit, || self.open_if_made(place))
    }

    /// The cell at `place`; `None` where there is none yet.
    pub(crate) fn open_if_made(&self, place: Place<'_>) -> Result<Option<Cell>> {
        let map = match self.map.open_existing(place) {
            Err(error) if error.kind() == ErrorKind::NotFound || is_empty_file(place) => return Ok(None),
            // It may have been empty, which is refused, and have bytes by now.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => self.map.open_existing(place)?,
            other => other?,
        };
        // Its producer may be making it.
        let is_made = contents(&map)? != Contents::Nothing;
        if is_made { self.open_in(map).map(Some) } else { Ok(None) }
    }

    /// The name that a cell at `place` has with these options.
    pub(crate) fn name_of<'a>(&'a self, place: Place<'a>) -> Option<&'a str> {
        match place {
            Place::Name(name) => Some(name),
            Place::File(_) => self.map.map_name.as_deref(),
        }
    }

    /// The map options of a new cell at `place`, and its map's size. Pages are taken when they are needed,
    /// except those before the headers' end. Under a name, the head is in place before the name appears.
    fn map_for(&self, place: Place<'_>) -> Result<(MapOptions, u64)> {
        let flags = if matches!(place, Place::File(_)) { FLAG_CHECKSUMS } else { 0 };
        let layout = match Layout::for_values(self.capacity.unwrap_or(CAPACITY), flags) {
            Ok(layout) => layout,
            Err(error) => return Err(error.about(&self.map.subject(place)?)),
        };
        let mut options = self.map.clone().delay_allocate_pages(true);
        if matches!(place, Place::Name(_)) {
            options.head = vec![0; HEADERS_END];
            options.head[..HEAD].copy_from_slice(&layout.head());
        }
        Ok((options, layout.map_size()))
    }

    fn attach(&self, map: MemoryMappedFile, create: bool) -> Result<Cell> {
        let subject = map.subject().clone();
        self.attach_to(map, create).map_err(|error| error.about(&subject))
    }

    fn attach_to(&self, map: MemoryMappedFile, create: bool) -> Result<Cell> {
        // Making a cell looks at everything before the slots.
        let ready = if create { SLOTS_AT } else { HEADERS_END } as u64;
        let view = match map.create_sparse_accessor(ready, Access::ReadWrite) {
            Err(error) if error.kind() == ErrorKind::AccessDenied && !create => {
                map.create_sparse_accessor(ready, Access::Read)?
            }
            other => other?,
        };
        if view.capacity() < SLOTS_AT as u64 {
            let mut first = [0; HEAD];
            let count = view.read_bytes(0, &mut first)?;
            if create && first[..count].iter().all(|byte| *byte == 0) {
                // This error says how large the map must be.
                Layout::for_map(map.capacity(), 0)?;
            }
            return Err(Error::wrong_kind(
                map.subject().clone(),
                format!(
                    "expected a cell; a map of {} bytes is too small to be one: it may be in the \
                     plain layout (open it with PlainMapper)",
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
        Ok(Cell::new(shared, dropped))
    }
}

/// The verbs that make and open a cell with the default options.
impl Cell {
    /// Makes a cell under a name that has no holder, or in a file that does not exist.
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::cell::Cell;
    ///
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-create-new-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # let path = dir.join("state.cell");
    /// let cell = Cell::create_new(&path)?;
    /// assert_eq!(Cell::create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// # drop(cell);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_new`].
    pub fn create_new<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        CellOptions::new().create_new(place)
    }

    /// Opens the cell under a name or in a file, or makes it.
    ///
    /// ```
    /// use handover::cell::Cell;
    /// # let dir = std::env::temp_dir().join(format!("handover-doc-cell-{}", std::process::id()));
    /// # std::fs::create_dir(&dir)?;
    /// # // SAFETY: the example has one thread.
    /// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
    ///
    /// let producer = Cell::create_or_open("greeting")?;
    /// producer.try_writer()?.expect("nobody else writes").publish(b"hello")?;
    ///
    /// // In another process, as long as somebody holds the name:
    /// let consumer = Cell::open_existing("greeting")?;
    /// assert_eq!(consumer.copy()?.expect("it was stored").bytes.as_slice(), b"hello");
    /// # drop((producer, consumer));
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::create_or_open`] and [`CellOptions::make_in`].
    pub fn create_or_open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        CellOptions::new().create_or_open(place)
    }

    /// Opens the cell under a name or in a file.
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::cell::Cell;
    ///
    /// let error = Cell::open_existing("nobody holds this").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`MemoryMappedFile::open_existing`] and [`CellOptions::open_in`].
    pub fn open_existing<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        CellOptions::new().open_existing(place)
    }

    /// Makes a cell in a map whose first 16 KiB are zero, or opens the cell that is in it.
    ///
    /// ```
    /// use handover::cell::Cell;
    /// use handover::map::MemoryMappedFile;
    ///
    /// // Shared by the threads of this process.
    /// let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
    /// assert_eq!(cell.version(), 0);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`CellOptions::make_in`].
    pub fn make_in(map: MemoryMappedFile) -> Result<Self> {
        CellOptions::new().make_in(map)
    }

    /// Opens the cell in a map.
    ///
    /// ```
    /// use handover::ErrorKind;
    /// use handover::cell::Cell;
    /// use handover::map::MemoryMappedFile;
    ///
    /// let error = Cell::open_in(MemoryMappedFile::anonymous(1 << 20)?).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WrongKind);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`CellOptions::open_in`].
    pub fn open_in(map: MemoryMappedFile) -> Result<Self> {
        CellOptions::new().open_in(map)
    }
}

/// Whether there is an empty file, which can't be mapped: its producer may be making it.
fn is_empty_file(place: Place<'_>) -> bool {
    let Place::File(path) = place else { return false };
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}

/// Takes the writers' lock to clean up the cell, unless `enough` says that this is not needed.
fn poll_for_lock(shared: &Shared, mut enough: impl FnMut() -> Result<bool>) -> Result<bool> {
    let waiting_for = || "the writers' lock, which another process holds".to_owned();
    let attempt = || Ok(if shared.try_lock_alone()? { Some(true) } else { enough()?.then_some(false) });
    Backoff::LOCK.poll(CREATE_LIMIT, waiting_for, attempt)
}

/// For cells on files: makes sure that the current version is whole. Returns the version that was dropped.
fn recover_from_power_loss(shared: &Shared) -> Result<Option<u64>> {
    if !shared.layout.has_checksums() {
        return Ok(None);
    }
    if !shared.can_write {
        if shared.is_current_whole()? {
            return Ok(None);
        }
        return Err(
            shared.corrupt("the newest version is not whole; open it once with write access, which recovers")
        );
    }
    // A holder of the lock has already recovered the cell, or is doing so now.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_cell_keeps_its_length_and_an_empty_one_gets_the_new_cell_s() {
        let path = std::env::temp_dir().join(format!("handover-cell-options-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let length = || std::fs::metadata(&path).unwrap().len();
        let small = CellOptions::new().capacity(4096).create_or_open(&path).unwrap();
        let before = length();
        let large = CellOptions::new().capacity(1 << 20).create_or_open(&path).unwrap();
        assert_eq!((large.capacity(), length()), (small.capacity(), before));
        drop((small, large));
        std::fs::File::create(&path).unwrap();
        assert!((CAPACITY..2 * CAPACITY).contains(&Cell::create_or_open(&path).unwrap().capacity()));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn processes_that_create_a_file_at_the_same_time_share_one_cell() {
        let path = std::env::temp_dir().join(format!("handover-cell-at-once-{}", std::process::id()));
        for _ in 0..20 {
            let _ = std::fs::remove_file(&path);
            std::thread::scope(|scope| {
                let all: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| Cell::create_or_open(&path).unwrap())).collect();
                let all: Vec<_> = all.into_iter().map(|cell| cell.join().unwrap()).collect();
                all[0].writer_timeout(CREATE_LIMIT).unwrap().publish(b"one").unwrap();
                assert!(all.iter().all(|cell| cell.version() == 1));
            });
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_capacity_that_can_t_be_names_its_map() {
        for (place, shown) in [(Place::Name("x"), "'x'"), (Place::File("y".as_ref()), "'y'")] {
            let error = CellOptions::new().capacity(0).create_new(place).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
            assert!(error.subject().unwrap().to_string().contains(shown), "{error}");
        }
    }

    #[test]
    fn opening_waits_for_a_cell_that_is_being_made() {
        let path = std::env::temp_dir().join(format!("handover-cell-wait-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let options = CellOptions::new().wait(CREATE_LIMIT);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| options.open_existing(&path));
            let file = std::fs::File::create(&path).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            file.set_len(1 << 20).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            let _made = Cell::create_or_open(&path).unwrap();
            assert_eq!(waiting.join().unwrap().unwrap().version(), 0);
        });
        std::fs::remove_file(path).unwrap();
    }
}
