//! Proves that maps, cells and mappers do what a plain model in private memory does, under any sequence of
//! operations through several handles: the same results, held snapshots that never change, names that live as
//! long as a holder, and no more memory than promised.
//!
//! `HANDOVER_SEQUENCES` sets how many sequences of operations there are (200). Sequences on maps take
//! longest, so a fifth of them run.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handover::cell::{Cell, CellOptions, Meta, Reader, Snapshot, Writer};
use handover::codec::{Codec, Json, MessagePack};
use handover::map::{Access, MapOptions, MemoryMappedFile};
use handover::{Error, ErrorKind, MapperOptions, MemoryMapper, TypeName};
use handover_tests::cell::number_from;
use handover_tests::{OwnDir, found_capacity, names_in, own_dir};
use proptest::prelude::*;

fn own() -> (OwnDir, MapOptions) {
    let dir = own_dir();
    let options = names_in(&dir);
    (dir, options)
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// For one in `share` of the sequences.
fn settings(share: u64) -> ProptestConfig {
    let cases = (number_from("HANDOVER_SEQUENCES", 200) / share) as u32;
    // Shows failures in full, and writes nothing beside the sources.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

// Maps.

#[derive(Clone, Copy, Debug)]
enum MapStep {
    CreateNew(usize, u64),
    CreateOrOpen(usize, u64),
    Open(usize),
    Drop(usize),
    Write(usize, u64, u8),
    Read(usize, u64),
}

const NAMES: [&str; 2] = ["a", "b"];

fn map_step() -> impl Strategy<Value = MapStep> {
    let name = 0..NAMES.len();
    // Only capacities that an opener finds again: see `found_capacity`.
    let capacity = prop_oneof![Just(1), Just(4096), Just(5000), Just(0)].prop_map(found_capacity);
    prop_oneof![
        (name.clone(), capacity.clone()).prop_map(|(name, capacity)| MapStep::CreateNew(name, capacity)),
        (name.clone(), capacity).prop_map(|(name, capacity)| MapStep::CreateOrOpen(name, capacity)),
        name.prop_map(MapStep::Open),
        any::<usize>().prop_map(MapStep::Drop),
        (any::<usize>(), 0..5001u64, any::<u8>()).prop_map(|(map, at, byte)| MapStep::Write(map, at, byte)),
        (any::<usize>(), 0..5001u64).prop_map(|(map, at)| MapStep::Read(map, at)),
    ]
}

fn maps_agree(steps: &[MapStep]) {
    let (dir, options) = own();
    // The bytes of each living name, and the handles with their names.
    let mut bytes: [Option<Vec<u8>>; 2] = [None, None];
    let mut handles: Vec<(usize, MemoryMappedFile)> = Vec::new();
    for step in steps {
        match *step {
            MapStep::CreateNew(name, capacity) | MapStep::CreateOrOpen(name, capacity) => {
                let new = matches!(step, MapStep::CreateNew(..));
                let made = if new {
                    options.create_new(NAMES[name], capacity)
                } else {
                    options.create_or_open(NAMES[name], capacity)
                };
                match (&mut bytes[name], capacity) {
                    (_, 0) => assert_eq!(kind(made), ErrorKind::OutOfRange),
                    (Some(_), _) if new => assert_eq!(kind(made), ErrorKind::AlreadyExists),
                    (living, _) => {
                        let map = made.unwrap();
                        assert_eq!(map.was_created(), living.is_none());
                        living.get_or_insert_with(|| vec![0; capacity as usize]);
                        handles.push((name, map));
                    }
                }
            }
            MapStep::Open(name) => {
                let opened = options.open_existing(NAMES[name]);
                if bytes[name].is_some() {
                    handles.push((name, opened.unwrap()));
                } else {
                    assert_eq!(kind(opened), ErrorKind::NotFound);
                }
            }
            MapStep::Drop(_) | MapStep::Write(..) | MapStep::Read(..) if handles.is_empty() => {}
            MapStep::Drop(map) => {
                let (name, _) = handles.swap_remove(map % handles.len());
                if handles.iter().all(|(other, _)| *other != name) {
                    bytes[name] = None;
                }
            }
            MapStep::Write(map, at, byte) => {
                let (name, map) = &handles[map % handles.len()];
                let written = map.create_view_accessor(0, 0).unwrap().write(at, byte);
                match bytes[*name].as_mut().unwrap().get_mut(at as usize) {
                    Some(to) => {
                        written.unwrap();
                        *to = byte;
                    }
                    None => assert_eq!(kind(written), ErrorKind::OutOfRange),
                }
            }
            MapStep::Read(map, at) => {
                let (name, map) = &handles[map % handles.len()];
                let read = map.create_view_accessor(0, 0).unwrap().read::<u8>(at);
                match bytes[*name].as_ref().unwrap().get(at as usize) {
                    Some(byte) => assert_eq!(read.unwrap(), *byte),
                    None => assert_eq!(kind(read), ErrorKind::OutOfRange),
                }
            }
        }
        for (name, map) in &handles {
            assert_eq!(map.capacity(), bytes[*name].as_ref().unwrap().len() as u64);
        }
        if cfg!(unix) {
            let mut listed: Vec<_> =
                handover::map::list(&handover::map::MapOptions::new().directory(dir.path()))
                    .unwrap()
                    .into_iter()
                    .map(|map| (map.name, map.capacity))
                    .collect();
            listed.sort();
            let living = NAMES.iter().zip(&bytes);
            let expected: Vec<_> = living
                .filter_map(|(name, bytes)| Some(((*name).to_owned(), bytes.as_ref()?.len() as u64)))
                .collect();
            assert_eq!(listed, expected);
        }
    }
}

// Cells.

const CAPACITY: usize = 50_000;
/// Handles that write, and one more that only reads.
const WRITING: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Fill {
    Whole,
    /// Half of it; the rest must be zero.
    Half,
    Fails,
    Panics,
}

#[derive(Clone, Copy, Debug)]
enum CellStep {
    Lease(usize),
    EndLease,
    Publish {
        by: usize,
        length: usize,
        name: usize,
    },
    Fill {
        by: usize,
        length: usize,
        fill: Fill,
    },
    Clear(usize),
    Take(usize),
    Load(usize),
    Hold(usize),
    LetGo(usize),
    NewReader(usize, usize),
    Read(usize),
    Copy(usize),
    Open(usize),
    /// Nobody reads any more.
    Rest,
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0),
        1..300usize,
        Just(4096),
        Just(4097),
        Just(20_000),
        Just(CAPACITY),
        Just(CAPACITY + 1),
        0..CAPACITY
    ]
}

