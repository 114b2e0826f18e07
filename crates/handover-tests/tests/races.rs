//! Eight processes open and close two names as fast as they can while most of them are killed at random
//! moments. There are never two living maps under one name, never a half-made one, never a name without a
//! holder, only errors that the contract allows, and at the end nothing that a sweep does not remove.
//! `handover_tests::race` explains how the judge knows.
//!
//! `HANDOVER_RACE_ROUNDS` sets how many rounds (10,000); in a round each of the eight does one thing.

// Elsewhere nobody has written code that starts workers.
#![cfg(any(target_os = "linux", windows))]

use std::collections::HashSet;

use handover_tests::race::{Notes, SLOTS, judge};
use handover_tests::{Command, Obey, Reply, Stage};

#[test]
fn eight_racing_processes_never_have_two_maps_under_one_name() {
    let rounds = match std::env::var("HANDOVER_RACE_ROUNDS") {
        Ok(text) => text.parse().expect("HANDOVER_RACE_ROUNDS is a number"),
        // There a worker is a new process, not a fork.
        Err(_) if cfg!(windows) => 120,
        Err(_) => 10_000,
    };
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
    let path = stage.path().join("notes");
    let notes = Notes::create(&path, rounds * SLOTS).expect("notes");
    let mut racers: Vec<_> = (0..SLOTS).map(|_| stage.actor()).collect();
    for (slot, racer) in racers.iter_mut().enumerate() {
        racer.send(&Command::Race { notes: path.clone(), slot });
    }
    for racer in &mut racers {
        assert!(matches!(racer.reply(), Some(Reply::Done)));
    }
    let tally = judge(&notes).unwrap_or_else(|what| panic!("{what}"));
    eprintln!("{tally:?}");

    let mut watcher = stage.actor();
    watcher.collect_garbage(false);
    assert!(stage.files().is_empty(), "a sweep left {:?}", stage.files());
    watcher.expect_gone("race");
    watcher.expect_gone("race 2");
    let there: HashSet<_> = handover_tests::files_in(stage.path()).into_iter().collect();
    #[cfg(windows)]
    assert_eq!(there, HashSet::from([path]));
    #[cfg(not(windows))]
    assert_eq!(there, HashSet::from([path, stage.scope()]));
    // About one round in ten ends with a kill at work: a tenth of that shows that it was a race.
    let least = rounds / 100;
    let met = [tally.created, tally.joined, tally.not_found, tally.exists, tally.killed_busy];
    assert!(met.iter().all(|count| *count >= least), "hardly a race: {tally:?}");
}
