//! The lock of a scope's directory. When its holder is killed, the next operation proceeds. When its holder
//! is stopped instead, operations of others end with an error that names the directory, and nothing is lost
//! when the holder goes on.

#![cfg(target_os = "linux")]

use handover_tests::trace::{Before, Stopped, send_stopped};
use handover_tests::{Actor, Command, How, Obey, Open, Reply, Stage};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// Stops an actor right after it took the lock for the n-th time.
fn with_lock<'a>(actor: &'a mut Actor, command: &Command, nth: usize) -> Option<Stopped<'a>> {
    let stopped = send_stopped(actor, command, Before::UsingLock(nth))?;
    assert!(stopped.has_lock);
    Some(stopped)
}

#[test]
fn the_next_operation_proceeds_when_the_lock_holder_is_killed() {
    let stage = stage();
    let mut watcher = stage.actor();
    let commands = [
        Command::Open(Open::create_new("victim", 100)),
        Command::Open(Open::create_new("large victim", 1 << 20)),
        Command::Open(Open::open_existing("kept")),
        Command::CollectGarbage { global: false },
        Command::List { global: false },
    ];
    let kept = watcher.create_new("kept", 100);
    for command in &commands {
        let mut times = 0;
        loop {
            let mut victim = stage.actor();
            let Some(stopped) = with_lock(&mut victim, command, times) else { break };
            stopped.kill();
            for how in How::BY_NAME {
                // An operation that had to wait for the lock would time out.
                if let Ok(map) = watcher.open(&Open::new(how, "next", 100)) {
                    watcher.close(map);
                } else {
                    assert_eq!(how, How::OpenExisting);
                }
            }
            times += 1;
        }
        assert!(times > 0, "{command:?} takes no lock");
    }
    watcher.close(kept);
    assert!(stage.files().is_empty());
}

/// Takes as long as the time limit of the lock, 5 seconds.
#[test]
fn a_stopped_lock_holder_is_reported() {
    let stage = stage();
    let mut watcher = stage.actor();
    let mut victim = stage.actor();
    let command = Command::Open(Open::create_new("victim", 100));
    with_lock(&mut victim, &command, 0).expect("it takes the lock").leave_stopped();
    let message = watcher.expect_refused(&Open::create_or_open("other", 100), "TimedOut");
    assert!(message.contains(&*stage.scope().to_string_lossy()), "{message}");

    victim.signal(libc::SIGCONT);
    assert!(matches!(victim.reply(), Some(Reply::Map(map)) if map.created));
    assert_eq!(watcher.open_existing("victim").capacity, 100);
    watcher.create_new("other", 100);
}
