//! A task sees a value's versions as they come, with one waiting thread for the whole process; giving up a
//! wait loses nothing, and the end of the last writer ends the stream.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use handover::codec::{Bytes, Json};
use handover::map::Rights;
use handover::{Change, Changes, ErrorKind, MapperOptions, MemoryMapper};
use handover_tests::{OwnDir, Start, names_in, own_dir};

/// A test that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

/// The thread belongs to the process, so tests that run in one process must run one after another. Take this
/// lock after the test's directory, which tests may wait for too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_directory(directory: &OwnDir) -> MapperOptions {
    MapperOptions::new().map(names_in(directory))
}

fn run<F: Future>(test: F) -> F::Output {
    let _alone = alone();
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

async fn next<T>(changes: &mut Changes<T, handover::codec::Json>) -> Option<handover::Result<Change<T>>>
where
    handover::codec::Json: handover::codec::Codec<T>,
{
    let mut changes = pin!(changes);
    poll_fn(|context| changes.as_mut().poll_next(context)).await
}

fn waiting_threads() -> Option<usize> {
    if cfg!(windows) || !Path::new("/proc/self/task").exists() {
        return None;
    }
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    Some(names.filter(|name| name.trim() == "handover-wait").count())
}

/// Waits for the waiting thread to end.
fn no_thread_is_left() {
    let start = Instant::now();
    while waiting_threads().is_some_and(|count| count > 0) {
        assert!(start.elapsed() < HANG, "the thread stays");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn versions_come_from_another_thread_in_order_and_the_last_one_comes() {
    let directory = own_dir();
    run(async {
        let writer = in_directory(&directory).capacity(64).create_or_open::<u64, Json>("counted").unwrap();
        let reader = in_directory(&directory).open_existing::<u64, Json>("counted").unwrap();
        let writing = std::thread::spawn(move || {
            for count in 1..=2000 {
                writer.set(&count).unwrap();
                // By then the reader sometimes sleeps and sometimes does not.
                if count % 20 == 0 {
                    std::thread::sleep(Duration::from_micros(count % 700));
                }
            }
            writer
        });
        let mut changes = reader.changes();
        let mut last = 0;
        while last < 2000 {
            let change = changes.changed().await.unwrap().unwrap();
            assert_eq!(change.value, Some(change.version));
            let skipped = if last == 0 { 0 } else { change.version - last - 1 };
            assert_eq!(change.skipped, skipped);
            assert!(change.version > last);
            last = change.version;
        }
        drop(writing.join().unwrap());
    });
}

/// The words that wake are one page of a file, whoever maps it. Here the writer is another process.
#[test]
fn versions_come_from_another_process() {
    const DIRECTORY: &str = "HANDOVER_TEST_ASYNC_DIRECTORY";
    /// So many that the test hangs if each is only found when a sleep ends by itself, after 100 ms.
    const ROUNDS: u64 = 1000;
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let options = MapperOptions::new().map(names_in(directory));
        let there = options.open_existing::<u64, Json>("there").unwrap();
        let back = options.clone().capacity(64).create_or_open::<u64, Json>("back").unwrap();
        for round in 1..=ROUNDS {
            let change = there.watch().after(round - 1).timeout(HANG).next().unwrap().unwrap();
            assert_eq!(change.version, round);
            back.set(&round).unwrap();
        }
        return;
    }
    let directory = own_dir();
    run(async {
        let options = in_directory(&directory);
        let there = options.clone().capacity(64).create_or_open::<u64, Json>("there").unwrap();
        let back = options.clone().capacity(64).create_or_open::<u64, Json>("back").unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "versions_come_from_another_process"])
            .env(DIRECTORY, directory.path())
            .stdout(std::process::Stdio::null())
            .start()
            .unwrap();
        let mut changes = back.changes();
        for round in 1..=ROUNDS {
            there.set(&round).unwrap();
            let change = changes.changed().await.unwrap().unwrap();
            assert_eq!((change.version, change.value), (round, Some(round)));
        }
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn giving_up_a_wait_thousands_of_times_loses_no_version() {
    let directory = own_dir();
    run(async {
        let writer = in_directory(&directory).capacity(64).create_or_open::<u64, Json>("given up").unwrap();
        let reader = in_directory(&directory).open_existing::<u64, Json>("given up").unwrap();
        let given_up = Arc::new(AtomicU64::new(0));
        let seen = given_up.clone();
        let writing = std::thread::spawn(move || {
            // Stores each version after some waits were given up, so that versions come in every state of a
            // wait.
            for version in 1..=500 {
                let start = seen.load(Ordering::Acquire);
                let since = Instant::now();
                while seen.load(Ordering::Acquire) < start + 8 && since.elapsed() < HANG {
                    std::thread::yield_now();
                }
                writer.set(&version).unwrap();
            }
            writer
        });
        let mut changes = reader.changes();
        let mut last = 0;
        let mut sum = 0;
        while last < 500 {
            tokio::select! {
                biased;
                change = changes.changed() => {
                    let change = change.unwrap().unwrap();
                    assert_eq!(change.value, Some(change.version));
                    // Versions that were not returned count as skipped: nothing is taken and lost.
                    sum += 1 + change.skipped;
                    last = change.version;
                }
                () = tokio::task::yield_now() => {
                    given_up.fetch_add(1, Ordering::Release);
                }
            }
        }
        let first_skipped = 500 - sum;
        assert!(first_skipped < 500);
        assert!(given_up.load(Ordering::Acquire) > 1000);
        drop(writing.join().unwrap());
        // No version is left over, and the next one still comes.
        assert!(tokio::time::timeout(Duration::from_millis(1), changes.changed()).await.is_err());
        let writer = in_directory(&directory).open_existing::<u64, Json>("given up").unwrap();
        writer.set(&501).unwrap();
        assert_eq!(changes.changed().await.unwrap().unwrap().version, 501);
    });
}

#[test]
fn one_thread_waits_for_300_maps() {
    let directory = own_dir();
    run(async {
        let options = in_directory(&directory);
        let name = |map: usize| format!("map {map}");
        let mappers: Vec<Arc<MemoryMapper<usize>>> = (0..300)
            .map(|map| Arc::new(options.clone().capacity(64).create_or_open(&name(map)).unwrap()))
            .collect();
        let mut tasks: Vec<_> = mappers
            .iter()
            .map(|mapper| {
                let mapper = mapper.clone();
                tokio::spawn(async move {
                    let mut changes = mapper.changes();
                    let first = changes.changed().await.unwrap().unwrap().value.unwrap();
                    let second = changes.changed().await.unwrap().unwrap().value.unwrap();
                    (first, second)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        // Not in the order in which they wait, and more than a system can watch.
        for round in [1, 2] {
            for map in (0..300).rev() {
                mappers[map].set(&(map * round)).unwrap();
                if map % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if let Some(count) = waiting_threads() {
                        assert!(count <= 1, "{count} threads");
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (map, task) in tasks.drain(..).enumerate() {
            assert_eq!(task.await.unwrap(), (map, map * 2));
        }
    });
}

#[test]
fn the_stream_ends_when_the_last_writer_has_gone() {
    let directory = own_dir();
    run(async {
        let options = in_directory(&directory);
        let first = options.clone().capacity(64).create_or_open::<u64, Json>("written").unwrap();
        let second = options.open_existing::<u64, Json>("written").unwrap();
        let reader = options.open_existing::<u64, Json>("written").unwrap();
        first.set(&1).unwrap();
        second.set(&2).unwrap();
        let mut changes = reader.changes().while_written();
        assert_eq!(next(&mut changes).await.unwrap().unwrap().value, Some(2));
        drop(first);
        assert!(tokio::time::timeout(Duration::from_millis(150), next(&mut changes)).await.is_err());
        let writing = std::thread::spawn(move || {
            second.set(&3).unwrap();
            // By then the stream waits again.
            std::thread::sleep(Duration::from_millis(50));
            drop(second);
        });
        assert_eq!(next(&mut changes).await.unwrap().unwrap().value, Some(3));
        assert!(next(&mut changes).await.is_none());
        assert!(next(&mut changes).await.is_none(), "it stays at its end");
        assert!(changes.changed().await.is_none());
        writing.join().unwrap();
    });
}

/// Nothing wakes those who wait for it to end.
#[test]
fn the_stream_ends_when_the_last_writer_was_killed() {
    const DIRECTORY: &str = "HANDOVER_TEST_ASYNC_KILLED";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let options = MapperOptions::new().map(names_in(directory));
        let writer = options.open_existing::<u64, Json>("killed").unwrap();
        writer.set(&1).unwrap();
        std::thread::sleep(HANG * 2);
        return;
    }
    let directory = own_dir();
    run(async {
        let reader = in_directory(&directory).capacity(64).create_or_open::<u64, Json>("killed").unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_stream_ends_when_the_last_writer_was_killed"])
            .env(DIRECTORY, directory.path())
            .stdout(std::process::Stdio::null())
            .start()
            .unwrap();
        // First without `while_written`: the writer may not have written yet.
        assert_eq!(reader.changes().changed().await.unwrap().unwrap().value, Some(1));
        let mut changes = reader.changes().after(1).while_written();
        assert!(tokio::time::timeout(Duration::from_millis(20), changes.changed()).await.is_err());
        let killing = std::thread::spawn(move || {
            // By then the stream waits again.
            std::thread::sleep(Duration::from_millis(50));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        assert!(changes.changed().await.is_none());
        killing.join().unwrap();
    });
}

#[test]
fn nobody_waits_and_the_thread_goes_and_comes_back() {
    let directory = own_dir();
    for round in 1..=2u64 {
        run(async {
            let options = in_directory(&directory);
            let writer = options.clone().capacity(64).create_or_open::<u64, Json>("idle").unwrap();
            let reader = options.open_existing::<u64, Json>("idle").unwrap();
            let mut changes = reader.changes();
            assert!(tokio::time::timeout(Duration::from_millis(10), changes.changed()).await.is_err());
            assert_eq!(waiting_threads().unwrap_or(1), 1);
            let writing = std::thread::spawn(move || writer.set(&round).unwrap());
            assert_eq!(changes.changed().await.unwrap().unwrap().value, Some(round));
            writing.join().unwrap();
        });
        let _alone = alone();
        no_thread_is_left();
    }
}

#[test]
fn names_go_with_their_mappers_whoever_waited_and_others_still_wait() {
    let directory = own_dir();
    run(async {
        let options = in_directory(&directory);
        let kept = options.clone().capacity(64).create_or_open::<u64, Json>("kept").unwrap();
        let writer = options.open_existing::<u64, Json>("kept").unwrap();
        let mut changes = kept.changes();
        for round in 1..=20 {
            for map in 0..20 {
                let name = format!("short-lived {map}");
                let mapper = options.clone().capacity(64).create_or_open::<u64, Json>(&name).unwrap();
                let mut given_up = mapper.changes();
                assert!(tokio::time::timeout(Duration::ZERO, given_up.changed()).await.is_err());
                tokio::task::yield_now().await;
                drop(given_up);
                drop(mapper);
                assert_eq!(
                    options.open_existing::<u64, Json>(&name).unwrap_err().kind(),
                    ErrorKind::NotFound
                );
            }
            assert!(tokio::time::timeout(Duration::ZERO, changes.changed()).await.is_err());
            writer.set(&round).unwrap();
            assert_eq!(changes.changed().await.unwrap().unwrap().value, Some(round));
        }
    });
}

#[test]
fn a_read_only_map_is_waited_on() {
    let directory = own_dir();
    run(async {
        let options = in_directory(&directory);
        let writer = options.clone().capacity(64).create_or_open::<u64, Json>("looked at").unwrap();
        let only = MapperOptions::new().map(names_in(&directory).rights(Rights::READ));
        let reader = only.open_existing::<u64, Json>("looked at").unwrap();
        assert!(!reader.cell().can_write());
        let mut changes = reader.changes();
        for round in 1..=20 {
            assert!(tokio::time::timeout(Duration::ZERO, changes.changed()).await.is_err());
            writer.set(&round).unwrap();
            assert_eq!(changes.changed().await.unwrap().unwrap().value, Some(round));
        }
    });
}

#[test]
fn versions_without_a_pause_leave_other_tasks_their_turn() {
    let directory = own_dir();
    run(async {
        let options = in_directory(&directory);
        let writer = options.clone().capacity(64).create_or_open::<u64, Json>("busy").unwrap();
        let reader = options.open_existing::<u64, Json>("busy").unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let other = done.clone();
        let turn = tokio::spawn(async move { other.store(true, Ordering::Release) });
        let mut changes = reader.changes();
        // A version is there each time it looks.
        for round in 1..=1000 {
            writer.set(&round).unwrap();
            assert_eq!(changes.changed().await.unwrap().unwrap().value, Some(round));
        }
        assert!(done.load(Ordering::Acquire), "the other task had no turn");
        turn.await.unwrap();
    });
}

#[test]
fn a_version_that_can_t_be_read_is_an_error_and_the_next_one_comes() {
    let directory = own_dir();
    run(async {
        let options = in_directory(&directory);
        let text = options.clone().capacity(64).create_or_open::<String, Json>("mixed").unwrap();
        let bytes = options.open_existing::<Vec<u8>, Bytes>("mixed").unwrap();
        let reader = options.open_existing::<String, Json>("mixed").unwrap();
        let mut changes = reader.changes();
        bytes.set(&vec![1]).unwrap();
        assert_eq!(changes.changed().await.unwrap().unwrap_err().kind(), ErrorKind::CodecMismatch);
        text.set(&"readable".to_owned()).unwrap();
        assert_eq!(changes.changed().await.unwrap().unwrap().value.as_deref(), Some("readable"));
        text.clear().unwrap();
        assert_eq!(changes.changed().await.unwrap().unwrap().value, None);
    });
}

struct Counted(AtomicU64);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

#[test]
fn the_last_waker_is_woken_and_one_that_panics_harms_nobody() {
    let directory = own_dir();
    let _alone = alone();
    let options = in_directory(&directory);
    let writer = options.clone().capacity(64).create_or_open::<u64, Json>("wakers").unwrap();
    let readers = [(); 3].map(|()| options.open_existing::<u64, Json>("wakers").unwrap());
    let counted = [(); 2].map(|()| Arc::new(Counted(AtomicU64::new(0))));
    let [old, new] = counted.each_ref().map(|counted| Waker::from(counted.clone()));
    let panics = Waker::from(Arc::new(Panics));
    let mut changes = readers.each_ref().map(MemoryMapper::changes);
    for (nth, wakers) in [vec![&panics], vec![&old, &new], vec![&panics]].into_iter().enumerate() {
        for waker in wakers {
            assert!(changes[nth].poll_changed(&mut Context::from_waker(waker)).is_pending());
        }
    }
    for round in 1..=3 {
        writer.set(&round).unwrap();
        let start = Instant::now();
        while counted[1].0.load(Ordering::Acquire) < round {
            assert!(start.elapsed() < HANG, "not woken");
            std::thread::sleep(Duration::from_millis(1));
        }
        let context = &mut Context::from_waker(&new);
        assert!(matches!(changes[1].poll_changed(context), Poll::Ready(Some(Ok(_)))));
        assert!(changes[1].poll_changed(context).is_pending());
    }
    assert_eq!(counted[0].0.load(Ordering::Acquire), 0, "the waker before was replaced");
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_waits_with_a_thread_of_its_own() {
    let directory = own_dir();
    let _alone = alone();
    let options = in_directory(&directory);
    let writer = options.clone().capacity(64).create_or_open::<u64, Json>("forked").unwrap();
    let reader = options.open_existing::<u64, Json>("forked").unwrap();
    let mut changes = reader.changes();
    let wait = |changes: &mut Changes<u64, _>| {
        let counted = Arc::new(Counted(AtomicU64::new(0)));
        let waker = Waker::from(counted.clone());
        let context = &mut Context::from_waker(&waker);
        assert!(changes.poll_changed(context).is_pending());
        let version = writer.set(&1).unwrap();
        let start = Instant::now();
        while counted.0.load(Ordering::Acquire) == 0 {
            assert!(start.elapsed() < HANG, "not woken");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(
            changes.poll_changed(context),
            Poll::Ready(Some(Ok(change))) if change.version == version
        ));
        assert!(changes.poll_changed(context).is_pending());
    };
    wait(&mut changes);
    // SAFETY: the child uses no lock that another thread of this process may hold: the tests that start
    // threads are not running, and the system's library makes the allocator's locks ready for a child.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: sets a timer of this process, which ends it when it hangs.
        unsafe { libc::alarm(HANG.as_secs() as u32) };
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait(&mut changes);
            let other = options.open_existing::<u64, Json>("forked").unwrap();
            wait(&mut other.changes().after(other.version()));
            drop(changes);
        }));
        // SAFETY: ends the child at once, without the parent's cleanup.
        unsafe { libc::_exit(i32::from(passed.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for writes, and the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed or hung");
    // What the child stored, and then on as before.
    assert!(changes.poll_changed(&mut Context::from_waker(Waker::noop())).is_ready());
    wait(&mut changes);
}
