//! The bytes of a replaced secret, and of any value that was taken or cleared, are gone from the map's file
//! as soon as nobody has them pinned, however the readers and writers end.

// Elsewhere no actor stops at a step.
#![cfg(any(target_os = "linux", windows))]

use std::path::Path;

use handover_tests::cell::{CellCommand, End, OpenCell, Step, UseCells, WRITER_STEPS, file_contains};
use handover_tests::{Actor, Stage, value};

const LENGTH: usize = 5000;

struct Scene {
    stage: Stage,
    writer: Actor,
    cell: u32,
    file: std::path::PathBuf,
    secret: bool,
}

fn scene(secret: bool) -> Scene {
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell { secret, ..OpenCell::named("cell", 100_000) });
    let file = stage.only_file();
    Scene { stage, writer, cell, file, secret }
}

impl Scene {
    fn actor(&self) -> (Actor, u32) {
        let mut actor = self.stage.actor();
        let cell = actor.open_cell(&OpenCell { secret: self.secret, ..OpenCell::existing("cell") });
        (actor, cell)
    }

    /// Whether any part of a version's bytes is in the file.
    fn has(&self, version: u64) -> bool {
        has(&self.file, version)
    }
}

fn has(file: &Path, version: u64) -> bool {
    let bytes = value::make(version, LENGTH);
    [8, 1000, LENGTH / 2 + 8, LENGTH - 24].iter().any(|at| file_contains(file, &bytes[*at..at + 16]))
}

/// How a value ends: a secret is replaced, any value is cleared or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Replaced,
    Cleared,
    Taken,
}

impl Gone {
    const ALL: [Self; 3] = [Self::Replaced, Self::Cleared, Self::Taken];

    fn command(self, cell: u32) -> CellCommand {
        match self {
            Self::Replaced => CellCommand::Publish { cell, length: LENGTH, times: 1 },
            Self::Cleared => CellCommand::Clear(cell),
            Self::Taken => CellCommand::Take(cell),
        }
    }

    fn secret(self) -> bool {
        self == Self::Replaced
    }
}

#[test]
fn a_value_that_nobody_reads_is_gone_at_once() {
    for gone in Gone::ALL {
        for secret in [gone.secret(), true] {
            let mut scene = scene(secret);
            for _ in 0..5 {
                let version = scene.writer.publish(scene.cell, LENGTH, 1);
                assert!(scene.has(version));
                scene.writer.on_cell(gone.command(scene.cell));
                assert!(!scene.has(version), "{gone:?}");
            }
        }
    }
}

/// The reader's own last snapshot goes when the reader loads the next version; a held one when it is dropped.
#[test]
fn a_value_that_is_read_is_gone_when_its_reader_lets_go() {
    for gone in Gone::ALL {
        for held in [false, true] {
            let mut scene = scene(gone.secret());
            let version = scene.writer.publish(scene.cell, LENGTH, 1);
            let (mut reader, cell) = scene.actor();
            let snapshot = if held { reader.hold(cell) } else { 0 };
            if !held {
                reader.on_cell(CellCommand::Load(cell));
            }
            scene.writer.on_cell(gone.command(scene.cell));
            assert!(scene.has(version));
            if held {
                assert_eq!(reader.on_cell(CellCommand::CheckHeld(snapshot)), Some(version));
                reader.on_cell(CellCommand::DropHeld(snapshot));
            } else {
                reader.on_cell(CellCommand::Load(cell));
            }
            assert!(!scene.has(version), "{gone:?}, held: {held}");
            let has_writer = scene.writer.info(scene.cell).has_writer;
            assert!(!has_writer, "a reader that wipes is taken for a writer");
        }
    }
}

/// While another process has the lease the reader can't wipe; then the end of the lease does.
#[test]
fn a_value_whose_reader_lets_go_under_a_lease_is_gone_when_the_lease_ends() {
    for gone in Gone::ALL {
        let mut scene = scene(gone.secret());
        let version = scene.writer.publish(scene.cell, LENGTH, 1);
        let (mut reader, cell) = scene.actor();
        let snapshot = reader.hold(cell);
        assert!(scene.writer.lock(scene.cell));
        scene.writer.on_cell(gone.command(scene.cell));
        reader.on_cell(CellCommand::DropHeld(snapshot));
        scene.writer.on_cell(CellCommand::Unlock(scene.cell));
        assert!(!scene.has(version), "{gone:?}");
    }
}

#[test]
fn a_value_that_a_dead_reader_had_is_gone_with_the_next_publication() {
    for gone in Gone::ALL {
        for lease in [false, true] {
            for stopped in [Step::ReaderAfterPin, Step::ReaderPinned] {
                let mut scene = scene(gone.secret());
                if lease {
                    assert!(scene.writer.lock(scene.cell));
                }
                let version = scene.writer.publish(scene.cell, LENGTH, 1);
                let (mut victim, cell) = scene.actor();
                victim.arm(&[(stopped, 0, End::Stop)]);
                victim.start_cell(CellCommand::Hold(cell));
                victim.expect_stopped();
                scene.writer.on_cell(gone.command(scene.cell));
                assert!(scene.has(version));
                victim.kill();
                scene.writer.publish(scene.cell, LENGTH, 1);
                assert!(!scene.has(version), "{gone:?}, lease: {lease}, {stopped:?}");
            }
        }
    }
}

