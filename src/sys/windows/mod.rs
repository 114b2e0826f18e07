//! Windows: a section is a section object of the kernel.
//!
//! A named map is a named section (`Local\` or `Global\` and the name as given), so it is shared with every
//! program that uses the system's own calls, .NET's maps included. The kernel counts its handles: the name
//! ends with the last one, and views keep only the memory. `kernel` wraps the calls, `file` has what concerns
//! only files, `lock` has the locks, and `wake` wakes sleepers. `map` relies on it.

mod clock;
mod file;
pub(super) mod fork;
mod kernel;
mod lock;
mod mapping;
mod naming;
mod refusal;
mod section;
#[cfg(test)]
mod tests;
mod wake;

pub(crate) use self::clock::coarse_time;
pub(crate) use self::file::{
    allocated, empty_file, file_access, grow_file, has_no_length, is_file_at, open_file, while_unmapped,
};
pub(crate) use self::fork::fork_generation;
pub(crate) use self::mapping::Mapping;
pub(crate) use self::naming::{collect_garbage, group_number, list, user_number};
pub(crate) use self::section::Section;
#[cfg(feature = "async")]
pub(crate) use self::wake::sleep_on_any;
pub(crate) use self::wake::{sleep_on, wake_all};
