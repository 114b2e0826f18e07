//! Programs that outlive their producer learn that it has gone and that it is back, wait for it without
//! spinning, and are told at once where they would wait for themselves.

use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use handover::codec::{Codec, Json, Zeroizing};
use handover::mapper::Event;
use handover::{ErrorKind, MapperOptions, MemoryMapper, Result};
use handover_tests::{HANG, OwnDir, Start, names_in, own_dir};

/// How soon a killed writer is noticed, and as much again for the system; the fastest of a few times counts,
/// as the machine may be busy with other tests.
const NOTICED: Duration = Duration::from_millis(200);

const PRODUCER: &str = "HANDOVER_TEST_PRODUCER";

fn in_directory(directory: impl AsRef<std::path::Path>) -> MapperOptions {
    MapperOptions::new().map(names_in(directory))
}

fn consumer(directory: &OwnDir) -> MemoryMapper<u64> {
    in_directory(directory).create_or_open("n").unwrap()
}

fn another(directory: &OwnDir) -> MemoryMapper<u64> {
    in_directory(directory).open_existing("n").unwrap()
}

/// What the process that [`Producer`] stands for does: it writes, and lives until it is killed.
#[test]
fn a_producer() {
    let Some(order) = std::env::var_os(PRODUCER) else { return };
    let (value, directory) = order.to_str().unwrap().split_once(' ').unwrap();
    let mapper: MemoryMapper<u64> = in_directory(directory).create_or_open("n").unwrap();
    mapper.set(&value.parse().unwrap()).unwrap();
    std::thread::sleep(HANG * 2);
}

struct Producer(Child);