fn cell_step() -> impl Strategy<Value = CellStep> {
    let by = 0..WRITING;
    let reader = 0..8usize;
    let name = prop_oneof![Just(0usize), Just(9), Just(256), Just(257)];
    let fill = prop_oneof![Just(Fill::Whole), Just(Fill::Half), Just(Fill::Fails), Just(Fill::Panics)];
    prop_oneof![
        1 => by.clone().prop_map(CellStep::Lease),
        1 => Just(CellStep::EndLease),
        6 => (by.clone(), length(), name).prop_map(|(by, length, name)| CellStep::Publish { by, length, name }),
        4 => (by.clone(), length(), fill).prop_map(|(by, length, fill)| CellStep::Fill { by, length, fill }),
        1 => by.clone().prop_map(CellStep::Clear),
        1 => by.clone().prop_map(CellStep::Take),
        3 => reader.clone().prop_map(CellStep::Load),
        4 => reader.clone().prop_map(CellStep::Hold),
        3 => any::<usize>().prop_map(CellStep::LetGo),
        1 => (reader.clone(), by.clone()).prop_map(|(reader, of)| CellStep::NewReader(reader, of)),
        1 => reader.prop_map(CellStep::Read),
        2 => (0..=WRITING).prop_map(CellStep::Copy),
        1 => by.prop_map(CellStep::Open),
        1 => Just(CellStep::Rest),
    ]
}

/// What a version holds: its bytes and the name of its type, or nothing.
type Content = Option<(Vec<u8>, String)>;

struct CellTest {
    _dir: OwnDir,
    options: MapOptions,
    secret: bool,
    cells: Vec<Cell>,
    reading: Cell,
    lease: Option<(usize, Writer)>,
    readers: Vec<Reader>,
    held: Vec<Snapshot>,
    // The model.
    version: u64,
    versions: BTreeMap<u64, Content>,
    /// What each reader has pinned.
    pinned: Vec<Option<u64>>,
    /// Versions other than the newest that were pinned when the last version came or failed to come: the cell
    /// could not give their memory back.
    beside: BTreeSet<u64>,
    /// The same, collected under this lease since the last version that is a multiple of 64: slots of the
    /// newest value's size may still have their memory.
    left: BTreeSet<u64>,
}

