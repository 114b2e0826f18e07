//! Another process of a test, for what an actor has no command for: the test's own program, started again to
//! run one of its tests, which plays a role there and does nothing where it is not asked to.
//!
//! Relies on nothing; tests rely on it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use handover_test_support::Start;

const ROLE: &str = "HANDOVER_TEST_ROLE";

/// What the process with this role was asked to do; `None` in the test's own process.
pub fn asked(role: &str) -> Option<Vec<String>> {
    let asked = std::env::var(ROLE).ok()?;
    let mut words = asked.split('\n').map(str::to_owned);
    (words.next()? == role).then(|| words.collect())
}

/// A process that plays a role. Killed on drop.
#[derive(Debug)]
pub struct Role {
    child: Child,
    /// Its standard input, unless somebody took it or chose another one.
    pub input: Option<ChildStdin>,
    /// Its standard output.
    pub output: BufReader<ChildStdout>,
}

impl Role {
    /// Starts a process that runs the test `role` with these words, in the directory of a stage.
    pub fn start(directory: &Path, role: &str, words: &[&str]) -> Self {
        Self::start_with(directory, role, words, Stdio::piped())
    }

    /// As [`start`](Self::start), with this as standard input.
    pub fn start_with(directory: &Path, role: &str, words: &[&str], input: Stdio) -> Self {
        let words: Vec<&str> = std::iter::once(role).chain(words.iter().copied()).collect();
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", role, "--nocapture", "--test-threads=1"])
            .env("HANDOVER_DIR", directory)
            .env(ROLE, words.join("\n"))
            .stdin(input)
            .stdout(Stdio::piped())
            .start()
            .expect("start this program");
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { input: child.stdin.take(), output, child }
    }

    /// Waits until it says this word in a line of its own; gives what follows it there.
    pub fn expect(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.output.read_line(&mut line).expect("its output can be read");
            assert!(read > 0, "a process ended before it said {word:?}: {:?}", self.child.wait());
            // The test's own name may stand before it in the same line.
            if let Some((_, rest)) = line.rsplit_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Kills it (SIGKILL); it is gone when this returns.
    pub fn kill(mut self) {
        self.end();
    }

    /// Lets it end, and asserts that its part went well.
    pub fn finish(mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest).expect("its output can be read");
        let status: ExitStatus = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {rest}");
    }

    fn end(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lets this process have as many files open as it may.
#[cfg(target_os = "linux")]
pub fn raise_limit_of_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for a write.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for a read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    limit.rlim_max
}
