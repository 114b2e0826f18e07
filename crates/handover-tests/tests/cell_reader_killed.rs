//! A reader is killed or stopped at any step, with or without a snapshot. Writers never wait for it; a dead
//! reader's entry and slot come back; what a stopped reader has pinned is left alone as long as it takes.

use handover_tests::Stage;
use handover_tests::cell::{CellCommand, End, OpenCell, Step, UseCells, expect_memory};

const CAPACITY: u64 = 1 << 20;
const ENTRIES: usize = 62;
const STEPS: [Step; 4] =
    [Step::ReaderBeforePin, Step::ReaderAfterPin, Step::ReaderPinned, Step::ReaderCopies];

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

fn command_for(step: Step, cell: u32) -> CellCommand {
    if step == Step::ReaderCopies { CellCommand::Copy(cell) } else { CellCommand::Hold(cell) }
}

#[test]
fn the_entries_and_slots_of_hundreds_of_dead_readers_come_back() {
    for large in [200, 900_000] {
        let stage = stage();
        let mut writer = stage.actor();
        let cell = writer.open_cell(&OpenCell::named("cell", CAPACITY));
        let file = stage.only_file();
        writer.publish(cell, 100, 1);
        for round in 0..200 {
            let mut victim = stage.actor();
            let theirs = victim.open_cell(&OpenCell::existing("cell"));
            let step = STEPS[round % STEPS.len()];
            writer.publish(cell, if round % 10 == 0 { large } else { 300 }, 1);
            if round % 8 < 4 {
                victim.arm(&[(step, 0, End::Die)]);
                victim.start_cell(command_for(step, theirs));
                victim.expect_killed();
            } else {
                victim.hold(theirs);
                victim.kill();
            }
        }
        // Asking who is dead costs system calls, so it happens only now and then.
        writer.publish(cell, 100, 64);
        expect_memory(&mut writer, cell, &file, 100);
        assert_eq!(writer.info(cell).readers, 0);
        let held: Vec<_> = (0..ENTRIES).map(|_| writer.hold(cell)).collect();
        writer.cell_refused(CellCommand::Hold(cell), "TooManyReaders");
        for held in held {
            writer.on_cell(CellCommand::CheckHeld(held));
        }
    }
}

#[test]
fn one_dead_reader_does_not_keep_a_large_value() {
    for lease in [false, true] {
        for step in [Step::ReaderAfterPin, Step::ReaderPinned] {
            let stage = stage();
            let mut writer = stage.actor();
            let cell = writer.open_cell(&OpenCell::named("cell", CAPACITY));
            let file = stage.only_file();
            if lease {
                assert!(writer.lock(cell));
            }
            writer.publish(cell, 1_000_000, 1);
            let mut victim = stage.actor();
            let theirs = victim.open_cell(&OpenCell::existing("cell"));
            victim.arm(&[(step, 0, End::Die)]);
            victim.start_cell(CellCommand::Hold(theirs));
            victim.expect_killed();
            writer.publish(cell, 100, 64);
            expect_memory(&mut writer, cell, &file, 100);
        }
    }
}