impl CellTest {
    fn new(secret: bool) -> Self {
        let (dir, options) = own();
        // Where little memory can be locked, no cell is secret.
        let lockable = |secret| {
            CellOptions::new()
                .secret(secret)
                .capacity(CAPACITY as u64)
                .map(options.clone())
                .create_or_open("cell")
        };
        let secret = secret && !lockable(true).is_err_and(|error| error.kind() == ErrorKind::Io);
        let cell = CellOptions::new().secret(secret);
        let cells: Vec<_> = (0..WRITING)
            .map(|_| {
                cell.clone().capacity(CAPACITY as u64).map(options.clone()).create_or_open("cell").unwrap()
            })
            .collect();
        let reading =
            Cell::open_in(options.clone().access(Access::Read).open_existing("cell").unwrap()).unwrap();
        let readers: Vec<_> = (0..8).map(|at| cells[at % WRITING].reader()).collect();
        Self {
            _dir: dir,
            options,
            secret,
            pinned: vec![None; readers.len()],
            cells,
            reading,
            lease: None,
            readers,
            held: Vec::new(),
            version: 0,
            versions: BTreeMap::from([(0, None)]),
            beside: BTreeSet::new(),
            left: BTreeSet::new(),
        }
    }

    fn newest(&self) -> &Content {
        &self.versions[&self.version]
    }

    /// Does something as the writer `by`, if nobody else is the writer.
    fn write<T>(&mut self, by: usize, write: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        match &mut self.lease {
            Some((holder, writer)) if *holder == by => Some(write(writer)),
            Some(_) => {
                assert!(self.cells[by].try_writer().unwrap().is_none());
                None
            }
            None => Some(write(&mut self.cells[by].try_writer().unwrap().unwrap())),
        }
    }

    fn published(&mut self, version: u64, content: Content) {
        self.version += 1;
        assert_eq!(version, self.version);
        self.versions.insert(version, content);
        self.note_pins();
    }

    fn note_pins(&mut self) {
        let held = self.held.iter().map(Snapshot::version);
        self.beside = held.chain(self.pinned.iter().flatten().copied()).collect();
        self.beside.remove(&self.version);
        if self.lease.is_none() || self.version.is_multiple_of(64) {
            self.left.clear();
        }
        self.left.extend(&self.beside);
    }

