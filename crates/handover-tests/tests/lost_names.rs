//! Holders of a name are told when its file is deleted, moved or replaced: whoever holds, writes, waits or
//! reads something new; nobody else finds their map any more, and they leave alone the one that others find.
//! A watch that was asked to goes on with whoever has the name next.

#![cfg(unix)]

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use handover::cell::Cell;
use handover::codec::Json;
use handover::map::{MapOptions, MemoryMappedFile};
use handover::mapper::{Event, PlainOptions};
use handover::{Error, ErrorKind, MapperOptions, MemoryMapper, PlainMapper, Result};
use handover_tests::{Command, HANG, Obey, OwnDir, Stage, names_in, own_dir};

/// Longer than a look at a name stays good.
const LOOK: Duration = Duration::from_millis(70);

/// The ways in which a name's file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Deleted,
    Moved,
    DirectoryDeleted,
    DirectoryMoved,
    /// And another map has the name.
    Replaced,
    /// And another map has the name, in another directory at the same path.
    DirectoryReplaced,
}

const WAYS: [Way; 6] = [
    Way::Deleted,
    Way::Moved,
    Way::DirectoryDeleted,
    Way::DirectoryMoved,
    Way::Replaced,
    Way::DirectoryReplaced,
];

impl Way {
    /// Takes the files of all names; where others get them by this, with a new map `n` that holds 77.
    fn take(self, directory: &OwnDir) -> Option<MemoryMapper<u64>> {
        let scope = scope(directory.path());
        let aside = directory.path().join("aside");
        match self {
            Self::Deleted | Self::Replaced => {
                for file in files(&scope) {
                    std::fs::remove_file(file).unwrap();
                }
            }
            Self::Moved => {
                std::fs::create_dir(&aside).unwrap();
                for file in files(&scope) {
                    std::fs::rename(&file, aside.join(file.file_name().unwrap())).unwrap();
                }
            }
            Self::DirectoryDeleted => std::fs::remove_dir_all(&scope).unwrap(),
            Self::DirectoryMoved | Self::DirectoryReplaced => std::fs::rename(&scope, &aside).unwrap(),
        }
        let replaces = matches!(self, Self::Replaced | Self::DirectoryReplaced);
        replaces.then(|| {
            let new: MemoryMapper<u64> = mapper_options(directory).create_new("n").unwrap();
            new.set(&77).unwrap();
            new
        })
    }
}

/// The directory of the scope in a base directory.
fn scope(base: &Path) -> PathBuf {
    let is_scope = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("handover-");
    handover_tests::files_in(base).into_iter().find(is_scope).expect("there are names")
}

fn files(scope: &Path) -> Vec<PathBuf> {
    let mut files = handover_tests::files_in(scope);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "map"));
    assert!(!files.is_empty());
    files
}

fn options(directory: &OwnDir) -> MapOptions {
    names_in(directory)
}

fn mapper_options(directory: &OwnDir) -> MapperOptions {
    MapperOptions::new().map(options(directory))
}

fn mapper(directory: &OwnDir) -> MemoryMapper<u64> {
    mapper_options(directory).create_or_open("n").unwrap()
}

fn plain(directory: &OwnDir) -> PlainMapper<u64> {
    PlainOptions::new().map(options(directory)).create_or_open("n").unwrap()
}

#[track_caller]
fn is_lost<T: Debug>(outcome: Result<T>) -> Error {
    let error = outcome.expect_err("the name is lost");
    assert_eq!(error.kind(), ErrorKind::NameLost, "{error}");
    error
}

/// Repeats an operation that may work for as long as the last look at the name is good.
#[track_caller]
fn is_told<T>(mut operation: impl FnMut() -> Result<T>) {
    let start = Instant::now();
    loop {
        match operation() {
            Ok(_) => assert!(start.elapsed() < HANG, "nobody tells"),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::NameLost, "{error}"),
        }
    }
}