#[test]
#[cfg(any(target_os = "linux", windows))] // Elsewhere no actor stops at a step.
fn what_a_stopped_reader_has_pinned_is_left_alone() {
    let stage = stage();
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", CAPACITY));
    let mut other = stage.actor();
    let others = other.open_cell(&OpenCell::existing("cell"));
    writer.publish(cell, 9000, 1);
    let mut stopped = Vec::new();
    for step in [Step::ReaderPinned, Step::ReaderAfterPin, Step::ReaderBeforePin, Step::ReaderCopies] {
        let mut reader = stage.actor();
        let theirs = reader.open_cell(&OpenCell::existing("cell"));
        // Between the pin and the check, and later: the check itself passed for the first.
        reader.arm(&[(step, 0, End::Stop)]);
        let command =
            if step == Step::ReaderCopies { CellCommand::Copy(theirs) } else { CellCommand::Load(theirs) };
        reader.start_cell(command);
        reader.expect_stopped();
        stopped.push((step, reader));
    }
    // A stopped reader that holds a snapshot.
    let mut holder = stage.actor();
    let theirs = holder.open_cell(&OpenCell::existing("cell"));
    let held = holder.hold(theirs);
    holder.stop();
    holder.expect_stopped();

    let mut version = 1;
    for length in [100, 9000, 20_000, 9000] {
        version = writer.publish(cell, length, 1000);
        // Also under another process's lease.
        version = version.max(other.publish(others, length, 500));
    }
    assert_eq!(version, 6001);

    for (step, mut reader) in stopped {
        reader.go_on();
        let found = reader.finish_cell();
        // The slot still has version 1, because some readers pin it; that is the version that all of them
        // found. The actor checks that it is whole.
        assert_eq!(found, Some(1), "{step:?}");
    }
    holder.go_on();
    assert_eq!(holder.on_cell(CellCommand::CheckHeld(held)), Some(1));
    assert_eq!(holder.on_cell(CellCommand::Load(theirs)), Some(version));
}

/// The window in which mmap-sync tears: the reader knows the version and marks it only when it is being
/// overwritten.
#[test]
#[cfg(any(target_os = "linux", windows))] // Elsewhere no actor stops at a step.
fn a_mark_that_comes_too_late_is_noticed() {
    for (step, publications) in (1..12).flat_map(|n| [(Step::ReaderBeforePin, n), (Step::ReaderCopies, n)]) {
        let stage = stage();
        let mut writer = stage.actor();
        let cell = writer.open_cell(&OpenCell::named("cell", CAPACITY));
        writer.publish(cell, 5000, 1);
        let mut reader = stage.actor();
        let reading = reader.open_cell(&OpenCell::existing("cell"));
        reader.arm(&[(step, 0, End::Stop)]);
        let copies = step == Step::ReaderCopies;
        reader.start_cell(if copies { CellCommand::Copy(reading) } else { CellCommand::Load(reading) });
        reader.expect_stopped();
        writer.publish(cell, 5000, publications);
        // The next one is half written when the reader goes on.
        writer.arm(&[(Step::WriterHalfFilled, 0, End::Stop)]);
        writer.start_cell(CellCommand::Publish { cell, length: 6000, times: 1 });
        writer.expect_stopped();
        reader.go_on();
        let found = reader.finish_cell().expect("a version");
        assert!(found == 1 || found == u64::from(publications) + 1, "{step:?}: {found} after {publications}");
        writer.go_on();
        assert_eq!(writer.finish_cell(), Some(u64::from(publications) + 2));
        assert_eq!(reader.on_cell(CellCommand::Load(reading)), Some(u64::from(publications) + 2));
    }
}

/// The writer has looked at the marks and found none. Then the reader marks the slot, and the mark holds.
#[test]
#[cfg(any(target_os = "linux", windows))] // Elsewhere no actor stops at a step.
fn a_mark_that_comes_between_look_and_take_is_found_by_the_second_look() {
    let stage = stage();
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", CAPACITY));
    writer.publish(cell, 5000, 1);
    let mut reader = stage.actor();
    let reading = reader.open_cell(&OpenCell::existing("cell"));
    reader.arm(&[(Step::ReaderBeforePin, 0, End::Stop)]);
    reader.start_cell(CellCommand::Hold(reading));
    reader.expect_stopped();
    // Under two leases: the second publication of one takes the slot of the third.
    writer.publish(cell, 5000, 1);
    writer.publish(cell, 5000, 1);
    writer.arm(&[(Step::WriterBeforeTake, 0, End::Stop)]);
    writer.start_cell(CellCommand::Publish { cell, length: 6000, times: 1 });
    writer.expect_stopped();
    reader.go_on();
    let held = reader.finish_cell().expect("a number") as u32;
    writer.go_on();
    assert_eq!(writer.finish_cell(), Some(4));
    assert_eq!(reader.on_cell(CellCommand::CheckHeld(held)), Some(1));
    writer.publish(cell, 6000, 1000);
    assert_eq!(reader.on_cell(CellCommand::CheckHeld(held)), Some(1));
}
