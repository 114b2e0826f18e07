//! Windows: a section is a section object of the kernel.
//!
//! A named map is a named section (`Local\` or `Global\` and the name as given), so that it is shared with
//! every program that uses the system's own calls, .NET's maps among them. The kernel counts its handles: the
//! name goes with the last one, and views keep only the memory. `kernel` wraps the calls, `file` has what
//! concerns files alone, `lock` the locks, `wake` how sleepers are woken. `map` relies on it.

mod file;
mod kernel;
mod lock;
#[cfg(test)]
mod tests;
mod wake;

use std::fs::File;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_COMMITMENT_LIMIT, ERROR_DISK_FULL, ERROR_FILE_NOT_FOUND,
    ERROR_INVALID_ADDRESS, ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOT_ENOUGH_MEMORY, ERROR_USER_MAPPED_FILE,
};
use windows_sys::Win32::System::SystemServices::MAXIMUM_ALLOWED;

pub(crate) use self::file::{file_access, grow_file, has_no_length, open_file};
pub(crate) use self::kernel::coarse_time;
use self::kernel::{NewSection, Security, View};
use self::lock::SectionLocks;
#[cfg(feature = "tokio")]
pub(crate) use self::wake::sleep_on_any;
pub(crate) use self::wake::{sleep_on, wake_all};
use super::{Disposition, LockId, LockMode, Opened, Place, Request};
use crate::error::{Error, Result, Subject};
use crate::map::{Access, MapInfo, Scope, bytes};

/// How often [`Section::named`] goes from opening to creating and back. A round fails only when another
/// process creates or lets go of the name at that very moment.
const ROUNDS: u32 = 1000;

/// UTF-16 units of a name with its prefix: what a string of the kernel holds, without a NUL.
const LONGEST_NAME: usize = 32_766;

/// Held by who creates a map whose first bytes are given, until they are there.
const BIRTH: LockId = LockId(0);

/// How long opening waits for a creator that is writing a map's first bytes.
const BIRTH_LIMIT: Duration = Duration::from_secs(10);

/// Something that can be mapped.
#[derive(Debug)]
pub(crate) struct Section {
    /// Keeps the name.
    handle: OwnedHandle,
    /// The file that the bytes lie in, where this handle was made from one.
    file: Option<Arc<File>>,
    on_file: bool,
    locks: SectionLocks,
    /// Where sleepers on its words wait.
    sleepers: Arc<wake::Place>,
}

impl Section {
    pub(crate) fn anonymous(request: Request) -> Result<Self> {
        let subject = Subject::Anonymous;
        let (handle, _) = kernel::create_section(&NewSection {
            file: None,
            name: None,
            security: None,
            capacity: check_capacity(request.capacity)?,
            access: request.access,
            reserve_only: request.delay_allocate_pages,
            inheritable: request.inheritable,
        })
        .map_err(|e| refused("create", &subject, request.capacity, e))?;
        let sleepers = Arc::new(wake::Place::here());
        Ok(Self { handle, file: None, on_file: false, locks: SectionLocks::of_one_handle(), sleepers })
    }