#[test]
fn however_a_name_s_file_is_taken_all_its_holders_are_told_and_leave_the_new_map_alone() {
    for way in WAYS {
        let directory = own_dir();
        let (producer, consumer) = (mapper(&directory), mapper(&directory));
        let raw = options(&directory).open_existing("n").unwrap();
        producer.set(&1).unwrap();
        for held in [producer.map(), consumer.map(), &raw] {
            held.check_name().unwrap();
        }
        let new = way.take(&directory);
        for held in [producer.map(), consumer.map(), &raw] {
            let error = is_lost(held.check_name());
            assert_eq!(error.subject(), Some(producer.subject()), "{way:?}");
            assert!(error.to_string().contains("'n'") && error.advice().is_some(), "{way:?}: {error}");
        }
        is_told(|| producer.set(&2));
        is_told(|| consumer.get());
        is_lost(raw.create_view_accessor(0, 0));
        drop((producer, consumer, raw));
        let found = mapper_options(&directory).open_existing::<u64, Json>("n");
        match new {
            Some(new) => {
                assert_eq!(found.unwrap().get().unwrap(), Some(77), "{way:?}");
                new.check_name().unwrap();
                new.set(&78).unwrap();
                assert_eq!(mapper(&directory).get().unwrap(), Some(78), "{way:?}");
            }
            None => assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound, "{way:?}"),
        }
    }
}

#[test]
fn a_name_that_is_lost_stays_lost_although_the_file_is_put_back() {
    let directory = own_dir();
    let held = mapper(&directory);
    let file = files(&scope(directory.path())).remove(0);
    let aside = directory.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    is_lost(held.check_name());
    std::fs::rename(&aside, &file).unwrap();
    is_lost(held.check_name());
    is_lost(held.set(&1));
    is_lost(held.map().create_view_accessor(0, 0));
}

/// Each of them for a handle of its own: none is told by another one's look.
#[test]
fn every_operation_on_a_cell_says_that_the_name_is_lost() {
    type Operation = fn(&MemoryMapper<u64>) -> Result<()>;
    let operations: &[(&str, Operation)] = &[
        ("set", |mapper| mapper.set(&2).map(drop)),
        ("try_set", |mapper| mapper.try_set(&2).map(drop)),
        ("get", |mapper| mapper.get().map(drop)),
        ("get_text", |mapper| mapper.get_text().map(drop)),
        ("take", |mapper| mapper.take().map(drop)),
        ("update", |mapper| mapper.update(|old| old + 1).map(drop)),
        ("clear", |mapper| mapper.clear().map(drop)),
        ("remove_expired", |mapper| mapper.remove_expired().map(drop)),
        ("lease", |mapper| mapper.lease(HANG).map(drop)),
        ("wait", |mapper| mapper.wait(HANG).map(drop)),
        ("wait_for_writer", |mapper| mapper.wait_for_writer(HANG)),
        ("wait_newer", |mapper| mapper.cell().wait_newer(mapper.version(), HANG).map(drop)),
        ("watch", |mapper| mapper.watch().timeout(HANG).next().expect("it goes on").map(drop)),
        ("events", |mapper| mapper.watch().timeout(HANG).events().next().expect("it goes on").map(drop)),
        ("copy", |mapper| mapper.cell().copy().map(drop)),
        ("copy_into", |mapper| mapper.cell().reader().copy_into(&mut [0; 1]).map(drop)),
        ("load", |mapper| mapper.cell().reader().load().map(drop)),
        ("info", |mapper| mapper.cell().info().map(drop)),
        ("has_writer", |mapper| mapper.cell().has_writer().map(drop)),
        ("try_writer", |mapper| mapper.cell().try_writer().map(drop)),
    ];
    for (name, operation) in operations {
        let directory = own_dir();
        let held = mapper(&directory);
        held.set(&1).unwrap();
        let new = Way::Replaced.take(&directory).unwrap();
        eprintln!("{name}");
        is_told(|| operation(&held));
        is_lost(operation(&held));
        drop(held);
        assert_eq!(new.get().unwrap(), Some(77));
    }
}

