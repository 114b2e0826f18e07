//! Where this process may open no more files, a refused call leaves files as they were, and no name.
#![cfg(target_os = "linux")]

use std::fs::File;

use handover::map::MapOptions;
use handover::map::dotnet::{FileMode, create_from_file};
use handover_tests::{names_in, own_dir};

const OLD: &[u8] = b"the bytes that were there";

#[test]
fn files_stay_as_they_were() {
    let few = libc::rlimit { rlim_cur: 40, rlim_max: 40 };
    // SAFETY: a valid limit; this is the only test of the program.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    let dir = own_dir();
    let path = dir.path().join("file");
    let mut wrong = Vec::new();
    for options in [MapOptions::new(), names_in(&dir).map_name("named")] {
        for mode in [FileMode::CreateNew, FileMode::OpenOrCreate, FileMode::Create] {
            let mut made = 0;
            for free in 0..12 {
                let is_new = mode == FileMode::CreateNew;
                if !is_new {
                    std::fs::write(&path, OLD).unwrap();
                }
                let mut taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                taken.truncate(taken.len() - free);
                let result = create_from_file(&path, mode, 100_000, &options);
                drop(taken);
                let found = std::fs::read(&path).ok();
                match &result {
                    Ok(_) => made += 1,
                    Err(_) if found.as_deref() == (!is_new).then_some(OLD) => {}
                    Err(error) => {
                        let length = found.map(|found| found.len());
                        wrong
                            .push(format!("{mode:?} with {free} files left: {length:?} bytes after {error}"));
                    }
                }
                drop(result);
                let _ = std::fs::remove_file(&path);
            }
            assert!(made > 0, "{mode:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(handover::map::list(&handover::map::MapOptions::new().directory(dir.path())).unwrap().is_empty());
}
