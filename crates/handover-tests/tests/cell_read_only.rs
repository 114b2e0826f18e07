//! A process that can't write to the map can read in every way except pinning, and gets a clear error where
//! it wants more.

use std::time::Duration;

use handover_tests::cell::{Board, CellCommand, OpenCell, UseCells, Work};
#[cfg_attr(not(target_os = "linux"), allow(unused_imports, reason = "some tests are for Linux"))]
use handover_tests::{Actor, HANG, Stage, is_root, skip};

fn reads_and_does_not_write(writer: &mut Actor, cell: u32, reader: &mut Actor, reading: u32, board: &Board) {
    let wait = |than| CellCommand::Wait { cell: reading, than, limit: HANG, while_written: false };
    assert_eq!(reader.on_cell(CellCommand::Copy(reading)), None);
    reader.start_cell(wait(0));
    assert_eq!(writer.publish(cell, 100, 1), 1);
    assert_eq!(reader.finish_cell(), Some(1));
    assert_eq!(reader.on_cell(CellCommand::Copy(reading)), Some(1));
    assert_eq!(reader.on_cell(CellCommand::Read(reading)), Some(1));
    let info = reader.info(reading);
    assert_eq!((info.version, info.length), (1, Some(100)));
    for command in [
        CellCommand::Publish { cell: reading, length: 100, times: 1 },
        CellCommand::Lock(reading),
        CellCommand::Take(reading),
        CellCommand::Clear(reading),
        CellCommand::Load(reading),
        CellCommand::Hold(reading),
    ] {
        let shown = format!("{command:?}");
        let message = reader.cell_refused(command, "AccessDenied");
        assert!(message.contains("reading only"), "{shown}: {message}");
    }
    let gone = CellCommand::Wait { cell: reading, than: 1, limit: Duration::ZERO, while_written: false };
    reader.cell_refused(gone, "TimedOut");
    assert_eq!(writer.info(cell).version, 1);

    board.published().store(1, std::sync::atomic::Ordering::SeqCst);
    reader.start(reading, &Work::Copy, board, 1);
    reader.start(reading, &Work::Wait, board, 2);
    writer.start(cell, &Work::Publish { lease: 10, shortest: 24, longest: 9000 }, board, 3);
    board.expect_progress(1..=3, 200);
    writer.on_cell(CellCommand::StopAll);
    reader.on_cell(CellCommand::StopAll);
    board.expect_no_complaint();
    let version = writer.info(cell).version;
    assert_eq!(reader.on_cell(CellCommand::Read(reading)), Some(version));
    writer.on_cell(CellCommand::Clear(cell));
    assert_eq!(reader.on_cell(CellCommand::Read(reading)), None);
}

#[test]
fn a_handle_for_reading_only() {
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
    let board = Board::create(&stage.path().join("board")).expect("a board");
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", 10_000));
    let mut reader = stage.actor();
    let reading = reader.open_cell(&OpenCell::read_only("cell"));
    reads_and_does_not_write(&mut writer, cell, &mut reader, reading, &board);
}

#[test]
#[cfg(target_os = "linux")]
fn another_user_who_may_only_read() {
    if !is_root() {
        skip!("only root can act as other users");
    }
    let stage = Stage::for_all_users(env!("CARGO_BIN_EXE_actor"));
    let board = Board::create(&stage.path().join("board")).expect("a board");
    handover_tests::set_mode(board.path(), 0o666);
    let mut writer = stage.actor_of(1001);
    let shared = OpenCell { file_mode: Some(0o644), ..OpenCell::named("Global\\cell", 10_000) };
    let cell = writer.open_cell(&shared);
    let mut reader = stage.actor_of(1002);
    let theirs = OpenCell { owned_by: Some(1001), ..OpenCell::existing("Global\\cell") };
    reader.cell_refused(CellCommand::Open(theirs.clone()), "AccessDenied");
    let reading = reader.open_cell(&OpenCell { read_only: true, ..theirs });
    reads_and_does_not_write(&mut writer, cell, &mut reader, reading, &board);
}
