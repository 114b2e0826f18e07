//! Eight processes race for three names while they are killed and stopped every few milliseconds. There are
//! never two living maps of one name, never a half-made one, never a name without a holder, a holder never
//! loses its name, nobody misses a name that is held, and nothing is left. `handover_tests::names_race`
//! explains how the oracle knows. It also knows when a rule is broken: each race in which all racers break
//! one is found out.
//!
//! `HANDOVER_RACE_KILLS` sets how many are killed, and how many are stopped, in each race at least (100).

#![cfg(target_os = "linux")]

use handover_tests::Stage;
use handover_tests::cell::number_from;
use handover_tests::names_race::{Fault, Report, Setup, run};

const RACER: &str = env!("CARGO_BIN_EXE_racer");

fn race(setup: &Setup) -> Report {
    let stage = Stage::new(RACER);
    let report = run(RACER, stage.path(), setup);
    eprintln!("{setup:?}\n{report:#?}\n{} calls", report.calls());
    report
}

/// A race without a fault, of which enough came about.
fn is_silent(setup: &Setup) {
    let kills = number_from("HANDOVER_RACE_KILLS", 100);
    let outcomes = 20.max(kills / 10);
    let report = race(&Setup { kills, outcomes, seconds: 300 + kills / 2, ..setup.clone() });
    if let Some(fault) = report.fault {
        panic!("{fault}");
    }
    assert!(report.complete, "hardly a race: {report:?}");
}

#[test]
fn names_are_kept_through_kills_and_stops() {
    is_silent(&Setup::default());
}

#[test]
fn names_that_others_may_read_are_kept() {
    is_silent(&Setup { readable: true, ..Setup::default() });
}

#[test]
fn names_are_kept_without_unnamed_files() {
    is_silent(&Setup { without_tmpfile: true, ..Setup::default() });
}

#[test]
fn names_are_kept_by_forked_children() {
    is_silent(&Setup { forks: true, ..Setup::default() });
}

#[test]
fn names_are_kept_where_all_of_that_comes_together() {
    is_silent(&Setup { readable: true, without_tmpfile: true, forks: true, ..Setup::default() });
}

#[test]
fn a_file_goes_with_its_last_holder_where_nobody_is_killed() {
    is_silent(&Setup { calm: true, ..Setup::default() });
}

/// A race in which all break a rule. The oracle sees it, mostly within a second or two.
fn is_found_out(fault: Fault) {
    let report = race(&Setup {
        fault: Some(fault),
        forks: fault == Fault::ReleasesBesideChildren,
        calm: fault == Fault::ClaimsOnce,
        outcomes: u64::MAX,
        seconds: 300,
        ..Setup::default()
    });
    assert!(report.fault.is_some(), "not found out: {report:?}");
}

#[test]
fn joining_without_looking_is_found_out() {
    is_found_out(Fault::JoinsWithoutLooking);
}

#[test]
fn asking_instead_of_claiming_is_found_out() {
    is_found_out(Fault::AsksInsteadOfClaiming);
}

#[test]
fn unlinking_without_looking_is_found_out() {
    is_found_out(Fault::UnlinksWithoutLooking);
}

#[test]
fn linking_before_locking_is_found_out() {
    is_found_out(Fault::LinksBeforeLocking);
}

#[test]
fn leaving_leftovers_is_found_out() {
    is_found_out(Fault::LeavesLeftovers);
}

#[test]
fn releasing_what_children_share_is_found_out() {
    is_found_out(Fault::ReleasesBesideChildren);
}

#[test]
fn claiming_once_is_found_out() {
    is_found_out(Fault::ClaimsOnce);
}
