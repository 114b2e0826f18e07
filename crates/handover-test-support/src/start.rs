//! Starting a process: the one way for all tests, because Wine sometimes fails at it.

use std::io;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::Duration;

/// `ERROR_INTERNAL_ERROR`: with it Wine fails to start one of a few thousand processes. No process was made.
const INTERNAL: i32 = 1359;
/// How often to try again, and after which pause.
const AGAIN: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Stands in for what `Command` offers: clippy.toml disallows the others.
pub trait Start {
    /// Starts a process.
    ///
    /// # Errors
    ///
    /// Those of `Command::spawn`.
    fn start(&mut self) -> io::Result<Child>;

    /// Starts a process and waits until it ends.
    ///
    /// # Errors
    ///
    /// Those of `Command::status`.
    fn run(&mut self) -> io::Result<ExitStatus> {
        self.start()?.wait()
    }

    /// Starts a process and waits until it ends, for what it prints.
    ///
    /// # Errors
    ///
    /// Those of `Command::output`.
    fn run_for_output(&mut self) -> io::Result<Output>;
}

#[expect(clippy::disallowed_methods, reason = "here is the one place")]
impl Start for Command {
    fn start(&mut self) -> io::Result<Child> {
        again(PAUSE, || self.spawn())
    }

    fn run_for_output(&mut self) -> io::Result<Output> {
        again(PAUSE, || self.output())
    }
}

/// Tries again what failed with Wine's internal error. Windows itself would not go on so, and no other system
/// has that number.
fn again<T>(pause: Duration, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..AGAIN {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(INTERNAL) => std::thread::sleep(pause),
            outcome => return outcome,
        }
    }
    attempt()
}

/// Whether this is Wine, which lacks some of what Windows has: docs/platforms.md says what.
pub fn under_wine() -> bool {
    #[cfg(windows)]
    {
        unsafe extern "system" {
            fn GetModuleHandleA(name: *const u8) -> *mut std::ffi::c_void;
            fn GetProcAddress(module: *mut std::ffi::c_void, name: *const u8) -> *const std::ffi::c_void;
        }
        // SAFETY: the name ends with a NUL. Every process has this library, for as long as it lives.
        let module = unsafe { GetModuleHandleA(c"ntdll.dll".as_ptr().cast()) };
        // SAFETY: the module is loaded, and the name ends with a NUL.
        !unsafe { GetProcAddress(module, c"wine_get_version".as_ptr().cast()) }.is_null()
    }
    #[cfg(not(windows))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(failures: u32, code: i32) -> (u32, io::Result<()>) {
        let mut made = 0;
        let outcome = again(Duration::ZERO, || {
            made += 1;
            if made > failures { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
        });
        (made, outcome)
    }

    #[test]
    fn only_wines_internal_error_is_tried_again_and_not_for_ever() {
        assert!(matches!(attempts(0, INTERNAL), (1, Ok(()))));
        assert!(matches!(attempts(2, INTERNAL), (3, Ok(()))));
        assert!(matches!(attempts(9, INTERNAL), (6, Err(_))));
        assert!(matches!(attempts(1, 2), (1, Err(_))));
    }
}
