//! Files to map: opening them as .NET does, growing them, and the handle through which they are locked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::Path;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_ACCESS_INFORMATION, FileAccessInformation, NtQueryInformationFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE, GENERIC_READ, INVALID_HANDLE_VALUE,
    RtlNtStatusToDosError,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    FILE_TYPE_DISK, FILE_WRITE_DATA, GetFileInformationByHandle, GetFileType, ReOpenFile,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::error::{Error, Result};
use crate::sys::find_or_create::find_or_create;
use crate::terms::FileMode;
use crate::terms::Subject;

const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

fn is_on_disk(file: &File) -> bool {
    // SAFETY: the handle is open as long as `file` is borrowed.
    unsafe { GetFileType(file.as_raw_handle()) == FILE_TYPE_DISK }
}

pub(crate) fn file_access(file: &File) -> io::Result<(bool, bool)> {
    if !is_on_disk(file) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut status = IO_STATUS_BLOCK::default();
    let mut info = FILE_ACCESS_INFORMATION::default();
    // SAFETY: the handle is open as long as `file` is borrowed; both structs outlive the call, which fills
    // them, and the size of the second is passed.
    let code = unsafe {
        NtQueryInformationFile(
            file.as_raw_handle(),
            &raw mut status,
            (&raw mut info).cast(),
            size_of_val(&info) as u32,
            FileAccessInformation,
        )
    };
    if code < 0 {
        // SAFETY: turns one number into another.
        let code = unsafe { RtlNtStatusToDosError(code) };
        return Err(io::Error::from_raw_os_error(code as i32));
    }
    let has = |right: u32| info.AccessFlags & right != 0;
    Ok((has(FILE_READ_DATA), has(FILE_WRITE_DATA)))
}

/// Everything that Windows can map has a length.
pub(crate) fn has_no_length(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// An ordinary file has no holes.
pub(crate) fn allocated(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}

/// Others may read and write it too, or no two processes could share a map by its path; nobody may delete it
/// meanwhile. (.NET lets others only read.)
pub(crate) fn open_file(
    path: &Path,
    mode: FileMode,
    write: bool,
    file_mode: Option<u32>,
) -> Result<(File, bool)> {
    if let Some(mode) = file_mode.filter(|mode| *mode != 0o600) {
        return Err(Error::unsupported(format!(
            "file mode {mode:#o}: on Windows a new file has the rights that its folder gives"
        )));
    }
    let subject = || Subject::Path(path.to_owned());
    let failed = |doing: &str, e: io::Error| refused(doing, &subject(), e);
    let open = |create_new: bool| {
        OpenOptions::new()
            .read(true)
            .write(write || create_new)
            .create_new(create_new)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .open(path)
    };
    let (file, created) = find_or_create(path, mode, open, failed)?;
    if !is_on_disk(&file) {
        let error = Error::unsupported("it is no file that can be mapped (a pipe or device)");
        return Err(error.about(&subject()));
    }
    Ok((file, created))
}

/// The system does not cut a file that somebody has mapped.
pub(crate) fn empty_file(file: &File, subject: &Subject) -> Result<()> {
    file.set_len(0).map_err(|e| refused("empty", subject, e))
}

/// The system sees to it.
pub(crate) fn while_unmapped(_file: &File, act: impl FnOnce()) {
    act();
}

/// Nobody can move or delete the file while it is open.
pub(crate) fn is_file_at(_file: &File, _path: &Path) -> bool {
    true
}

fn refused(doing: &str, subject: &Subject, e: io::Error) -> Error {
    match e.raw_os_error() {
        Some(code) if code as u32 == ERROR_SHARING_VIOLATION => Error::sharing_violation(subject.clone()),
        Some(code) if code as u32 == ERROR_USER_MAPPED_FILE => Error::still_mapped(subject.clone()),
        _ => Error::from_io(doing, subject.clone(), e),
    }
}

/// Always takes the disk space: the system has no other way for an ordinary file.
pub(crate) fn grow_file(
    file: &File,
    length: u64,
    capacity: u64,
    _delay: bool,
    subject: &Subject,
) -> Result<()> {
    if i64::try_from(capacity).is_err() {
        return Err(Error::out_of_range("capacity", format!("{capacity} bytes; a file can't have as many")));
    }
    let Err(e) = file.set_len(capacity) else { return Ok(()) };
    // The system cuts no file that is mapped: another process has grown and mapped it meanwhile.
    let is_mapped = e.raw_os_error() == Some(ERROR_USER_MAPPED_FILE as i32);
    if is_mapped && file.metadata().is_ok_and(|found| found.len() >= capacity) {
        return Ok(());
    }
    if !is_mapped {
        // The old content stays as it was.
        let _ = file.set_len(length);
    }
    Err(match e.kind() {
        io::ErrorKind::PermissionDenied => Error::from_io("enlarge", subject.clone(), e),
        _ => Error::no_space(
            subject.clone(),
            capacity,
            format!("its disk can't hold a file of this length ({e}); free some, or ask for less"),
        ),
    })
}

/// The numbers of the file and of its volume: the same whatever path opened it.
pub(super) fn identity(file: &File) -> io::Result<(u32, u64)> {
    let mut info = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open as long as `file` is borrowed, and the struct lives through the call, which
    // fills it.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut info) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.dwVolumeSerialNumber, u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow)))
}

/// The same file under a separate handle, for locks.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    // SAFETY: the handle is open as long as `file` is borrowed.
    let handle = unsafe { ReOpenFile(file.as_raw_handle(), GENERIC_READ, SHARE_ALL, 0) };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just handed this handle over, and nothing else uses it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// The file of a section that was opened by name, for locks and to learn which file it is.
pub(super) fn open_for_locks(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).share_mode(SHARE_ALL).open(path)
}
