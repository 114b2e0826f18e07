//! A forked child keeps its parent's maps alive while it lives, however the parent ends. Running another
//! program closes them, unless they were made inheritable. Each of several handles and threads of one process
//! holds separately.

#[cfg(target_os = "linux")]
use handover_tests::How;
use handover_tests::{Command, Obey, Open, Reply, Stage};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

#[test]
#[cfg(target_os = "linux")]
fn a_forked_child_keeps_the_name_when_its_parent_is_gone() {
    for parent_ends in 0..3 {
        for child_ends in 0..3 {
            let case = format!("{parent_ends} {child_ends}");
            let stage = stage();
            let mut watcher = stage.actor();
            let mut parent = stage.actor();
            let map = parent.create_new("name", 100);
            let mut child = parent.fork(&stage);
            child.write(map, 0, b"from child");
            assert_eq!(parent.read(map, 0, 10), b"from child");
            match parent_ends {
                0 => parent.close(map),
                1 => parent.exit(),
                _ => parent.kill(),
            }
            let found = watcher.open_existing("name");
            assert_eq!(watcher.read(found, 0, 10), b"from child", "{case}");
            child.write(map, 0, b"still");
            assert_eq!(watcher.read(found, 0, 5), b"still", "{case}");
            watcher.close(found);
            match child_ends {
                0 => child.close(map),
                1 => child.exit(),
                _ => child.kill(),
            }
            watcher.expect_gone("name");
            watcher.expect_fresh("name", 200);
            assert!(stage.files().is_empty(), "{case}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_that_ends_first_takes_nothing_from_its_parent() {
    for child_ends in 0..3 {
        let stage = stage();
        let mut watcher = stage.actor();
        let mut parent = stage.actor();
        let map = parent.create_new("name", 100);
        parent.write(map, 0, b"parent");
        let mut child = parent.fork(&stage);
        match child_ends {
            0 => child.close(map),
            1 => child.exit(),
            _ => child.kill(),
        }
        let found = watcher.open_existing("name");
        assert_eq!(watcher.read(found, 0, 6), b"parent");
        watcher.close(found);
        parent.close(map);
        watcher.expect_gone("name");
        assert!(stage.files().is_empty());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn running_another_program_closes_the_name() {
    let stage = stage();
    let mut watcher = stage.actor();
    for how in [How::CreateNew, How::CreateOrOpen] {
        let mut actor = stage.actor();
        actor.must_open(&Open::new(how, "name", 100));
        actor.tell(&Command::Exec);
        watcher.expect_gone("name");
        watcher.expect_fresh("name", 200);
    }
    assert!(stage.files().is_empty());
}

#[test]
#[cfg(target_os = "linux")]
fn an_inheritable_handle_holds_the_name_in_the_other_program() {
    let stage = stage();
    let mut watcher = stage.actor();
    let mut other = stage.actor();
    for how in [How::CreateNew, How::CreateOrOpen, How::OpenExisting] {
        let mut actor = stage.actor();
        let made = (how == How::OpenExisting).then(|| other.create_new("name", 100));
        let map = actor.must_open(&Open { inheritable: true, ..Open::new(how, "name", 100) });
        actor.write(map, 0, b"inherited");
        actor.tell(&Command::Exec);
        if let Some(made) = made {
            other.close(made);
        }
        let found = watcher.open_existing("name");
        assert_eq!(watcher.read(found, 0, 9), b"inherited");
        watcher.close(found);
        actor.exit();
        watcher.expect_gone("name");
        assert!(stage.files().is_empty());
    }
}

#[test]
fn two_handles_of_one_process_hold_for_themselves() {
    let stage = stage();
    let mut watcher = stage.actor();
    for created_first in [true, false] {
        let mut actor = stage.actor();
        let made = actor.create_new("name", 100);
        let opened = actor.open_existing("name");
        actor.expect_refused(&Open::create_new("name", 100), "AlreadyExists");
        let (first, second) = if created_first { (made, opened) } else { (opened, made) };
        actor.close(first);
        let found = watcher.open_existing("name");
        watcher.close(found);
        actor.write(second, 0, b"still");
        actor.close(second);
        watcher.expect_gone("name");
        actor.expect_gone("name");
    }
}

#[test]
fn threads_that_hold_a_name_at_one_time_hold_one_map() {
    let stage = stage();
    let mut actor = stage.actor();
    let command = Command::Threads { threads: 8, rounds: 450, name: "name".to_owned() };
    let maps = actor.ask(&command).unwrap_or_else(|failure| panic!("{}", failure.message));
    assert!(matches!(maps, Reply::Number(50..)), "{maps:?}");
    stage.actor().expect_gone("name");
    assert!(stage.files().is_empty());
}
