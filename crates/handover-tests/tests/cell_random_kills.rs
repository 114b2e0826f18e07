//! Two writers and five readers of all kinds, each killed, or stopped and continued, at random moments, again
//! and again. Nobody ever sees a torn value or goes back, nobody alive stalls, and at the end all entries and
//! slots come back.
//!
//! `HANDOVER_KILL_ROUNDS` sets how many kills and stops (300).

use std::time::Duration;

use handover_tests::cell::{
    Board, CellCommand, OpenCell, Random, UseCells, Work, expect_memory, number_from,
};
use handover_tests::{Actor, Stage};

const CAPACITY: u64 = 64 << 10;

fn works() -> Vec<Work> {
    let publish = |lease| Work::Publish { lease, shortest: 24, longest: CAPACITY as usize };
    vec![publish(1), publish(50), Work::Load, Work::Load, Work::Hold, Work::Copy, Work::Wait]
}

/// A new process that does one of the works. Processes that copy can't write.
fn start(stage: &Stage, board: &Board, works: &[Work], at: usize) -> Actor {
    let mut actor = stage.actor();
    let read_only = works[at] == Work::Copy;
    let cell = actor.open_cell(&OpenCell { read_only, ..OpenCell::existing("cell") });
    actor.start(cell, &works[at], board, at + 1);
    actor
}

#[test]
fn whoever_dies_at_whatever_moment_the_others_go_on() {
    let rounds = number_from("HANDOVER_KILL_ROUNDS", 300);
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
    let board = Board::create(&stage.path().join("board")).expect("a board");
    let mut watcher = stage.actor();
    let cell = watcher.open_cell(&OpenCell::named("cell", CAPACITY));
    let file = stage.only_file();
    watcher.publish(cell, 100, 1);

    let works = works();
    let mut actors: Vec<_> = (0..works.len()).map(|at| start(&stage, &board, &works, at)).collect();
    let mut random = Random(0x5EED_1234_ABCD_EF01);
    let pause = |random: &mut Random, most| std::thread::sleep(Duration::from_micros(random.below(most)));
    let (mut kills, mut stops) = (0, 0);
    for round in 1..=rounds {
        pause(&mut random, 400);
        let at = random.below(works.len() as u64) as usize;
        if random.below(2) == 0 {
            actors.remove(at).kill();
            actors.insert(at, start(&stage, &board, &works, at));
            kills += 1;
        } else {
            actors[at].stop();
            pause(&mut random, 600);
            if random.below(20) == 0 {
                // While it is stopped, whatever it holds, the readers go on.
                let readers = (2..works.len()).filter(|reader| *reader != at).map(|reader| reader + 1);
                board.expect_progress(readers, 2);
            }
            actors[at].go_on();
            stops += 1;
        }
        if round.is_multiple_of(50) {
            board.expect_progress(1..=works.len(), 2);
        }
    }
    board.expect_progress(1..=works.len(), 5);
    for actor in &mut actors {
        actor.on_cell(CellCommand::StopAll);
    }
    board.expect_no_complaint();
    let reads: u64 =
        (3..=works.len()).map(|line| board.progress(line).load(std::sync::atomic::Ordering::SeqCst)).sum();
    let version = watcher.info(cell).version;
    eprintln!("{kills} kills, {stops} stops, {version} versions, {reads} reads: 0 torn, 0 back, 0 stalls");
    if rounds >= 100 {
        assert!(version > rounds / 4 && reads > rounds, "hardly anything happened");
    }
    for actor in actors {
        actor.kill();
    }
    // Every 16,384 versions the writer looks for uncounted memory, which an overtaken reader without a pin
    // touched.
    watcher.publish(cell, 100, 16_384);
    assert_eq!(watcher.on_cell(CellCommand::Load(cell)), Some(watcher.info(cell).version));
    expect_memory(&mut watcher, cell, &file, 100);
    let info = watcher.info(cell);
    assert_eq!((info.readers, info.has_writer), (0, false));
    let held: Vec<_> = (0..61).map(|_| watcher.hold(cell)).collect();
    watcher.cell_refused(CellCommand::Hold(cell), "TooManyReaders");
    assert_eq!(held.len(), 61);
}
