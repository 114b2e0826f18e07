//! The kernel's calls for sections, views and who may open them, made safe.
//!
//! Errors are the system's own; the callers sort them. Relies on nothing; the rest of this folder relies on it.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_LOCK_VIOLATION, GetLastError, HANDLE, INVALID_HANDLE_VALUE, LocalFree,
    SetLastError,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, FlushViewOfFile,
    MEM_COMMIT, MEM_RESERVE, MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile,
    OpenFileMappingW, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_READONLY, PAGE_READWRITE,
    PAGE_WRITECOPY, SEC_COMMIT, SEC_RESERVE, UnmapViewOfFile, VirtualAlloc, VirtualQuery,
};
use windows_sys::Win32::System::ProcessStatus::K32GetMappedFileNameW;
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};
use windows_sys::Win32::System::Threading::{CreateEventW, GetCurrentProcess, OpenProcessToken};

use crate::map::Access;

/// UTF-16 with a NUL at the end.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// The text before the first NUL.
fn narrow(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// A handle that a call has just given, or the error it left.
fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller has just got this handle from a call that hands it over, and uses it nowhere else.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Whether the call that came before found an object of that name.
fn existed() -> bool {
    // SAFETY: reads a number that belongs to this thread.
    unsafe { GetLastError() == ERROR_ALREADY_EXISTS }
}

fn forget_last_error() {
    // SAFETY: writes a number that belongs to this thread.
    unsafe { SetLastError(0) }
}

/// Memory that the system allocated for the caller, freed on drop.
#[derive(Debug)]
struct Local(*mut std::ffi::c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a call whose result is to be freed so, and is not used any more.
        unsafe { LocalFree(self.0) };
    }
}

/// Who may open an object.
#[derive(Debug)]
pub(super) struct Security(Local);

impl Security {
    /// All rights for the user of this process, none for anybody else.
    pub(super) fn this_user() -> io::Result<Self> {
        Self::from_text(&format!("D:P(A;;GA;;;{})", user_sid()?))
    }

    /// Nobody: whoever tries is told that access is denied, and so that the object exists.
    pub(super) fn nobody() -> io::Result<Self> {
        Self::from_text("D:P(D;;GA;;;WD)")
    }

