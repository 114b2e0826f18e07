//! Sleeping on words and waking the sleepers, the same on every system.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::poll::poll_any;
use super::{sleep_on_any, wake_all};

/// Longer than any test may take: a sleeper that is not woken before then does not end.
const LONG: Duration = Duration::from_secs(3600);

fn ends_when_any_word_changes(sleep: fn(&[(&AtomicU64, u64)], Duration)) {
    for count in [1, 2, 128, 129, 300] {
        for changed in [0, count / 2, count - 1] {
            let words: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(7)).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let expected: Vec<_> = words.iter().map(|word| (word, 7)).collect();
                    // It may return early.
                    while words[changed].load(Ordering::Acquire) == 7 {
                        sleep(&expected, LONG);
                    }
                });
                std::thread::sleep(Duration::from_millis(5));
                words[changed].store(8, Ordering::Release);
                wake_all(&words[changed]);
            });
        }
    }
}

#[test]
fn sleeping_on_many_words_ends_when_any_of_them_changes() {
    ends_when_any_word_changes(|words, limit| {
        sleep_on_any(words, limit);
    });
}

#[test]
fn polling_many_words_ends_when_any_of_them_changes() {
    ends_when_any_word_changes(poll_any);
}

#[test]
fn sleeping_ends_after_the_limit() {
    let word = AtomicU64::new(0);
    for count in [1, 200] {
        let words = vec![(&word, 0); count];
        sleep_on_any(&words, Duration::from_millis(1));
        poll_any(&words, Duration::from_millis(1));
    }
}

#[test]
fn waking_tells_which_word_was_woken() {
    // Only where the system can sleep on several words.
    let words = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        let sleeper =
            scope.spawn(|| sleep_on_any(&[(&words[0], 0), (&words[1], 0)], Duration::from_millis(500)));
        while !sleeper.is_finished() {
            wake_all(&words[1]);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(sleeper.join(), Ok(None | Some(1))));
    });
}
