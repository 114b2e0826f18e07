//! Creates, opens and measures section objects. Relies on `basics` and `security`.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, OpenFileMappingW, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_READONLY,
    PAGE_READWRITE, PAGE_WRITECOPY, SEC_COMMIT, SEC_RESERVE,
};

use super::basics::{checked, existed, forget_last_error, owned};
use super::security::{Security, attributes};
use crate::terms::Access;

pub(super) fn page_protection(access: Access) -> u32 {
    match access {
        Access::Read => PAGE_READONLY,
        Access::ReadWrite | Access::Write => PAGE_READWRITE,
        Access::CopyOnWrite => PAGE_WRITECOPY,
        Access::ReadExecute => PAGE_EXECUTE_READ,
        Access::ReadWriteExecute => PAGE_EXECUTE_READWRITE,
    }
}

/// A section to create.
pub(in crate::sys::windows) struct NewSection<'a> {
    /// `None`: in memory.
    pub(in crate::sys::windows) file: Option<&'a File>,
    /// With a NUL at the end.
    pub(in crate::sys::windows) name: Option<&'a [u16]>,
    /// `None`: the system's default, which does not matter for a section without a name.
    pub(in crate::sys::windows) security: Option<&'a Security>,
    pub(in crate::sys::windows) capacity: u64,
    pub(in crate::sys::windows) access: Access,
    /// Whether pages are only reserved, so that views commit them.
    pub(in crate::sys::windows) reserve_only: bool,
    pub(in crate::sys::windows) inheritable: bool,
}

/// Creates a section, or opens the one of that name (`true`).
pub(in crate::sys::windows) fn create_section(new: &NewSection<'_>) -> io::Result<(OwnedHandle, bool)> {
    debug_assert!(new.name.is_none_or(|name| name.ends_with(&[0])));
    let attributes = attributes(new.security, new.inheritable);
    let kind = if new.reserve_only { SEC_RESERVE } else { SEC_COMMIT };
    forget_last_error();
    // SAFETY: the name ends with a NUL; the attributes, the descriptor they point to, the name and the file
    // outlive the call.
    let handle = unsafe {
        CreateFileMappingW(
            new.file.map_or(INVALID_HANDLE_VALUE, AsRawHandle::as_raw_handle),
            &raw const attributes,
            page_protection(new.access) | kind,
            (new.capacity >> 32) as u32,
            new.capacity as u32,
            new.name.map_or(ptr::null(), <[u16]>::as_ptr),
        )
    };
    let existed = existed();
    Ok((owned(handle)?, existed))
}

/// Opens a section. `name` has a NUL at the end; `rights` are the kernel's numbers.
pub(in crate::sys::windows) fn open_section(
    name: &[u16],
    rights: u32,
    inheritable: bool,
) -> io::Result<OwnedHandle> {
    debug_assert!(name.ends_with(&[0]));
    // SAFETY: the name ends with a NUL and outlives the call.
    owned(unsafe { OpenFileMappingW(rights, inheritable.into(), name.as_ptr()) })
}

/// Bytes in a section: exact for one on a file, whole pages otherwise. The handle needs the right to query.
pub(in crate::sys::windows) fn section_size(section: &OwnedHandle) -> io::Result<u64> {
    /// `SECTION_BASIC_INFORMATION`
    #[repr(C)]
    struct Basic {
        base: *mut std::ffi::c_void,
        attributes: u32,
        size: i64,
    }

    const SECTION_BASIC_INFORMATION: u32 = 0;

    #[link(name = "ntdll")]
    unsafe extern "system" {
        fn NtQuerySection(
            section: HANDLE,
            class: u32,
            information: *mut Basic,
            length: usize,
            used: *mut usize,
        ) -> i32;
    }

    let mut info = Basic { base: ptr::null_mut(), attributes: 0, size: 0 };
    // SAFETY: the handle is open as long as it is borrowed; the struct is the one of this class and outlives
    // the call, which fills it; its size is passed; the length used is not requested.
    let code = unsafe {
        NtQuerySection(
            section.as_raw_handle(),
            SECTION_BASIC_INFORMATION,
            &raw mut info,
            size_of::<Basic>(),
            ptr::null_mut(),
        )
    };
    checked(code)?;
    Ok(info.size as u64)
}
