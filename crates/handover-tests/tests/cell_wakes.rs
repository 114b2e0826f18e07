//! No wake-up is lost: two processes hand versions to and fro, each asleep until the other's comes. A lost
//! one would cost 100 ms, and this many of them more time than a test has. Waiting ends when the last writer
//! is gone, however it ended.
//!
//! `HANDOVER_WAKE_ROUNDS` sets how many versions each hands over (5,000).

use std::time::Duration;

use handover_tests::cell::{CellCommand, End, OpenCell, Step, UseCells, number_from};
use handover_tests::{HANG, Stage};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

#[test]
fn each_version_wakes_the_one_who_sleeps() {
    let rounds = number_from("HANDOVER_WAKE_ROUNDS", 5000) as u32;
    let stage = stage();
    let mut actors = [stage.actor(), stage.actor()];
    let mut cells = Vec::new();
    for actor in &mut actors {
        cells.push((
            actor.open_cell(&OpenCell::named("to", 1000)),
            actor.open_cell(&OpenCell::named("fro", 1000)),
        ));
    }
    let (first, second) = (cells[0], cells[1]);
    actors[0].start_cell(CellCommand::PingPong { wait: first.0, publish: first.1, first: true, rounds });
    actors[1].start_cell(CellCommand::PingPong { wait: second.1, publish: second.0, first: false, rounds });
    for actor in &mut actors {
        let long = actor.finish_cell().expect("a number");
        eprintln!("{long} of {rounds} waits took 100 ms");
    }
}

#[test]
fn many_sleepers_are_all_woken() {
    let stage = stage();
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", 1000));
    let mut sleepers: Vec<_> = (0..8).map(|_| stage.actor()).collect();
    let cells: Vec<_> = sleepers.iter_mut().map(|a| a.open_cell(&OpenCell::existing("cell"))).collect();
    for version in 1..50 {
        for (sleeper, cell) in sleepers.iter_mut().zip(&cells) {
            let wait =
                CellCommand::Wait { cell: *cell, than: version - 1, limit: HANG, while_written: false };
            sleeper.start_cell(wait);
        }
        assert_eq!(writer.publish(cell, 100, 1), version);
        for sleeper in &mut sleepers {
            assert_eq!(sleeper.finish_cell(), Some(version));
        }
    }
}

#[test]
fn a_time_out_is_an_error() {
    let stage = stage();
    let mut actor = stage.actor();
    let cell = actor.open_cell(&OpenCell::named("cell", 1000));
    for while_written in [false, true] {
        // Another handle wrote, so a writer is alive.
        let other = actor.open_cell(&OpenCell::existing("cell"));
        let than = actor.publish(other, 100, 1);
        for millis in [0, 1, 150] {
            let limit = Duration::from_millis(millis);
            let message =
                actor.cell_refused(CellCommand::Wait { cell, than, limit, while_written }, "TimedOut");
            assert!(message.contains("cell"), "{message}");
        }
    }
}

#[test]
fn waiting_ends_with_the_last_writer() {
    for killed in [false, true] {
        for read_only in [false, true] {
            let stage = stage();
            let mut writers = [stage.actor(), stage.actor()];
            let [first, second] = &mut writers;
            let cell = first.open_cell(&OpenCell::named("cell", 1000));
            first.publish(cell, 100, 1);
            let theirs = second.open_cell(&OpenCell::existing("cell"));
            let version = second.publish(theirs, 100, 1);
            let mut waiter = stage.actor();
            let waiting = waiter.open_cell(&OpenCell { read_only, ..OpenCell::existing("cell") });
            assert!(waiter.info(waiting).has_writer);
            waiter.start_cell(CellCommand::Wait {
                cell: waiting,
                than: version,
                limit: HANG,
                while_written: true,
            });
            let [mut first, mut second] = writers;
            if killed {
                first.kill();
                // One of them is still alive, and publishes.
                assert_eq!(second.publish(theirs, 100, 1), version + 1);
                assert_eq!(waiter.finish_cell(), Some(version + 1));
                let than = version + 1;
                waiter.start_cell(CellCommand::Wait {
                    cell: waiting,
                    than,
                    limit: HANG,
                    while_written: true,
                });
                second.kill();
            } else {
                first.on_cell(CellCommand::Close(cell));
                second.on_cell(CellCommand::Close(theirs));
            }
            assert_eq!(waiter.finish_cell(), None);
            assert!(!waiter.info(waiting).has_writer);
        }
    }
}

/// The last version of a writer that dies right afterwards is not missed.
#[test]
fn what_the_last_writer_published_before_it_died_is_seen() {
    for step in [Step::WriterPublished, Step::WriterWoke] {
        for _ in 0..20 {
            let stage = stage();
            let mut waiter = stage.actor();
            let waiting = waiter.open_cell(&OpenCell::named("cell", 1000));
            let mut writer = stage.actor();
            let cell = writer.open_cell(&OpenCell::existing("cell"));
            let than = writer.publish(cell, 100, 1);
            waiter.start_cell(CellCommand::Wait { cell: waiting, than, limit: HANG, while_written: true });
            writer.arm(&[(step, 0, End::Die)]);
            writer.start_cell(CellCommand::Publish { cell, length: 100, times: 1 });
            writer.expect_killed();
            assert_eq!(waiter.finish_cell(), Some(than + 1), "{step:?}");
        }
    }
}