    fn step(&mut self, step: CellStep) {
        match step {
            CellStep::Lease(by) => {
                let writer = self.cells[by].try_writer().unwrap();
                assert_eq!(writer.is_some(), self.lease.is_none());
                if let Some(writer) = writer {
                    self.lease = Some((by, writer));
                }
            }
            CellStep::EndLease => self.lease = None,
            CellStep::Publish { by, length, name } => {
                let bytes = vec![(self.version % 251) as u8 + 1; length];
                let type_name = "n".repeat(name);
                let meta = Meta { codec: 9, type_name: Some(&type_name), expires: 0 };
                match self.write(by, |writer| writer.publish_as(&meta, &bytes)) {
                    None => {}
                    Some(result) if length > CAPACITY => assert_eq!(kind(result), ErrorKind::ValueTooLarge),
                    Some(result) if name > 256 => assert_eq!(kind(result), ErrorKind::InvalidArgument),
                    Some(result) => self.published(result.unwrap(), Some((bytes, type_name))),
                }
            }
            CellStep::Fill { by, length, fill } => {
                let mut bytes = vec![(self.version % 251) as u8 + 1; length];
                let written = if matches!(fill, Fill::Whole) { length } else { length / 2 };
                let result = self.write(by, |writer| {
                    catch_unwind(AssertUnwindSafe(|| {
                        writer.publish_with(length, |buffer| {
                            std::io::Write::write_all(buffer, &bytes[..written]).unwrap();
                            match fill {
                                Fill::Fails => Err(Error::new(ErrorKind::Conflict, "it fails")),
                                // Without the message that a panic prints.
                                Fill::Panics => std::panic::resume_unwind(Box::new(())),
                                Fill::Whole | Fill::Half => Ok(()),
                            }
                        })
                    }))
                });
                bytes[written..].fill(0);
                match (result, fill) {
                    (None, _) => {}
                    (Some(result), _) if length > CAPACITY => {
                        assert_eq!(kind(result.unwrap()), ErrorKind::ValueTooLarge);
                    }
                    (Some(result), Fill::Fails) => {
                        assert_eq!(kind(result.unwrap()), ErrorKind::Conflict);
                        self.note_pins();
                    }
                    (Some(result), Fill::Panics) => {
                        assert!(result.is_err());
                        self.note_pins();
                    }
                    (Some(result), _) => {
                        self.published(result.unwrap().unwrap(), Some((bytes, String::new())));
                    }
                }
            }
            CellStep::Clear(by) => {
                if let Some(result) = self.write(by, Writer::clear) {
                    self.published(result.unwrap(), None);
                }
            }
            CellStep::Take(by) => {
                if let Some(result) = self.write(by, Writer::take) {
                    let taken = result.unwrap();
                    assert_eq!(content(taken.as_ref()), *self.newest());
                    if taken.is_some() {
                        self.published(self.version + 1, None);
                    }
                }
            }
            CellStep::Load(reader) => {
                let loaded = self.readers[reader].load().unwrap().cloned();
                self.pinned[reader] = Some(self.version).filter(|version| *version > 0);
                assert_eq!(loaded.is_some(), self.newest().is_some());
                if let Some(snapshot) = loaded {
                    assert_eq!(snapshot.version(), self.version);
                    self.check(&snapshot);
                }
            }
            CellStep::Hold(reader) => {
                // At any time, 8 readers may each need an entry.
                if self.held.len() < 50 {
                    let loaded = self.readers[reader].load().unwrap().cloned();
                    self.pinned[reader] = Some(self.version).filter(|version| *version > 0);
                    self.held.extend(loaded);
                }
            }
            CellStep::LetGo(at) => {
                if !self.held.is_empty() {
                    drop(self.held.swap_remove(at % self.held.len()));
                }
            }
            CellStep::NewReader(reader, of) => {
                self.readers[reader] = self.cells[of].reader();
                self.pinned[reader] = None;
            }
            CellStep::Read(reader) => {
                let value = self.readers[reader].copy().unwrap();
                self.pinned[reader] = Some(self.version).filter(|version| *version > 0);
                assert_eq!(content(value.as_ref()), *self.newest());
            }
            CellStep::Copy(by) => {
                let value = self.cells.get(by).unwrap_or(&self.reading).copy().unwrap();
                assert_eq!(content(value.as_ref()), *self.newest());
                assert!(value.is_none_or(|value| value.version == self.version));
            }
            CellStep::Rest => {
                self.held.clear();
                for (at, reader) in self.readers.iter_mut().enumerate() {
                    *reader = self.cells[at % WRITING].reader();
                }
                self.pinned.fill(None);
            }
            CellStep::Open(by) => {
                // The lease lives on without the handle that took it.
                if self.lease.as_ref().is_none_or(|(holder, _)| *holder != by) {
                    let options = CellOptions::new().secret(self.secret);
                    self.cells[by] = options.open_in(self.options.open_existing("cell").unwrap()).unwrap();
                }
            }
        }
        self.check_all();
    }

    fn check(&self, snapshot: &Snapshot) {
        let (bytes, name) = self.versions[&snapshot.version()].as_ref().unwrap();
        assert!(snapshot.copy().unwrap().as_slice() == bytes.as_slice(), "a snapshot changed");
        assert_eq!(snapshot.type_name().unwrap_or_default(), *name);
    }

    fn total(&self, version: u64) -> u64 {
        self.versions[&version].as_ref().map_or(0, |(bytes, name)| (bytes.len() + name.len()) as u64)
    }

    fn check_all(&self) {
        for snapshot in &self.held {
            self.check(snapshot);
        }
        for cell in self.cells.iter().chain([&self.reading]) {
            assert_eq!(cell.version(), self.version);
        }
        let info = self.reading.info().unwrap();
        assert_eq!(info.version, self.version);
        assert_eq!(info.length, self.newest().as_ref().map(|(bytes, _)| bytes.len() as u64));
        // As the design states it. And each version that was pinned when memory could have been given back
        // has a slot, with up to two pages more than it takes.
        let slot = |version: &u64| self.total(*version).next_multiple_of(4096) + 2 * 4096;
        let beside: u64 = self.beside.iter().map(slot).sum();
        let left: u64 =
            self.left.difference(&self.beside).map(|version| slot(version).min(slot(&self.version))).sum();
        assert!(
            info.reserved <= 3 * self.total(self.version) + (64 << 10) + beside + left,
            "{} bytes reserved; version {} takes {}, beside it are {:?}, and left {:?}",
            info.reserved,
            self.version,
            self.total(self.version),
            self.beside,
            self.left
        );
    }
}

