//! A cell takes memory as values need it and gives it back when small ones follow. When memory runs out, a
//! publication is an error and the old version stays.

#[cfg(target_os = "linux")]
use std::path::PathBuf;

use handover_tests::Stage;
use handover_tests::cell::{CellCommand, OpenCell, UseCells, expect_memory, expect_memory_beside};
#[cfg(any(target_os = "linux", windows))]
use handover_tests::cell::{End, Step};
#[cfg(target_os = "linux")]
use handover_tests::{Actor, Command, Obey, is_root, skip};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// An actor whose names lie on a file system of this many bytes, and the path of that file system.
#[cfg(target_os = "linux")]
fn with_memory(stage: &Stage, size: u64) -> (Actor, PathBuf) {
    let small = stage.path().join("small");
    std::fs::create_dir_all(&small).expect("a directory");
    let mut actor = stage.actor();
    actor.tell(&Command::PrivateMounts);
    actor.tell(&Command::MountTmpfs { path: small.clone(), options: format!("size={size},mode=700") });
    let value = Some(small.to_string_lossy().into_owned());
    actor.tell(&Command::Environment { name: "HANDOVER_DIR".to_owned(), value });
    (actor, small)
}

#[test]
#[cfg(target_os = "linux")]
fn where_memory_runs_out_the_old_version_stays() {
    if !is_root() {
        skip!("only root can mount a small file system");
    }
    for lease in [false, true] {
        let stage = stage();
        let (mut actor, small) = with_memory(&stage, 1 << 20);
        let cell = actor.open_cell(&OpenCell::named("cell", 64 << 20));
        let reader = actor.open_cell(&OpenCell::read_only("cell"));
        let version = actor.publish(cell, 200_000, 2);
        if lease {
            assert!(actor.lock(cell));
        }
        for length in [900_000, 2 << 20, 60 << 20] {
            let publish = CellCommand::Publish { cell, length, times: 1 };
            let message = actor.cell_refused(publish, "NoSpace");
            assert!(message.contains(&format!("{length} bytes")), "{message}");
            for read in [CellCommand::Load(cell), CellCommand::Copy(cell), CellCommand::Copy(reader)] {
                assert_eq!(actor.on_cell(read), Some(version));
            }
        }
        // What fits is still stored, again and again.
        let version = actor.publish(cell, 200_000, 100);
        // Other values fill the rest, to the last page.
        let mut size = 1 << 20;
        while size >= 4096 {
            let path = small.join(format!("filler {size}"));
            let _ = actor.ask(&Command::WriteFile { path, bytes: vec![1; size] });
            size /= 2;
        }
        actor.cell_refused(CellCommand::Publish { cell, length: 400_000, times: 1 }, "NoSpace");
        for read in [CellCommand::Load(cell), CellCommand::Copy(cell), CellCommand::Copy(reader)] {
            assert_eq!(actor.on_cell(read), Some(version));
        }
        assert_eq!(actor.publish(cell, 100, 10), version + 10);
        assert_eq!(actor.on_cell(CellCommand::Load(cell)), Some(version + 10));
        // What the small values gave back can be used again.
        assert_eq!(actor.publish(cell, 100, 1), version + 11);
        assert_eq!(actor.publish(cell, 150_000, 1), version + 12);
    }
}