#[test]
fn publishing_under_a_lease_says_that_the_name_is_lost_and_the_old_version_stays() {
    let directory = own_dir();
    let held = mapper(&directory);
    let mut lease = held.lease(Duration::ZERO).unwrap();
    lease.set(&1).unwrap();
    let snapshot = held.cell().reader().load().unwrap().unwrap().clone();
    Way::Deleted.take(&directory);
    is_told(|| lease.set(&2));
    let version = held.version();
    is_lost(lease.set(&3));
    is_lost(lease.clear());
    is_lost(lease.writer().take());
    assert_eq!(held.version(), version);
    assert_eq!(snapshot.copy().unwrap().as_slice(), b"1");
}

#[test]
fn what_was_read_before_can_be_read_again_and_a_version_that_was_not_says_that_the_name_is_lost() {
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 1000, "a look is never good for the next operation");
        let directory = own_dir();
        let (reading, writing) = (mapper(&directory), mapper(&directory));
        writing.set(&1).unwrap();
        let mut reader = reading.cell().reader();
        let mut values = reading.reader();
        assert_eq!(reader.load().unwrap().unwrap().version(), 1);
        assert_eq!((values.get().unwrap(), *reading.get_shared().unwrap().unwrap()), (Some(&1), 1));
        // A handle that looked a moment ago does not look again, so it still writes. That fails where
        // everything is slow, and in the first round, in which the look of all who read is due.
        let fresh = mapper(&directory);
        Way::Deleted.take(&directory);
        std::thread::sleep(if rounds == 1 { LOOK } else { Duration::ZERO });
        assert_eq!(reader.load().unwrap().unwrap().copy().unwrap().as_slice(), b"1");
        assert_eq!((values.get().unwrap(), *reading.get_shared().unwrap().unwrap()), (Some(&1), 1));
        if fresh.set(&2).is_err() {
            continue;
        }
        std::thread::sleep(LOOK);
        is_lost(reader.load());
        is_lost(values.get());
        is_lost(reading.get_shared());
        is_lost(fresh.set(&3));
        return;
    }
}

#[test]
fn a_plain_mapper_says_that_the_name_is_lost() {
    type Operation = fn(&PlainMapper<u64>) -> Result<()>;
    let operations: [Operation; 5] = [
        |mapper| mapper.set(&2),
        |mapper| mapper.get().map(drop),
        |mapper| mapper.get_text().map(drop),
        |mapper| mapper.wait(HANG).map(drop),
        PlainMapper::clear,
    ];
    for operation in operations {
        let directory = own_dir();
        let held = plain(&directory);
        held.set(&1).unwrap();
        Way::Moved.take(&directory);
        is_lost(held.check_name());
        is_lost(operation(&held));
        let new = plain(&directory);
        new.set(&3).unwrap();
        drop(held);
        assert_eq!(plain(&directory).get().unwrap(), Some(3));
    }
}

#[test]
fn views_keep_their_bytes_and_no_new_one_is_made() {
    let directory = own_dir();
    let map = options(&directory).create_new("n", 4096).unwrap();
    let view = map.create_view_accessor(0, 0).unwrap();
    view.write(0, 42_u64).unwrap();
    Way::DirectoryDeleted.take(&directory);
    is_told(|| map.create_view_accessor(0, 0));
    is_lost(map.create_view_stream(0, 0));
    view.write(8, 43_u64).unwrap();
    assert_eq!((view.read::<u64>(0).unwrap(), view.read::<u64>(8).unwrap()), (42, 43));
}

#[test]
fn maps_without_a_name_are_never_lost_and_a_map_on_a_file_by_its_name_is() {
    let directory = own_dir();
    let path = directory.path().join("file");
    let by_path = Cell::create_new(&path).unwrap();
    let anonymous = MemoryMappedFile::anonymous(4096).unwrap();
    let named = options(&directory).map_name("n").open_existing(&path).unwrap();
    let joined = options(&directory).open_existing("n").unwrap();
    Way::Deleted.take(&directory);
    std::fs::remove_file(&path).unwrap();
    is_lost(named.check_name());
    is_lost(joined.check_name());
    by_path.check_name().unwrap();
    anonymous.check_name().unwrap();
    std::thread::sleep(LOOK);
    by_path.try_writer().unwrap().unwrap().publish(b"still").unwrap();
    assert!(anonymous.create_view_accessor(0, 0).is_ok());
    is_lost(named.create_view_accessor(0, 0));
}

