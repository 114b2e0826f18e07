//! Programs that clean up temporary files and shared memory. Where a map can be kept from them, it is; where
//! it can't, its holders are told, and no map gets mixed up with another.

#![cfg(target_os = "linux")]

mod neighbour;

use std::path::{Path, PathBuf};

use handover_tests::cell::{CellCommand, OpenCell, UseCells};
use handover_tests::{Obey, Open, Stage, files_in, skip};
use neighbour::{ALICE, failed, global_of, has_program, map_of, needs_root, run, scope_of, stage_for_all};

const GLOBAL: &str = "Global\\name";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// Has the real cleaner clean a directory of everything, however young. It has done so when this returns:
/// two files that nobody protects are gone.
fn clean(stage: &Stage, directory: &Path) {
    let configuration = tempfile::tempdir().expect("a directory");
    let rules = configuration.path().join("clean.conf");
    std::fs::write(&rules, format!("d {} - - - 0\n", directory.display())).expect("write its rules");
    let plain = [stage.path().join("plain"), scope_of(stage, ALICE).join("plain")];
    for path in &plain {
        std::fs::write(path, b"of nobody").expect("write a file");
    }
    run(&["systemd-tmpfiles", "--clean", text(&rules)]).expect("clean up");
    for path in &plain {
        let is_gone = !path.exists();
        assert!(is_gone || !path.starts_with(directory), "the cleaner left {}", path.display());
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn the_real_cleaner_of_temporary_files_leaves_names_alone() {
    needs_root!();
    if !has_program("systemd-tmpfiles") {
        skip!("systemd-tmpfiles is not installed");
    }
    let stage = stage_for_all();
    let (mut alice, mut other) = (stage.actor_of(ALICE), stage.actor_of(ALICE));
    let map = alice.create_new("name", 100);
    alice.write(map, 0, b"kept");
    let cell = alice.open_cell(&OpenCell::named("cell", 1000));
    assert_eq!(alice.publish(cell, 500, 2), 2);
    // Also those with a file for locks beside them.
    let mut globals = Vec::new();
    for mode in [0o600, 0o640, 0o644, 0o660, 0o666] {
        let name = format!("{GLOBAL} {mode:o}");
        globals
            .push((alice.must_open(&Open { file_mode: Some(mode), ..Open::create_new(&name, 100) }), name));
    }
    let before = (files_in(&scope_of(&stage, ALICE)), files_in(&global_of(&stage, ALICE)));
    for _ in 0..2 {
        clean(&stage, stage.path());
        let keep = |files: Vec<PathBuf>| -> Vec<PathBuf> {
            files.into_iter().filter(|path| !path.ends_with(".sweep")).collect()
        };
        let after = (files_in(&scope_of(&stage, ALICE)), files_in(&global_of(&stage, ALICE)));
        assert_eq!((keep(after.0), keep(after.1)), (keep(before.0.clone()), keep(before.1.clone())));
        let found = other.open_existing("name");
        assert_eq!(other.read(found, 0, 4), b"kept");
        other.close(found);
        let read = other.open_cell(&OpenCell::existing("cell"));
        assert_eq!(other.on_cell(CellCommand::Load(read)), Some(2));
        other.on_cell(CellCommand::Close(read));
        for (_, name) in &globals {
            let found = other.open_existing(name);
            other.close(found);
        }
    }
    alice.publish(cell, 500, 1);
    alice.kill();
    other.expect_gone("name");
    for (_, name) in &globals {
        other.expect_gone(name);
    }
}

/// What the cleaner takes from a directory that nobody holds anything in: the directory itself. It comes
/// back.
#[test]
fn a_cleaned_directory_comes_back() {
    needs_root!();
    if !has_program("systemd-tmpfiles") {
        skip!("systemd-tmpfiles is not installed");
    }
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    alice.expect_fresh("name", 100);
    alice.expect_fresh(GLOBAL, 100);
    clean(&stage, stage.path());
    alice.expect_gone("name");
    alice.expect_fresh("name", 100);
    alice.expect_fresh(GLOBAL, 100);
}

/// What logind does when the last session of a user ends (`RemoveIPC=`): all that is that user's in /dev/shm
/// goes, sticky or not.
fn remove_ipc(base: &Path, uid: u32) {
    let words = ["find", text(base), "-mindepth", "1", "-user", &uid.to_string(), "-delete"];
    run(&words).expect("clean up");
}

#[test]
fn after_a_log_out_holders_are_told_and_the_next_map_is_another() {
    needs_root!();
    for name in ["name", GLOBAL] {
        let stage = stage_for_all();
        let words = ["create_new", name, "100", "put=first"];
        let (mut holder, made) = map_of(&stage, ALICE, &[], &words);
        made.expect("make a map");
        remove_ipc(stage.path(), ALICE);
        assert!(files_in(stage.path()).is_empty());
        // The next one makes the name anew, before the holder notices or after.
        let mut next = stage.actor_of(ALICE);
        next.expect_gone(name);
        let map = next.create_new(name, 50);
        next.write(map, 0, b"other");
        let message = failed(holder.put("first again"), &["NameLost"]);
        assert!(message.contains("name") && message.contains("log-out"), "{message}");
        failed(holder.put("once lost, it stays lost"), &["NameLost"]);
        assert_eq!(next.read(map, 0, 5), b"other");
        // Letting go of the old one does not touch the new one.
        assert!(holder.end().success());
        let mut third = stage.actor_of(ALICE);
        assert_eq!(third.open_existing(name).capacity, 50);
        third.kill();
        next.close(map);
        next.expect_gone(name);
    }
}

/// The cells of a service that logind cleaned up after: the writer is told, whoever waits too.
#[test]
fn after_a_log_out_cells_are_told() {
    needs_root!();
    for file_mode in [None, Some(0o644)] {
        let stage = stage_for_all();
        let name = if file_mode.is_some() { GLOBAL } else { "name" };
        let (mut writer, mut reader) = (stage.actor_of(ALICE), stage.actor_of(ALICE));
        let written = writer.open_cell(&OpenCell { file_mode, ..OpenCell::named(name, 1000) });
        assert_eq!(writer.publish(written, 100, 1), 1);
        let read = reader.open_cell(&OpenCell::existing(name));
        assert_eq!(reader.on_cell(CellCommand::Load(read)), Some(1));
        let wait = CellCommand::Wait {
            cell: read,
            than: 1,
            limit: std::time::Duration::from_secs(30),
            while_written: false,
        };
        reader.start_cell(wait);
        remove_ipc(stage.path(), ALICE);
        match reader.reply() {
            Some(handover_tests::Reply::Failed(failure)) => assert_eq!(failure.kind, "NameLost"),
            other => panic!("{other:?}"),
        }
        // What was seen can be read again.
        assert_eq!(reader.on_cell(CellCommand::Load(read)), Some(1));
        let told = std::iter::repeat_with(|| {
            writer.try_cell(CellCommand::Publish { cell: written, length: 100, times: 1 })
        });
        let start = std::time::Instant::now();
        let failure = told
            .take_while(|_| start.elapsed() < handover_tests::HANG)
            .find_map(Result::err)
            .expect("the writer is told");
        assert_eq!(failure.kind, "NameLost", "{}", failure.message);
    }
}

/// A cleaner that looks at nothing takes the whole directory.
#[test]
fn a_directory_that_is_gone_under_an_opener_is_made_anew() {
    needs_root!();
    let stage = stage_for_all();
    let mut alice = stage.actor_of(ALICE);
    let _old = alice.create_new("old", 100);
    std::fs::remove_dir_all(scope_of(&stage, ALICE)).expect("remove it");
    alice.expect_gone("old");
    let map = alice.create_new("old", 70);
    assert_eq!(stage.actor_of(ALICE).open_existing("old").capacity, 70);
    alice.close(map);
}
