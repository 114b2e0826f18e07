//! What a name costs does not depend on how many others there are: the system calls of opening, creating and
//! closing are the same beside thousands, living, dead or in the other scope. Times are measured by the
//! benchmark.

#![cfg(target_os = "linux")]

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use handover::map::{MapOptions, MemoryMappedFile};
use handover::mapper::MapperOptions;
use handover::{ErrorKind, MemoryMapper, Scope};
use handover_tests::calls::{self, Calls, be_traced, counted};
use handover_tests::memory_dir;
use handover_tests::role::{Role, asked, raise_limit_of_files};

/// How many other names there are.
const OTHERS: usize = 2000;
/// How often each operation is counted: a creation now and then looks for leftovers.
const TIMES: usize = 320;
/// What looking for leftovers may add to a creation, on average.
const SWEEP: f64 = 10.0;

/// One test at a time fills the machine with names: a listing looks at the descriptors of all processes.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const CREATE: u32 = 0;
const OPEN: u32 = 1;
const CLOSE: u32 = 2;
const CLOSE_LAST: u32 = 3;
const NOT_FOUND: u32 = 4;
const LIST: u32 = 5;
const OPERATIONS: [(u32, &str); 5] = [
    (CREATE, "create"),
    (OPEN, "open"),
    (CLOSE, "close"),
    (CLOSE_LAST, "close as the last"),
    (NOT_FOUND, "find nothing"),
];

fn names(scope: &str) -> MapOptions {
    MapOptions::new().scope(if scope == "global" { Scope::Global } else { Scope::User })
}

