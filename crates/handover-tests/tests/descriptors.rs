//! How many file descriptors a handle takes: one for a held map, two where its cell is pinned or written, and
//! one more where somebody else may read it.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use handover::map::{Access, MapOptions, MemoryMappedFile, ViewAccessor, ViewStream};
use handover::mapper::MapperOptions;
use handover::{MemoryMapper, Scope};
use handover_tests::memory_dir;
use handover_tests::role::{Role, asked};

/// How many handles are looked at together: one that all of them share would not show up in each.
const HANDLES: usize = 10;

/// What this process has open.
fn open_files() -> Vec<String> {
    let own = |path: &Path| fs::read_link(path).ok().map(|file| file.display().to_string());
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    // The directory that is read here is one of them, and closed again.
    let mut files: Vec<String> =
        entries.filter_map(|path| own(&path)).filter(|file| !file.ends_with("/fd")).collect();
    files.sort();
    files
}

/// How many descriptors each of the handles takes that `open` opens, and that none stays.
#[track_caller]
fn expect<H>(descriptors: usize, mut open: impl FnMut(&str) -> H) {
    // What a process opens once does not count.
    drop(open("warm"));
    let before = open_files();
    let handles: Vec<H> = (0..HANDLES).map(|at| open(&format!("map {at}"))).collect();
    let meanwhile = open_files();
    assert_eq!(
        meanwhile.len() - before.len(),
        descriptors * HANDLES,
        "of {HANDLES} handles; before {before:#?}, with them {meanwhile:#?}"
    );
    drop(handles);
    assert_eq!(open_files(), before, "descriptors stay");
}

/// Runs `role`, a test that looks at its own descriptors, in a process where nothing else does.
fn alone(role: &str) {
    let directory = memory_dir();
    Role::start(directory.path(), role, &[]).finish();
}

#[test]
fn a_map_that_is_held() {
    alone("held");
}

#[test]
fn held() {
    let Some(_) = asked("held") else { return };
    let create = |name: &str| MapOptions::new().create_new(name, 70_000).unwrap();
    let open = |name: &str| MapOptions::new().open_existing(name).unwrap();
    expect(1, create);
    {
        let _held: Vec<MemoryMappedFile> =
            (0..HANDLES).map(|at| create(&format!("map {at}"))).chain([create("warm")]).collect();
        expect(1, open);
        expect(1, |name| MapOptions::new().access(Access::Read).open_existing(name).unwrap());
    }
    expect(1, |name| -> (MemoryMappedFile, ViewStream, ViewAccessor) {
        let map = create(name);
        let stream = map.create_view_stream(0, 0).unwrap();
        let accessor = map.create_view_accessor(4096, 100).unwrap();
        accessor.write(0, 7_u64).unwrap();
        (map, stream, accessor)
    });
    // A view keeps the bytes and no descriptor.
    expect(0, |name| create(name).create_view_stream(0, 0).unwrap());
}

#[test]
fn a_mapper_that_writes_and_pins() {
    alone("mapper");
}

#[test]
fn mapper() {
    let Some(_) = asked("mapper") else { return };
    let create = |name: &str| MemoryMapper::<u64>::create_new(name).unwrap();
    expect(2, |name| {
        let mapper = create(name);
        mapper.set(&7).unwrap();
        mapper
    });
    expect(2, |name| {
        let mapper = create(name);
        mapper.set(&7).unwrap();
        let lease = mapper.cell().try_writer().unwrap().unwrap();
        (mapper, lease)
    });
    let _written: Vec<_> = (0..HANDLES)
        .map(|at| format!("map {at}"))
        .chain(["warm".to_owned()])
        .map(|name| {
            let mapper = create(&name);
            mapper.set(&7).unwrap();
            mapper
        })
        .collect();
    // What is read by copying takes none; a reader that pins has an entry, which its lock keeps.
    expect(1, |name| {
        let mapper = MemoryMapper::<u64>::open_existing(name).unwrap();
        assert_eq!(mapper.get().unwrap(), Some(7));
        mapper
    });
    expect(2, |name| {
        let mapper = MemoryMapper::<u64>::open_existing(name).unwrap();
        let mut reader = mapper.cell().reader();
        assert_eq!(reader.load().unwrap().unwrap().version(), 1);
        (mapper, reader)
    });
    // Without the right to write it copies.
    let read_only = MapperOptions::new().map(MapOptions::new().access(Access::Read));
    expect(1, |name| {
        let mapper: MemoryMapper<u64> = read_only.open_existing(name).unwrap();
        assert_eq!(mapper.get().unwrap(), Some(7));
        mapper
    });
}

#[test]
fn a_map_that_others_may_read() {
    alone("read_by_others");
}

#[test]
fn read_by_others() {
    let Some(_) = asked("read_by_others") else { return };
    for (mode, held) in [(0o600, 1), (0o660, 1), (0o666, 1), (0o640, 2), (0o644, 2)] {
        let options = MapOptions::new().scope(Scope::Global).file_mode(mode);
        expect(held, |name| options.create_new(name, 70_000).unwrap());
        let mapper = MapperOptions::new().map(options);
        expect(held + 1, |name| {
            let mapper: MemoryMapper<u64> = mapper.create_new(name).unwrap();
            mapper.set(&7).unwrap();
            mapper
        });
    }
}