fn content(value: Option<&handover::cell::Value>) -> Content {
    value.map(|value| (value.bytes.to_vec(), value.type_name.clone().unwrap_or_default()))
}

// Mappers.

struct Left;
impl TypeName for Left {
    const TYPE_NAME: &'static str = "left";
}
struct Right;
impl TypeName for Right {
    const TYPE_NAME: &'static str = "right";
}

#[derive(Debug)]
enum Mapper {
    Json(MemoryMapper<String, Json>, Option<&'static str>),
    Pack(MemoryMapper<String, MessagePack>, Option<&'static str>),
}

macro_rules! on {
    ($mapper:expr, $inner:ident => $what:expr) => {
        match $mapper {
            Mapper::Json($inner, _) => $what,
            Mapper::Pack($inner, _) => $what,
        }
    };
}

impl Mapper {
    fn open(kind: usize, options: &MapOptions) -> Self {
        let options = MapperOptions::new().map(options.clone());
        match kind % 4 {
            0 => Self::Json(options.clone().capacity(3000).create_or_open("value").unwrap(), None),
            1 => Self::Json(
                options.named::<Left>().capacity(3000).create_or_open("value").unwrap(),
                Some("left"),
            ),
            2 => Self::Json(
                options.named::<Right>().capacity(3000).create_or_open("value").unwrap(),
                Some("right"),
            ),
            _ => Self::Pack(options.clone().capacity(3000).create_or_open("value").unwrap(), None),
        }
    }

    fn name(&self) -> Option<&'static str> {
        match self {
            Self::Json(_, name) | Self::Pack(_, name) => *name,
        }
    }

    fn codec(&self) -> u32 {
        match self {
            Self::Json(..) => <Json as Codec<String>>::ID,
            Self::Pack(..) => <MessagePack as Codec<String>>::ID,
        }
    }
}

#[derive(Clone, Debug)]
enum MapperStep {
    Set(usize, usize),
    SetLong(usize, usize),
    SetExpired(usize, usize),
    LeaseSet(usize, usize),
    Get(usize),
    GetShared(usize),
    ReadString(usize),
    Take(usize),
    Update(usize, bool),
    CompareAndSet(usize, u64, usize),
    Clear(usize),
    Watch(usize, u64),
    Wait(usize),
    Open(usize, usize),
}

fn mapper_step() -> impl Strategy<Value = MapperStep> {
    let by = 0..4usize;
    let length = prop_oneof![4 => 0..30usize, 1 => 2000..2990usize, 1 => Just(5000)];
    let with = (by.clone(), length);
    prop_oneof![
        3 => with.clone().prop_map(|(by, length)| MapperStep::Set(by, length)),
        1 => with.clone().prop_map(|(by, length)| MapperStep::SetLong(by, length)),
        2 => with.clone().prop_map(|(by, length)| MapperStep::SetExpired(by, length)),
        1 => with.clone().prop_map(|(by, length)| MapperStep::LeaseSet(by, length)),
        3 => by.clone().prop_map(MapperStep::Get),
        3 => by.clone().prop_map(MapperStep::GetShared),
        1 => by.clone().prop_map(MapperStep::ReadString),
        1 => by.clone().prop_map(MapperStep::Take),
        2 => (by.clone(), any::<bool>()).prop_map(|(by, panics)| MapperStep::Update(by, panics)),
        2 => (with, 0..3u64).prop_map(|((by, length), back)| MapperStep::CompareAndSet(by, back, length)),
        1 => by.clone().prop_map(MapperStep::Clear),
        2 => (by.clone(), 0..4u64).prop_map(|(by, back)| MapperStep::Watch(by, back)),
        1 => by.clone().prop_map(MapperStep::Wait),
        2 => (by.clone(), by).prop_map(|(by, kind)| MapperStep::Open(by, kind)),
    ]
}

/// A stored value, as the model knows it.
#[derive(Clone, Debug)]
struct Stored {
    text: String,
    codec: u32,
    name: Option<&'static str>,
    expired: bool,
}

struct MapperTest {
    _dir: OwnDir,
    options: MapOptions,
    mappers: Vec<Mapper>,
    /// What each handed out last, shared, and its version.
    shared: Vec<Option<(u64, Arc<String>)>>,
    version: u64,
    value: Option<Stored>,
}

impl MapperTest {
    fn new() -> Self {
        let (dir, options) = own();
        let mappers: Vec<_> = (0..4).map(|kind| Mapper::open(kind, &options)).collect();
        Self { _dir: dir, options, shared: vec![None; mappers.len()], mappers, version: 0, value: None }
    }

