//! What is done with each target's bytes. The offsets are those of the byte map in docs/design.md.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use handover::cell::{Cell, CellOptions, Meta, Reader, Snapshot, Value, Writer};
use handover::codec::{Bytes, Codec, Json, MessagePack, Text};
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile, ViewAccessor};
use handover::mapper::PlainOptions;
use handover::{Durability, Error, ErrorKind, MapperOptions};
use serde::{Deserialize, Serialize};

use super::random::{Random, telling_word};

/// The offsets of the words that the protocol depends on: the head's, those that change, and the start of the
/// entries.
const WORDS: [u64; 15] =
    [0, 8, 16, 24, 32, 40, 64, 72, 128, 136, 192, 4096, 4096 + 64, 4096 + 128, 4096 + 192];
const SLOT_HEADERS: u64 = 8192;
const SLOTS: u64 = 16_384;

/// Bytes as a sequence of choices; zeroes when they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn bytes(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A directory for the thread's files and names.
fn directory() -> PathBuf {
    thread_local! {
        static OWN: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
    }
    OWN.with(|own| own.get_or_init(|| tempfile::tempdir().expect("a directory")).path().to_owned())
}

/// An error must be able to say what it is.
fn say<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn look_at_value(value: &Value, capacity: u64) {
    assert!(value.bytes.len() as u64 <= capacity);
    let _ = (value.written, value.expires, format!("{:?}", value.type_name));
}

fn look_at_snapshot(snapshot: &Snapshot, capacity: u64) {
    assert!(snapshot.len() as u64 <= capacity);
    if let Some(bytes) = say(snapshot.copy()) {
        assert_eq!(bytes.len(), snapshot.len());
    }
    let _ = say(snapshot.copy_into(&mut [0; 7]));
    let _ =
        (snapshot.type_name(), snapshot.written(), snapshot.expires(), snapshot.is_whole(), snapshot.codec());
}

/// Handles of one cell, and what they hold.
#[derive(Debug)]
pub struct Handles {
    cell: Cell,
    readers: Vec<Reader>,
    held: Vec<Snapshot>,
    writer: Option<Writer>,
}

impl Handles {
    /// One reader, and nothing held.
    #[must_use]
    pub fn new(cell: Cell) -> Self {
        let readers = vec![cell.reader()];
        Self { cell, readers, held: Vec::new(), writer: None }
    }

    /// Does one thing through the safe interface: `what` chooses it, and `number` is its argument.
    pub fn act(&mut self, what: u8, number: u16) {
        let capacity = self.cell.capacity();
        let length = usize::from(number) % (capacity.min(9000) as usize + 2);
        match what % 20 {
            0..4 => {
                if self.lease()
                    && let Some(writer) = &mut self.writer
                {
                    let _ = say(writer.publish(&vec![number as u8; length]));
                }
            }
            4 => {
                if self.lease()
                    && let Some(writer) = &mut self.writer
                {
                    let name = "n".repeat(length % 300);
                    let expires = [0, 1, u64::MAX, u64::MAX - 1][usize::from(number % 4)];
                    let meta = Meta { codec: u32::from(number), type_name: Some(&name), expires };
                    let _ = say(writer.publish_with_as(&meta, length, |buffer| {
                        use std::io::Write;
                        buffer
                            .write_all(&[1; 3])
                            .map_err(|source| Error::new(ErrorKind::Io, "could not fill").with_source(source))
                    }));
                }
            }
            5 => {
                if self.lease()
                    && let Some(writer) = &mut self.writer
                {
                    let _ = say(writer.clear());
                }
            }
            6 => {
                if self.lease()
                    && let Some(writer) = &mut self.writer
                    && let Some(Some(value)) = say(writer.take())
                {
                    look_at_value(&value, capacity);
                }
            }
            7 => self.writer = None,
            8..10 => {
                let at = usize::from(number) % self.readers.len();
                if let Some(Some(snapshot)) = say(self.readers[at].load()) {
                    look_at_snapshot(snapshot, capacity);
                    if self.held.len() < 70 {
                        self.held.push(snapshot.clone());
                    }
                }
            }
            10 => {
                if !self.held.is_empty() {
                    drop(self.held.swap_remove(usize::from(number) % self.held.len()));
                }
            }
            11 => {
                for snapshot in &self.held {
                    look_at_snapshot(snapshot, capacity);
                }
            }
            12 => {
                let at = usize::from(number) % self.readers.len();
                if let Some(Some(value)) = say(self.readers[at].copy()) {
                    look_at_value(&value, capacity);
                }
            }
            13 => {
                if self.readers.len() < 8 {
                    self.readers.push(self.cell.reader());
                } else {
                    self.readers.truncate(1);
                }
            }
            14 | 15 => {
                if let Some(Some(value)) = say(self.cell.copy()) {
                    look_at_value(&value, capacity);
                }
            }
            16 | 17 => {
                if let Some(info) = say(self.cell.info()) {
                    assert!(info.length.is_none_or(|length| length <= capacity));
                    assert!(info.reserved <= self.cell.map().capacity());
                    let _ = format!("{info:?}");
                }
            }
            18 => {
                let than = self.cell.version().saturating_sub(u64::from(number % 3));
                let _ = say(self.cell.wait_newer(than, Duration::from_micros(u64::from(number % 50))));
            }
            _ => {
                let than = self.cell.version();
                let _ = say(self.cell.wait_newer_while_written(than, Duration::from_micros(20)));
            }
        }
    }

