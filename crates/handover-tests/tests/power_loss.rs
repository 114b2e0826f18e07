//! Proves that a persisted cell survives a power loss. With `Sync` the newest version is the last one whose
//! publishing returned, whole; without it, the newest version that reached the disk whole. And the cell works
//! on.
//!
//! The test stands in for the disk. At every step of the protocol and after every flush it looks at the file
//! and notes what changed. From that it knows, for each sector, all contents that the sector had since it was
//! last flushed, any of which the disk may hold when the power goes. It puts together such disks: all of them
//! where they are few, else the extreme ones and many random ones. It does so with whole sectors and, because
//! a sector may be on its way while it changes, also with single words of 8 bytes. Each disk is opened again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handover::cell::{Cell, CellOptions};
use handover::map::{Access, MapOptions};
use handover::{Durability, ErrorKind, Flushed, Step, on_flush, on_step};
use handover_tests::{FileAt, memory_dir};

const SECTOR: usize = 512;
const WORD: usize = 8;
/// The layout of `docs`: where slot headers and slots start.
const HEADERS: usize = 8192;
const SLOTS: usize = 16_384;
const HEADER: usize = 64;

// ---- the disk

thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// The possible states of a file on a disk.
struct Disk {
    path: PathBuf,
    /// What was flushed.
    durable: Arc<Vec<u8>>,
    /// What the processes see.
    seen: Vec<u8>,
    /// The contents of each sector since it was flushed, if it changed.
    since: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Whether the file's length and name are on the disk.
    entry: bool,
    /// Every version's value; `None` for an absence.
    history: Vec<Option<Vec<u8>>>,
    /// The header and bytes that each version was published with.
    published: Vec<(u64, Vec<u8>, Vec<u8>)>,
    /// The newest version that must survive.
    floor: usize,
    durability: Durability,
    moments: Vec<Moment>,
}

/// A moment at which the power may go.
#[derive(Clone)]
struct Moment {
    label: String,
    durable: Arc<Vec<u8>>,
    since: BTreeMap<usize, Vec<Vec<u8>>>,
    entry: bool,
    history: Vec<Option<Vec<u8>>>,
    published: Vec<(u64, Vec<u8>, Vec<u8>)>,
    /// The newest version that must be found with write access, and with read access.
    floor: usize,
    returned: usize,
}

impl Disk {
    /// `image` is on the disk; the file at `path` may be another by now.
    fn start(path: &Path, image: Vec<u8>, history: Vec<Option<Vec<u8>>>, floor: usize) {
        on_step(|step| with_disk(|disk| disk.step(step)));
        on_flush(|flushed| with_disk(|disk| disk.flushed(flushed)));
        let disk = Self {
            path: path.to_owned(),
            durable: Arc::new(image.clone()),
            seen: image,
            since: BTreeMap::new(),
            entry: false,
            history,
            published: Vec::new(),
            floor,
            durability: Durability::Sync,
            moments: Vec::new(),
        };
        DISK.set(Some(disk));
    }

    fn end() -> Vec<Moment> {
        DISK.take().expect("was started").moments
    }

    fn step(&mut self, step: Step) {
        self.look();
        if step == Step::WriterPublished {
            let version = self.history.len() as u64 - 1;
            if let Some((header, bytes)) =
                slots(&self.seen).into_iter().find(|(header, _)| u64_at(header, 0) == version)
            {
                self.published.push((version, header.to_vec(), bytes.to_vec()));
            }
            if self.durability == Durability::Sync {
                // Readers see it from now on, and so must those that come after a crash.
                self.floor = self.history.len() - 1;
            }
        }
        self.note(&format!("{step:?}"));
    }

