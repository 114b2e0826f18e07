//! Readers are stopped and continued about every 200 µs while a writer replaces values of 512 KB without
//! pause. A protocol that does not check again after marking a slot shows torn values here.
//!
//! `HANDOVER_STOP_SECONDS` sets how long this runs (3).

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use handover_tests::Stage;
use handover_tests::cell::{Board, CellCommand, OpenCell, Random, UseCells, Work, number_from};

#[test]
fn no_stop_at_whatever_moment_tears_a_value() {
    let seconds = number_from("HANDOVER_STOP_SECONDS", 3);
    for (work, lengths) in [(Work::Load, 512 << 10), (Work::Copy, 512 << 10), (Work::Load, 64)] {
        let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
        let board = Board::create(&stage.path().join("board")).expect("a board");
        let mut writer = stage.actor();
        let cell = writer.open_cell(&OpenCell::named("cell", 512 << 10));
        writer.publish(cell, lengths, 1);
        writer.start(
            cell,
            &Work::Publish { lease: u32::MAX, shortest: lengths, longest: lengths },
            &board,
            1,
        );
        let mut reader = stage.actor();
        let reading = reader.open_cell(&OpenCell::existing("cell"));
        reader.start(reading, &work, &board, 2);

        let mut random = Random(0x0BAD_5EED);
        let start = Instant::now();
        let mut stops = 0;
        while start.elapsed() < Duration::from_secs(seconds) / 3 {
            std::thread::sleep(Duration::from_micros(random.below(200)));
            reader.stop();
            // Now and then the stop is long enough for a writer, however slow, to come round.
            let most = if stops % 16 == 0 { 20_000 } else { 200 };
            std::thread::sleep(Duration::from_micros(random.below(most)));
            reader.go_on();
            stops += 1;
        }
        board.expect_progress([1], 3);
        board.expect_progress([2], if work == Work::Copy { 0 } else { 3 });
        reader.on_cell(CellCommand::StopAll);
        writer.on_cell(CellCommand::StopAll);
        board.expect_no_complaint();
        let (versions, reads) = (board.progress(1).load(SeqCst), board.progress(2).load(SeqCst));
        eprintln!("{work:?} {lengths} bytes: {stops} stops, {versions} versions, {reads} reads, 0 torn");
    }
}
