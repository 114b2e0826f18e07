//! A section is a section object of the kernel. Relies on the other files of this folder.

use std::fs::File;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_ADDRESS, ERROR_INVALID_PARAMETER,
    ERROR_NOT_ENOUGH_MEMORY,
};
use windows_sys::Win32::System::SystemServices::MAXIMUM_ALLOWED;

use super::file;
use super::kernel::{self, NewSection, View};
use super::lock::SectionLocks;
use super::mapping::Mapping;
use super::naming::kernel_name;
use super::refusal::{check_capacity, is, refused, refused_new, this_user};
use super::wake;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::memory;
use crate::sys::asked::{self, Disposition, LockId, LockMode, Named, Request};
use crate::terms::{Access, Subject};

/// What opening a name returns here.
pub(super) type Opened = asked::Opened<Section>;

/// How often [`Section::named`] goes from opening to creating and back. A round fails only when another
/// process creates or releases the name at that very moment.
const ROUNDS: u32 = 1000;

/// The creator of a map with given first bytes holds this until they are in place.
const BIRTH: LockId = LockId(0);

/// How long opening waits for a creator that is writing a map's first bytes.
const BIRTH_LIMIT: Duration = Duration::from_secs(10);

/// `stub` says what this and its methods promise; the comments here say what is special.
#[derive(Debug)]
#[must_use = "dropping it releases the name"]
pub(crate) struct Section {
    /// Keeps the name.
    handle: OwnedHandle,
    /// The file that holds the bytes, where this handle was made from one.
    file: Option<Arc<File>>,
    on_file: bool,
    locks: SectionLocks,
    /// Where sleepers on the section's words wait.
    sleepers: Arc<wake::Named>,
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
        let sleepers = Arc::new(wake::Named::here());
        Ok(Self { handle, file: None, on_file: false, locks: SectionLocks::of_one_handle(), sleepers })
    }

    pub(crate) fn named(place: Named<'_>, disposition: Disposition, request: Request) -> Result<Opened> {
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
            // The name exists before the head can be written, so openers wait for this lock.
            let birth = (!place.head.is_empty()).then(|| SectionLocks::of_name(place.name));
            if let Some(birth) = &birth
                && !birth.try_lock(None, BIRTH, LockMode::Exclusive)?
            {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            // A cell gets one unused page: see `part`.
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
                    let sleepers = Arc::new(wake::Named::of_name(place.name));
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
                    return Err(Error::already_exists(subject));
                }
                // Somebody has created it since the open failed to find it.
                Ok((_, true)) => {}
                Err(e) => return Err(refused_new(&place, &name, request.capacity, e)),
            }
        }
        Err(Error::from_io(
            "open or create",
            subject,
            io::Error::other("other processes keep creating and closing it; try again"),
        ))
    }

    pub(crate) fn from_file(file: File, request: Request, place: Option<Named<'_>>) -> Result<Self> {
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
                let sleepers = Arc::new(wake::Named::of_file(&file));
                let locks = SectionLocks::of_file();
                Ok(Self { handle, locks, file: Some(Arc::new(file)), on_file: true, sleepers })
            }
            (Ok((_, true)), ..) => Err(Error::already_exists(subject)),
            (Err(e), Some(place), Some(name)) => Err(refused_new(place, name, request.capacity, e)),
            (Err(e), ..) if is(&e, ERROR_ACCESS_DENIED) => Err(Error::denied(
                subject,
                format!(
                    "a {} map needs more access than the file was opened with, or than this user has ({e})",
                    request.access
                ),
            )),
            (Err(e), ..) => Err(refused("map", &subject, request.capacity, e)),
        }
    }

    /// Learns what it can about a section that somebody else created.
    fn opened(handle: OwnedHandle, name: &[u16], place: &Named<'_>) -> Result<Opened> {
        let subject = place.name.subject();
        let failed = |e| refused("inspect", &subject, 0, e);
        // A separate handle with all rights of this user: the caller's may allow only deleting. While the
        // caller's handle is open, the name leads to this section.
        let all = kernel::open_section(name, MAXIMUM_ALLOWED, false).map_err(failed)?;
        let ceilings = [Access::ReadWriteExecute, Access::ReadWrite, Access::ReadExecute];
        let protection = ceilings
            .into_iter()
            .find(|access| View::new(&all, *access, 0, 1).is_ok())
            .unwrap_or(Access::Read);
        let whole = View::new(&all, Access::Read, 0, 0).map_err(failed)?;
        let capacity = kernel::section_size(&all).map_err(failed)?;
        let file = kernel::mapped_file(&whole);
        let sleepers = file.as_deref().map_or_else(|| wake::Named::of_name(place.name), wake::Named::of_path);
        let section = Self {
            handle,
            file: None,
            on_file: file.is_some(),
            sleepers: Arc::new(sleepers),
            locks: file.map_or_else(|| SectionLocks::of_name(place.name), SectionLocks::of_path),
        };
        Ok(Opened { section, capacity, protection, created: false })
    }

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
            // The second is the kernel's answer where the section's own protection forbids the view.
            Some(ERROR_ACCESS_DENIED | ERROR_INVALID_PARAMETER) => Error::denied(
                subject.clone(),
                format!("the map was not created for {access} views, or its owner does not grant them ({e})"),
            ),
            Some(ERROR_NOT_ENOUGH_MEMORY | ERROR_INVALID_ADDRESS) => Error::no_space(
                subject.clone(),
                len as u64,
                format!("the address space has no room for such a view ({e}); map a smaller part"),
            ),
            _ => refused("map", subject, len as u64, e),
        };
        let view = View::new(&self.handle, access, offset - skip as u64, skip + len).map_err(failed)?;
        if !self.on_file {
            // Allocates the pages whose allocation was delayed, as .NET does.
            kernel::commit(&view, 0, skip + ready, access)
                .map_err(|e| refused("allocate the pages of a view of", subject, ready as u64, e))?;
        }
        let file =
            self.file.as_ref().filter(|_| access.writes_shared()).map_or_else(Weak::new, Arc::downgrade);
        let mapping = Mapping { view: Some(view), skip, len, file };
        wake::enter(mapping.as_ptr().addr(), len, self.sleepers.clone());
        Ok(mapping)
    }

    /// Nothing to release: the file is closed with the section's handle, whatever views exist.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn stop_sharing_file(&self) {}

    pub(crate) fn is_on_file(&self) -> bool {
        self.on_file
    }

    /// The system does this by itself.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn start_flush(&self, _offset: u64, _len: u64) {}

    pub(crate) fn flush_device(&self, subject: &Subject) -> Result<()> {
        match &self.file {
            Some(file) => file.sync_all().map_err(|e| Error::from_io("flush", subject.clone(), e)),
            None => Ok(()),
        }
    }

    /// The file system's own journal keeps the file's name.
    pub(crate) fn flush_entry(&self, subject: &Subject) -> Result<()> {
        self.flush_device(subject)
    }

    /// A handle of another user's has its locks like any other.
    #[expect(clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn is_guest(&self) -> bool {
        false
    }

    /// The kernel takes a name from no section that has a handle.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same signature on every system")]
    pub(crate) fn check_name(&self, _subject: &Subject) -> Result<()> {
        Ok(())
    }

    pub(crate) fn try_lock(&self, id: LockId, mode: LockMode) -> Result<bool> {
        self.locks.try_lock(self.file.as_deref(), id, mode)
    }

    pub(crate) fn unlock(&self, id: LockId) {
        self.locks.unlock(id);
    }

    pub(crate) fn is_locked_elsewhere(&self, id: LockId) -> Result<bool> {
        self.locks.is_held_elsewhere(self.file.as_deref(), id)
    }

    /// There is one room for all names.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        match (self.file.as_deref(), other.file.as_deref()) {
            (Some(one), Some(two)) => match (file::identity(one), file::identity(two)) {
                (Ok(one), Ok(two)) => one == two,
                _ => false,
            },
            _ => true,
        }
    }

    /// A file got its disk space when it got its size.
    pub(crate) fn reserve(&self, offset: u64, len: u64, subject: &Subject) -> Result<()> {
        let failed = |e| refused("allocate pages of", subject, len, e);
        match self.part(offset, len).map_err(failed)? {
            Some((view, skip)) => {
                kernel::commit(&view, skip, len as usize, Access::ReadWrite).map_err(failed)
            }
            None => Ok(()),
        }
    }

    /// Wipes the bytes and lets the system drop their contents. The pages stay taken: sections in memory
    /// can't give a page back.
    pub(crate) fn release(&self, offset: u64, len: u64) {
        if let Ok(Some((view, skip))) = self.part(offset, len) {
            kernel::discard(&view, skip, len as usize);
        }
    }

    /// A separate view of a part of a section in memory, and where in it the part starts. The kernel's calls
    /// about memory take addresses, and pages belong to the section, so any view serves.
    fn part(&self, offset: u64, len: u64) -> io::Result<Option<(View, usize)>> {
        if self.on_file || len == 0 {
            return Ok(None);
        }
        let skip = (offset % kernel::view_alignment()) as usize;
        let view = |len| View::new(&self.handle, Access::ReadWrite, offset - skip as u64, len);
        let len = skip + len as usize;
        // Maps one page more, if the section has one: Wine does not tell other views of pages committed at a
        // view's very end.
        let view = view(len + kernel::PAGE).or_else(|_| view(len))?;
        Ok(Some((view, skip)))
    }

    /// Writes the first bytes of a section that was just created. The first eight come last: where they are
    /// in place, the others are too.
    fn write_head(&self, head: &[u8], subject: &Subject) -> Result<()> {
        const FIRST: usize = 8;
        let mapping = self.map(0, head.len(), head.len(), Access::ReadWrite, subject)?;
        let at = mapping.as_ptr();
        let (first, rest) = head.split_at(head.len().min(FIRST));
        // SAFETY: the mapping is `head.len()` bytes long, has memory, is writable, and lives until this
        // returns; shared memory is accessed with atomic operations only.
        unsafe { memory::store(at.wrapping_add(first.len()), rest) };
        fence(Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { memory::store(at, first) };
        Ok(())
    }
}

/// Waits for a creator that is about to write the map's first bytes. If the creator dies, the kernel releases
/// its lock.
fn wait_until_born(place: &Named<'_>) -> Result<()> {
    let locks = SectionLocks::of_name(place.name);
    Backoff::LOCK.poll(
        BIRTH_LIMIT,
        || format!("{}: the process that creates it seems to be stopped", place.name.subject()),
        || Ok((!locks.is_held_elsewhere(None, BIRTH)?).then_some(())),
    )
}