    fn flushed(&mut self, flushed: Flushed) {
        self.look();
        match flushed {
            // The power may have gone just before.
            Flushed::Bytes { at, len, wait } => {
                self.note(&format!("before the flush of {len} from {at}"));
                if wait && len > 0 {
                    let mut durable = self.durable.as_ref().clone();
                    for sector in at / SECTOR..(at + len).div_ceil(SECTOR) {
                        let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.seen.len());
                        durable[range.clone()].copy_from_slice(&self.seen[range]);
                        self.since.remove(&sector);
                    }
                    self.durable = Arc::new(durable);
                    self.note(&format!("after the flush of {len} from {at}"));
                }
            }
            Flushed::Entry => self.entry = true,
        }
    }

    fn look(&mut self) {
        let now = fs::read(&self.path).expect("the cell's file");
        self.seen.resize(now.len(), 0);
        if self.durable.len() < now.len() {
            let mut durable = self.durable.as_ref().clone();
            durable.resize(now.len(), 0);
            self.durable = Arc::new(durable);
        }
        for (sector, (old, new)) in self.seen.chunks(SECTOR).zip(now.chunks(SECTOR)).enumerate() {
            if old != new {
                let durable = self.durable[sector * SECTOR..][..new.len()].to_vec();
                self.since.entry(sector).or_insert_with(|| vec![durable]).push(new.to_vec());
            }
        }
        self.seen = now;
    }

    fn note(&mut self, label: &str) {
        let returned = self.moments.last().map_or(self.floor, |last| last.returned);
        self.moments.push(Moment {
            label: format!("version {}, {label}", self.history.len() - 1),
            durable: self.durable.clone(),
            since: self.since.clone(),
            entry: self.entry,
            history: self.history.clone(),
            published: self.published.clone(),
            floor: self.floor,
            returned,
        });
    }
}

fn with_disk(run: impl FnOnce(&mut Disk)) {
    DISK.with_borrow_mut(|disk| disk.as_mut().map(run));
}

/// Does something that makes `value` the next version.
fn publish(durability: Durability, value: Option<&[u8]>, run: impl FnOnce() -> u64) {
    with_disk(|disk| {
        disk.durability = durability;
        disk.history.push(value.map(<[u8]>::to_vec));
    });
    let version = run();
    with_disk(|disk| {
        assert_eq!(version, disk.history.len() as u64 - 1);
        disk.look();
        disk.note("returned");
        if durability == Durability::Sync {
            let last = disk.moments.last_mut().expect("just noted");
            last.returned = disk.floor;
        }
    });
}

// ---- the bytes, as the layout has them

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Headers and bytes of all slots.
fn slots(image: &[u8]) -> Vec<(&[u8], &[u8])> {
    if image.len() < SLOTS {
        return Vec::new();
    }
    let blocks = (image.len() - SLOTS) / 4096;
    let count = blocks.min(64);
    let size = blocks / count * 4096;
    (0..count)
        .map(|slot| (&image[HEADERS + slot * HEADER..][..HEADER], &image[SLOTS + slot * size..][..size]))
        .collect()
}

/// The newest version that lies whole in an image, as it was published.
fn newest_whole(image: &[u8], published: &[(u64, Vec<u8>, Vec<u8>)]) -> u64 {
    slots(image)
        .into_iter()
        .filter_map(|(header, bytes)| {
            let (version, as_it_was, all) =
                published.iter().find(|(version, ..)| *version == u64_at(header, 0))?;
            // All but the extent and the wish to wipe.
            let length = u64_at(header, 8) as usize;
            let flags = |header: &[u8]| u64_at(header, 56) & !2;
            (header[..48] == as_it_was[..48]
                && flags(header) == flags(as_it_was)
                && length <= bytes.len()
                && bytes[..length] == all[..length])
                .then_some(*version)
        })
        .max()
        .unwrap_or(0)
}

// ---- crashes

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// The parts of a disk that are not certain, and what each may hold; the first content is the flushed one.
fn parts(moment: &Moment, size: usize) -> Vec<(usize, Vec<Vec<u8>>)> {
    let mut parts = Vec::new();
    for (sector, contents) in &moment.since {
        let length = contents[0].len();
        for at in (0..length).step_by(size) {
            let mut may: Vec<Vec<u8>> = Vec::new();
            for content in contents {
                let part = content[at..(at + size).min(length)].to_vec();
                if !may.contains(&part) {
                    may.push(part);
                }
            }
            if may.len() > 1 {
                parts.push((sector * SECTOR + at, may));
            }
        }
    }
    parts
}