    fn lease(&mut self) -> bool {
        if self.writer.is_none() {
            self.writer = say(self.cell.try_writer()).flatten();
        }
        self.writer.is_some()
    }
}

/// Overwrites a word, more often than not at a place that matters.
pub(crate) fn scribble(view: &ViewAccessor, at: u16, word: u64) {
    let size = view.capacity();
    let place = match at % 4 {
        0 => WORDS[usize::from(at >> 2) % WORDS.len()],
        1 | 2 => SLOT_HEADERS + u64::from(at >> 2) % (8 * 64) / 8 * 8,
        _ => u64::from(at) * 8 % size / 8 * 8,
    };
    if place + 8 <= size {
        crate::word::<std::sync::atomic::AtomicU64>(view, place)
            .expect("within the view")
            .store(word, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A script: the first bytes choose the map, then each step either overwrites a word or does something.
pub(crate) fn cell(input: &[u8]) {
    let mut choices = Choices(input);
    let (kind, slots) = (choices.byte(), 3 + u64::from(choices.byte() % 6));
    let size = SLOTS + slots * 4096 * (1 + u64::from(kind >> 6)) + u64::from(choices.byte());
    let path = (kind % 4 == 0).then(|| directory().join("cell"));
    let map = || match &path {
        Some(path) => create_from_file(path, FileMode::OpenOrCreate, size, &MapOptions::new()),
        None => MemoryMappedFile::anonymous(size),
    };
    if let Some(path) = &path {
        let _ = std::fs::remove_file(path);
    }
    let first = map().expect("a map");
    let view = first.create_view_accessor(0, 0).expect("a view");
    let options = CellOptions::new().durability(match kind >> 4 & 3 {
        1 => Durability::Flush,
        _ => Durability::None,
    });
    let mut handles = vec![Handles::new(options.make_in(first).expect("a cell"))];
    let mut random = Random(choices.word());
    for _ in 0..80 {
        if choices.0.is_empty() {
            break;
        }
        let (what, number) = (choices.byte(), choices.number());
        let at = usize::from(what >> 5) % handles.len();
        match what % 32 {
            0..10 => handles[at].act((number >> 8) as u8, number),
            10..20 => handles[at].act(what, number),
            20..24 => scribble(&view, number, telling_word(&mut random)),
            24 => scribble(&view, number, choices.word()),
            25 | 26 => {
                let count = usize::from(what >> 5) + 1;
                let bytes = choices.bytes(count).to_vec();
                let _ = say(view.write_array(u64::from(number) % size, &bytes));
            }
            // Another handle, perhaps one that can't write.
            27 | 28 if path.is_some() && handles.len() < 4 => {
                let read_only = number % 3 == 0;
                let map = if read_only {
                    let path = path.as_ref().expect("checked");
                    MapOptions::new().access(Access::Read).open_existing(path)
                } else {
                    map()
                };
                // Opening a damaged cell on a file waits for the writer, which may be recovering it.
                for handle in &mut handles {
                    handle.writer = None;
                }
                let opened =
                    map.and_then(
                        |map| if number % 2 == 0 { options.open_in(map) } else { options.make_in(map) },
                    );
                handles.extend(say(opened).map(Handles::new));
            }
            29 if path.is_some() => {
                for handle in &mut handles {
                    handle.writer = None;
                }
                through_a_mapper(path.as_ref().expect("checked"), number);
            }
            30 if handles.len() > 1 => drop(handles.swap_remove(at)),
            _ => {}
        }
    }
}

fn through_a_mapper(path: &std::path::Path, number: u16) {
    let options = MapperOptions::new().ttl(Duration::from_secs(u64::from(number % 3) * 1000 + 1));
    let Some(mapper) = say(options.open_existing::<String, Json>(path)) else { return };
    // Another handle of the same script may be the writer, so this does nothing that would wait for it.
    let free = mapper.lease(Duration::ZERO).is_ok();
    let _ = say(mapper.get());
    let _ = say(mapper.get_shared());
    let _ = say(mapper.get_text());
    let _ = say(mapper.wait(Duration::from_micros(10)));
    let seen = mapper.version().saturating_sub(u64::from(number % 5));
    for change in mapper.watch().after(seen).timeout(Duration::from_micros(10)).take(2) {
        let _ = say(change);
    }
    if free {
        let _ = say(mapper.set(&"s".repeat(usize::from(number % 100))));
        let _ = say(mapper.update(|text| text + "u"));
        let _ = say(mapper.compare_and_set(seen, &"c".to_owned()));
        let _ = say(if number.is_multiple_of(2) {
            mapper.take().map(|_| ())
        } else {
            mapper.clear().map(|_| ())
        });
    }
}

/// Patches (offset in words, number of bytes, bytes) on a map of zeroes, which is then opened as a cell.
pub(crate) fn image(input: &[u8]) {
    let mut choices = Choices(input);
    let size = 20_480 + u64::from(choices.byte()) * 256;
    let map = MemoryMappedFile::anonymous(size).expect("a map");
    let view = map.create_view_accessor(0, 0).expect("a view");
    let create = choices.byte() % 2 == 0;
    let script = Random(choices.word());
    while !choices.0.is_empty() {
        let (at, count) = (u64::from(choices.number()) * 8, usize::from(choices.byte()));
        let bytes = choices.bytes(count).to_vec();
        if at + bytes.len() as u64 <= size && !bytes.is_empty() {
            view.write_array(at, &bytes).expect("within the view");
        }
    }
    let opened = if create { Cell::make_in(map) } else { Cell::open_in(map) };
    if let Some(cell) = say(opened) {
        assert!(cell.capacity() <= size);
        let mut handles = Handles::new(cell);
        let mut random = script;
        for _ in 0..24 {
            let choice = random.number();
            handles.act(choice as u8, (choice >> 8) as u16);
        }
    }
}

/// The content of a small map that mappers of every codec open as plain, and one as a cell.
pub(crate) fn plain(input: &[u8]) {
    let path = directory().join("plain");
    let size = input.len().clamp(1, 70_000);
    let mut bytes = input[..input.len().min(size)].to_vec();
    bytes.resize(size, 0);
    std::fs::write(&path, &bytes).expect("write a file");
    let options = PlainOptions::new();
    if let Some(mapper) = say(options.open_existing::<Nested, Json>(&path)) {
        let _ = say(mapper.get());
        let _ = say(mapper.get_text());
    }
    if let Some(mapper) = say(options.open_existing::<Nested, MessagePack>(&path)) {
        let _ = say(mapper.get());
    }
    let offset = u64::from(input.first().copied().unwrap_or(0));
    if let Some(mapper) = say(options.clone().offset(offset).open_existing::<Vec<u8>, Bytes>(&path)) {
        let _ = say(mapper.get());
        let _ = say(mapper.set(&input.iter().copied().take(9).collect()));
        let _ = say(mapper.get());
        let _ = say(mapper.clear());
    }
    if let Some(mapper) = say(MapperOptions::new().open_existing::<String, Text>(&path)) {
        let _ = say(mapper.get());
    }
}

/// The start of a named map's file; the rest of the file stays as it was.
pub(crate) fn record(input: &[u8]) {
    let directory = directory();
    let options = MapOptions::new().directory(&directory);
    let mut choices = Choices(input);
    let (shorten, length) = (choices.byte(), u64::from(choices.number()));
    let holder = options.create_new("fuzzed", 4096).expect("the name is free");
    let scope = std::fs::read_dir(&directory)
        .expect("the directory")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .expect("the scope's directory");
    let file = std::fs::read_dir(&scope)
        .expect("the scope's directory")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.metadata().is_ok_and(|file| file.len() > 4096))
        .expect("the map's file");
    {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().write(true).open(&file).expect("the map's file");
        file.write_all(choices.0).expect("write to it");
        if shorten % 8 == 0 {
            file.set_len(length).expect("cut it");
        }
    }
    if let Some(map) = say(options.open_existing("fuzzed"))
        && let Some(view) = say(map.create_view_accessor(0, 0))
    {
        let _ = say(view.read::<u8>(0));
        let _ = say(Cell::open_in(map));
    }
    let _ = say(options.create_or_open("fuzzed", 100));
    let _ = say(MapperOptions::new().map(options.clone()).open_existing::<u32, Json>("fuzzed"));
    let _ = say(handover::map::list(&MapOptions::new().directory(&directory)));
    let _ = say(handover::map::collect_garbage(&MapOptions::new().directory(&directory)));
    drop(holder);
    let _ = say(handover::map::collect_garbage(&MapOptions::new().directory(&directory)));
    // Nobody may remove a file that no longer looks like a map.
    for left in std::fs::read_dir(&scope).expect("the scope's directory").flatten() {
        if left.metadata().is_ok_and(|file| file.is_file()) {
            let _ = std::fs::remove_file(left.path());
        }
    }
}

/// A type with something of everything.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) enum Nested {
    Nothing,
    Number(i64),
    Float(f64),
    Text(String),
    List(Vec<Nested>),
    Fields { name: Option<String>, next: Box<Nested> },
}

/// A value's bytes. What decodes must encode, and decode to the same value again.
pub(crate) fn decode(input: &[u8]) {
    if let Some(value) = say(<Json as Codec<Nested>>::decode(input)) {
        let again = <Json as Codec<Nested>>::encode(&value).expect("it came from JSON");
        assert_eq!(<Json as Codec<Nested>>::decode(&again).expect("it was just encoded"), value);
    }
    if let Some(value) = say(<MessagePack as Codec<Nested>>::decode(input)) {
        let again = <MessagePack as Codec<Nested>>::encode(&value).expect("it came from MessagePack");
        let back: Nested = <MessagePack as Codec<Nested>>::decode(&again).expect("it was just encoded");
        // A float may be NaN, which equals nothing.
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
    }
    if let Some(value) = say(<Text as Codec<String>>::decode(input)) {
        assert_eq!(value.as_bytes(), input);
    }
    if let Some(value) = say(<Bytes as Codec<Vec<u8>>>::decode(input)) {
        assert_eq!(value, input);
    }
}