    pub(crate) fn named(place: Place<'_>, disposition: Disposition, request: Request) -> Result<Opened> {
        let name = kernel_name(&place)?;
        let subject = place.name.subject();
        for _ in 0..ROUNDS {
            if disposition != Disposition::CreateNew {
                match kernel::open_section(&name, request.rights.bits(), request.inheritable) {
                    Ok(handle) => {
                        wait_until_born(&place)?;
                        return Self::opened(handle, &name, &place);
                    }
                    Err(e) if is(&e, ERROR_FILE_NOT_FOUND) && disposition == Disposition::CreateOrOpen => {}
                    Err(e) => return Err(refused("open", &subject, 0, e)),
                }
            }
            // The name is there before the head can be written: openers wait for this lock.
            let birth = (!place.head.is_empty()).then(|| SectionLocks::of_name(place.name));
            if let Some(birth) = &birth
                && !birth.try_lock(None, BIRTH, LockMode::Exclusive)?
            {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            // A cell gets a page that nobody uses: see `part`.
            let spare = if place.head.is_empty() { 0 } else { kernel::PAGE as u64 };
            let created = kernel::create_section(&NewSection {
                file: None,
                name: Some(&name),
                security: Some(&this_user(&subject)?),
                capacity: check_capacity(request.capacity.saturating_add(spare))?,
                access: request.access,
                reserve_only: request.delay_allocate_pages,
                inheritable: request.inheritable,
            });
            match created {
                Ok((handle, false)) => {
                    let locks = SectionLocks::of_name(place.name);
                    let sleepers = Arc::new(wake::Place::of_name(place.name));
                    let section = Self { handle, file: None, on_file: false, locks, sleepers };
                    if birth.is_some() {
                        section.write_head(place.head, &subject)?;
                    }
                    return Ok(Opened {
                        section,
                        capacity: request.capacity,
                        protection: request.access,
                        created: true,
                    });
                }
                Ok((_, true)) if disposition == Disposition::CreateNew => {
                    return Err(Error::AlreadyExists { subject });
                }
                // Somebody created it since it was not found.
                Ok((_, true)) => {}
                Err(e) => return Err(refused_new(&place, &name, request.capacity, e)),
            }
        }
        Err(Error::Io {
            doing: format!("open or create {subject}"),
            source: io::Error::other("other processes create and close it all the time; try again"),
        })
    }

    /// A section on a file that is open and large enough, under a name if `place` gives one.
    pub(crate) fn from_file(file: File, request: Request, place: Option<Place<'_>>) -> Result<Self> {
        let name = place.as_ref().map(kernel_name).transpose()?;
        let subject = place.as_ref().map_or(Subject::Anonymous, |place| place.name.subject());
        let security = name.as_ref().map(|_| this_user(&subject)).transpose()?;
        let created = kernel::create_section(&NewSection {
            file: Some(&file),
            name: name.as_deref(),
            security: security.as_ref(),
            capacity: check_capacity(request.capacity)?,
            access: request.access,
            reserve_only: false,
            inheritable: request.inheritable,
        });
        match (created, &place, &name) {
            (Ok((handle, false)), ..) => {
                let sleepers = Arc::new(wake::Place::of_file(&file));
                let locks = SectionLocks::of_file();
                Ok(Self { handle, locks, file: Some(Arc::new(file)), on_file: true, sleepers })
            }
            (Ok((_, true)), ..) => Err(Error::AlreadyExists { subject }),
            (Err(e), Some(place), Some(name)) => Err(refused_new(place, name, request.capacity, e)),
            (Err(e), ..) if is(&e, ERROR_ACCESS_DENIED) => Err(Error::denied(
                subject,
                format!(
                    "the file was not opened for what a {} map does, or this user may not do it ({e})",
                    request.access
                ),
            )),
            (Err(e), ..) => Err(refused("map", &subject, request.capacity, e)),
        }
    }

    /// What can be learned of a section that somebody else created.
    fn opened(handle: OwnedHandle, name: &[u16], place: &Place<'_>) -> Result<Opened> {
        let subject = place.name.subject();
        let failed = |e| refused("inspect", &subject, 0, e);
        // A handle of its own, with all that this user may do: the caller's may be good for nothing but
        // deleting. While the caller's handle is open the name leads to this section.
        let all = kernel::open_section(name, MAXIMUM_ALLOWED, false).map_err(failed)?;
        let ceilings = [Access::ReadWriteExecute, Access::ReadWrite, Access::ReadExecute];
        let protection = ceilings
            .into_iter()
            .find(|access| View::new(&all, *access, 0, 1).is_ok())
            .unwrap_or(Access::Read);
        let whole = View::new(&all, Access::Read, 0, 0).map_err(failed)?;
        let capacity = kernel::section_size(&all).map_err(failed)?;
        let file = kernel::mapped_file(&whole);
        let sleepers = file.as_deref().map_or_else(|| wake::Place::of_name(place.name), wake::Place::of_path);
        let section = Self {
            handle,
            file: None,
            on_file: file.is_some(),
            sleepers: Arc::new(sleepers),
            locks: file.map_or_else(|| SectionLocks::of_name(place.name), SectionLocks::of_path),
        };
        Ok(Opened { section, capacity, protection, created: false })
    }

    /// Maps `len` bytes from `offset` of the map; both were checked against the capacity.
    /// The first `ready` of them have memory after, the rest only where something took it: see
    /// [`reserve`](Self::reserve).
    pub(crate) fn map(
        &self,
        offset: u64,
        len: usize,
        ready: usize,
        access: Access,
        subject: &Subject,
    ) -> Result<Mapping> {
        if len == 0 {
            return Ok(Mapping { view: None, skip: 0, len: 0, file: Weak::new() });
        }
        let skip = (offset % kernel::view_alignment()) as usize;
        let failed = |e: io::Error| match e.raw_os_error().map(|code| code as u32) {
            // The second is what the kernel says where the section's own protection forbids the view.
            Some(ERROR_ACCESS_DENIED | ERROR_INVALID_PARAMETER) => Error::denied(
                subject.clone(),
                format!("the map was not created for {access} views, or its owner does not grant them ({e})"),
            ),
            Some(ERROR_NOT_ENOUGH_MEMORY | ERROR_INVALID_ADDRESS) => Error::NoSpace {
                subject: subject.clone(),
                needed: len as u64,
                reason: format!("the address space has no room for such a view ({e}); map a smaller part"),
            },
            _ => refused("map", subject, len as u64, e),
        };
        let view = View::new(&self.handle, access, offset - skip as u64, skip + len).map_err(failed)?;
        if !self.on_file {
            // Pages whose allocation was delayed are allocated now, as .NET does it.
            kernel::commit(&view, 0, skip + ready, access)
                .map_err(|e| refused("allocate the pages of a view of", subject, ready as u64, e))?;
        }
        let file =
            self.file.as_ref().filter(|_| access.writes_shared()).map_or_else(Weak::new, Arc::downgrade);
        let mapping = Mapping { view: Some(view), skip, len, file };
        wake::enter(mapping.as_ptr().addr(), len, self.sleepers.clone());
        Ok(mapping)
    }

    /// Nothing to let go of: the file is closed with the section's handle, whatever views there are.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn stop_sharing_file(&self) {}

    /// Whether the bytes lie in a file of the user's.
    pub(crate) fn is_on_file(&self) -> bool {
        self.on_file
    }

    /// Has the system start writing changed bytes of a part of the map to the file: it does so by itself.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn start_flush(&self, _offset: u64, _len: u64) {}

    /// Has the disk write what a flush of a view has handed to it.
    pub(crate) fn flush_device(&self, subject: &Subject) -> Result<()> {
        match &self.file {
            Some(file) => file.sync_all().map_err(|e| Error::from_io("flush", subject.clone(), e)),
            None => Ok(()),
        }
    }

    /// Has the file's length reach the disk. Its name does by the file system's own journal.
    pub(crate) fn flush_entry(&self, subject: &Subject) -> Result<()> {
        self.flush_device(subject)
    }

    /// Tries to take a lock of this section for this handle; released by [`unlock`](Self::unlock), or by the
    /// kernel when this process has ended.
    pub(crate) fn try_lock(&self, id: LockId, mode: LockMode) -> Result<bool> {
        self.locks.try_lock(self.file.as_deref(), id, mode)
    }

    pub(crate) fn unlock(&self, id: LockId) {
        self.locks.unlock(id);
    }

    /// Whether another handle than this one holds the lock in any way.
    pub(crate) fn is_locked_elsewhere(&self, id: LockId) -> Result<bool> {
        self.locks.is_held_elsewhere(self.file.as_deref(), id)
    }

    /// Takes memory for `len` bytes from `offset` of the map, in all its views, so that writing to them can't
    /// fail. Where there was none they are zero after. A file has its disk space from when it was sized.
    pub(crate) fn reserve(&self, offset: u64, len: u64, subject: &Subject) -> Result<()> {
        let failed = |e| refused("allocate pages of", subject, len, e);
        match self.part(offset, len).map_err(failed)? {
            Some((view, skip)) => {
                kernel::commit(&view, skip, len as usize, Access::ReadWrite).map_err(failed)
            }
            None => Ok(()),
        }
    }

    /// Wipes `len` bytes from `offset` of the map and lets the system drop their pages. The pages stay taken, which
    /// is all the same to views that touch them: sections in memory can't give a page back.
    pub(crate) fn release(&self, offset: u64, len: u64) {
        if let Ok(Some((view, skip))) = self.part(offset, len) {
            kernel::discard(&view, skip, len as usize);
        }
    }

    /// A view of its own of a part of a section in memory, and where in it the part starts. The kernel's calls
    /// about memory take addresses, and pages belong to the section, so that any view serves.
    fn part(&self, offset: u64, len: u64) -> io::Result<Option<(View, usize)>> {
        if self.on_file || len == 0 {
            return Ok(None);
        }
        let skip = (offset % kernel::view_alignment()) as usize;
        let view = |len| View::new(&self.handle, Access::ReadWrite, offset - skip as u64, len);
        let len = skip + len as usize;
        // With a page more, if the section has one: Wine does not tell other views of pages committed at a
        // view's very end.
        let view = view(len + kernel::PAGE).or_else(|_| view(len))?;
        Ok(Some((view, skip)))
    }

    /// Writes the first bytes of a section that has just been created, the first eight last: where they are
    /// there, the others are.
    fn write_head(&self, head: &[u8], subject: &Subject) -> Result<()> {
        const FIRST: usize = 8;
        let mapping = self.map(0, head.len(), head.len(), Access::ReadWrite, subject)?;
        let at = mapping.as_ptr();
        let (first, rest) = head.split_at(head.len().min(FIRST));
        // SAFETY: the mapping is `head.len()` bytes long, has memory, can be written, and lives until this
        // returns; shared memory is accessed with atomic operations only.
        unsafe { bytes::store(at.wrapping_add(first.len()), rest) };
        fence(Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { bytes::store(at, first) };
        Ok(())
    }
}

/// Memory mapped into this process, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// `None` for a mapping of zero bytes.
    view: Option<View>,
    skip: usize,
    len: usize,
    /// Written through to the disk by a flush while the map is there. Not kept open: closing the map closes
    /// its file, so that others can open it.
    file: Weak<File>,
}

impl Mapping {
    /// The first byte of the view.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        match &self.view {
            Some(view) => view.base().as_ptr().wrapping_add(self.skip),
            None => std::ptr::dangling_mut(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes between the start of the 64 KiB block and the view.
    pub(crate) fn skip(&self) -> usize {
        self.skip
    }

    /// Whether a part of the view, which must lie within it, can be touched. What can, can until the view goes.
    pub(crate) fn has_memory(&self, at: usize, len: usize) -> bool {
        debug_assert!(at <= self.len && len <= self.len - at);
        self.view.as_ref().is_none_or(|view| kernel::is_committed(view, self.skip + at, len))
    }

    /// Keeps the pages that have memory out of swap. The system has no way to leave them out of dumps.
    pub(crate) fn keep_secret(&self) -> io::Result<()> {
        self.view.as_ref().map_or(Ok(()), kernel::lock_committed)
    }

    /// Has the system write changed bytes of a part of the view to the file, and with `wait` waits for it: for
    /// the disk while the map is open, else (and for a map opened by its name, which has no handle to the
    /// file) for the system's cache.
    pub(crate) fn flush(&self, at: usize, len: usize, wait: bool) -> io::Result<()> {
        debug_assert!(at <= self.len && len <= self.len - at);
        let Some(view) = self.view.as_ref().filter(|_| len > 0) else { return Ok(()) };
        kernel::flush_view(view, self.skip + at, len)?;
        match self.file.upgrade().filter(|_| wait) {
            Some(file) => file.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.view.is_some() {
            wake::leave(self.as_ptr().addr());
        }
    }
}

/// Processes don't fork here.
pub(crate) const fn fork_generation() -> u32 {
    0
}

/// The living maps of a scope: the kernel's directories of names don't tell which are maps of this library.
pub(crate) fn list(_scope: Scope, _directory: Option<&Path>) -> Result<Vec<MapInfo>> {
    Err(Error::unsupported(
        "Windows does not tell which names are maps of this library; open the map by its name",
    ))
}

/// The kernel deletes a name with its last handle, however its process ends.
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
pub(crate) fn collect_garbage(_scope: Scope, _directory: Option<&Path>) -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// Waits for a creator that is about to write the map's first bytes. One that dies lets go of the lock.
fn wait_until_born(place: &Place<'_>) -> Result<()> {
    let locks = SectionLocks::of_name(place.name);
    super::poll(
        BIRTH_LIMIT,
        || format!("{}: the process that creates it seems to be stopped", place.name.subject()),
        || Ok((!locks.is_held_elsewhere(None, BIRTH)?).then_some(())),
    )
}

/// The kernel's prefix for a scope.
fn prefix(scope: Scope) -> &'static str {
    match scope {
        Scope::User => "Local\\",
        Scope::Global => "Global\\",
    }
}

/// The name as the kernel takes it, with a NUL at the end, once the rest of `place` is found acceptable.
fn kernel_name(place: &Place<'_>) -> Result<Vec<u16>> {
    if let Some(directory) = place.directory {
        return Err(Error::unsupported(format!(
            "names live in the Windows kernel, not in a directory such as '{}'; leave the directory out",
            directory.display()
        )));
    }
    if let Some(owner) = place.owner {
        return Err(Error::unsupported(format!(
            "Windows has no numbers for users, such as owner {owner}; leave the owner out: whether this user \
             may open a map is for its creator to say"
        )));
    }
    if let Some(mode) = place.mode.filter(|mode| *mode != 0o600) {
        return Err(Error::unsupported(format!(
            "file mode {mode:#o}: on Windows a map admits the user who creates it (0o600) and nobody else"
        )));
    }
    let name = kernel::wide(&format!("{}{}", prefix(place.name.scope()), place.name.text()));
    // Not left to the system, whose strings cut off what is beyond.
    if name.len() - 1 > LONGEST_NAME {
        return Err(Error::invalid(
            "name",
            format!(
                "with the prefix of its scope it is longer than the {LONGEST_NAME} UTF-16 units that Windows takes"
            ),
        ));
    }
    Ok(name)
}

fn this_user(subject: &Subject) -> Result<Security> {
    Security::this_user()
        .map_err(|e| Error::Io { doing: format!("find out which user to admit to {subject}"), source: e })
}

fn check_capacity(capacity: u64) -> Result<u64> {
    if i64::try_from(capacity).is_ok() {
        return Ok(capacity);
    }
    Err(Error::out_of_range("capacity", format!("{capacity} bytes; a map can't have as many")))
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

/// The error of a call that creates something under a name.
fn refused_new(place: &Place<'_>, name: &[u16], capacity: u64, e: io::Error) -> Error {
    let subject = place.name.subject();
    let absent =
        || kernel::open_section(name, MAXIMUM_ALLOWED, false).is_err_and(|e| is(&e, ERROR_FILE_NOT_FOUND));
    if is(&e, ERROR_ACCESS_DENIED) && place.name.scope() == Scope::Global && absent() {
        return Error::denied(
            subject,
            "creating a map in scope global takes the right to create global objects \
             (SeCreateGlobalPrivilege), which services and administrators have; have one of them create it, or \
             use scope user",
        );
    }
    refused("create", &subject, capacity, e)
}

/// Sorts an error of the kernel, met while `doing` something to a section, into its class.
fn refused(doing: &str, subject: &Subject, needed: u64, e: io::Error) -> Error {
    match e.raw_os_error().map(|code| code as u32) {
        Some(ERROR_INVALID_HANDLE) => Error::wrong_kind(
            subject.clone(),
            "an event, mutex, semaphore, timer or job has this name, and they share one space; choose another",
        ),
        Some(ERROR_ACCESS_DENIED) => Error::denied(
            subject.clone(),
            format!("its creator does not admit this user, or not to all that was asked for ({e})"),
        ),
        Some(ERROR_USER_MAPPED_FILE) => Error::SharingViolation { subject: subject.clone() },
        Some(
            ERROR_COMMITMENT_LIMIT
            | ERROR_NOT_ENOUGH_MEMORY
            | ERROR_NO_SYSTEM_RESOURCES
            | ERROR_DISK_FULL
            | ERROR_INVALID_PARAMETER,
        ) if needed > 0 => Error::NoSpace {
            subject: subject.clone(),
            needed,
            reason: format!(
                "the system has not as much memory to give ({e}); ask for less, or close programs"
            ),
        },
        _ => Error::from_io(doing, subject.clone(), e),
    }
}

/// Processes don't fork here.
#[cfg(feature = "tokio")]
pub(crate) fn notice_forks() {}
