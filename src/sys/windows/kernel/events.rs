//! Events: those whose existence is a lock (*tokens*), and those that sleepers wait for (*bells*). Relies on
//! `basics` and `security`.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectBasicInformation};
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, HANDLE, WAIT_TIMEOUT};
use windows_sys::Win32::System::SystemServices::MAXIMUM_WAIT_OBJECTS;
use windows_sys::Win32::System::Threading::{
    CREATE_EVENT_MANUAL_RESET, CreateEventExW, EVENT_MODIFY_STATE, INFINITE, OpenEventW,
    SYNCHRONIZATION_SYNCHRONIZE, SetEvent, WaitForMultipleObjects,
};
use windows_sys::Win32::System::WindowsProgramming::PUBLIC_OBJECT_BASIC_INFORMATION;

use super::basics::{checked, existed, forget_last_error, owned};
use super::security::{Security, attributes};

/// Creates an event that nobody can open; `None` where the name is taken. The event exists as long as the
/// handle is open, and the kernel closes the handle when the process ends.
pub(in crate::sys::windows) fn create_token(name: &[u16]) -> io::Result<Option<OwnedHandle>> {
    match create_event(Some(name), EVENT_MODIFY_STATE, &Security::nobody()?) {
        Ok((handle, existed)) => Ok((!existed).then_some(handle)),
        Err(e) if e.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Creates an event, or shares an existing one. This user can share it by this call; nobody can open it
/// otherwise. It exists as long as one of these handles is open.
pub(in crate::sys::windows) fn share_token(name: &[u16]) -> io::Result<OwnedHandle> {
    create_event(Some(name), EVENT_MODIFY_STATE, &Security::only_modify_state()?).map(|(handle, _)| handle)
}

/// Creates an event that waits to be rung, or opens the one of that name (`true`). Once rung, it stays rung.
fn create_event(name: Option<&[u16]>, rights: u32, security: &Security) -> io::Result<(OwnedHandle, bool)> {
    debug_assert!(name.is_none_or(|name| name.ends_with(&[0])));
    let attributes = attributes(Some(security), false);
    forget_last_error();
    // SAFETY: the name, if any, ends with a NUL; it, the attributes and the descriptor they point to outlive
    // the call.
    let handle = unsafe {
        CreateEventExW(
            &raw const attributes,
            name.map_or(ptr::null(), <[u16]>::as_ptr),
            CREATE_EVENT_MANUAL_RESET,
            rights,
        )
    };
    let existed = existed();
    Ok((owned(handle)?, existed))
}

/// The event that sleepers of this user wait for, created or shared. `name` has a NUL at the end; without a
/// name the event serves only this process.
pub(in crate::sys::windows) fn create_bell(name: Option<&[u16]>) -> io::Result<OwnedHandle> {
    let rights = EVENT_MODIFY_STATE | SYNCHRONIZATION_SYNCHRONIZE;
    create_event(name, rights, &Security::this_user()?).map(|(handle, _)| handle)
}

/// The event of that name, if it exists and this user may ring it.
pub(in crate::sys::windows) fn open_bell(name: &[u16]) -> io::Result<OwnedHandle> {
    debug_assert!(name.ends_with(&[0]));
    // SAFETY: the name ends with a NUL and outlives the call.
    owned(unsafe { OpenEventW(EVENT_MODIFY_STATE, 0, name.as_ptr()) })
}

/// Wakes everyone who waits for the event, now and later.
pub(in crate::sys::windows) fn ring(bell: &OwnedHandle) {
    // SAFETY: the handle is open as long as it is borrowed. It has the right to do this, so the call can't
    // fail.
    unsafe { SetEvent(bell.as_raw_handle()) };
}

/// How many events [`wait_for_any`] takes.
pub(in crate::sys::windows) const MOST_WAITS: usize = MAXIMUM_WAIT_OBJECTS as usize;

/// Waits until one of the events is rung, and returns its index; `None` after `limit`, rounded up to whole
/// milliseconds.
pub(in crate::sys::windows) fn wait_for_any(
    bells: &[&OwnedHandle],
    limit: Duration,
) -> io::Result<Option<usize>> {
    debug_assert!(!bells.is_empty() && bells.len() <= MOST_WAITS);
    let mut handles: [HANDLE; MOST_WAITS] = [ptr::null_mut(); MOST_WAITS];
    for (handle, bell) in handles.iter_mut().zip(bells) {
        *handle = bell.as_raw_handle();
    }
    let millis = u32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE).min(INFINITE - 1);
    // SAFETY: the array holds as many handles as stated; they are open as long as they are borrowed.
    let outcome = unsafe { WaitForMultipleObjects(bells.len() as u32, handles.as_ptr(), 0, millis) };
    match outcome {
        WAIT_TIMEOUT => Ok(None),
        rung if (rung as usize) < bells.len() => Ok(Some(rung as usize)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether somebody has a token of that name. This asks for a right that tokens grant nobody, so asking keeps
/// no token alive.
pub(in crate::sys::windows) fn token_exists(name: &[u16]) -> io::Result<bool> {
    debug_assert!(name.ends_with(&[0]));
    // SAFETY: the name ends with a NUL and outlives the call.
    match owned(unsafe { OpenEventW(SYNCHRONIZATION_SYNCHRONIZE, 0, name.as_ptr()) }) {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32) => Ok(true),
        Err(e) if e.raw_os_error() == Some(ERROR_FILE_NOT_FOUND as i32) => Ok(false),
        Err(e) => Err(e),
    }
}

/// How many handles to an object are open, in all processes.
pub(in crate::sys::windows) fn handle_count(handle: &OwnedHandle) -> io::Result<u32> {
    let mut info = PUBLIC_OBJECT_BASIC_INFORMATION::default();
    // SAFETY: the handle is open as long as it is borrowed; the struct outlives the call, which fills it, and
    // its size is passed; the length used is not requested.
    let code = unsafe {
        NtQueryObject(
            handle.as_raw_handle(),
            ObjectBasicInformation,
            (&raw mut info).cast(),
            size_of_val(&info) as u32,
            ptr::null_mut(),
        )
    };
    checked(code)?;
    Ok(info.HandleCount)
}
