//! Access rights of objects: who may open one. Relies on `basics`.

use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{EVENT_MODIFY_STATE, GetCurrentProcess, OpenProcessToken};

use super::basics::{narrow, owned, wide};

/// Memory that the system allocated for the caller; dropping this frees it.
#[derive(Debug)]
struct Local(*mut std::ffi::c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a call whose result must be freed like this, and nothing uses it any
        // more.
        unsafe { LocalFree(self.0) };
    }
}

/// Who may open an object.
#[derive(Debug)]
pub(in crate::sys::windows) struct Security(Local);

impl Security {
    /// All rights for the user of this process, none for anybody else.
    pub(in crate::sys::windows) fn this_user() -> io::Result<Self> {
        Self::from_text(&format!("D:P(A;;GA;;;{})", user_sid()?))
    }

    /// Nobody. An attempt fails with "access denied", which shows that the object exists.
    pub(in crate::sys::windows) fn nobody() -> io::Result<Self> {
        Self::from_text("D:P(D;;GA;;;WD)")
    }

    /// For the user of this process only the right to change an event's state.
    pub(super) fn only_modify_state() -> io::Result<Self> {
        Self::from_text(&format!("D:P(A;;{EVENT_MODIFY_STATE:#x};;;{})", user_sid()?))
    }

    /// Parses the security descriptor definition language.
    fn from_text(text: &str) -> io::Result<Self> {
        let text = wide(text);
        let mut descriptor = ptr::null_mut();
        // SAFETY: `text` ends with a NUL and `descriptor` takes the pointer; the length is not requested.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(Local(descriptor)))
    }
}

/// The result points into `security`, which must outlive its use.
pub(super) fn attributes(security: Option<&Security>, inheritable: bool) -> SECURITY_ATTRIBUTES {
    SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: security.map_or(ptr::null_mut(), |security| security.0.0),
        bInheritHandle: inheritable.into(),
    }
}

/// The security identifier of this process's user, as text. It never changes.
pub(in crate::sys::windows) fn user_sid() -> io::Result<&'static str> {
    static SID: OnceLock<String> = OnceLock::new();
    if let Some(sid) = SID.get() {
        return Ok(sid);
    }
    let sid = ask_user_sid()?;
    Ok(SID.get_or_init(|| sid))
}

fn ask_user_sid() -> io::Result<String> {
    let mut token = ptr::null_mut();
    // SAFETY: the pseudo-handle of this process is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: `token` takes the handle.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let token = owned(token)?;
    // A TOKEN_USER and the identifier it points to, of at most 68 bytes; u64 for its alignment.
    let mut buffer = [0u64; 32];
    let mut used = 0;
    // SAFETY: the buffer has the size passed, and the handle is open.
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            size_of_val(&buffer) as u32,
            &raw mut used,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the buffer starts with a TOKEN_USER; it is aligned for one.
    let user = unsafe { buffer.as_ptr().cast::<TOKEN_USER>().read() };
    let mut text = ptr::null_mut();
    // SAFETY: the identifier lies in `buffer`, which is alive; `text` takes the pointer.
    if unsafe { ConvertSidToStringSidW(user.User.Sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let _text = Local(text.cast());
    let mut units = Vec::new();
    loop {
        // SAFETY: the string ends with a NUL, and reading stops there.
        match unsafe { text.wrapping_add(units.len()).read() } {
            0 => return Ok(narrow(&units)),
            unit => units.push(unit),
        }
    }
}