    /// What reading returns to this mapper.
    fn seen_by(&self, by: usize) -> Result<Option<String>, ErrorKind> {
        let mapper = &self.mappers[by];
        match &self.value {
            None => Ok(None),
            Some(stored) if stored.expired => Ok(None),
            Some(stored) if stored.codec != mapper.codec() => Err(ErrorKind::CodecMismatch),
            Some(Stored { name: Some(stored), .. })
                if mapper.name().is_some_and(|wanted| wanted != *stored) =>
            {
                Err(ErrorKind::TypeMismatch)
            }
            Some(stored) => Ok(Some(stored.text.clone())),
        }
    }

    /// Reading an expired value removes it, which makes another version.
    fn remove_expired(&mut self) {
        if self.value.as_ref().is_some_and(|stored| stored.expired) {
            self.value = None;
            self.version += 1;
        }
    }

    /// Room for the text in the codec: each codec adds up to three bytes.
    fn fits(text: &str) -> bool {
        text.len() <= 2997
    }

    fn stored(&mut self, by: usize, result: Result<u64, Error>, text: String, expired: bool) {
        if !Self::fits(&text) {
            assert_eq!(kind(result), ErrorKind::ValueTooLarge);
            return;
        }
        self.version += 1;
        assert_eq!(result.unwrap(), self.version);
        let mapper = &self.mappers[by];
        self.value = Some(Stored { text, codec: mapper.codec(), name: mapper.name(), expired });
    }