/// Wherever the process that replaces or takes the value is killed, the value is gone once the next writer
/// has published. Nobody else can have taken it if the death came after the publication.
#[test]
fn a_value_whose_writer_died_is_gone_with_the_next_publication() {
    for gone in Gone::ALL {
        for (step, published) in WRITER_STEPS {
            if step == Step::WriterHalfFilled && gone != Gone::Replaced {
                continue;
            }
            let mut scene = scene(gone.secret());
            let version = scene.writer.publish(scene.cell, LENGTH, 1);
            let (mut victim, cell) = scene.actor();
            victim.arm(&[(step, 0, End::Die)]);
            victim.start_cell(gone.command(cell));
            victim.expect_killed();
            if published {
                // The next lease alone is enough.
                scene.writer.lock(scene.cell);
                scene.writer.on_cell(CellCommand::Unlock(scene.cell));
            } else {
                assert_eq!(scene.writer.on_cell(CellCommand::Load(scene.cell)), Some(version));
                scene.writer.on_cell(gone.command(scene.cell));
                scene.writer.on_cell(CellCommand::Load(scene.cell));
            }
            assert!(!scene.has(version), "{gone:?} at {step:?}");
        }
    }
}

/// The reader pins the value after the writer has looked for pins and before it takes the slot.
#[test]
fn a_value_that_was_pinned_at_the_last_moment_is_gone_when_its_reader_lets_go() {
    let mut scene = scene(true);
    let version = scene.writer.publish(scene.cell, LENGTH, 1);
    let (mut reader, cell) = scene.actor();
    reader.arm(&[(Step::ReaderBeforePin, 0, End::Stop)]);
    reader.start_cell(CellCommand::Hold(cell));
    reader.expect_stopped();
    // The first slot is taken for the value, the second to wipe what was replaced.
    scene.writer.arm(&[(Step::WriterBeforeTake, 1, End::Stop)]);
    scene.writer.start_cell(Gone::Replaced.command(scene.cell));
    scene.writer.expect_stopped();
    reader.go_on();
    let snapshot = reader.finish_cell().expect("a number") as u32;
    scene.writer.go_on();
    scene.writer.finish_cell();
    assert_eq!(reader.on_cell(CellCommand::CheckHeld(snapshot)), Some(version));
    reader.on_cell(CellCommand::DropHeld(snapshot));
    assert!(!scene.has(version));
}

/// The reader unpins under a lease, so that it can't wipe the value, and the next value to be written finds
/// the slot free.
#[test]
fn a_shorter_value_in_the_same_slot_leaves_nothing_of_one_that_was_to_be_wiped() {
    for gone in Gone::ALL {
        let mut scene = scene(gone.secret());
        let version = scene.writer.publish(scene.cell, LENGTH, 1);
        let (mut reader, cell) = scene.actor();
        let snapshot = reader.hold(cell);
        assert!(scene.writer.lock(scene.cell));
        scene.writer.on_cell(gone.command(scene.cell));
        // The slot that was current before is taken last: now that is another one.
        scene.writer.publish(scene.cell, value::SHORTEST, 1);
        reader.on_cell(CellCommand::DropHeld(snapshot));
        scene.writer.publish(scene.cell, value::SHORTEST, 1);
        scene.writer.on_cell(CellCommand::Unlock(scene.cell));
        assert!(!scene.has(version), "{gone:?}");
    }
}

/// A writer waits for no reader, not even for one that has a value to wipe.
#[test]
fn a_reader_that_is_stopped_while_it_clears_up_keeps_no_writer_waiting() {
    let mut scene = scene(true);
    let version = scene.writer.publish(scene.cell, LENGTH, 1);
    let (mut reader, cell) = scene.actor();
    let snapshot = reader.hold(cell);
    scene.writer.on_cell(Gone::Replaced.command(scene.cell));
    reader.arm(&[(Step::ReaderWipes, 0, End::Stop)]);
    reader.start_cell(CellCommand::DropHeld(snapshot));
    reader.expect_stopped();
    assert!(scene.writer.lock(scene.cell));
    scene.writer.publish(scene.cell, LENGTH, 10);
    reader.go_on();
    reader.finish_cell();
    assert!(!scene.has(version));
}

#[test]
fn what_a_reader_that_is_killed_while_it_clears_up_left_goes_with_the_next_version() {
    let mut scene = scene(true);
    let version = scene.writer.publish(scene.cell, LENGTH, 1);
    let (mut reader, cell) = scene.actor();
    let snapshot = reader.hold(cell);
    scene.writer.on_cell(Gone::Replaced.command(scene.cell));
    reader.arm(&[(Step::ReaderWipes, 0, End::Die)]);
    reader.start_cell(CellCommand::DropHeld(snapshot));
    reader.expect_killed();
    scene.writer.publish(scene.cell, LENGTH, 1);
    assert!(!scene.has(version));
}
