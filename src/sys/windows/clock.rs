//! The time.

use std::time::SystemTime;

use crate::sys::time::nanoseconds;

pub(crate) fn coarse_time() -> u64 {
    nanoseconds(SystemTime::now())
}