/// Disks that a power loss at this moment may leave.
fn crashes(moment: &Moment, random: &mut Random, count: usize) -> Vec<Vec<u8>> {
    // A file costs more there.
    let count = if cfg!(windows) { count.min(2) } else { count };
    let mut images = Vec::new();
    for size in [SECTOR, WORD] {
        let parts = parts(moment, size);
        let put = |choices: &[usize]| {
            let mut image = moment.durable.as_ref().clone();
            for ((at, may), choice) in parts.iter().zip(choices) {
                image[*at..*at + may[*choice].len()].copy_from_slice(&may[*choice]);
            }
            image
        };
        let possible = parts.iter().map(|(_, may)| may.len()).try_fold(1usize, usize::checked_mul);
        if let Some(possible) = possible.filter(|possible| *possible <= count) {
            for mut number in 0..possible {
                let mut choices = Vec::new();
                for (_, may) in &parts {
                    choices.push(number % may.len());
                    number /= may.len();
                }
                images.push(put(&choices));
            }
            continue;
        }
        let old: Vec<usize> = vec![0; parts.len()];
        let new: Vec<usize> = parts.iter().map(|(_, may)| may.len() - 1).collect();
        images.push(put(&old));
        images.push(put(&new));
        for _ in 0..count / 4 {
            // One part is ahead of all others, or behind all others.
            let at = random.below(parts.len());
            let mut choices = old.clone();
            choices[at] = 1 + random.below(parts[at].1.len() - 1);
            images.push(put(&choices));
            let mut choices = new.clone();
            choices[at] = random.below(parts[at].1.len() - 1);
            images.push(put(&choices));
        }
        for _ in 0..count / 2 {
            let bias = 1 + random.below(7);
            let choices: Vec<usize> = parts
                .iter()
                .map(|(_, may)| if random.below(8) < bias { may.len() - 1 } else { random.below(may.len()) })
                .collect();
            images.push(put(&choices));
        }
    }
    images
}

fn write_image(path: &Path, image: &[u8]) {
    let file = File::create(path).expect("a file for the image");
    file.set_len(image.len() as u64).expect("room");
    for (index, chunk) in image.chunks(4096).enumerate() {
        if chunk.iter().any(|byte| *byte != 0) {
            file.write_all_at(chunk, index as u64 * 4096).expect("room");
        }
    }
}

fn create(path: &Path, size: usize, durability: Durability) -> handover::Result<Cell> {
    let map = MapOptions::new().delay_allocate_pages(true).create_or_open(path, size as u64)?;
    CellOptions::new().durability(durability).make_in(map)
}

fn value_of(cell: &Cell) -> (usize, Option<Vec<u8>>) {
    let value = cell.copy().expect("a readable cell").map(|value| value.bytes.to_vec());
    (cell.version() as usize, value)
}

/// Checks that the found version is one of the stored ones, whole, and not older than `floor`.
#[track_caller]
fn check_value(moment: &Moment, what: &str, floor: usize, cell: &Cell) -> usize {
    let (version, value) = value_of(cell);
    let label = &moment.label;
    assert!(version >= floor, "{what}, {label}: version {version} came back, {floor} was promised");
    assert!(version < moment.history.len(), "{what}, {label}: version {version} was never stored");
    assert!(value == moment.history[version], "{what}, {label}: version {version} is not what was stored");
    version
}