impl Producer {
    fn start(directory: &OwnDir, value: u64) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_producer"]).stdout(Stdio::null());
        command.env(PRODUCER, format!("{value} {}", directory.path().display()));
        Self(command.start().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[track_caller]
fn changed(event: Option<Result<Event<u64>>>) -> u64 {
    match event {
        Some(Ok(Event::Changed(change))) => change.value.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is(event: Option<Result<Event<u64>>>, expected: &Event<u64>) {
    assert_eq!(&event.unwrap().unwrap(), expected);
}

#[test]
fn a_watch_tells_once_that_the_last_writer_was_killed_and_once_that_one_is_back_and_goes_on() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let mut events = consumer.watch().timeout(HANG).events();
    let mut fastest = HANG;
    for run in 1..=3 {
        let producer = Producer::start(&directory, run);
        if run > 1 {
            is(events.next(), &Event::WriterBack);
        }
        assert_eq!(changed(events.next()), run);
        let before = Instant::now();
        producer.kill();
        is(events.next(), &Event::WriterGone);
        fastest = fastest.min(before.elapsed());
    }
    assert!(fastest < NOTICED, "{fastest:?}");
    // Nothing more, however long one waits.
    let after = consumer.version();
    let mut quiet = consumer.watch().after(after).timeout(Duration::from_millis(150)).events();
    is(quiet.next(), &Event::WriterGone);
    assert_eq!(quiet.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn two_writers_are_gone_when_the_second_is() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let mut events = consumer.watch().timeout(NOTICED * 5).events();
    let (one, two) = (another(&directory), another(&directory));
    one.set(&1).unwrap();
    assert_eq!(changed(events.next()), 1);
    two.set(&2).unwrap();
    assert_eq!(changed(events.next()), 2);
    drop(one);
    assert_eq!(events.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    drop(two);
    is(events.next(), &Event::WriterGone);
}

#[test]
fn where_no_writer_lives_at_the_start_the_value_comes_first() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    another(&directory).set(&1).unwrap();
    let mut events = consumer.watch().timeout(Duration::from_millis(150)).events();
    assert_eq!(changed(events.next()), 1);
    is(events.next(), &Event::WriterGone);
    assert_eq!(events.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    let restarted = another(&directory);
    restarted.set(&2).unwrap();
    is(events.next(), &Event::WriterBack);
    assert_eq!(changed(events.next()), 2);
}

#[test]
fn before_the_first_writer_there_is_nothing_to_tell() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let mut events = consumer.watch().timeout(Duration::from_millis(150)).events();
    assert_eq!(events.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    let producer = another(&directory);
    producer.set(&1).unwrap();
    assert_eq!(changed(events.next()), 1);
}

/// One that was never seen living wrote all the same, and has gone.
#[test]
fn a_writer_between_two_looks_is_gone_after_what_it_wrote() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let mut events = consumer.watch().timeout(NOTICED * 5).events();
    another(&directory).set(&1).unwrap();
    assert_eq!(changed(events.next()), 1);
    is(events.next(), &Event::WriterGone);
    another(&directory).set(&2).unwrap();
    assert_eq!(changed(events.next()), 2);
    assert_eq!(events.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn tasks_are_told_of_writers_too() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut events = consumer.changes().events();
        let mut fastest = HANG;
        for run in 1..=3 {
            let producer = Producer::start(&directory, run);
            if run > 1 {
                is(events.event().await, &Event::WriterBack);
            }
            assert_eq!(changed(events.event().await), run);
            let before = Instant::now();
            producer.kill();
            is(events.event().await, &Event::WriterGone);
            fastest = fastest.min(before.elapsed());
        }
        assert!(fastest < NOTICED, "{fastest:?}");
        assert!(tokio::time::timeout(Duration::from_millis(150), events.event()).await.is_err());
    });
}

#[test]
fn a_writer_can_be_waited_for() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    consumer.set(&7).unwrap();
    let late = consumer.wait_for_writer(Duration::from_millis(5)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut, "a mapper does not wait for itself: {late}");
    assert!(late.to_string().contains("map 'n' in scope user: timed out after 5ms waiting for a writer"));
    let producer = Producer::start(&directory, 1);
    consumer.wait_for_writer(HANG).unwrap();
    producer.kill();
    assert!(consumer.cell().wait_for_writer(Duration::ZERO).is_err());
}

#[test]
fn while_written_waits_for_the_first_writer() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let mut watch = consumer.watch().timeout(Duration::from_millis(20)).while_written();
    assert_eq!(watch.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    let mut watch = watch.timeout(HANG);
    let producer = Producer::start(&directory, 5);
    assert_eq!(watch.next().unwrap().unwrap().value, Some(5));
    producer.kill();
    assert!(watch.next().is_none());
    assert!(watch.next().is_none());
}

#[test]
fn a_writer_that_came_and_went_between_two_looks_ends_the_watch_after_its_value() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let watch = consumer.watch().timeout(HANG).while_written();
    another(&directory).set(&1).unwrap();
    let all: Vec<_> = watch.map(|change| change.unwrap().value).collect();
    assert_eq!(all, [Some(1)]);
}

/// Counted in rounds, not in time: a second round blocks until there is a writer.
#[test]
fn the_obvious_loop_does_not_spin_while_somebody_else_holds_the_name() {
    let directory = own_dir();
    let _holder = consumer(&directory);
    Producer::start(&directory, 0).kill();
    another(&directory).set(&1).unwrap();
    let (sender, seen) = mpsc::channel();
    let path = directory.path().to_owned();
    let looping = std::thread::spawn(move || {
        for round in 0.. {
            let options = in_directory(&path).wait(HANG);
            let Ok(mapper) = options.open_existing::<u64, Json>("n") else { return };
            for change in mapper.watch().while_written() {
                let Ok(change) = change else { return };
                if sender.send((round, change.value)).is_err() {
                    return;
                }
            }
        }
    });
    // The first round gives the value that is there, and waits for a writer.
    assert_eq!(seen.recv_timeout(HANG).unwrap(), (0, Some(1)));
    assert!(seen.recv_timeout(Duration::from_millis(300)).is_err());
    for run in 1..=3 {
        let producer = Producer::start(&directory, run * 10);
        assert_eq!(seen.recv_timeout(HANG).unwrap(), (run - 1, Some(run * 10)));
        producer.kill();
        // The next round, with what is there, and no more of them.
        assert_eq!(seen.recv_timeout(HANG).unwrap(), (run, Some(run * 10)));
        assert!(seen.recv_timeout(Duration::from_millis(300)).is_err());
    }
    // The loop ends at the next value, and releases the name.
    drop(seen);
    another(&directory).set(&0).unwrap();
    looping.join().unwrap();
}

#[test]
fn a_watch_outlives_its_mapper_and_goes_to_another_thread() {
    let directory = own_dir();
    let producer = consumer(&directory);
    let watch = another(&directory).watch().timeout(HANG);
    let watching =
        std::thread::spawn(move || watch.map(|change| change.unwrap().value).find(|it| *it == Some(2)));
    producer.set(&1).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    producer.set(&2).unwrap();
    assert_eq!(watching.join().unwrap(), Some(Some(2)));
}

#[test]
fn a_guard_ends_its_callback_at_once_and_lets_go_of_the_name() {
    let mut fastest = HANG;
    for _ in 0..3 {
        let directory = own_dir();
        let mapper = consumer(&directory);
        let (sender, seen) = mpsc::channel();
        let guard = mapper.on_change(move |change| sender.send(change.unwrap().value).unwrap()).unwrap();
        for value in 1..=100 {
            mapper.set(&value).unwrap();
            while seen.recv_timeout(HANG).unwrap() != Some(value) {}
        }
        drop(mapper);
        assert!(in_directory(&directory).open_existing::<u64, Json>("n").is_ok(), "the guard keeps the name");
        let before = Instant::now();
        drop(guard);
        fastest = fastest.min(before.elapsed());
        // The callback, and what it owned, is gone.
        assert_eq!(seen.recv(), Err(mpsc::RecvError));
        // A process that another test starts has a copy of every descriptor until it runs its program.
        let before = Instant::now();
        while in_directory(&directory).open_existing::<u64, Json>("n").is_ok() {
            assert!(before.elapsed() < HANG);
        }
    }
    assert!(fastest < NOTICED, "{fastest:?}");
}

#[test]
fn a_guard_waits_for_a_call_that_is_under_way() {
    let directory = own_dir();
    let mapper = consumer(&directory);
    let (sender, calls) = mpsc::channel();
    let call = move |_| {
        sender.send("begun").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        sender.send("done").unwrap();
    };
    let guard = mapper.on_change(call).unwrap();
    mapper.set(&1).unwrap();
    assert_eq!(calls.recv_timeout(HANG).unwrap(), "begun");
    drop(guard);
    assert_eq!(calls.try_recv(), Ok("done"));
}

#[test]
fn a_guard_that_is_dropped_inside_the_callback_makes_that_call_the_last() {
    let directory = own_dir();
    let mapper = consumer(&directory);
    let (guards, own) = mpsc::channel();
    let (sender, calls) = mpsc::channel();
    let call = move |_| {
        drop(own.recv());
        sender.send(()).unwrap();
    };
    guards.send(mapper.on_change(call).unwrap()).unwrap();
    mapper.set(&1).unwrap();
    assert_eq!(calls.recv_timeout(HANG), Ok(()));
    mapper.set(&2).unwrap();
    assert_eq!(calls.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_callback_that_panics_is_not_called_again_and_its_guard_says_so() {
    let directory = own_dir();
    let mapper = consumer(&directory);
    mapper.set(&1).unwrap();
    let guard = mapper.on_event(|event| panic!("at {event:?}")).unwrap();
    let before = Instant::now();
    while !guard.is_finished() {
        assert!(before.elapsed() < HANG);
        std::thread::yield_now();
    }
    let panicked = guard.end().unwrap_err();
    assert!(panicked.downcast_ref::<String>().unwrap().starts_with("at Ok(Changed("));
}

#[test]
fn a_callback_is_told_of_writers() {
    let directory = own_dir();
    let mapper = consumer(&directory);
    let (sender, events) = mpsc::channel();
    let _guard = mapper.on_event(move |event| sender.send(Some(event)).unwrap()).unwrap();
    let producer = Producer::start(&directory, 1);
    assert_eq!(changed(events.recv_timeout(HANG).unwrap()), 1);
    producer.kill();
    is(events.recv_timeout(HANG).unwrap(), &Event::WriterGone);
}

/// Long enough that nobody takes it for at once.
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_set_that_would_wait_for_itself_says_so_at_once() {
    let directory = own_dir();
    let mapper: MemoryMapper<u64> = in_directory(&directory).lock_limit(LONG).create_or_open("n").unwrap();
    let second: MemoryMapper<u64> = in_directory(&directory).lock_limit(LONG).open_existing("n").unwrap();
    mapper.set(&1).unwrap();
    let refused = |result: Result<u64>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldDeadlock);
        assert!(error.to_string().contains("it would wait for itself: this thread has the writers' lock"));
        assert!(error.subject().is_some());
    };
    let mut lease = mapper.lease(Duration::ZERO).unwrap();
    refused(mapper.set(&2));
    refused(second.set(&2));
    refused(mapper.set_ttl(&2, LONG));
    refused(mapper.compare_and_set(1, &2));
    refused(mapper.update(|value| value));
    refused(mapper.clear());
    refused(mapper.take().map(|_| 0));
    refused(mapper.lease(LONG).map(|_| 0));
    assert_eq!(mapper.try_set(&2).unwrap(), None);
    assert_eq!(second.try_set(&2).unwrap(), None);
    lease.set(&2).unwrap();
    drop(lease);
    let updated = mapper.update(|value| {
        refused(mapper.set(&9));
        refused(second.set(&9));
        refused(mapper.update(|value| value));
        value + 1
    });
    assert_eq!(updated.unwrap(), 3);
    assert_eq!(mapper.get().unwrap(), Some(3));
}

/// A lease that is used in another thread is no reason to give up waiting for it.
#[test]
fn a_lease_that_was_moved_to_another_thread_is_waited_for() {
    let directory = own_dir();
    let mapper = consumer(&directory);
    std::thread::scope(|scope| {
        let mut lease = mapper.lease(Duration::ZERO).unwrap();
        let (sender, moved) = mpsc::channel();
        scope.spawn(move || {
            lease.set(&1).unwrap();
            sender.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            lease.set(&2).unwrap();
        });
        moved.recv_timeout(HANG).unwrap();
        assert_eq!(mapper.set(&3).unwrap(), 3);
    });
}

#[test]
fn a_write_waits_as_long_as_it_was_told_and_says_for_whom() {
    let directory = own_dir();
    let mapper: MemoryMapper<u64> =
        in_directory(&directory).lock_limit(Duration::from_millis(5)).create_or_open("n").unwrap();
    let other = another(&directory);
    let says = |result: Result<u64>, who: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(
            error
                .to_string()
                .contains(&format!("timed out after 5ms waiting for the writers' lock, which {who}"))
        );
    };
    std::thread::scope(|scope| {
        let lease = scope.spawn(|| other.lease(Duration::ZERO).unwrap()).join().unwrap();
        says(mapper.set(&1), "another handle of this process holds");
        drop(lease);
        let lease = scope.spawn(|| mapper.lease(Duration::ZERO).unwrap()).join().unwrap();
        says(mapper.set(&1), "another thread holds through this handle");
        drop(lease);
    });
    if cfg!(windows) {
        // There all names lie in one room.
        return;
    }
    // The same name elsewhere is another map.
    let elsewhere = own_dir();
    let there = consumer(&elsewhere);
    let _lease = there.lease(Duration::ZERO).unwrap();
    assert_eq!(mapper.set(&1).unwrap(), 1);
}