/// Holds names until its input ends: scope, how many, and whether each has a value.
#[test]
fn holder() {
    let Some(words) = asked("holder") else { return };
    let count: usize = words[1].parse().unwrap();
    let options = names(&words[0]);
    raise_limit_of_files();
    let process = std::process::id();
    let name = |at| format!("other {process} {at}");
    let values = MapperOptions::new().map(options.clone());
    let create = |at| -> (Option<MemoryMappedFile>, Option<MemoryMapper<u64>>) {
        if words.len() > 2 {
            let mapper: MemoryMapper<u64> = values.create_new(&name(at)).unwrap();
            mapper.set(&7).unwrap();
            (None, Some(mapper))
        } else {
            (Some(options.create_new(&name(at), 4096).unwrap()), None)
        }
    };
    let held: Vec<_> = (0..count).map(create).collect();
    println!("held {}", held.len());
    std::io::stdout().flush().unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// Does each operation many times, and is traced meanwhile: scope.
#[test]
fn worker() {
    let Some(words) = asked("worker") else { return };
    let options = names(&words[0]);
    // The first creation of a process looks for leftovers.
    drop(options.create_new("warm", 4096).unwrap());
    be_traced(|| {
        for at in 0..TIMES {
            let name = format!("one {at}");
            let first = counted(CREATE, || options.create_new(&name, 4096).unwrap());
            let second = counted(OPEN, || options.open_existing(&name).unwrap());
            counted(CLOSE, || drop(second));
            counted(CLOSE_LAST, || drop(first));
            let refused = counted(NOT_FOUND, || options.open_existing(&name).unwrap_err());
            assert_eq!(refused.kind(), ErrorKind::NotFound);
        }
    });
}

/// Lists what is held, and is traced meanwhile.
#[test]
fn lister() {
    let Some(words) = asked("lister") else { return };
    let count: usize = words[0].parse().unwrap();
    be_traced(|| {
        for _ in 0..3 {
            let listed = counted(LIST, || handover::map::list(&MapOptions::new()).unwrap());
            assert_eq!(listed.len(), count);
            assert!(listed.iter().all(|map| map.holders.as_ref().is_some_and(|pids| pids.len() == 1)));
        }
    });
}

/// Opens the name "one" when its input ends.
#[test]
fn opener() {
    let Some(_) = asked("opener") else { return };
    println!("ready");
    std::io::stdout().flush().unwrap();
    assert_eq!(std::io::stdin().lock().read_line(&mut String::new()).unwrap(), 0);
    let map = MapOptions::new().open_existing("one").unwrap();
    assert_eq!(map.capacity(), 4096);
    println!("opened");
    std::io::stdout().flush().unwrap();
}

/// A process that holds names.
fn hold(directory: &Path, scope: &str, count: usize) -> Role {
    let mut holder = Role::start(directory, "holder", &[scope, &count.to_string()]);
    holder.expect("held ");
    holder
}

fn count(directory: &Path, role: &str, words: &[&str]) -> Calls {
    let mut worker = Role::start(directory, role, words);
    let input = worker.input.take().unwrap();
    let calls = calls::collect(&mut worker.output, input);
    worker.finish();
    calls
}

#[track_caller]
fn expect_the_same(beside: &str, alone: &Calls, found: &Calls) {
    for (operation, called) in OPERATIONS {
        let (alone, found) = (&alone[&operation], &found[&operation]);
        assert_eq!((alone.len(), found.len()), (TIMES, TIMES));
        eprintln!(
            "{called} beside {beside}: {} system calls, {:.1} on average; beside none {}, {:.1}",
            calls::median(found),
            calls::mean(found),
            calls::median(alone),
            calls::mean(alone)
        );
        assert_eq!(
            calls::median(found),
            calls::median(alone),
            "{called} beside {beside}: {:?}…, beside none {:?}",
            calls::typical(found).iter().take(60).collect::<Vec<_>>(),
            calls::typical(alone)
        );
        // None of the times is a rare exception that costs much; but for the memory of the heap.
        let most = calls::median(alone) as f64 + if operation == CREATE { SWEEP } else { 0.5 };
        assert!(calls::mean(found) <= most, "{called} beside {beside}: {} on average", calls::mean(found));
    }
}

#[test]
fn beside_thousands_that_live() {
    let _turn = turn();
    for scope in ["user", "global"] {
        let directory = memory_dir();
        let alone = count(directory.path(), "worker", &[scope]);
        let _others = hold(directory.path(), scope, OTHERS);
        let found = count(directory.path(), "worker", &[scope]);
        expect_the_same(&format!("{OTHERS} that live in scope {scope}"), &alone, &found);
    }
}

#[test]
fn beside_thousands_whose_holder_was_killed() {
    let _turn = turn();
    let directory = memory_dir();
    let alone = count(directory.path(), "worker", &["user"]);
    hold(directory.path(), "user", OTHERS).kill();
    let found = count(directory.path(), "worker", &["user"]);
    expect_the_same(&format!("{OTHERS} that are dead"), &alone, &found);
}

#[test]
fn beside_thousands_in_the_other_scope() {
    let _turn = turn();
    for (own, other) in [("user", "global"), ("global", "user")] {
        let directory = memory_dir();
        let alone = count(directory.path(), "worker", &[own]);
        let _others = hold(directory.path(), other, OTHERS);
        let found = count(directory.path(), "worker", &[own]);
        expect_the_same(&format!("{OTHERS} in scope {other}, in scope {own}"), &alone, &found);
    }
}

#[test]
fn processes_that_open_one_name_at_once_all_succeed() {
    const PROCESSES: usize = 200;
    let _turn = turn();
    let directory = memory_dir();
    let _others = hold(directory.path(), "user", OTHERS);
    let mut holder = Role::start(directory.path(), "holder_of_one", &[]);
    holder.expect("held");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut openers: Vec<Role> = (0..PROCESSES)
        .map(|_| {
            let input = Stdio::from(reader.try_clone().unwrap());
            Role::start_with(directory.path(), "opener", &[], input)
        })
        .collect();
    for opener in &mut openers {
        opener.expect("ready");
    }
    // All of them read from this pipe.
    drop(writer);
    for mut opener in openers {
        opener.expect("opened");
        opener.finish();
    }
}

/// Holds the name "one" until its input ends.
#[test]
fn holder_of_one() {
    let Some(_) = asked("holder_of_one") else { return };
    let _map = MapOptions::new().create_new("one", 4096).unwrap();
    println!("held");
    std::io::stdout().flush().unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// A listing looks at each file once, and at each descriptor of the processes once.
#[test]
fn a_listing_of_thousands_takes_few_system_calls_for_each() {
    const MOST: f64 = 8.0;
    let _turn = turn();
    let directory = memory_dir();
    let one = hold(directory.path(), "user", 1);
    let least = calls::median(&count(directory.path(), "lister", &["1"])[&LIST]);
    one.finish();
    let _others = hold(directory.path(), "user", OTHERS);
    let all = calls::median(&count(directory.path(), "lister", &[&OTHERS.to_string()])[&LIST]);
    let each = (all as f64 - least as f64) / (OTHERS - 1) as f64;
    eprintln!("a listing takes {each:.2} system calls for each name");
    assert!(each <= MOST, "{each:.2} system calls for each name");
}
