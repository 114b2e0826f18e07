//! No two names share a lock: whoever is stopped anywhere in a call on one name holds up nobody who asks for
//! another, and whoever is killed there holds up nobody at all. Only a process that has claimed a name and is
//! stopped keeps others from that name: they end with an error that says so, and nothing is lost when it goes
//! on.

#![cfg(target_os = "linux")]

use handover::Step;
use handover_tests::cell::{End, UseCells};
use handover_tests::trace::{Before, send_stopped};
use handover_tests::{Actor, Command, How, Obey, Open, Reply, Stage};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// All three ways to open. Whoever had to wait for somebody would time out.
fn opens_at_once(watcher: &mut Actor, name: &str) {
    for how in How::BY_NAME {
        match watcher.open(&Open::new(how, name, 100)) {
            Ok(map) => watcher.close(map),
            Err(failure) => assert_eq!((how, &*failure.kind), (How::OpenExisting, "NotFound"), "{failure:?}"),
        }
    }
}

#[test]
fn a_call_on_one_name_holds_up_no_call_on_another() {
    let stage = stage();
    let mut watcher = stage.actor();
    let commands = [
        Command::Open(Open::create_or_open("leftover", 100)),
        Command::Open(Open::open_existing("kept")),
        Command::CollectGarbage { global: false },
    ];
    let kept = watcher.create_new("kept", 100);
    for command in &commands {
        let mut calls = 0;
        loop {
            let mut dead = stage.actor();
            dead.create_or_open("leftover", 100);
            dead.kill();
            let mut victim = stage.actor();
            let Some(stopped) = send_stopped(&mut victim, command, Before::Call(calls)) else { break };
            opens_at_once(&mut watcher, "another");
            stopped.kill();
            opens_at_once(&mut watcher, "leftover");
            calls += 1;
        }
        assert!(calls > 3, "{command:?} makes {calls} system calls");
    }
    let mut victim = stage.actor();
    assert_eq!(victim.open_existing("kept").capacity, 100, "it was held all the time");
    drop(victim);
    watcher.close(kept);
    watcher.collect_garbage(false);
    assert!(stage.files().is_empty());
}

/// Takes as long as the time limit for a claimed name, 5 seconds.
#[test]
fn a_stopped_claimant_is_reported() {
    let stage = stage();
    let mut watcher = stage.actor();
    let mut claimant = stage.actor();
    let map = claimant.create_new("claimed", 100);
    claimant.arm(&[(Step::NameClaimed, 0, End::Stop)]);
    claimant.send(&Command::Close { map: map.id });
    claimant.expect_stopped();
    let message = watcher.expect_refused(&Open::create_or_open("claimed", 200), "TimedOut");
    assert!(message.contains("'claimed'") && message.contains("stopped"), "{message}");
    opens_at_once(&mut watcher, "another");

    claimant.go_on();
    assert!(matches!(claimant.reply(), Some(Reply::Done)));
    assert!(stage.files().is_empty());
    assert_eq!(watcher.create_new("claimed", 200).capacity, 200);
}