#[test]
fn small_values_give_back_what_large_ones_took() {
    let stage = stage();
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", 4 << 20));
    let file = stage.only_file();
    let mut reader = stage.actor();
    let reading = reader.open_cell(&OpenCell::existing("cell"));
    let mut before = 0;
    for length in [100_u64, 4 << 20, 1000, 4 << 20, 70_000, 2 << 20, 5000, 24] {
        writer.publish(cell, length as usize, 4);
        // The reader still has the previous version pinned.
        expect_memory_beside(&mut writer, cell, &file, length, before);
        before = length;
        reader.on_cell(CellCommand::Load(reading));
    }
    // Snapshots of large values keep their memory, and no more.
    let mut held = Vec::new();
    for _ in 0..3 {
        writer.publish(cell, 1 << 20, 1);
        held.push(reader.hold(reading));
    }
    let version = writer.publish(cell, 100, 100);
    let reserved = writer.info(cell).reserved;
    assert!(reserved < (3 << 20) + (100 << 10), "{reserved}");
    for (at, held) in held.into_iter().enumerate() {
        assert_eq!(reader.on_cell(CellCommand::CheckHeld(held)), Some(version - 102 + at as u64));
        reader.on_cell(CellCommand::DropHeld(held));
    }
    reader.on_cell(CellCommand::Load(reading));
    writer.publish(cell, 100, 1);
    expect_memory_beside(&mut writer, cell, &file, 100, 100);
}

/// Many small values, none larger than a slot may keep; only their sum is too much. Under a lease that goes
/// on, and at its end.
#[test]
fn what_readers_held_comes_back_after_64_versions_or_with_the_lease() {
    for versions in [1, 64] {
        let stage = stage();
        let mut actor = stage.actor();
        let cell = actor.open_cell(&OpenCell::named("cell", 1 << 20));
        let file = stage.only_file();
        assert!(actor.lock(cell));
        let mut held = Vec::new();
        for _ in 0..30 {
            actor.publish(cell, 100, 1);
            held.push(actor.hold(cell));
        }
        for held in held {
            actor.on_cell(CellCommand::DropHeld(held));
        }
        assert!(actor.info(cell).reserved > 30 * 4096);
        actor.publish(cell, 100, versions);
        if versions == 1 {
            actor.on_cell(CellCommand::Unlock(cell));
        }
        // The handle's own reader still has the last version pinned.
        expect_memory_beside(&mut actor, cell, &file, 100, 100);
    }
}

/// Under a lease that never ends, too.
#[test]
fn what_a_dead_reader_held_comes_back_wherever_it_lies() {
    let stage = stage();
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", 1 << 20));
    let file = stage.only_file();
    assert!(writer.lock(cell));
    for large_at in 0..6 {
        let mut readers = Vec::new();
        for at in 0..6 {
            let length = if at == large_at { 1_000_000 } else { 100 };
            writer.publish(cell, length, 1);
            let mut reader = stage.actor();
            let theirs = reader.open_cell(&OpenCell::existing("cell"));
            readers.push((theirs, reader.hold(theirs), reader));
        }
        // The others end in good order, so that the writer finds slots without asking who is dead.
        readers.remove(large_at).2.kill();
        for (theirs, held, mut reader) in readers {
            reader.on_cell(CellCommand::DropHeld(held));
            reader.on_cell(CellCommand::Close(theirs));
        }
        writer.publish(cell, 100, 64);
        expect_memory(&mut writer, cell, &file, 100);
    }
}

/// Touching memory that was given back takes it again. An overtaken reader without a pin does that, but not
/// for long, and that memory comes back too.
#[test]
#[cfg(any(target_os = "linux", windows))] // Elsewhere no actor stops at a step.
fn what_an_overtaken_reader_touches_comes_back() {
    let stage = stage();
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", 8 << 20));
    let file = stage.only_file();
    writer.publish(cell, 8 << 20, 1);
    let mut reader = stage.actor();
    let reading = reader.open_cell(&OpenCell::read_only("cell"));
    reader.arm(&[(Step::ReaderCopies, 0, End::Stop)]);
    reader.start_cell(CellCommand::Copy(reading));
    reader.expect_stopped();
    // The slot's memory is gone, and its header still claims a large value.
    writer.publish(cell, 100, 1);
    expect_memory(&mut writer, cell, &file, 100);
    reader.go_on();
    assert_eq!(reader.finish_cell(), Some(2));
    // At most two chunks of a copy.
    expect_memory(&mut writer, cell, &file, 16 << 10);
    writer.publish(cell, 100, 16_384);
    expect_memory(&mut writer, cell, &file, 100);
}
