//! A writer is killed or stopped at any step of publishing. Readers get the current version, whole, and never
//! wait. When the writer is dead, the next writer proceeds at once, no version number is skipped or used
//! twice, and the memory of the slot it left comes back.

use std::time::Duration;

#[cfg_attr(target_os = "macos", allow(unused_imports, reason = "some tests are not for it"))]
use handover_tests::cell::{
    Board, CellCommand, End, OpenCell, Step, UseCells, WRITER_STEPS, Work, expect_memory, wait_until,
};
use handover_tests::{Actor, HANG, Stage};

const CAPACITY: u64 = 1 << 20;

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// Every kind of read gets this version.
#[track_caller]
fn expect_version(actor: &mut Actor, cell: u32, read_only: u32, version: u64) {
    let expected = (version > 0).then_some(version);
    for command in [
        CellCommand::Load(cell),
        CellCommand::Copy(cell),
        CellCommand::Read(cell),
        CellCommand::Copy(read_only),
        CellCommand::Read(read_only),
    ] {
        let shown = format!("{command:?}");
        assert_eq!(actor.on_cell(command), expected, "{shown}");
    }
}

#[test]
fn killed_at_any_step_it_leaves_the_version_that_is_current() {
    for (step, published) in WRITER_STEPS {
        for before in [0, 1, 2, 3, 7] {
            let stage = stage();
            let mut watcher = stage.actor();
            let cell = watcher.open_cell(&OpenCell::named("cell", CAPACITY));
            let read_only = watcher.open_cell(&OpenCell::read_only("cell"));
            let file = stage.only_file();
            let mut version = 0;
            if before > 0 {
                version = watcher.publish(cell, 5000, before);
            }
            let mut victim = stage.actor();
            let theirs = victim.open_cell(&OpenCell::existing("cell"));
            victim.arm(&[(step, 0, End::Die)]);
            victim.start_cell(CellCommand::Publish { cell: theirs, length: 900_000, times: 1 });
            victim.expect_killed();
            version += u64::from(published);
            expect_version(&mut watcher, cell, read_only, version);

            assert!(watcher.lock(cell), "{step:?}: the dead writer's lock is still there");
            for length in [10_000, 100, 100, 100] {
                version += 1;
                assert_eq!(watcher.publish(cell, length, 1), version, "{step:?} after {before}");
                expect_version(&mut watcher, cell, read_only, version);
            }
            expect_memory(&mut watcher, cell, &file, 100);
        }
    }
}

#[test]
#[cfg(any(target_os = "linux", windows))] // Elsewhere no actor stops at a step.
fn stopped_at_any_step_it_holds_up_no_reader_and_then_completes() {
    for (step, published) in WRITER_STEPS {
        let stage = stage();
        let board = Board::create(&stage.path().join("board")).expect("a board");
        let mut watcher = stage.actor();
        let cell = watcher.open_cell(&OpenCell::named("cell", CAPACITY));
        let read_only = watcher.open_cell(&OpenCell::read_only("cell"));
        let version = watcher.publish(cell, 5000, 3);
        board.published().store(version, std::sync::atomic::Ordering::SeqCst);

        let mut victim = stage.actor();
        let theirs = victim.open_cell(&OpenCell::existing("cell"));
        victim.arm(&[(step, 0, End::Stop)]);
        victim.start_cell(CellCommand::Publish { cell: theirs, length: 7000, times: 1 });
        victim.expect_stopped();

        expect_version(&mut watcher, cell, read_only, version + u64::from(published));
        let mut reader = stage.actor();
        let theirs = reader.open_cell(&OpenCell::existing("cell"));
        for (line, work) in [Work::Load, Work::Hold, Work::Copy, Work::Wait].iter().enumerate() {
            reader.start(theirs, work, &board, line + 1);
        }
        board.expect_progress(1..=4, 20);
        assert!(!watcher.lock(cell), "{step:?}: two writers");

        victim.go_on();
        assert_eq!(victim.finish_cell(), Some(version + 1), "{step:?}");
        board.expect_progress(1..=4, 5);
        reader.on_cell(CellCommand::StopAll);
        board.expect_no_complaint();
        expect_version(&mut watcher, cell, read_only, version + 1);
        assert_eq!(watcher.publish(cell, 100, 1), version + 2);
    }
}

