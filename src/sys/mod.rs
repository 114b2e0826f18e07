//! The few things that differ by system: memory, names, locks, files.
//!
//! Each system's module offers the same items, used by `map` and the layers above it; nothing outside this
//! folder asks which system it runs on. `stub` declares these items and states what they promise. `unix`
//! serves Linux and macOS and keeps what differs between those two in `linux` and `macos`; `windows` uses the
//! kernel's own named sections.

mod asked;
mod find_or_create;
mod held;
mod per_process;
#[cfg(any(test, not(target_os = "linux"), feature = "async"))]
mod poll;
#[cfg(all(test, feature = "async"))]
mod tests;
mod time;

#[cfg(any(test, not(any(unix, windows))))]
#[cfg_attr(
    any(unix, windows),
    allow(dead_code, unused_imports, reason = "built so that it keeps up with the other systems")
)]
mod stub;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(not(any(unix, windows)))]
use stub as system;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub(crate) use self::asked::{Disposition, LockId, LockMode, Named, Opened, Request, Within};
pub(crate) use self::per_process::{ForkMutex, Inherit, PerProcess};
pub(crate) use self::time::nanoseconds;

/// What each system has, from `$system`.
macro_rules! items {
    ($system:ident) => {
        #[cfg(feature = "async")]
        pub(crate) use self::$system::sleep_on_any;
        pub(crate) use self::$system::{
            Mapping, Section, allocated, coarse_time, collect_garbage, empty_file, file_access,
            fork_generation, group_number, grow_file, has_no_length, is_file_at, list, open_file, sleep_on,
            user_number, wake_all, while_unmapped,
        };
    };
}

items!(system);

/// Whether a part of a view can lack memory, and must not be touched then. [`Mapping::has_memory`] tells
/// which.
pub(crate) const MAY_LACK_MEMORY: bool = cfg!(windows);

/// That `stub` has all of it too.
#[cfg(test)]
mod stub_is_whole {
    #![allow(unused_imports, reason = "that they are there is all")]
    use super::stub;
    use super::stub::fork::{fork_generation as _, notice_forks as _};

    items!(stub);
}