type Wait = fn(&MemoryMapper<u64>) -> Result<()>;

/// The waits have no end of their own that would come in the time that this test has.
#[track_caller]
fn are_told(waits: &[Wait], has_writer: bool) {
    for way in [Way::Deleted, Way::DirectoryMoved] {
        let directory = own_dir();
        let held: Vec<_> = waits.iter().map(|_| mapper(&directory)).collect();
        let writer = mapper(&directory);
        if has_writer {
            drop(writer.lease(Duration::ZERO).unwrap());
        }
        std::thread::scope(|scope| {
            let waiting = waits.iter().zip(&held).map(|(wait, held)| scope.spawn(|| wait(held)));
            let waiting: Vec<_> = waiting.collect();
            way.take(&directory);
            for (at, waiting) in waiting.into_iter().enumerate() {
                let told = waiting.join().unwrap();
                assert!(told.is_err(), "wait {at} ends: {way:?}");
                is_lost(told);
            }
        });
    }
}

#[test]
fn whoever_waits_for_a_value_or_a_writer_is_told() {
    are_told(
        &[
            |mapper| mapper.wait(HANG).map(drop),
            |mapper| mapper.wait_for_writer(HANG),
            |mapper| mapper.cell().wait_newer(0, HANG).map(drop),
            |mapper| mapper.cell().wait_value(0, HANG).map(drop),
            |mapper| mapper.watch().timeout(HANG).next().expect("it goes on").map(drop),
            |mapper| mapper.watch().while_written().timeout(HANG).next().expect("it goes on").map(drop),
            |mapper| mapper.watch().timeout(HANG).events().next().expect("it goes on").map(drop),
        ],
        false,
    );
}

#[test]
fn whoever_waits_for_the_end_of_the_last_writer_is_told() {
    are_told(
        &[
            |mapper| mapper.cell().wait_newer_while_written(0, HANG).map(drop),
            |mapper| mapper.watch().while_written().timeout(HANG).next().expect("it goes on").map(drop),
            |mapper| mapper.watch().timeout(HANG).events().next().expect("it goes on").map(drop),
        ],
        true,
    );
}

/// As if both had looked just before: the producer was told, and closed.
#[test]
fn where_the_last_writer_goes_because_the_name_is_lost_the_name_is_told_of_and_not_the_writer() {
    let directory = own_dir();
    let producer = mapper(&directory);
    producer.set(&1).unwrap();
    // Each of a handle of its own: none is told by another one's look.
    let consumers = [(); 3].map(|()| mapper(&directory));
    let mut watch = consumers[0].watch().while_written();
    let mut events = consumers[1].watch().events();
    let mut changes = consumers[2].changes().while_written();
    assert_eq!(watch.next().unwrap().unwrap().value, Some(1));
    assert!(matches!(events.next().unwrap().unwrap(), Event::Changed(change) if change.value == Some(1)));
    assert_eq!(run(changes.changed()).unwrap().unwrap().value, Some(1));
    Way::Deleted.take(&directory);
    drop(producer);
    is_lost(watch.next().unwrap());
    is_lost(events.next().unwrap());
    is_lost(run(changes.changed()).unwrap());
    assert!(watch.next().is_none() && events.next().is_none() && run(changes.changed()).is_none());
}

#[test]
fn whoever_waits_for_the_writers_lock_is_told() {
    let directory = own_dir();
    let (holder, waiter) = (mapper(&directory), mapper(&directory));
    let lease = holder.lease(Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waiter.lease(HANG).map(drop));
        Way::Deleted.take(&directory);
        is_lost(waiting.join().unwrap());
    });
    drop(lease);
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        // Not tokio's timeout: when its time is up it looks once more, and finds what nobody was told of.
        tokio::select! {
            biased;
            () = tokio::time::sleep(HANG) => panic!("it hangs"),
            output = test => output,
        }
    })
}