/// The library states 100 ms; this only checks that it does not last forever.
#[test]
fn killed_before_it_wakes_sleepers_it_delays_them_only() {
    let stage = stage();
    let mut sleepers: Vec<_> = (0..3).map(|_| stage.actor()).collect();
    let cells: Vec<_> =
        sleepers.iter_mut().map(|a| a.open_cell(&OpenCell::named("cell", CAPACITY))).collect();
    for version in 0..5 {
        let mut victim = stage.actor();
        let theirs = victim.open_cell(&OpenCell::existing("cell"));
        victim.arm(&[(Step::WriterPublished, 0, End::Die)]);
        for (sleeper, cell) in sleepers.iter_mut().zip(&cells) {
            sleeper.start_cell(CellCommand::Wait {
                cell: *cell,
                than: version,
                limit: HANG * 2,
                while_written: false,
            });
        }
        victim.start_cell(CellCommand::Publish { cell: theirs, length: 100, times: 1 });
        victim.expect_killed();
        for sleeper in &mut sleepers {
            assert_eq!(sleeper.finish_cell(), Some(version + 1));
        }
    }
}

#[test]
fn its_lease_ends_with_it() {
    let stage = stage();
    let mut waiting = stage.actor();
    let cell = waiting.open_cell(&OpenCell::named("cell", CAPACITY));
    for version in 1..20 {
        let mut victim = stage.actor();
        let theirs = victim.open_cell(&OpenCell::existing("cell"));
        assert!(victim.lock(theirs));
        assert!(!waiting.lock(cell));
        // Waits for the lock, which only the victim's death releases.
        waiting.start_cell(CellCommand::Publish { cell, length: 100, times: 1 });
        victim.kill();
        assert_eq!(waiting.finish_cell(), Some(version));
    }
}

/// A reader knows a version, sleeps, and marks its slot only when another version is being written there. The
/// mark is void, and does not keep the dead writer's memory.
#[test]
#[cfg(any(target_os = "linux", windows))] // Elsewhere no actor stops at a step.
fn a_mark_that_came_too_late_does_not_keep_the_slot_of_a_dead_writer() {
    let stage = stage();
    let mut watcher = stage.actor();
    let cell = watcher.open_cell(&OpenCell { secret: true, ..OpenCell::named("cell", CAPACITY) });
    let file = stage.only_file();
    watcher.publish(cell, 100, 2);
    let mut reader = stage.actor();
    let reading = reader.open_cell(&OpenCell::existing("cell"));
    reader.arm(&[(Step::ReaderBeforePin, 0, End::Stop), (Step::ReaderAfterPin, 0, End::Stop)]);
    reader.start_cell(CellCommand::Load(reading));
    reader.expect_stopped();
    // A replaced secret's slot is free at once: versions 1 and 3 are in slot 0, version 2 was in slot 1, and
    // version 4 will be there.
    watcher.publish(cell, 100, 1);

    let mut victim = stage.actor();
    let writing = victim.open_cell(&OpenCell { secret: true, ..OpenCell::existing("cell") });
    victim.arm(&[(Step::WriterHalfFilled, 0, End::Stop)]);
    victim.start_cell(CellCommand::Publish { cell: writing, length: 900_000, times: 1 });
    victim.expect_stopped();
    reader.go_on();
    reader.expect_stopped();
    victim.kill();

    let half = &handover_tests::value::make(4, 900_000)[..400_000];
    assert!(handover_tests::cell::file_contains(&file, &half[8..40]));
    watcher.publish(cell, 100, 1);
    expect_memory(&mut watcher, cell, &file, 100);
    assert!(!handover_tests::cell::file_contains(&file, &half[8..40]));
    reader.go_on();
    assert_eq!(reader.finish_cell(), Some(4));
}

#[test]
fn hundreds_of_dead_writers_leave_nothing() {
    let stage = stage();
    let mut watcher = stage.actor();
    let cell = watcher.open_cell(&OpenCell::named("cell", CAPACITY));
    let file = stage.only_file();
    let mut version = watcher.publish(cell, 100, 1);
    for round in 0..200 {
        let (step, published) = WRITER_STEPS[round % WRITER_STEPS.len()];
        let mut victim = stage.actor();
        let theirs = victim.open_cell(&OpenCell::existing("cell"));
        victim.arm(&[(step, 0, End::Die)]);
        victim.start_cell(CellCommand::Publish { cell: theirs, length: 900_000, times: 1 });
        victim.expect_killed();
        version += u64::from(published);
    }
    assert_eq!(watcher.publish(cell, 100, 5), version + 5);
    expect_memory(&mut watcher, cell, &file, 100);
    let info = watcher.info(cell);
    assert_eq!((info.readers, info.has_writer), (0, false));
    wait_until("it takes versions", || {
        watcher.on_cell(CellCommand::Wait {
            cell,
            than: version,
            limit: Duration::from_secs(1),
            while_written: false,
        }) == Some(version + 5)
    });
}