    fn step(&mut self, step: &MapperStep) {
        let text = |length: usize| "t".repeat(length);
        match *step {
            MapperStep::Set(by, length) => {
                let result = on!(&self.mappers[by], m => m.set(&text(length)));
                self.stored(by, result, text(length), false);
            }
            MapperStep::SetLong(by, length) => {
                let result =
                    on!(&self.mappers[by], m => m.set_ttl(&text(length), Duration::from_secs(86_400)));
                self.stored(by, result, text(length), false);
            }
            MapperStep::SetExpired(by, length) => {
                let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
                let result = on!(&self.mappers[by], m => m.set_expires_at(&text(length), at));
                self.stored(by, result, text(length), true);
            }
            MapperStep::LeaseSet(by, length) => {
                let result = on!(&self.mappers[by], m => m.lease(Duration::ZERO).unwrap().set(&text(length)));
                self.stored(by, result, text(length), false);
            }
            MapperStep::Get(by) => {
                let got = on!(&self.mappers[by], m => m.get_with_version());
                let expected = self.seen_by(by).map(|value| value.map(|text| (self.version, text)));
                assert_eq!(got.map_err(|e| e.kind()), expected);
                self.remove_expired();
            }
            MapperStep::GetShared(by) => {
                let got = on!(&self.mappers[by], m => m.get_shared()).map_err(|e| e.kind());
                assert_eq!(got.clone().map(|got| got.map(|text| text.to_string())), self.seen_by(by));
                if let (Ok(Some(now)), Some((version, before))) = (&got, &self.shared[by])
                    && *version == self.version
                {
                    assert!(Arc::ptr_eq(now, before), "decoded again");
                }
                if let Ok(got) = got {
                    self.shared[by] = got.map(|text| (self.version, text));
                }
                self.remove_expired();
            }
            MapperStep::ReadString(by) => {
                let got = on!(&self.mappers[by], m => m.get_text());
                match &self.value {
                    Some(stored) if !stored.expired => {
                        // MessagePack bytes may or may not be text.
                        if stored.codec == <Json as Codec<String>>::ID {
                            assert_eq!(*got.unwrap().unwrap(), format!("\"{}\"", stored.text));
                        }
                    }
                    _ => assert!(got.unwrap().is_none()),
                }
                self.remove_expired();
            }
            MapperStep::Take(by) => {
                let got = on!(&self.mappers[by], m => m.take()).map_err(|e| e.kind());
                assert_eq!(got, self.seen_by(by));
                if matches!(got, Ok(Some(_))) {
                    self.version += 1;
                    self.value = None;
                }
            }
            MapperStep::Update(by, panics) => {
                let expected = self.seen_by(by);
                let result = catch_unwind(AssertUnwindSafe(|| {
                    on!(&self.mappers[by], m => m.update(|text| {
                        if panics {
                            std::panic::resume_unwind(Box::new(()));
                        }
                        text + "u"
                    }))
                }));
                match (result, expected) {
                    (Err(_), expected) => assert!(panics && matches!(expected, Ok(Some(_)))),
                    (Ok(result), Ok(Some(text))) => {
                        assert!(!panics);
                        self.stored(by, result, text + "u", false);
                    }
                    (Ok(result), Ok(None)) => assert_eq!(kind(result), ErrorKind::NoValue),
                    (Ok(result), Err(expected)) => assert_eq!(kind(result), expected),
                }
            }
            MapperStep::CompareAndSet(by, back, length) => {
                let expected = self.version.saturating_sub(back);
                let result = on!(&self.mappers[by], m => m.compare_and_set(expected, &text(length)));
                if expected == self.version {
                    self.stored(by, result, text(length), false);
                } else {
                    assert_eq!(kind(result), ErrorKind::Conflict);
                }
            }
            MapperStep::Clear(by) => {
                self.version += 1;
                assert_eq!(on!(&self.mappers[by], m => m.clear()).unwrap(), self.version);
                self.value = None;
            }
            MapperStep::Watch(by, back) => {
                let after = self.version.saturating_sub(back);
                let change =
                    on!(&self.mappers[by], m => m.watch().after(after).timeout(Duration::ZERO).next());
                let change = change.unwrap().map_err(|e| e.kind());
                if after == self.version {
                    assert_eq!(change, Err(ErrorKind::TimedOut));
                    return;
                }
                // An expired value is told as its removal, which is a version too.
                let seen = self.seen_by(by);
                self.remove_expired();
                let skipped = if after == 0 { 0 } else { self.version - after - 1 };
                let change = change.map(|change| (change.version, change.skipped, change.value));
                assert_eq!(change, seen.map(|value| (self.version, skipped, value)));
            }
            MapperStep::Wait(by) => {
                let waited = on!(&self.mappers[by], m => m.wait(Duration::ZERO)).map_err(|e| e.kind());
                assert_eq!(waited, self.seen_by(by).and_then(|value| value.ok_or(ErrorKind::TimedOut)));
                self.remove_expired();
            }
            MapperStep::Open(by, kind) => {
                // The others hold the name meanwhile.
                self.mappers[by] = Mapper::open(kind, &self.options);
                self.shared[by] = None;
            }
        }
        for mapper in &self.mappers {
            assert_eq!(on!(mapper, m => m.version()), self.version);
        }
        let info = on!(&self.mappers[0], m => m.cell()).info().unwrap();
        let living = self.value.as_ref().filter(|stored| !stored.expired);
        assert_eq!(info.length.is_some(), living.is_some());
        if let Some(stored) = &self.value {
            assert_eq!((info.codec, info.type_name.as_deref()), (stored.codec, stored.name));
        }
    }
}

proptest! {
    #![proptest_config(settings(5))]

    #[test]
    fn maps_do_what_the_model_does(steps in prop::collection::vec(map_step(), 1..60)) {
        maps_agree(&steps);
    }
}

proptest! {
    #![proptest_config(settings(1))]

    #[test]
    fn cells_do_what_the_model_does(
        secret in prop::bool::weighted(0.2),
        steps in prop::collection::vec(cell_step(), 1..150),
    ) {
        let mut cells = CellTest::new(secret);
        for step in steps {
            cells.step(step);
        }
    }

    #[test]
    fn mappers_do_what_the_model_does(steps in prop::collection::vec(mapper_step(), 1..120)) {
        let mut mappers = MapperTest::new();
        for step in &steps {
            mappers.step(step);
        }
    }
}
