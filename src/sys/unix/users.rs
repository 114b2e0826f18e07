//! Users and groups of this machine: by name, and as other user namespaces know them.
//!
//! Relies on `os`; `dirs` and the layers above rely on it.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::os;
use crate::error::{Error, Result};

/// What a user namespace shows for a user that it has no number for, unless the system was told otherwise.
const OVERFLOW: u32 = 65_534;

/// The effective user of this process.
pub(super) fn current() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What this process's user namespace makes of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// The number that the user has outside the namespace; the same number where there is no namespace, or
    /// the system does not tell.
    Is(u32),
    /// The namespace has no such user: files of all such users look alike.
    Nobody,
}

/// What the user with this number is called outside this process's user namespace.
///
/// The answer for one user is kept: the system fixes a namespace's numbers once. A process that enters
/// another one comes there as the same user outside. If it then becomes another user with a number that it
/// had before, as programs that set up containers may do, the answer is that of before.
pub(super) fn outside(user: u32) -> Outside {
    const NONE: u64 = u64::MAX;
    /// The number inside in the high half, the one outside in the low half. No user has number 2³² − 1.
    static KNOWN: AtomicU64 = AtomicU64::new(NONE);
    let known = KNOWN.load(Ordering::Relaxed);
    if known != NONE && (known >> 32) as u32 == user {
        return Outside::Is(known as u32);
    }
    let found = match os::user_ranges() {
        None => Outside::Is(user),
        Some(ranges) => ranges
            .into_iter()
            .find_map(|range| {
                let at = user.checked_sub(range.inside).filter(|at| *at < range.count)?;
                range.outside.checked_add(at)
            })
            .map_or(Outside::Nobody, Outside::Is),
    };
    if let Outside::Is(outside) = found
        && user != u32::MAX
    {
        KNOWN.store(u64::from(user) << 32 | u64::from(outside), Ordering::Relaxed);
    }
    found
}

/// Whether a file of `user` may belong to anybody whom this process's user namespace has no number for.
pub(super) fn is_unmapped(user: u32) -> bool {
    user == OVERFLOW && outside(user) == Outside::Nobody
}

/// Asks one of the C library's `get…_r` functions, which put what they find into a buffer that may be too
/// small.
fn look_up<T>(
    name: &str,
    (argument, what): (&str, &str),
    number: impl Fn(&T) -> u32,
    ask: impl Fn(*const libc::c_char, *mut T, *mut libc::c_char, usize, *mut *mut T) -> libc::c_int,
) -> Result<u32> {
    let unknown = || {
        Error::invalid(argument, format!("this machine has no {what} '{name}'"))
            .with_advice("give its number")
    };
    let text = CString::new(name).map_err(|_| unknown())?;
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<T>::uninit();
        let mut found = ptr::null_mut();
        match ask(text.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found) {
            libc::ERANGE if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 2, 0),
            libc::EINTR => {}
            0 if !found.is_null() => {
                // SAFETY: not null means that the call has filled `entry`.
                return Ok(number(unsafe { entry.assume_init_ref() }));
            }
            _ => return Err(unknown()),
        }
    }
}

pub(crate) fn user_number(name: &str) -> Result<u32> {
    look_up(
        name,
        ("owner", "user"),
        |user: &libc::passwd| user.pw_uid,
        |name, entry, buffer, len, found| {
            // SAFETY: `name` is a C string, and the others are memory of the caller's of the sizes given.
            unsafe { libc::getpwnam_r(name, entry, buffer, len, found) }
        },
    )
}

pub(crate) fn group_number(name: &str) -> Result<u32> {
    look_up(
        name,
        ("group", "group"),
        |group: &libc::group| group.gr_gid,
        |name, entry, buffer, len, found| {
            // SAFETY: as above.
            unsafe { libc::getgrnam_r(name, entry, buffer, len, found) }
        },
    )
}
