//! Views of sections, and operations on their pages. Relies on `basics` and `sections`.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{ERROR_LOCK_VIOLATION, ERROR_WORKING_SET_QUOTA};
use windows_sys::Win32::System::Memory::{
    FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, FlushViewOfFile, MEM_COMMIT, MEM_RESET,
    MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, PAGE_READWRITE, UnmapViewOfFile,
    VirtualAlloc, VirtualLock, VirtualQuery,
};
use windows_sys::Win32::System::ProcessStatus::K32GetMappedFileNameW;
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessWorkingSetSize, SetProcessWorkingSetSize,
};

use super::basics::{PAGE, narrow};
use super::sections::page_protection;
use crate::backoff::Backoff;
use crate::memory;
use crate::terms::Access;

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

/// The offsets at which views can start are multiples of this.
pub(in crate::sys::windows) fn view_alignment() -> u64 {
    static ALIGNMENT: OnceLock<u32> = OnceLock::new();
    u64::from(*ALIGNMENT.get_or_init(|| {
        let mut info = SYSTEM_INFO::default();
        // SAFETY: fills the struct, which outlives the call.
        unsafe { GetSystemInfo(&raw mut info) };
        info.dwAllocationGranularity
    }))
}

/// A mapped part of a section, unmapped on drop.
#[derive(Debug)]
#[must_use = "dropping it unmaps the memory"]
pub(in crate::sys::windows) struct View(NonNull<u8>);

// SAFETY: a view is an address range that any thread may use; all copies through the pointer use atomic
// accesses.
unsafe impl Send for View {}
// SAFETY: as for Send; no method changes the field.
unsafe impl Sync for View {}

impl View {
    /// Maps `len` bytes (0: all that follow) from `offset`, a multiple of [`view_alignment`].
    pub(in crate::sys::windows) fn new(
        section: &OwnedHandle,
        access: Access,
        offset: u64,
        len: usize,
    ) -> io::Result<Self> {
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

    pub(in crate::sys::windows) fn base(&self) -> NonNull<u8> {
        self.0
    }

    /// The view's ranges of pages in equal state from byte `at`, in order: their starts, sizes and states.
    fn regions_from(&self, at: usize) -> impl Iterator<Item = (*mut u8, usize, u32)> {
        let base = self.0.as_ptr();
        let mut at = base.wrapping_add(at);
        std::iter::from_fn(move || {
            let mut info = MEMORY_BASIC_INFORMATION::default();
            // SAFETY: fills the struct, whose size is passed; any address may be queried.
            let filled = unsafe { VirtualQuery(at.cast(), &raw mut info, size_of_val(&info)) };
            if filled == 0 || info.AllocationBase != base.cast() || info.RegionSize == 0 {
                return None;
            }
            // The region is measured from the start of the queried page.
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
        // SAFETY: the address is what MapViewOfFile returned; nothing borrows from the view when it is
        // dropped.
        unsafe { UnmapViewOfFile(address) };
    }
}

/// Commits `len` bytes from `at` of a view, where some of them are only reserved.
pub(in crate::sys::windows) fn commit(view: &View, at: usize, len: usize, access: Access) -> io::Result<()> {
    if is_committed(view, at, len) {
        return Ok(());
    }
    let first = view.0.as_ptr().wrapping_add(at);
    // SAFETY: the range lies within the view. The call adds zeroed pages to its section where there are none
    // and leaves the rest as it is; the protection is the one the view has.
    let done = unsafe { VirtualAlloc(first.cast(), len, MEM_COMMIT, page_protection(access)) };
    if done.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether all of `len` bytes from `at` of a view have memory. A section's pages keep it as long as the
/// section exists.
pub(in crate::sys::windows) fn is_committed(view: &View, at: usize, len: usize) -> bool {
    let mut covered = 0;
    let whole = view.regions_from(at).take_while(|(_, _, state)| *state == MEM_COMMIT).any(|(_, size, _)| {
        covered += size;
        covered >= len
    });
    len == 0 || whole
}

/// Wipes `len` bytes from `at` of a writable view, as far as they have memory. Tells the system that the
/// whole pages among them are no longer needed: they stay committed, and are zero afterwards.
pub(in crate::sys::windows) fn discard(view: &View, at: usize, len: usize) {
    let mut left = len;
    for (first, size, state) in view.regions_from(at) {
        let part = size.min(left);
        if state == MEM_COMMIT {
            // SAFETY: the range lies within the view, has memory, and can be written; shared memory is
            // accessed with atomic operations only.
            unsafe { memory::zero(first, part) };
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
        // SAFETY: the range lies within the view, and the caller relies on no byte of it. The call ignores
        // the protection. An error leaves the bytes as they are.
        unsafe { VirtualAlloc(first_byte.cast(), end - first, MEM_RESET, PAGE_READWRITE) };
    }
}

/// Keeps the committed pages of a view in memory.
pub(in crate::sys::windows) fn lock_committed(view: &View) -> io::Result<()> {
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
    // SAFETY: locking changes nothing in the pages, and fails for pages that don't exist.
    if unsafe { VirtualLock(first.cast(), len) } == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A process may lock a little less than its minimum working set, 50 pages at first. This raises that
/// minimum.
fn allow_locked(len: usize) -> io::Result<()> {
    /// What the system keeps for itself, and some more.
    const REST: usize = 256 << 10;
    let (mut least, mut most) = (0, 0);
    // SAFETY: the pseudo-handle of this process is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: fills the two numbers, which outlive the call.
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

/// A path to the file behind a view's section; `None` for a section in memory.
pub(in crate::sys::windows) fn mapped_file(view: &View) -> Option<PathBuf> {
    let mut name = vec![0u16; 32_768];
    // SAFETY: the pseudo-handle of this process is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: any address may be queried, and the buffer has the size passed.
    let len = unsafe {
        K32GetMappedFileNameW(process, view.0.as_ptr().cast(), name.as_mut_ptr(), name.len() as u32)
    };
    if len == 0 {
        return None;
    }
    let name = narrow(&name[..len as usize]);
    // `\Device\HarddiskVolume1\...`; Wine returns `\??\C:\...`.
    Some(match name.strip_prefix("\\??\\") {
        Some(path) => format!("\\\\?\\{path}").into(),
        None => format!("\\\\?\\GLOBALROOT{name}").into(),
    })
}

/// Makes the system write the changed pages of a part of a view to the file's cache or further.
pub(in crate::sys::windows) fn flush_view(view: &View, at: usize, len: usize) -> io::Result<()> {
    // .NET retries up to 300 times; this is half a second.
    const LONGEST: Duration = Duration::from_millis(500);
    const PAUSES: Backoff = Backoff::new(Duration::from_micros(50), Duration::from_millis(250));
    let mut backoff = PAUSES;
    let start = Instant::now();
    loop {
        // SAFETY: the range is mapped as long as the view is borrowed.
        if unsafe { FlushViewOfFile(view.0.as_ptr().wrapping_add(at).cast(), len) } != 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // Otherwise the system's own writer is at work on these pages.
        let left = LONGEST.saturating_sub(start.elapsed());
        if error.raw_os_error() != Some(ERROR_LOCK_VIOLATION as i32) || left.is_zero() {
            return Err(error);
        }
        std::thread::sleep(backoff.next(left));
    }
}