/// Opens what a crash left, like programs do.
fn check(dir: &Path, moment: &Moment, image: &[u8], pure_sync: bool, durability: Durability) {
    let path = dir.join("crashed");
    let label = &moment.label;
    write_image(&path, image);
    let read_only = MapOptions::new().access(Access::Read).open_existing(&path).unwrap();
    match Cell::open_in(read_only) {
        Ok(cell) => {
            check_value(moment, "read-only", if pure_sync { moment.returned } else { 0 }, &cell);
        }
        Err(error) => {
            let created = moment.entry || moment.floor > 0;
            assert!(!(pure_sync && created), "read-only, {label}: {error}");
            let text = error.to_string();
            assert!(
                text.contains("write access") || text.contains("create_or_open makes one"),
                "{label}: {text}"
            );
        }
    }
    let cell = match create(&path, image.len(), durability) {
        Ok(cell) => cell,
        Err(error) => {
            // Only if nothing was flushed since it was made.
            assert!(moment.floor == 0 && !moment.entry, "{label}: {error}");
            assert_eq!(error.kind(), ErrorKind::WrongKind, "{label}: {error}");
            assert!(error.to_string().contains("remove it"), "{label}: {error}");
            return;
        }
    };
    let version = check_value(moment, "opened", moment.floor, &cell);
    let whole = newest_whole(image, &moment.published) as usize;
    assert!(version >= whole, "{label}: {version} came back, and {whole} was there whole");
    if let Some(dropped) = cell.dropped() {
        let dropped = dropped as usize;
        assert!(dropped > version && dropped < moment.history.len(), "{label}: dropped {dropped}");
    }
    // And it works on.
    let next = cell.try_writer().unwrap().expect("nobody else writes").publish(b"the next one").unwrap();
    assert_eq!(next as usize, version + 1, "{label}");
    drop(cell);
    let again = create(&path, image.len(), Durability::None).unwrap();
    assert_eq!(value_of(&again), (version + 1, Some(b"the next one".to_vec())), "{label}");
    assert_eq!(again.dropped(), None, "{label}");
}

/// Checks `count` or more crashes at each moment; `HANDOVER_CRASHES` multiplies the number, and the seed with
/// it.
fn check_all(moments: &[Moment], pure_sync: bool, count: usize) -> usize {
    let dir = memory_dir();
    let times = std::env::var("HANDOVER_CRASHES").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let count = count * times;
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ times as u64);
    let mut checked = 0;
    for moment in moments {
        for image in crashes(moment, &mut random, count) {
            let durability = if checked % 2 == 0 { Durability::Sync } else { Durability::None };
            check(dir.path(), moment, &image, pure_sync, durability);
            checked += 1;
        }
    }
    assert!(checked >= moments.len());
    checked
}

fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + seed * 101 + at / 251) as u8 | 1).collect()
}

/// Three slots: the fewest possible.
const SMALL: usize = SLOTS + 3 * 4096;
const LARGE: usize = SLOTS + 64 * 8192;

/// A file that has its name and length on the disk, and no cell yet.
fn started(dir: &Path, size: usize) -> PathBuf {
    let path = dir.join("cell");
    File::create(&path).unwrap().set_len(size as u64).unwrap();
    Disk::start(&path, vec![0; size], vec![None], 0);
    path
}

fn set(cell: &Cell, durability: Durability, value: &[u8]) {
    publish(durability, Some(value), || {
        cell.try_writer().unwrap().expect("nobody else writes").publish(value).unwrap()
    });
}

fn clear(cell: &Cell, durability: Durability) {
    publish(durability, None, || cell.try_writer().unwrap().expect("nobody else writes").clear().unwrap());
}

#[test]
fn a_version_that_was_stored_with_sync_is_there_whole() {
    let dir = memory_dir();
    let path = started(dir.path(), SMALL);
    let cell = create(&path, SMALL, Durability::Sync).unwrap();
    for (seed, length) in [5, 3000, 3000, 1, 0, 700, 3840].into_iter().enumerate() {
        set(&cell, Durability::Sync, &bytes(seed, length));
    }
    let cleared = bytes(6, 3840);
    clear(&cell, Durability::Sync);
    with_disk(|disk| {
        let is_there = disk.durable.chunks(4096).any(|slot| slot.starts_with(&cleared[..64]));
        assert!(!is_there, "what was cleared is on the disk");
    });
    set(&cell, Durability::Sync, &bytes(20, 600));
    let moments = Disk::end();
    check_all(&moments, true, 20);
}