/// Numbers whose encoding looks whether the writers' lock is free.
struct Looking;

thread_local!(static SEES: std::cell::RefCell<Option<handover::cell::Cell>> = const { std::cell::RefCell::new(None) });

impl Codec<u64> for Looking {
    const ID: u32 = 70_000;
    const NAME: &'static str = "numbers that look";

    fn encode(value: &u64) -> Result<Zeroizing<Vec<u8>>> {
        SEES.with_borrow(|cell| {
            let cell = cell.as_ref().expect("it was given");
            assert!(cell.try_writer().unwrap().is_some(), "it is encoded under the lock");
        });
        Ok(Zeroizing::new(value.to_le_bytes().to_vec()))
    }

    fn decode(bytes: &[u8]) -> Result<u64> {
        Ok(u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
    }
}

#[test]
fn a_value_is_encoded_before_the_lock_is_taken() {
    let directory = own_dir();
    let mapper: MemoryMapper<u64, Looking> = in_directory(&directory).create_or_open("n").unwrap();
    let other: MemoryMapper<u64, Looking> = in_directory(&directory).open_existing("n").unwrap();
    SEES.set(Some(other.cell().clone()));
    assert_eq!(mapper.set(&1).unwrap(), 1);
    assert_eq!(mapper.try_set(&2).unwrap(), Some(2));
    assert_eq!(mapper.set_ttl(&3, LONG).unwrap(), 3);
    assert_eq!(mapper.compare_and_set(3, &4).unwrap(), 4);
    SEES.set(None);
}

/// The system gives a new thread what one that has ended had.
#[test]
fn a_thread_is_not_taken_for_one_that_has_ended() {
    let directory = own_dir();
    let mapper: MemoryMapper<u64> =
        in_directory(&directory).lock_limit(Duration::from_millis(1)).create_or_open("n").unwrap();
    std::thread::scope(|scope| {
        let _lease = scope.spawn(|| mapper.lease(Duration::ZERO).unwrap()).join().unwrap();
        for _ in 0..20 {
            let error = scope.spawn(|| mapper.set(&1)).join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        }
    });
}

#[test]
fn a_writer_is_of_the_thread_that_publishes() {
    let directory = own_dir();
    let mapper = consumer(&directory);
    std::thread::scope(|scope| {
        let mut writer = mapper.cell().try_writer().unwrap().unwrap();
        let (sender, moved) = mpsc::channel();
        scope.spawn(move || {
            writer.publish(b"1").unwrap();
            sender.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        });
        moved.recv_timeout(HANG).unwrap();
        assert_eq!(mapper.set(&2).unwrap(), 2);
    });
}

/// Numbers that can be read if they are even. Reading another one has its producer set the next at once.
struct Even;

thread_local!(static PRODUCES: std::cell::RefCell<Option<MemoryMapper<u64, Even>>> = const { std::cell::RefCell::new(None) });

impl Codec<u64> for Even {
    const ID: u32 = 70_001;
    const NAME: &'static str = "even numbers";