    /// From the security descriptor definition language.
    fn from_text(text: &str) -> io::Result<Self> {
        let text = wide(text);
        let mut descriptor = ptr::null_mut();
        // SAFETY: `text` ends with a NUL and `descriptor` takes the pointer; the length is not asked for.
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
fn attributes(security: Option<&Security>, inheritable: bool) -> SECURITY_ATTRIBUTES {
    SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: security.map_or(ptr::null_mut(), |security| security.0.0),
        bInheritHandle: inheritable.into(),
    }
}

/// The security identifier of this process's user, as text.
fn user_sid() -> io::Result<String> {
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
    // SAFETY: the buffer has the size given, and the handle is open.
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

fn page_protection(access: Access) -> u32 {
    match access {
        Access::Read => PAGE_READONLY,
        Access::ReadWrite | Access::Write => PAGE_READWRITE,
        Access::CopyOnWrite => PAGE_WRITECOPY,
        Access::ReadExecute => PAGE_EXECUTE_READ,
        Access::ReadWriteExecute => PAGE_EXECUTE_READWRITE,
    }
}

fn view_access(access: Access) -> u32 {
    match access {
        Access::Read => FILE_MAP_READ,
        Access::Write => FILE_MAP_WRITE,
        Access::ReadWrite => FILE_MAP_READ | FILE_MAP_WRITE,
        Access::CopyOnWrite => FILE_MAP_COPY,
        Access::ReadExecute => FILE_MAP_READ | FILE_MAP_EXECUTE,
        Access::ReadWriteExecute => FILE_MAP_READ | FILE_MAP_WRITE | FILE_MAP_EXECUTE,
    }
}

/// A section to create.
pub(super) struct NewSection<'a> {
    /// `None`: in memory.
    pub(super) file: Option<&'a File>,
    /// With a NUL at the end.
    pub(super) name: Option<&'a [u16]>,
    /// `None`: the system's default, which does not matter for a section without a name.
    pub(super) security: Option<&'a Security>,
    pub(super) capacity: u64,
    pub(super) access: Access,
    /// Whether pages are only reserved, for views to commit them.
    pub(super) reserve_only: bool,
    pub(super) inheritable: bool,
}

/// Creates a section, or opens the one of that name (`true`).
pub(super) fn create_section(new: &NewSection<'_>) -> io::Result<(OwnedHandle, bool)> {
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
pub(super) fn open_section(name: &[u16], rights: u32, inheritable: bool) -> io::Result<OwnedHandle> {
    debug_assert!(name.ends_with(&[0]));
    // SAFETY: the name ends with a NUL and outlives the call.
    owned(unsafe { OpenFileMappingW(rights, inheritable.into(), name.as_ptr()) })
}

/// Creates an event that nobody can open, and gives `None` where the name is taken. It is there as long as
/// the handle is open: the kernel closes that when the process ends.
pub(super) fn create_token(name: &[u16]) -> io::Result<Option<OwnedHandle>> {
    use windows_sys::Win32::Foundation::ERROR_ACCESS_DENIED;
    debug_assert!(name.ends_with(&[0]));
    let security = Security::nobody()?;
    let attributes = attributes(Some(&security), false);
    forget_last_error();
    // SAFETY: the name ends with a NUL; it, the attributes and the descriptor they point to outlive the call.
    let handle = unsafe { CreateEventW(&raw const attributes, 1, 0, name.as_ptr()) };
    let existed = existed();
    match owned(handle) {
        Ok(handle) => Ok((!existed).then_some(handle)),
        Err(e) if e.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The offsets at which views can start are multiples of this.
pub(super) fn view_alignment() -> u64 {
    static ALIGNMENT: OnceLock<u32> = OnceLock::new();
    u64::from(*ALIGNMENT.get_or_init(|| {
        let mut info = SYSTEM_INFO::default();
        // SAFETY: fills the struct, which lives through the call.
        unsafe { GetSystemInfo(&raw mut info) };
        info.dwAllocationGranularity
    }))
}

/// A mapped part of a section, unmapped on drop.
#[derive(Debug)]
pub(super) struct View(NonNull<u8>);

// SAFETY: a view is an address range that any thread may use; whoever copies through the pointer does so with
// atomic accesses.
unsafe impl Send for View {}
// SAFETY: as for Send; no method changes the field.
unsafe impl Sync for View {}

impl View {
    /// Maps `len` bytes (0: all that follow) from `offset`, a multiple of [`view_alignment`].
    pub(super) fn new(section: &OwnedHandle, access: Access, offset: u64, len: usize) -> io::Result<Self> {
        // SAFETY: the handle is open, and the address is the kernel's choice, so no memory of this process is
        // replaced.
        let view = unsafe {
            MapViewOfFile(
                section.as_raw_handle(),
                view_access(access),
                (offset >> 32) as u32,
                offset as u32,
                len,
            )
        };
        NonNull::new(view.Value.cast()).map(Self).ok_or_else(io::Error::last_os_error)
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.0
    }

    /// The view's ranges of pages in equal state, in order: their sizes and states.
    fn regions(&self) -> impl Iterator<Item = (usize, u32)> {
        let base = self.0.as_ptr();
        let mut at = base;
        std::iter::from_fn(move || {
            let mut info = MEMORY_BASIC_INFORMATION::default();
            // SAFETY: fills the struct, whose size is given; any address may be asked about.
            let filled = unsafe { VirtualQuery(at.cast(), &raw mut info, size_of_val(&info)) };
            if filled == 0 || info.AllocationBase != base.cast() || info.RegionSize == 0 {
                return None;
            }
            at = at.wrapping_add(info.RegionSize);
            Some((info.RegionSize, info.State))
        })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let address = MEMORY_MAPPED_VIEW_ADDRESS { Value: self.0.as_ptr().cast() };
        // SAFETY: the address is what MapViewOfFile gave; nothing borrows from the view when it is dropped.
        unsafe { UnmapViewOfFile(address) };
    }
}

/// Bytes in a view, in whole pages.
pub(super) fn extent(view: &View) -> u64 {
    view.regions().map(|(size, _)| size as u64).sum()
}

/// Commits the first `len` bytes of a view, if some of them are only reserved.
pub(super) fn commit(view: &View, len: usize, access: Access) -> io::Result<()> {
    if view.regions().all(|(_, state)| state != MEM_RESERVE) {
        return Ok(());
    }
    // SAFETY: the range lies within the view, whose section this call fills with zeroed pages where it has
    // none and leaves as it is elsewhere; the protection is the one the view has.
    let at = unsafe { VirtualAlloc(view.0.as_ptr().cast(), len, MEM_COMMIT, page_protection(access)) };
    if at.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A path to the file that a view's section lies on; `None` for a section in memory.
pub(super) fn mapped_file(view: &View) -> Option<PathBuf> {
    let mut name = vec![0u16; 32_768];
    // SAFETY: the pseudo-handle of this process is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: any address may be asked about, and the buffer has the size given.
    let len = unsafe {
        K32GetMappedFileNameW(process, view.0.as_ptr().cast(), name.as_mut_ptr(), name.len() as u32)
    };
    if len == 0 {
        return None;
    }
    let name = narrow(&name[..len as usize]);
    // `\Device\HarddiskVolume1\...`; Wine gives `\??\C:\...`.
    Some(match name.strip_prefix("\\??\\") {
        Some(path) => format!("\\\\?\\{path}").into(),
        None => format!("\\\\?\\GLOBALROOT{name}").into(),
    })
}

/// Has the system write a view's changed pages to the file's cache or further.
pub(super) fn flush_view(view: &View, len: usize) -> io::Result<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        // SAFETY: the range is mapped as long as the view is borrowed.
        if unsafe { FlushViewOfFile(view.0.as_ptr().cast(), len) } != 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // The system's own writer is at these pages. .NET tries again for up to 300 times; this is half a
        // second at most.
        if error.raw_os_error() != Some(ERROR_LOCK_VIOLATION as i32) || pause > Duration::from_millis(250) {
            return Err(error);
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}