#[test]
fn slots_that_grow_and_are_given_back_keep_the_promise() {
    let dir = memory_dir();
    let path = started(dir.path(), LARGE);
    let cell = create(&path, LARGE, Durability::Sync).unwrap();
    for (seed, length) in [7000, 10, 7900, 7900, 20].into_iter().enumerate() {
        set(&cell, Durability::Sync, &bytes(seed, length));
    }
    let moments = Disk::end();
    check_all(&moments, true, 8);
}

#[test]
fn versions_without_sync_do_not_cost_the_one_that_was_stored_with_it() {
    let dir = memory_dir();
    for weak in [Durability::None, Durability::Flush] {
        let path = started(dir.path(), SMALL);
        let strong_cell = create(&path, SMALL, Durability::Sync).unwrap();
        let weak_cell = create(&path, SMALL, weak).unwrap();
        set(&strong_cell, Durability::Sync, &bytes(0, 1200));
        set(&strong_cell, Durability::Sync, &bytes(1, 900));
        for seed in 2..8 {
            set(&weak_cell, weak, &bytes(seed, 100 * seed));
        }
        clear(&weak_cell, weak);
        set(&weak_cell, weak, &bytes(9, 800));
        set(&strong_cell, Durability::Sync, &bytes(10, 40));
        clear(&weak_cell, weak);
        let moments = Disk::end();
        drop((strong_cell, weak_cell));
        fs::remove_file(&path).unwrap();
        check_all(&moments, false, 14);
    }
}

#[test]
fn a_pinned_slot_and_the_durable_one_leave_room_to_write() {
    let dir = memory_dir();
    let path = started(dir.path(), SMALL);
    let strong_cell = create(&path, SMALL, Durability::Sync).unwrap();
    let weak_cell = create(&path, SMALL, Durability::None).unwrap();
    set(&strong_cell, Durability::Sync, &bytes(0, 1200));
    set(&weak_cell, Durability::None, &bytes(1, 900));
    let mut reader = weak_cell.reader();
    let held = reader.load().unwrap().unwrap().clone();
    for seed in 2..6 {
        set(&weak_cell, Durability::None, &bytes(seed, 900));
    }
    assert_eq!(held.copy().unwrap().as_slice(), bytes(1, 900));
    let moments = Disk::end();
    check_all(&moments, false, 14);
}

#[test]
fn a_secret_cell_keeps_the_promise() {
    let dir = memory_dir();
    let path = started(dir.path(), SMALL);
    let map = MapOptions::new().open_existing(&path).unwrap();
    let cell = match CellOptions::new().durability(Durability::Sync).secret(true).make_in(map) {
        Ok(cell) => cell,
        Err(error) => handover_tests::skip!("{error}"),
    };
    let map = MapOptions::new().open_existing(&path).unwrap();
    let weak_cell = CellOptions::new().secret(true).make_in(map).unwrap();
    for seed in 0..4 {
        set(&cell, Durability::Sync, &bytes(seed, 900));
    }
    let moments = Disk::end();
    check_all(&moments, true, 12);
    Disk::start(
        &path,
        fs::read(&path).unwrap(),
        (0..5).map(|v| (v > 0).then(|| bytes(v - 1, 900))).collect(),
        4,
    );
    for seed in 4..7 {
        set(&weak_cell, Durability::None, &bytes(seed, 900));
    }
    let moments = Disk::end();
    check_all(&moments, false, 12);
}

#[test]
fn cells_that_were_never_flushed_come_back_with_the_newest_whole_version_or_none() {
    let dir = memory_dir();
    let path = started(dir.path(), SMALL);
    let cell = create(&path, SMALL, Durability::None).unwrap();
    for seed in 0..5 {
        set(&cell, Durability::None, &bytes(seed, 1000 + seed));
    }
    let moments = Disk::end();
    check_all(&moments, false, 40);
}