    fn encode(value: &u64) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(value.to_le_bytes().to_vec()))
    }

    fn decode(bytes: &[u8]) -> Result<u64> {
        let value = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        if value % 2 == 0 {
            return Ok(value);
        }
        PRODUCES
            .with_borrow(|producer| producer.as_ref().map(|producer| producer.set(&(value + 1)).unwrap()));
        Err(handover::Error::decode("even numbers", "it is odd"))
    }
}

#[test]
fn a_version_that_comes_while_another_one_can_t_be_read_is_not_lost() {
    let directory = own_dir();
    let consumer: MemoryMapper<u64, Even> = in_directory(&directory).create_or_open("n").unwrap();
    let producer: MemoryMapper<u64, Even> = in_directory(&directory).open_existing("n").unwrap();
    producer.set(&1).unwrap();
    PRODUCES.set(Some(producer));
    let mut watch = consumer.watch().timeout(Duration::from_millis(50));
    assert_eq!(watch.next().unwrap().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(watch.next().unwrap().unwrap().value, Some(2));
    PRODUCES.set(None);
}

#[test]
fn that_a_value_has_expired_is_told_once() {
    let directory = own_dir();
    let mapper = consumer(&directory);
    mapper.set_ttl(&1, Duration::from_nanos(1)).unwrap();
    let mut watch = mapper.watch().timeout(Duration::from_millis(20));
    let change = watch.next().unwrap().unwrap();
    assert_eq!((change.version, change.value), (mapper.version(), None));
    assert_eq!(watch.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn a_mapper_is_no_writer_to_its_own_watches() {
    let directory = own_dir();
    let consumer = consumer(&directory);
    let mut watch = consumer.watch().timeout(Duration::from_millis(150)).while_written();
    let mut events = consumer.watch().timeout(Duration::from_millis(150)).events();
    for value in 1..=2 {
        consumer.set(&value).unwrap();
        assert_eq!(watch.next().unwrap().unwrap().value, Some(value));
        assert_eq!(watch.next().expect("it goes on").unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(changed(events.next()), value);
        assert_eq!(events.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    another(&directory).set(&3).unwrap();
    assert_eq!(watch.next().unwrap().unwrap().value, Some(3));
    assert!(watch.next().is_none());
    assert_eq!(changed(events.next()), 3);
    is(events.next(), &Event::WriterGone);
}

/// A forked child has the guard, and not the thread.
#[test]
#[cfg(target_os = "linux")]
fn a_guard_in_a_forked_child_is_finished() {
    let mapper = consumer(&own_dir());
    let guard = mapper.on_change(|_| {}).unwrap();
    // SAFETY: the child looks at numbers of its own memory and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the process, and runs nothing of its parent's.
        unsafe { libc::_exit(i32::from(!guard.is_finished())) };
    }
    let mut status = 0;
    // SAFETY: `status` takes the number; the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(!guard.is_finished());
}