#[test]
fn tasks_are_told_and_their_streams_end() {
    for way in [Way::Deleted, Way::DirectoryReplaced] {
        let directory = own_dir();
        let (consumer, producer) = (mapper(&directory), mapper(&directory));
        producer.set(&1).unwrap();
        let mut streams: Vec<_> = (0..3).map(|_| consumer.changes()).collect();
        let mut events = consumer.changes().events();
        run(async {
            for changes in &mut streams {
                assert_eq!(changes.changed().await.unwrap().unwrap().value, Some(1));
            }
            assert!(matches!(events.event().await, Some(Ok(Event::Changed(_)))));
            let new = way.take(&directory);
            for changes in &mut streams {
                is_lost(changes.changed().await.unwrap());
                assert!(changes.changed().await.is_none());
            }
            is_lost(events.event().await.unwrap());
            assert!(events.event().await.is_none());
            assert_eq!(new.map(|new| new.get().unwrap()), (way != Way::Deleted).then_some(Some(77)));
        });
    }
}

#[test]
fn callbacks_are_told_once_and_end() {
    let directory = own_dir();
    let held = mapper(&directory);
    let (sender, told) = mpsc::channel();
    let changes = sender.clone();
    let guards = [
        held.on_change(move |change| changes.send(change.map(drop)).unwrap()).unwrap(),
        held.on_event(move |event| sender.send(event.map(drop)).unwrap()).unwrap(),
    ];
    Way::Deleted.take(&directory);
    is_lost(told.recv_timeout(HANG).unwrap());
    is_lost(told.recv_timeout(HANG).unwrap());
    // Both callbacks are gone, and with them all who could tell more.
    assert!(matches!(told.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Disconnected)));
    for guard in guards {
        guard.end().unwrap();
    }
}

/// Whether this process has bytes of a lost map mapped, as far as the system tells.
fn has_lost_bytes(directory: &OwnDir) -> bool {
    let directory = directory.path().to_str().unwrap();
    let mapped = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut mapped = mapped.lines().filter(|line| line.contains(directory));
    mapped.any(|line| line.ends_with("(deleted)") || line.contains("/aside"))
}

#[test]
fn a_watch_that_follows_the_name_goes_on_with_whoever_has_it_next() {
    for way in WAYS {
        let directory = own_dir();
        let (consumer, producer) = (mapper(&directory), mapper(&directory));
        producer.set(&1).unwrap();
        producer.set(&2).unwrap();
        let mut watch = consumer.watch().follow_name().timeout(HANG);
        assert_eq!(watch.next().unwrap().unwrap().value, Some(2));
        drop((consumer, producer));
        let new = way.take(&directory).unwrap_or_else(|| mapper(&directory));
        new.set(&78).unwrap();
        let change = watch.next().unwrap().unwrap();
        assert!(matches!(change.value, Some(77 | 78)), "{way:?}: {change:?}");
        new.set(&79).unwrap();
        while watch.next().unwrap().unwrap().value != Some(79) {}
        assert!(!has_lost_bytes(&directory), "{way:?}");
        // It keeps the new name, and no longer anything of the lost map.
        drop(new);
        assert_eq!(mapper(&directory).get().unwrap(), Some(79), "{way:?}");
        drop(watch);
        let gone = mapper_options(&directory).open_existing::<u64, Json>("n");
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound, "{way:?}");
    }
}