#[test]
fn a_crash_while_a_cell_is_made_leaves_none_or_an_empty_one() {
    for durability in [Durability::Sync, Durability::None] {
        let dir = memory_dir();
        let path = started(dir.path(), SMALL);
        let cell = create(&path, SMALL, durability).unwrap();
        with_disk(|disk| {
            disk.look();
            disk.note("made");
        });
        let moments = Disk::end();
        drop(cell);
        check_all(&moments, true, 300);
        // The length of the file or its name may be missing.
        let crashed = dir.path().join("crashed");
        File::create(&crashed).unwrap();
        for _ in 0..2 {
            let cell = create(&crashed, SMALL, durability).unwrap();
            assert_eq!(value_of(&cell), (0, None));
            drop(cell);
            fs::remove_file(&crashed).unwrap();
        }
        let made = moments.last().unwrap();
        assert_eq!(made.entry, durability == Durability::Sync, "its name is on the disk");
        assert!(durability != Durability::Sync || made.since.is_empty(), "all of it is on the disk");
    }
}

#[test]
fn a_crash_during_recovery_is_recovered_from() {
    let dir = memory_dir();
    let path = started(dir.path(), SMALL);
    let strong_cell = create(&path, SMALL, Durability::Sync).unwrap();
    let weak_cell = create(&path, SMALL, Durability::None).unwrap();
    set(&strong_cell, Durability::Sync, &bytes(0, 1200));
    for seed in 1..5 {
        set(&weak_cell, Durability::None, &bytes(seed, 700));
    }
    set(&strong_cell, Durability::Sync, &bytes(5, 800));
    let moments = Disk::end();
    let again = dir.path().join("again");
    let mut random = Random(42);
    let mut recoveries = 0;
    for moment in &moments {
        for image in crashes(moment, &mut random, 3) {
            write_image(&again, &image);
            Disk::start(&again, image.clone(), moment.history.clone(), moment.floor);
            with_disk(|disk| {
                disk.published.clone_from(&moment.published);
                disk.entry = moment.entry;
                disk.durability = Durability::None;
            });
            let Ok(cell) = create(&again, SMALL, Durability::Sync) else {
                assert_eq!(moment.floor, 0);
                Disk::end();
                continue;
            };
            let version = cell.version() as usize;
            recoveries += usize::from(cell.dropped().is_some());
            with_disk(|disk| {
                // Seen once, it stays.
                disk.look();
                disk.floor = version;
                disk.note("recovered");
            });
            let moments = Disk::end();
            drop(cell);
            check_all(&moments, false, 4);
        }
    }
    assert!(recoveries > 10, "only {recoveries} had anything to recover");
}

#[test]
fn what_came_back_is_kept_from_those_who_write_without_sync() {
    let dir = memory_dir();
    let path = started(dir.path(), SMALL);
    let cell = create(&path, SMALL, Durability::Sync).unwrap();
    for seed in 0..3 {
        set(&cell, Durability::Sync, &bytes(seed, 900));
    }
    let moments = Disk::end();
    let again = dir.path().join("again");
    let mut random = Random(7);
    let mut crashed = 0;
    // It is published, so somebody may have seen it, but publishing has not returned.
    for moment in moments.iter().filter(|moment| moment.floor > moment.returned) {
        for image in crashes(moment, &mut random, 8) {
            write_image(&again, &image);
            Disk::start(&again, image.clone(), moment.history.clone(), moment.floor);
            let cell = create(&again, SMALL, Durability::None).unwrap();
            assert_eq!(cell.version() as usize, moment.floor);
            for seed in 5..8 {
                set(&cell, Durability::None, &bytes(seed, 700));
            }
            let moments = Disk::end();
            drop(cell);
            check_all(&moments[moments.len() - 4..], false, 12);
            crashed += 1;
        }
    }
    assert!(crashed > 20, "only {crashed}");
}
