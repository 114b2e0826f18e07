//! A snapshot whose slot a writer tried to take and gave up still says that it is whole.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;

use handover::Step;
use handover::cell::CellOptions;

static READER_WAITS: AtomicBool = AtomicBool::new(false);
static READER_GOES_ON: AtomicBool = AtomicBool::new(false);
static READER_PINNED: AtomicBool = AtomicBool::new(false);
static PUBLISHED: AtomicU32 = AtomicU32::new(0);

fn wait_for(flag: &AtomicBool) {
    while !flag.load(SeqCst) {
        thread::yield_now();
    }
}

fn at_step(step: Step) {
    match (thread::current().name(), step) {
        (Some("reader"), Step::ReaderBeforePin) => {
            READER_WAITS.store(true, SeqCst);
            wait_for(&READER_GOES_ON);
        }
        (Some("reader"), Step::ReaderPinned) => READER_PINNED.store(true, SeqCst),
        // The fourth version looks at the slot of the first: it is not pinned yet.
        (Some("writer"), Step::WriterBeforeTake) if PUBLISHED.load(SeqCst) == 3 => {
            READER_GOES_ON.store(true, SeqCst);
            wait_for(&READER_PINNED);
        }
        _ => {}
    }
}

#[test]
fn a_snapshot_that_was_pinned_at_the_last_moment_is_whole() {
    handover::on_step(at_step);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cell");
    let cell = CellOptions::new().capacity(3000).create_or_open(&path).unwrap();
    let other = CellOptions::new().capacity(3000).create_or_open(&path).unwrap();
    other.try_writer().unwrap().unwrap().publish(b"first").unwrap();
    PUBLISHED.store(1, SeqCst);
    let reader = thread::Builder::new().name("reader".to_owned()).spawn(move || {
        let mut reader = cell.reader();
        let snapshot = reader.load().unwrap().unwrap().clone();
        (snapshot.version(), snapshot.copy().unwrap().to_vec(), snapshot)
    });
    let reader = reader.unwrap();
    wait_for(&READER_WAITS);
    let writer = thread::Builder::new().name("writer".to_owned()).spawn(move || {
        for value in [&b"second"[..], b"third", b"fourth"] {
            other.try_writer().unwrap().unwrap().publish(value).unwrap();
            PUBLISHED.fetch_add(1, SeqCst);
        }
    });
    writer.unwrap().join().unwrap();
    let (version, bytes, snapshot) = reader.join().unwrap();
    assert_eq!((version, bytes.as_slice()), (1, &b"first"[..]));
    assert!(snapshot.is_whole());
}
