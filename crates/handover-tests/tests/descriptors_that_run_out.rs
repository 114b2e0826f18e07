//! Where a process may open no more files, a refused call says so, and how many are in use, and leaves
//! nothing: neither a name nor a file.

#![cfg(target_os = "linux")]

use std::error::Error as _;
use std::fs::File;
use std::path::PathBuf;

use handover::map::MapOptions;
use handover::{Error, ErrorKind, MemoryMapper, Scope};
use handover_tests::role::{Role, asked};
use handover_tests::{files_in, memory_dir};

fn limit_files(count: u64) {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: `limit` is valid for a read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

#[track_caller]
fn expect_told(error: &Error, limit: u64) {
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("all of this process's {limit} descriptors are in use")), "{text}");
    assert!(error.advice().is_some_and(|advice| advice.contains("ulimit -n")), "{text}");
    assert!(error.source().is_some(), "{text}");
}

#[test]
fn a_refused_call_tells_that_they_ran_out_and_leaves_nothing() {
    let directory = memory_dir();
    for scope in ["user", "global", "token"] {
        Role::start(directory.path(), "refused", &[scope]).finish();
    }
    for scope in files_in(directory.path()) {
        assert!(files_in(&scope).is_empty(), "{:?} stay", files_in(&scope));
    }
}

/// The files of all scopes.
fn scope_files() -> Vec<PathBuf> {
    let base = PathBuf::from(std::env::var_os("HANDOVER_DIR").unwrap());
    files_in(&base).iter().flat_map(|scope| files_in(scope)).collect()
}

#[test]
fn refused() {
    const LIMIT: u64 = 64;
    let Some(words) = asked("refused") else { return };
    let options = match words[0].as_str() {
        "user" => MapOptions::new(),
        "global" => MapOptions::new().scope(Scope::Global),
        _ => MapOptions::new().scope(Scope::Global).file_mode(0o644),
    };
    let held = options.create_new("held", 5000).unwrap();
    limit_files(LIMIT);
    let (mut told, mut made) = (0, 0);
    for free in 0..12 {
        let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        taken.truncate(taken.len() - free);
        for result in [
            options.create_new("new", 5000),
            options.create_or_open("new", 5000),
            options.open_existing("held"),
            options.create_or_open("held", 5000),
        ] {
            match result {
                Ok(_) => made += 1,
                Err(error) => {
                    expect_told(&error, LIMIT);
                    told += 1;
                }
            }
        }
        drop(taken);
        let absent = options.open_existing("new").unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::NotFound, "{absent}");
    }
    assert!(told >= 4 && made >= 4, "{told} refused, {made} made");
    // The last holder needs none to take its name away.
    let closed = options.create_new("closed", 5000).unwrap();
    let before = scope_files();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    drop(closed);
    drop(taken);
    let files = if words[0] == "token" { 2 } else { 1 };
    assert_eq!(before.len() - scope_files().len(), files, "{before:?}");
    // What is held is there as before.
    assert_eq!(options.open_existing("held").unwrap().capacity(), 5000);
    drop(held);
}

#[test]
fn a_thousand_descriptors_are_five_hundred_mappers() {
    let directory = memory_dir();
    Role::start(directory.path(), "many", &[]).finish();
    for scope in files_in(directory.path()) {
        assert!(files_in(&scope).is_empty(), "{:?} stay", files_in(&scope));
    }
}

#[test]
fn many() {
    const LIMIT: u64 = 1024;
    let Some(_) = asked("many") else { return };
    limit_files(LIMIT);
    let mut mappers = Vec::new();
    let error = loop {
        let made = MemoryMapper::<u64>::create_new(&format!("mapper {}", mappers.len()))
            .and_then(|mapper| mapper.set(&7).map(|_| mapper));
        match made {
            Ok(mapper) => mappers.push(mapper),
            Err(error) => break error,
        }
    };
    eprintln!("{} mappers, and then: {error}", mappers.len());
    expect_told(&error, LIMIT);
    assert!(mappers.len() >= 500, "{} mappers", mappers.len());
    assert!(mappers.iter().all(|mapper| mapper.get().unwrap() == Some(7)));
}