#[test]
fn a_watch_that_follows_the_name_makes_no_map_and_times_out_like_any_other() {
    let directory = own_dir();
    let held = mapper(&directory);
    let mut watch = held.watch().follow_name().timeout(2 * LOOK);
    assert_eq!(watch.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    Way::Deleted.take(&directory);
    for _ in 0..2 {
        assert_eq!(watch.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    let absent = mapper_options(&directory).open_existing::<u64, Json>("n");
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::NotFound);
    let new = mapper(&directory);
    new.set(&3).unwrap();
    assert_eq!(watch.next().unwrap().unwrap().value, Some(3));
}

#[test]
fn events_tell_that_the_name_is_lost_and_back_and_then_of_the_new_map_as_from_its_beginning() {
    let directory = own_dir();
    let (consumer, producer) = (mapper(&directory), mapper(&directory));
    producer.set(&1).unwrap();
    let mut events = consumer.watch().follow_name().timeout(HANG).events();
    let mut next = || events.next().expect("it goes on").unwrap();
    assert!(matches!(next(), Event::Changed(change) if change.value == Some(1)));
    Way::Deleted.take(&directory);
    assert_eq!(next(), Event::NameLost);
    let new = mapper(&directory);
    assert_eq!(next(), Event::NameBack);
    new.set(&2).unwrap();
    assert!(matches!(next(), Event::Changed(change) if (change.version, change.value) == (1, Some(2))));
    drop(new);
    assert_eq!(next(), Event::WriterGone);
    mapper(&directory).set(&3).unwrap();
    let mut seen = vec![next()];
    while !matches!(&seen[seen.len() - 1], Event::Changed(change) if change.value == Some(3)) {
        seen.push(next());
    }
    assert!(seen.iter().all(|event| matches!(event, Event::WriterBack | Event::Changed(_))), "{seen:?}");
}

#[test]
fn before_the_first_writer_of_the_new_map_there_is_nothing_to_tell() {
    let directory = own_dir();
    let (consumer, producer) = (mapper(&directory), mapper(&directory));
    producer.set(&1).unwrap();
    let mut events = consumer.watch().follow_name().timeout(2 * LOOK).events();
    let mut next = || loop {
        match events.next().expect("it goes on") {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            other => return other.unwrap(),
        }
    };
    assert!(matches!(next(), Event::Changed(change) if change.value == Some(1)));
    Way::Deleted.take(&directory);
    assert_eq!(next(), Event::NameLost);
    let new = mapper(&directory);
    assert_eq!(next(), Event::NameBack);
    assert_eq!(events.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    new.set(&2).unwrap();
    assert!(matches!(events.next(), Some(Ok(Event::Changed(change))) if change.value == Some(2)));
}

#[test]
fn a_callback_that_follows_the_name_goes_on_with_whoever_has_it_next_until_its_guard_is_dropped() {
    let directory = own_dir();
    let (consumer, producer) = (mapper(&directory), mapper(&directory));
    producer.set(&1).unwrap();
    let (sender, seen) = mpsc::channel();
    let watch = consumer.watch().follow_name();
    let guard = watch.on_change(move |change| sender.send(change.unwrap().value).unwrap()).unwrap();
    assert_eq!(seen.recv_timeout(HANG).unwrap(), Some(1));
    drop((consumer, producer));
    Way::DirectoryDeleted.take(&directory);
    let new = mapper(&directory);
    new.set(&2).unwrap();
    assert_eq!(seen.recv_timeout(HANG).unwrap(), Some(2));
    assert!(!has_lost_bytes(&directory));
    // The guard keeps the new name, as far as it keeps any.
    drop(new);
    assert_eq!(mapper(&directory).get().unwrap(), Some(2));
    guard.end().unwrap();
    assert!(seen.recv().is_err());
    let gone = mapper_options(&directory).open_existing::<u64, Json>("n");
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_watch_of_a_file_by_its_name_goes_on_with_the_file_that_has_it_next() {
    let directory = own_dir();
    let path = |name: &str| directory.path().join(name);
    let on_file = MapperOptions::new().map(options(&directory).map_name("n"));
    let producer: MemoryMapper<u64> = on_file.create_new(&path("one")).unwrap();
    producer.set(&1).unwrap();
    let by_name = mapper(&directory);
    let mut watches = [&producer, &by_name].map(|mapper| mapper.watch().follow_name().timeout(HANG));
    for watch in &mut watches {
        assert_eq!(watch.next().unwrap().unwrap().value, Some(1));
    }
    Way::Deleted.take(&directory);
    let restarted: MemoryMapper<u64> = on_file.create_new(&path("two")).unwrap();
    restarted.set(&2).unwrap();
    for watch in &mut watches {
        assert_eq!(watch.next().unwrap().unwrap().value, Some(2));
    }
    is_lost(producer.map().create_view_accessor(0, 0));
}

#[test]
fn a_task_that_follows_the_name_goes_on_with_whoever_has_it_next() {
    for way in WAYS {
        let directory = own_dir();
        let (consumer, producer) = (mapper(&directory), mapper(&directory));
        producer.set(&1).unwrap();
        let mut changes = consumer.changes().follow_name();
        let mut events = consumer.changes().follow_name().events();
        run(async {
            assert_eq!(changes.changed().await.unwrap().unwrap().value, Some(1));
            assert!(matches!(events.event().await, Some(Ok(Event::Changed(_)))));
            let replaced = way.take(&directory);
            assert_eq!(events.event().await.unwrap().unwrap(), Event::NameLost, "{way:?}");
            let new = replaced.unwrap_or_else(|| mapper(&directory));
            assert_eq!(events.event().await.unwrap().unwrap(), Event::NameBack, "{way:?}");
            new.set(&78).unwrap();
            let change = changes.changed().await.unwrap().unwrap();
            assert!(matches!(change.value, Some(77 | 78)), "{way:?}: {change:?}");
            new.set(&79).unwrap();
            let mut last = change;
            while last.value != Some(79) {
                let next = changes.changed().await.unwrap().unwrap();
                assert!(next.version > last.version, "{way:?}: {next:?} after {last:?}");
                last = next;
            }
            tokio::select! {
                biased;
                more = changes.changed() => panic!("{way:?}: {more:?} although nobody wrote"),
                () = tokio::time::sleep(LOOK) => {}
            }
            drop((consumer, producer, new, events));
            assert_eq!(mapper(&directory).get().unwrap(), Some(79), "{way:?}");
        });
    }
}

#[test]
fn what_has_the_name_next_and_is_no_cell_ends_the_watch() {
    let directory = own_dir();
    let held = mapper(&directory);
    let mut watch = held.watch().follow_name().timeout(HANG);
    Way::Deleted.take(&directory);
    let new = plain(&directory);
    new.set(&7).unwrap();
    assert_eq!(watch.next().unwrap().unwrap_err().kind(), ErrorKind::WrongKind);
    assert!(watch.next().is_none());
    assert_eq!(new.get().unwrap(), Some(7));
}

#[track_caller]
fn finds_no_view(holder: &mut impl Obey, map: u32) {
    let start = Instant::now();
    loop {
        match holder.ask(&Command::View { map, read_only: true }) {
            Ok(_) => assert!(start.elapsed() < HANG, "nobody tells"),
            Err(failure) => return assert_eq!(failure.kind, "NameLost", "{}", failure.message),
        }
    }
}

/// Holders in processes of their own, one of them a forked child.
#[test]
fn processes_that_hold_a_name_are_told_and_end_without_touching_the_new_map() {
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
    let (mut one, mut two, mut third) = (stage.actor(), stage.actor(), stage.actor());
    let ones = one.create_new("name", 100);
    one.write(ones, 0, b"old");
    let twos = two.open_existing("name");
    let view = two.view(twos);
    #[cfg(target_os = "linux")]
    let mut child = one.fork(&stage);
    std::fs::remove_file(stage.only_file()).unwrap();
    let news = third.create_new("name", 100);
    third.write(news, 0, b"new");

    finds_no_view(&mut one, ones.id);
    finds_no_view(&mut two, twos.id);
    #[cfg(target_os = "linux")]
    finds_no_view(&mut child, ones.id);
    assert_eq!(two.read_view(view, 0, 3), b"old");

    one.close(ones);
    #[cfg(target_os = "linux")]
    child.exit();
    two.exit();
    let mut late = stage.actor();
    let found = late.open_existing("name");
    assert_eq!(late.read(found, 0, 3), b"new");
    assert_eq!(third.read(news, 0, 3), b"new");
}
