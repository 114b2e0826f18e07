//! What happens under the writers' lock happens once and is not lost. Of many takers, exactly one gets each
//! value. Additions by `update` and `compare_and_set` all count, even those of processes that are killed.
//!
//! `HANDOVER_ONCE_ROUNDS` sets how many values are taken (300), and how many adders are killed.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use handover_tests::cell::{Board, CellCommand, OpenCell, Random, Sums, UseCells, Work, number_from};
use handover_tests::{Actor, Command, Obey, Reply, Stage};

fn stage() -> (Stage, Board) {
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
    let board = Board::create(&stage.path().join("board")).expect("a board");
    (stage, board)
}

#[test]
fn of_eight_who_take_each_value_one_gets_it() {
    let rounds = number_from("HANDOVER_ONCE_ROUNDS", 300).min(20_000);
    let (stage, board) = stage();
    let mut feeder = stage.actor();
    let cell = feeder.open_cell(&OpenCell::named("cell", 10_000));
    let mut takers: Vec<_> = (0..8).map(|_| stage.actor()).collect();
    for (at, taker) in takers.iter_mut().enumerate() {
        let theirs = taker.open_cell(&OpenCell::existing("cell"));
        taker.start(theirs, &Work::Take, &board, at + 1);
    }
    feeder.on_cell(CellCommand::Feed { cell, times: rounds as u32 });
    for taker in &mut takers {
        taker.on_cell(CellCommand::StopAll);
    }
    board.expect_no_complaint();
    // Each value is one version, and its taking is the next.
    assert_eq!(feeder.info(cell).version, 2 * rounds);
    for version in 1..=2 * rounds {
        assert_eq!(board.mark(version).load(SeqCst), version % 2, "version {version}");
    }
    let taken = (1..=8).map(|line| board.progress(line).load(SeqCst));
    assert_eq!(taken.clone().sum::<u64>(), rounds);
    eprintln!("taken: {:?}", taken.collect::<Vec<_>>());
}

fn sums(actor: &mut Actor) -> Sums {
    match actor.ask(&Command::Cell(CellCommand::ReadSums)) {
        Ok(Reply::Sums(sums)) => sums,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_addition_is_lost() {
    let (stage, board) = stage();
    let mut watcher = stage.actor();
    watcher.on_cell(CellCommand::MakeSums(5));
    let mut adders: Vec<_> = (0..4).map(|_| stage.actor()).collect();
    for (at, adder) in adders.iter_mut().enumerate() {
        adder.start(0, &Work::Add, &board, at + 1);
    }
    board.expect_progress(1..=4, 200);
    for adder in &mut adders {
        adder.on_cell(CellCommand::StopAll);
    }
    board.expect_no_complaint();
    let sums = sums(&mut watcher);
    for line in 1..=4 {
        assert_eq!(sums.each[line], board.progress(line).load(SeqCst));
    }
    assert_eq!(sums.sum, sums.each.iter().sum::<u64>());
}

/// A killed adder may have added without counting it: once for each death.
#[test]
fn no_addition_is_lost_when_adders_are_killed() {
    let rounds = number_from("HANDOVER_ONCE_ROUNDS", 300);
    let (stage, board) = stage();
    let mut watcher = stage.actor();
    watcher.on_cell(CellCommand::MakeSums(5));
    let start = |line| {
        let mut adder = stage.actor();
        adder.start(0, &Work::Add, &board, line);
        adder
    };
    let mut adders: Vec<_> = (1..=4).map(start).collect();
    let mut deaths = [0; 5];
    let mut random = Random(0xADD5);
    for round in 0..rounds {
        std::thread::sleep(Duration::from_micros(random.below(2000)));
        let at = random.below(4) as usize;
        adders.remove(at).kill();
        deaths[at + 1] += 1;
        adders.insert(at, start(at + 1));
        if round % 20 == 0 {
            board.expect_progress(1..=4, 2);
            let sums = sums(&mut watcher);
            assert_eq!(sums.sum, sums.each.iter().sum::<u64>(), "a mix of two values");
        }
    }
    for adder in &mut adders {
        adder.on_cell(CellCommand::StopAll);
    }
    board.expect_no_complaint();
    let sums = sums(&mut watcher);
    assert_eq!(sums.sum, sums.each.iter().sum::<u64>());
    for (line, deaths) in deaths.iter().enumerate().skip(1) {
        let (added, counted) = (sums.each[line], board.progress(line).load(SeqCst));
        assert!(added >= counted, "{} additions of {line} are lost", counted - added);
        assert!(added <= counted + deaths, "{added} are there, {counted} were made");
    }
}
