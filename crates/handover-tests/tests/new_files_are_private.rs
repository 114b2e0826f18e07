//! Proves that a file made by this library is private to this user, mode 0600, however it is made and
//! whatever the process's mask says, and that a requested mode is taken exactly. The mask belongs to the
//! whole process, so this is the only test in its program.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use handover::cell::{Cell, CellOptions};
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{MapOptions, MemoryMappedFile};
use handover::mapper::PlainOptions;
use handover::{Durability, MapperOptions, MemoryMapper, Place, PlainMapper, Result};
use handover_tests::{names_in, own_dir};
use rustix::fs::Mode;
use rustix::process::umask;

/// Makes something at a place, drops it, and leaves the file.
type Way = fn(&MapOptions, Place<'_>) -> Result<()>;

const WAYS: [(&str, Way); 12] = [
    ("map, create_new", |options, place| options.create_new(place, 100).map(drop)),
    ("map, create_or_open", |options, place| options.create_or_open(place, 100).map(drop)),
    ("cell, create_new", |options, place| {
        CellOptions::new().map(options.clone()).create_new(place).map(drop)
    }),
    ("cell, create_or_open", |options, place| {
        CellOptions::new().map(options.clone()).create_or_open(place).map(drop)
    }),
    ("durable cell, create_or_open", |options, place| {
        let cell = CellOptions::new().durability(Durability::Sync).map(options.clone());
        cell.create_or_open(place).map(drop)
    }),
    ("mapper, create_new", |options, place| {
        let mapper: MemoryMapper<u32> = MapperOptions::new().map(options.clone()).create_new(place)?;
        mapper.set(&1).map(drop)
    }),
    ("mapper, create_or_open", |options, place| {
        let mapper: MemoryMapper<u32> = MapperOptions::new().map(options.clone()).create_or_open(place)?;
        mapper.set(&1).map(drop)
    }),
    ("plain mapper, create_new", |options, place| {
        let plain: PlainMapper<u32> = PlainOptions::new().map(options.clone()).create_new(place)?;
        plain.set(&1)
    }),
    ("plain mapper, create_or_open", |options, place| {
        let plain: PlainMapper<u32> = PlainOptions::new().map(options.clone()).create_or_open(place)?;
        plain.set(&1)
    }),
    (".NET's CreateNew", |options, place| dotnet(options, place, FileMode::CreateNew)),
    (".NET's Create", |options, place| dotnet(options, place, FileMode::Create)),
    (".NET's OpenOrCreate", |options, place| dotnet(options, place, FileMode::OpenOrCreate)),
];

fn dotnet(options: &MapOptions, place: Place<'_>, mode: FileMode) -> Result<()> {
    match place {
        Place::File(path) => create_from_file(path, mode, 100, options).map(drop),
        // It knows only files.
        Place::Name(_) => Ok(()),
    }
}

/// Makes a file without options.
type ShortWay = fn(&Path) -> Result<()>;

const SHORT_WAYS: [(&str, ShortWay); 8] = [
    ("map, create_new", |path| MemoryMappedFile::create_new(path, 100).map(drop)),
    ("map, create_or_open", |path| MemoryMappedFile::create_or_open(path, 100).map(drop)),
    ("cell, create_new", |path| Cell::create_new(path).map(drop)),
    ("cell, create_or_open", |path| Cell::create_or_open(path).map(drop)),
    ("mapper, create_new", |path| MemoryMapper::<u32>::create_new(path).map(drop)),
    ("mapper, create_or_open", |path| MemoryMapper::<u32>::create_or_open(path).map(drop)),
    ("plain mapper, create_new", |path| PlainMapper::<u32>::create_new(path).map(drop)),
    ("plain mapper, create_or_open", |path| PlainMapper::<u32>::create_or_open(path).map(drop)),
];

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// The mode of every file below a directory that others may look into.
#[track_caller]
fn all_private(directory: &Path, what: &str) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_eq!(mode(&path), 0o700, "{what}: {}", path.display());
            all_private(&path, what);
        } else if path.extension().is_some_and(|extension| extension == "map") {
            // The sticky bit keeps cleaners of temporary files off.
            let kept = if cfg!(target_os = "linux") { 0o1000 } else { 0 };
            assert_eq!(mode(&path), 0o600 | kept, "{what}: {}", path.display());
        } else {
            assert_eq!(mode(&path), 0o600, "{what}: {}", path.display());
        }
    }
}

#[test]
fn every_way_to_make_a_file_under_every_mask() {
    let before = umask(Mode::empty());
    for mask in [0o000, 0o077, 0o022] {
        umask(Mode::from_raw_mode(0));
        let directory = own_dir();
        let options = names_in(&directory);
        umask(Mode::from_raw_mode(mask));
        for (what, way) in WAYS {
            let shown = format!("{what}, mask {mask:#o}");
            let path = directory.path().join(what.replace([' ', ','], "-"));
            way(&options, Place::File(&path)).unwrap_or_else(|e| panic!("{shown}: {e}"));
            assert_eq!(mode(&path), 0o600, "{shown}");
            // Opening it again changes nothing.
            drop(options.open_existing(&path).unwrap());
            assert_eq!(mode(&path), 0o600, "{shown}");
            for bits in [0o600, 0o640, 0o644, 0o660, 0o666, 0o606] {
                let shown = format!("{shown}, mode {bits:#o}");
                let path = directory.path().join(format!("{bits:o} {what}"));
                way(&options.clone().file_mode(bits), Place::File(&path))
                    .unwrap_or_else(|e| panic!("{shown}: {e}"));
                assert_eq!(mode(&path), bits, "{shown}");
                std::fs::remove_file(path).unwrap();
            }
        }
        for (what, way) in SHORT_WAYS {
            let path = directory.path().join(format!("short {what}"));
            way(&path).unwrap_or_else(|e| panic!("{what}, mask {mask:#o}: {e}"));
            assert_eq!(mode(&path), 0o600, "{what}, mask {mask:#o}");
        }
        // And the file behind a name while somebody holds it.
        let names = own_dir();
        std::fs::set_permissions(names.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let options = names_in(&names);
        for (what, way) in WAYS {
            let holder = options.create_new("held", 100).unwrap();
            let file = names.path().join("a file with a name");
            let _named = options.clone().map_name("on a file").create_or_open(&file, 100).unwrap();
            way(&options, Place::Name("n")).unwrap_or_else(|e| panic!("{what}, mask {mask:#o}: {e}"));
            all_private(names.path(), &format!("{what}, mask {mask:#o}"));
            drop(holder);
        }
    }
    umask(before);
}
