//! Files to map: opening them as .NET does, making them grow, and the handle through which they are locked.

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

use crate::error::{Error, Result, Subject};
use crate::map::OpenMode;

const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

fn is_on_disk(file: &File) -> bool {
    // SAFETY: the handle is open as long as `file` is borrowed.
    unsafe { GetFileType(file.as_raw_handle()) == FILE_TYPE_DISK }
}

/// Whether `file` may be read and written, as it was opened.
pub(crate) fn file_access(file: &File) -> io::Result<(bool, bool)> {
    if !is_on_disk(file) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut status = IO_STATUS_BLOCK::default();
    let mut info = FILE_ACCESS_INFORMATION::default();
    // SAFETY: the handle is open as long as `file` is borrowed; both structs live through the call, which
    // fills them, and the size of the second is given.
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

/// Nothing that Windows can map is without a length.
pub(crate) fn has_no_length(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// Opens a file to map. Others may read and write it too, or no two processes could share a map by its path; nobody
/// may delete it meanwhile. (.NET lets others only read.) Gives the file and whether it was created.
pub(crate) fn open_file(
    path: &Path,
    mode: OpenMode,
    write: bool,
    file_mode: Option<u32>,
) -> Result<(File, bool)> {
    if let Some(mode) = file_mode.filter(|mode| *mode != 0o600) {
        return Err(Error::unsupported(format!(
            "file mode {mode:#o}: on Windows a new file has the rights that its folder gives"
        )));
    }
    let subject = || Subject::Path(path.to_owned());
    let failed = |doing, e: io::Error| match e.raw_os_error() {
        // The second is for a file that others have mapped and that should become shorter.
        Some(code) if [ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE].contains(&(code as u32)) => {
            Error::SharingViolation { subject: subject() }
        }
        _ => Error::from_io(doing, subject(), e),
    };
    let open = |create_new: bool| {
        OpenOptions::new()
            .read(true)
            .write(write || create_new)
            .create_new(create_new)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .open(path)
    };
    let (file, created) = loop {
        let existing = if mode == OpenMode::CreateNew {
            Err(io::Error::from(io::ErrorKind::NotFound))
        } else {
            open(false)
        };
        match existing {
            Ok(file) => break (file, false),
            Err(e) if e.kind() == io::ErrorKind::NotFound && mode != OpenMode::Open => match open(true) {
                Ok(file) => break (file, true),
                // Somebody created it between the two calls.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && mode != OpenMode::CreateNew => {}
                Err(e) => return Err(failed("create", e)),
            },
            Err(e) => return Err(failed("open", e)),
        }
    };
    if !is_on_disk(&file) {
        return Err(Error::unsupported(format!(
            "{} is no file that can be mapped (a pipe or device)",
            subject()
        )));
    }
    if mode == OpenMode::Create && !created {
        file.set_len(0).map_err(|e| failed("empty", e))?;
    }
    Ok((file, created))
}

/// Grows a file that is to be mapped to `capacity`. Its disk space is taken here in any case: the system has
/// no other way for an ordinary file.
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
    file.set_len(capacity).map_err(|e| {
        // What was there stays as it was.
        let _ = file.set_len(length);
        match e.kind() {
            io::ErrorKind::PermissionDenied => Error::from_io("enlarge", subject.clone(), e),
            _ => Error::NoSpace {
                subject: subject.clone(),
                needed: capacity,
                reason: format!(
                    "its disk can't hold a file of this length ({e}); free some, or ask for less"
                ),
            },
        }
    })
}

/// The file's number, and that of its volume: the same by whatever path it was opened.
pub(super) fn identity(file: &File) -> io::Result<(u32, u64)> {
    let mut info = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open as long as `file` is borrowed, and the struct lives through the call, which
    // fills it.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut info) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.dwVolumeSerialNumber, u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow)))
}

/// The same file under a handle of its own, for locks.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    // SAFETY: the handle is open as long as `file` is borrowed.
    let handle = unsafe { ReOpenFile(file.as_raw_handle(), GENERIC_READ, SHARE_ALL, 0) };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just given this handle over, and it is used nowhere else.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// The file of a section that was opened by its name, for locks and to learn which it is.
pub(super) fn open_for_locks(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).share_mode(SHARE_ALL).open(path)
}
