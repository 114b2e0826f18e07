//! Linux and macOS: a section is a file descriptor.
//!
//! A named map is a regular file in its scope's directory (`names`, `dirs`, `record`), an anonymous one is a
//! file without a name, and a file-backed one is the user's file. Locks are byte ranges under open file
//! descriptions (`lock`), far beyond any data. What differs between the two systems is in `os`: linux.rs or
//! macos.rs.

mod dirs;
mod file;
pub(super) mod fork;
mod hold;
mod inspect;
mod lock;
mod look;
mod make;
mod mapping;
mod names;
mod opening;
mod record;
mod refusal;
mod section;
mod size;
mod sweep;
mod users;
mod zeroes;

#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[cfg_attr(not(target_os = "macos"), path = "linux.rs")]
mod os;

pub(crate) use self::file::{empty_file, grow_file, is_file_at, open_file, while_unmapped};
pub(crate) use self::fork::fork_generation;
pub(crate) use self::inspect::{allocated, file_access, has_no_length};
pub(crate) use self::mapping::Mapping;
#[cfg(feature = "async")]
pub(crate) use self::os::sleep_on_any;
pub(crate) use self::os::{coarse_time, sleep_on, wake_all};
pub(crate) use self::section::Section;
pub(crate) use self::sweep::{collect_garbage, list};
pub(crate) use self::users::{group_number, user_number};
