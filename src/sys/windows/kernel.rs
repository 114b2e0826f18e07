//! The kernel's calls for sections, views and who may open them, made safe.
//!
//! Errors are the system's own; the callers sort them. Relies on nothing; the rest of this folder relies on it.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectBasicInformation};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, ERROR_FILE_NOT_FOUND, ERROR_LOCK_VIOLATION,
    ERROR_WORKING_SET_QUOTA, GetLastError, HANDLE, INVALID_HANDLE_VALUE, LocalFree, RtlNtStatusToDosError,
    SetLastError, WAIT_TIMEOUT,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, FlushViewOfFile,
    MEM_COMMIT, MEM_RESET, MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile,
    OpenFileMappingW, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_READONLY, PAGE_READWRITE,
    PAGE_WRITECOPY, SEC_COMMIT, SEC_RESERVE, UnmapViewOfFile, VirtualAlloc, VirtualLock, VirtualQuery,
};
use windows_sys::Win32::System::ProcessStatus::K32GetMappedFileNameW;
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};
use windows_sys::Win32::System::SystemServices::MAXIMUM_WAIT_OBJECTS;
use windows_sys::Win32::System::Threading::{
    CREATE_EVENT_MANUAL_RESET, CreateEventExW, EVENT_MODIFY_STATE, GetCurrentProcess,
    GetProcessWorkingSetSize, INFINITE, OpenEventW, OpenProcessToken, SYNCHRONIZATION_SYNCHRONIZE, SetEvent,
    SetProcessWorkingSetSize, WaitForMultipleObjects,
};
use windows_sys::Win32::System::WindowsProgramming::PUBLIC_OBJECT_BASIC_INFORMATION;

use crate::map::{Access, bytes};

