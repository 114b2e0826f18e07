//! The strings, handles and errors of the kernel's calls. Relies on nothing; the rest of this folder relies
//! on it.

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, GetLastError, HANDLE, RtlNtStatusToDosError, SetLastError,
};

/// The size of a page on all processors that Rust's Windows targets have.
pub(in crate::sys::windows) const PAGE: usize = 4096;

/// UTF-16 with a NUL at the end.
pub(in crate::sys::windows) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// The text before the first NUL.
pub(super) fn narrow(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// The handle that a call has just returned, or the error it left.
pub(super) fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller has just received this handle from a call that hands it over, and uses it nowhere
    // else.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Whether the previous call found an object of that name.
pub(super) fn existed() -> bool {
    // SAFETY: reads a number that belongs to this thread.
    unsafe { GetLastError() == ERROR_ALREADY_EXISTS }
}

pub(super) fn forget_last_error() {
    // SAFETY: writes a number that belongs to this thread.
    unsafe { SetLastError(0) }
}

/// The error of a call that returns a status: negative ones are failures.
pub(super) fn checked(status: i32) -> io::Result<()> {
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: turns one number into another.
    let code = unsafe { RtlNtStatusToDosError(status) };
    Err(io::Error::from_raw_os_error(code as i32))
}
