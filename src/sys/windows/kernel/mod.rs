//! Safe wrappers of the kernel's calls for sections, views, events and their access rights.
//!
//! Errors are the system's own; the callers sort them. Relies on nothing; the rest of `windows` relies on it.

mod basics;
mod events;
mod sections;
mod security;
mod views;

pub(super) use self::basics::{PAGE, wide};
pub(super) use self::events::{
    MOST_WAITS, create_bell, create_token, handle_count, open_bell, ring, share_token, token_exists,
    wait_for_any,
};
pub(super) use self::sections::{NewSection, create_section, open_section, section_size};
pub(super) use self::security::Security;
#[cfg(test)]
pub(super) use self::security::user_sid;
pub(super) use self::views::{
    View, commit, discard, flush_view, is_committed, lock_committed, mapped_file, view_alignment,
};