/// The size of a page on all processors that Rust's Windows targets have.
pub(super) const PAGE: usize = 4096;

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

    /// For the user of this process nothing but the right to change an event's state.
    fn only_modify_state() -> io::Result<Self> {
        Self::from_text(&format!("D:P(A;;{EVENT_MODIFY_STATE:#x};;;{})", user_sid()?))
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

/// The security identifier of this process's user, as text. It does not change.
pub(super) fn user_sid() -> io::Result<&'static str> {
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
    match create_event(Some(name), EVENT_MODIFY_STATE, &Security::nobody()?) {
        Ok((handle, existed)) => Ok((!existed).then_some(handle)),
        Err(e) if e.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Creates an event that this user can share by this call and nobody can open otherwise, or shares it. It is
/// there as long as one of these handles is open.
pub(super) fn share_token(name: &[u16]) -> io::Result<OwnedHandle> {
    create_event(Some(name), EVENT_MODIFY_STATE, &Security::only_modify_state()?).map(|(handle, _)| handle)
}

/// Creates an event that waits to be rung, or opens the one of that name (`true`). Once rung it stays so.
fn create_event(name: Option<&[u16]>, rights: u32, security: &Security) -> io::Result<(OwnedHandle, bool)> {
    debug_assert!(name.is_none_or(|name| name.ends_with(&[0])));
    let attributes = attributes(Some(security), false);
    forget_last_error();
    // SAFETY: the name, if any, ends with a NUL; it, the attributes and the descriptor they point to outlive the
    // call.
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

/// The event that sleepers of this user wait for, made or shared. `name` has a NUL at the end; without one it
/// serves this process alone.
pub(super) fn create_bell(name: Option<&[u16]>) -> io::Result<OwnedHandle> {
    let rights = EVENT_MODIFY_STATE | SYNCHRONIZATION_SYNCHRONIZE;
    create_event(name, rights, &Security::this_user()?).map(|(handle, _)| handle)
}

/// The event of that name, if there is one and this user may ring it.
pub(super) fn open_bell(name: &[u16]) -> io::Result<OwnedHandle> {
    debug_assert!(name.ends_with(&[0]));
    // SAFETY: the name ends with a NUL and outlives the call.
    owned(unsafe { OpenEventW(EVENT_MODIFY_STATE, 0, name.as_ptr()) })
}

/// Wakes all who wait for the event, now and later.
pub(super) fn ring(bell: &OwnedHandle) {
    // SAFETY: the handle is open as long as it is borrowed. It has the right to do this, so it can't fail.
    unsafe { SetEvent(bell.as_raw_handle()) };
}

/// How many events [`wait_for_any`] takes.
pub(super) const MOST_WAITS: usize = MAXIMUM_WAIT_OBJECTS as usize;

/// Waits until one of the events was rung, and gives its index; `None` after `limit`, rounded up to whole
/// milliseconds.
pub(super) fn wait_for_any(bells: &[&OwnedHandle], limit: Duration) -> io::Result<Option<usize>> {
    debug_assert!(!bells.is_empty() && bells.len() <= MOST_WAITS);
    let mut handles: [HANDLE; MOST_WAITS] = [ptr::null_mut(); MOST_WAITS];
    for (handle, bell) in handles.iter_mut().zip(bells) {
        *handle = bell.as_raw_handle();
    }
    let millis = u32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE).min(INFINITE - 1);
    // SAFETY: as many handles as stated stand in the array; they are open as long as they are borrowed.
    let outcome = unsafe { WaitForMultipleObjects(bells.len() as u32, handles.as_ptr(), 0, millis) };
    match outcome {
        WAIT_TIMEOUT => Ok(None),
        rung if (rung as usize) < bells.len() => Ok(Some(rung as usize)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether somebody has a token of that name. Asks for a right that tokens grant nobody, so that asking keeps
/// none alive.
pub(super) fn token_exists(name: &[u16]) -> io::Result<bool> {
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
pub(super) fn handle_count(handle: &OwnedHandle) -> io::Result<u32> {
    let mut info = PUBLIC_OBJECT_BASIC_INFORMATION::default();
    // SAFETY: the handle is open as long as it is borrowed; the struct lives through the call, which fills it,
    // and its size is given; the length used is not asked for.
    let code = unsafe {
        NtQueryObject(
            handle.as_raw_handle(),
            ObjectBasicInformation,
            (&raw mut info).cast(),
            size_of_val(&info) as u32,
            ptr::null_mut(),
        )
    };
    if code < 0 {
        // SAFETY: turns one number into another.
        let code = unsafe { RtlNtStatusToDosError(code) };
        return Err(io::Error::from_raw_os_error(code as i32));
    }
    Ok(info.HandleCount)
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

    /// The view's ranges of pages in equal state from byte `at`, in order: where they start, their sizes and
    /// states.
    fn regions_from(&self, at: usize) -> impl Iterator<Item = (*mut u8, usize, u32)> {
        let base = self.0.as_ptr();
        let mut at = base.wrapping_add(at);
        std::iter::from_fn(move || {
            let mut info = MEMORY_BASIC_INFORMATION::default();
            // SAFETY: fills the struct, whose size is given; any address may be asked about.
            let filled = unsafe { VirtualQuery(at.cast(), &raw mut info, size_of_val(&info)) };
            if filled == 0 || info.AllocationBase != base.cast() || info.RegionSize == 0 {
                return None;
            }
            // The region is told from the start of the page that was asked about.
            let first = info.BaseAddress.cast::<u8>();
            let skip = at.addr() - first.addr();
            let found = (at, info.RegionSize - skip, info.State);
            at = first.wrapping_add(info.RegionSize);
            Some(found)
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

/// Bytes in a section: exact for one on a file, else in whole pages. The handle needs the right to ask.
pub(super) fn section_size(section: &OwnedHandle) -> io::Result<u64> {
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
    // SAFETY: the handle is open as long as it is borrowed; the struct is the one of this class, lives through
    // the call, which fills it, and its size is given; the length used is not asked for.
    let code = unsafe {
        NtQuerySection(
            section.as_raw_handle(),
            SECTION_BASIC_INFORMATION,
            &raw mut info,
            size_of::<Basic>(),
            ptr::null_mut(),
        )
    };
    if code < 0 {
        // SAFETY: turns one number into another.
        let code = unsafe { RtlNtStatusToDosError(code) };
        return Err(io::Error::from_raw_os_error(code as i32));
    }
    Ok(info.size as u64)
}

/// Commits `len` bytes from `at` of a view, where some of them are only reserved.
pub(super) fn commit(view: &View, at: usize, len: usize, access: Access) -> io::Result<()> {
    if is_committed(view, at, len) {
        return Ok(());
    }
    let first = view.0.as_ptr().wrapping_add(at);
    // SAFETY: the range lies within the view, whose section this call fills with zeroed pages where it has
    // none and leaves as it is elsewhere; the protection is the one the view has.
    let done = unsafe { VirtualAlloc(first.cast(), len, MEM_COMMIT, page_protection(access)) };
    if done.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether all of `len` bytes from `at` of a view have memory. A section's pages keep it as long as the section
/// is there.
pub(super) fn is_committed(view: &View, at: usize, len: usize) -> bool {
    let mut covered = 0;
    let whole = view.regions_from(at).take_while(|(_, _, state)| *state == MEM_COMMIT).any(|(_, size, _)| {
        covered += size;
        covered >= len
    });
    len == 0 || whole
}

/// Wipes `len` bytes from `at` of a view that can be written, as far as they have memory, and tells the system that
/// the whole pages among them are not needed any more: they stay committed, and are zero after.
pub(super) fn discard(view: &View, at: usize, len: usize) {
    let mut left = len;
    for (first, size, state) in view.regions_from(at) {
        let part = size.min(left);
        if state == MEM_COMMIT {
            // SAFETY: the range lies within the view, has memory, and can be written; shared memory is accessed
            // with atomic operations only.
            unsafe { bytes::zero(first, part) };
        }
        left -= part;
        if left == 0 {
            break;
        }
    }
    let first = at.next_multiple_of(PAGE);
    let end = (at + len) / PAGE * PAGE;
    if end > first {
        let first_byte = view.0.as_ptr().wrapping_add(first);
        // SAFETY: the range lies within the view, and whoever asks for this counts on no byte of it. The
        // protection is not looked at. An error leaves the bytes as they are.
        unsafe { VirtualAlloc(first_byte.cast(), end - first, MEM_RESET, PAGE_READWRITE) };
    }
}

/// Keeps the committed pages of a view in memory.
pub(super) fn lock_committed(view: &View) -> io::Result<()> {
    for (at, size, _) in view.regions_from(0).filter(|(.., state)| *state == MEM_COMMIT) {
        if let Err(e) = lock_pages(at, size) {
            if e.raw_os_error() != Some(ERROR_WORKING_SET_QUOTA as i32) {
                return Err(e);
            }
            allow_locked(size)?;
            lock_pages(at, size)?;
        }
    }
    Ok(())
}

fn lock_pages(first: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: locking changes nothing in the pages, and fails for those that are not there.
    if unsafe { VirtualLock(first.cast(), len) } == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A process may lock a little less than the least that the system leaves it, 50 pages at first: raises that.
fn allow_locked(len: usize) -> io::Result<()> {
    /// What the system keeps for itself, and some more.
    const REST: usize = 256 << 10;
    let (mut least, mut most) = (0, 0);
    // SAFETY: the pseudo-handle of this process is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: fills the two numbers, which live through the call.
    if unsafe { GetProcessWorkingSetSize(process, &raw mut least, &raw mut most) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let more = len + REST;
    // SAFETY: takes two numbers.
    if unsafe { SetProcessWorkingSetSize(process, least + more, most + more) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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

/// Has the system write the changed pages of a part of a view to the file's cache or further.
pub(super) fn flush_view(view: &View, at: usize, len: usize) -> io::Result<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        // SAFETY: the range is mapped as long as the view is borrowed.
        if unsafe { FlushViewOfFile(view.0.as_ptr().wrapping_add(at).cast(), len) } != 0 {
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

/// Nanoseconds since 1970-01-01 UTC.
pub(crate) fn coarse_time() -> u64 {
    crate::sys::nanoseconds(SystemTime::now())
}
