//! How an actor halts at a named step on Windows, where a process can't stop itself: it signals one event and
//! waits for another.

use std::ffi::{CString, c_void};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;

#[link(name = "kernel32")]
unsafe extern "system" {
    fn CreateEventA(attributes: *const c_void, manual: i32, set: i32, name: *const i8) -> *mut c_void;
    fn SetEvent(event: *mut c_void) -> i32;
    fn WaitForSingleObject(event: *mut c_void, millis: u32) -> u32;
}

/// An event of the actor with that id; whoever asks for it first creates it.
fn event(actor: u32, what: &str) -> OwnedHandle {
    let name = CString::new(format!("handover-actor-{actor}-{what}")).expect("no NUL");
    // SAFETY: the name ends with a NUL and outlives the call; attributes may be null.
    let handle = unsafe { CreateEventA(std::ptr::null(), 0, 0, name.as_ptr()) };
    assert!(!handle.is_null(), "an event: {}", std::io::Error::last_os_error());
    // SAFETY: the call has just handed this handle over, and nothing else uses it.
    unsafe { OwnedHandle::from_raw_handle(handle) }
}

fn set(event: &OwnedHandle) {
    // SAFETY: the handle is open as long as it is borrowed.
    assert_ne!(unsafe { SetEvent(event.as_raw_handle()) }, 0);
}

fn wait(event: &OwnedHandle, limit: Option<Duration>) -> bool {
    let millis = limit.map_or(u32::MAX, |limit| limit.as_millis() as u32);
    // SAFETY: the handle is open as long as it is borrowed.
    unsafe { WaitForSingleObject(event.as_raw_handle(), millis) == 0 }
}

/// Halts until the test says to go on.
pub(crate) fn here() {
    let own = std::process::id();
    let (halted, go) = (event(own, "halted"), event(own, "go"));
    set(&halted);
    assert!(wait(&go, None));
}

/// The test's side of it.
#[derive(Debug)]
pub(crate) struct Halts {
    halted: OwnedHandle,
    go: OwnedHandle,
}

impl Halts {
    pub(crate) fn of(actor: u32) -> Self {
        Self { halted: event(actor, "halted"), go: event(actor, "go") }
    }

    /// Whether it halts within that time.
    pub(crate) fn expect(&self, limit: Duration) -> bool {
        wait(&self.halted, Some(limit))
    }

    pub(crate) fn go_on(&self) {
        set(&self.go);
    }
}
