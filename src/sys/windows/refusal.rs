//! Errors of the kernel, sorted into the library's. Relies on `kernel`.

use std::io;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_COMMITMENT_LIMIT, ERROR_DISK_FULL, ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY, ERROR_USER_MAPPED_FILE,
};
use windows_sys::Win32::System::SystemServices::MAXIMUM_ALLOWED;

use super::kernel::{self, Security};
use crate::error::{Error, Result};
use crate::sys::asked::Named;
use crate::terms::{Scope, Subject};

pub(super) fn this_user(subject: &Subject) -> Result<Security> {
    Security::this_user()
        .map_err(|e| Error::io("find out which user to admit to it".to_owned(), e).about(subject))
}

pub(super) fn check_capacity(capacity: u64) -> Result<u64> {
    if i64::try_from(capacity).is_ok() {
        return Ok(capacity);
    }
    Err(Error::out_of_range("capacity", format!("{capacity} bytes; a map can't have as many")))
}

pub(super) fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

/// The error of a call that creates something under a name.
pub(super) fn refused_new(place: &Named<'_>, name: &[u16], capacity: u64, e: io::Error) -> Error {
    let subject = place.name.subject();
    let absent =
        || kernel::open_section(name, MAXIMUM_ALLOWED, false).is_err_and(|e| is(&e, ERROR_FILE_NOT_FOUND));
    if is(&e, ERROR_ACCESS_DENIED) && place.name.scope() == Scope::Global && absent() {
        return Error::denied(
            subject,
            "creating a map in scope global takes the right to create global objects \
             (SeCreateGlobalPrivilege), which services and administrators have; have one of them create it, or \
             use scope user",
        );
    }
    refused("create", &subject, capacity, e)
}

/// Sorts an error of the kernel, met while `doing` something to a section, into its class.
pub(super) fn refused(doing: &str, subject: &Subject, needed: u64, e: io::Error) -> Error {
    match e.raw_os_error().map(|code| code as u32) {
        Some(ERROR_INVALID_HANDLE) => Error::wrong_kind(
            subject.clone(),
            "an event, mutex, semaphore, timer or job has this name, and they share one space; choose another",
        ),
        Some(ERROR_ACCESS_DENIED) => Error::denied(
            subject.clone(),
            format!("its creator does not admit this user, or not with all the rights requested ({e})"),
        ),
        Some(ERROR_USER_MAPPED_FILE) => Error::sharing_violation(subject.clone()),
        Some(
            ERROR_COMMITMENT_LIMIT
            | ERROR_NOT_ENOUGH_MEMORY
            | ERROR_NO_SYSTEM_RESOURCES
            | ERROR_DISK_FULL
            | ERROR_INVALID_PARAMETER,
        ) if needed > 0 => Error::no_space(
            subject.clone(),
            needed,
            format!("the system does not have that much memory ({e}); ask for less, or close programs"),
        ),
        _ => Error::from_io(doing, subject.clone(), e),
    }
}
