//! Maps on files: opening a file, making it as long as the map, and mapping it.
//!
//! A refusal leaves the file as it was. So everything that can be refused is checked before the file changes,
//! and a later failure undoes the change. Relies on `sys` for files and sections; `open` and `dotnet` rely on
//! it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::handle::MemoryMappedFile;
use super::looked::Looked;
use super::options::MapOptions;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::memory;
use crate::name::MapName;
use crate::sys::{self, Disposition, LockId, LockMode, Request, Section};
use crate::terms::{Access, FileMode, Rights, Subject};

/// How long to wait for another process that grows the file; on some file systems that writes every new byte
/// as a zero.
const GROWTH_LIMIT: Duration = Duration::from_secs(30);

/// How many bytes of a file are mapped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// As many as it has.
    Whole,
    /// This many; the file must not have more.
    Exactly(u64),
    /// This many, or as many as the file has if that is more.
    AtLeast(u64),
}

impl Length {
    /// .NET's capacity: 0 is the file's length.
    pub(super) fn of(capacity: u64) -> Self {
        match capacity {
            0 => Self::Whole,
            bytes => Self::Exactly(bytes),
        }
    }

    fn on(self, length: u64) -> u64 {
        match self {
            Self::Whole => length,
            Self::Exactly(bytes) => bytes,
            Self::AtLeast(bytes) => bytes.max(length),
        }
    }
}

/// Maps the file at `path`.
pub(super) fn by_path(
    path: &Path,
    mode: FileMode,
    length: Length,
    options: &MapOptions,
) -> Result<MemoryMappedFile> {
    let mut job = Job::new(Subject::Path(path.to_owned()), length, options)?;
    let write = !matches!(options.access, Access::Read | Access::ReadExecute);
    if !write && matches!(mode, FileMode::CreateNew | FileMode::Create) {
        let reason = format!("it creates an empty file, which a {} map can't grow", options.access);
        return Err(Error::invalid("file mode", reason).about(&job.subject));
    }
    let (file, created) =
        sys::open_file(path, mode, write, options.file_mode).map_err(|e| e.about(&job.subject))?;
    job.opened = true;
    job.created = created.then_some(path);
    // An existing file is emptied late, when little can fail any more.
    let emptied = if mode == FileMode::Create && !created { job.empty(&file) } else { Ok(()) };
    match emptied.and_then(|()| job.map(file, true)) {
        Ok(mut map) => {
            map.created = created;
            map.shares_file = Some(sys::fork_generation());
            Ok(map)
        }
        Err(error) => {
            job.undo();
            Err(error)
        }
    }
}

/// Maps a file that the caller has opened.
pub(super) fn from_open(file: File, length: Length, options: &MapOptions) -> Result<MemoryMappedFile> {
    let mut job = Job::new(Subject::Anonymous, length, options)?;
    let (read, write) = sys::file_access(&file).map_err(|e| job.failed("inspect", e))?;
    let may_map = match options.access {
        Access::Read | Access::CopyOnWrite => read,
        _ => read && write,
    };
    job.map(file, may_map).inspect_err(|_| job.undo())
}

/// A map about to be made on a file, and what was done to the file for it.
struct Job<'a> {
    subject: Subject,
    name: Option<MapName>,
    length: Length,
    options: &'a MapOptions,
    /// Whether this code opened the file, not the caller.
    opened: bool,
    /// The path of the file, if this code created it.
    created: Option<&'a Path>,
    changed: Option<Changed>,
}

/// A file that this code changed.
struct Changed {
    file: File,
    /// Its length before the change, and after the last one.
    before: u64,
    after: u64,
    /// Its content, if it was emptied.
    content: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> Job<'a> {
    fn new(subject: Subject, length: Length, options: &'a MapOptions) -> Result<Self> {
        let name = options.parsed_map_name()?;
        options.check_creates(&subject)?;
        Ok(Self { subject, name, length, options, opened: false, created: None, changed: None })
    }

    fn failed(&self, doing: &str, e: io::Error) -> Error {
        Error::from_io(doing, self.subject.clone(), e)
    }

    /// Maps `file`. `may_map` says whether the file was opened for what the map does; like the system, this
    /// checks it after the sizes.
    fn map(&mut self, file: File, may_map: bool) -> Result<MemoryMappedFile> {
        if self.created.is_some()
            && let Err(error) = self.will_change(&file, 0)
        {
            // This handle will do: it is not to be mapped any more.
            self.changed = Some(Changed { file, before: 0, after: 0, content: None });
            return Err(error);
        }
        let access = self.options.access;
        let length = self.length_of(&file)?;
        let mut capacity = self.capacity(length)?;
        if !may_map {
            let reason = format!("a {access} map needs more access than the file was opened with");
            return Err(
                Error::denied(self.subject.clone(), reason).with_advice("open it for reading and writing")
            );
        }
        if length.is_some_and(|length| capacity > length) {
            capacity = self.grow(&file)?;
        }
        let place = self.name.as_ref().map(|name| self.options.named(name)).transpose()?;
        let subject = self.name.as_ref().map_or_else(|| self.subject.clone(), MapName::subject);
        let section =
            Section::from_file(file, self.options.request(capacity), place).map_err(|e| e.about(&subject))?;
        Ok(MemoryMappedFile {
            section,
            capacity,
            rights: access.rights(),
            protection: access,
            subject: Arc::new(subject),
            on_file: true,
            shares_file: None,
            created: false,
            looked: Looked::now(self.name.is_some()),
        })
    }

    /// The file's length; `None` for a device that has none.
    fn length_of(&self, file: &File) -> Result<Option<u64>> {
        let metadata = file.metadata().map_err(|e| self.failed("inspect", e))?;
        if sys::has_no_length(&metadata) {
            return Ok(None);
        }
        if !metadata.is_file() {
            let error = Error::unsupported("it is not a file that can be mapped (a pipe or socket)");
            return Err(error.about(&self.subject));
        }
        Ok(Some(metadata.len()))
    }

    /// How many bytes the map of a file with this length has; `None` means the same as in
    /// [`length_of`](Self::length_of).
    fn capacity(&self, length: Option<u64>) -> Result<u64> {
        let capacity = self.length.on(length.unwrap_or(0));
        let error = if capacity == 0 {
            Error::invalid("capacity", "0 means the file's length, and the file is empty")
        } else {
            match length {
                Some(length) if capacity > length && self.options.access == Access::Read => Error::invalid(
                    "capacity",
                    format!("{capacity} bytes; the file has {length}, and a read map can't grow it"),
                ),
                Some(length) if capacity < length => Error::out_of_range(
                    "capacity",
                    format!("{capacity} bytes; the file has {length}, and a map covers the whole file"),
                ),
                _ if i64::try_from(capacity).is_err() => {
                    Error::out_of_range("capacity", format!("{capacity} bytes; a file can't have as many"))
                }
                _ => return Ok(capacity),
            }
        };
        Err(error.about(&self.subject))
    }

    /// Makes the file as long as the map. Returns the map's capacity.
    fn grow(&mut self, file: &File) -> Result<u64> {
        let (_, write) = sys::file_access(file).map_err(|e| self.failed("inspect", e))?;
        if !write {
            let reason = "it was opened for reading only, so it can't grow";
            return Err(Error::denied(self.subject.clone(), reason));
        }
        self.check_name()?;
        let lock = GrowthLock::take(file, self.options).map_err(|e| e.about(&self.subject))?;
        // Another process may have grown it meanwhile.
        let length = self.length_of(file)?;
        let mut capacity = self.capacity(length)?;
        if let Some(length) = length
            && capacity > length
        {
            self.will_change(file, length)?;
            let delay = self.options.delay_allocate_pages;
            sys::grow_file(file, length, capacity, delay, &self.subject)
                .map_err(|e| e.about(&self.subject))?;
            if let Some(changed) = &mut self.changed {
                changed.after = capacity;
            }
            // Where the system gave no lock, another process may have made it longer still.
            capacity = self.capacity(self.length_of(file)?)?;
        }
        drop(lock);
        Ok(capacity)
    }

    /// Empties an existing file.
    fn empty(&mut self, file: &File) -> Result<()> {
        let Some(length) = self.length_of(file)? else { return Ok(()) };
        let capacity = self.capacity(Some(0))?;
        if length == 0 {
            return Ok(());
        }
        self.check_name()?;
        // If the system refuses such a map, it also refuses one of the file as it is.
        let copy = file.try_clone().map_err(|e| self.failed("map", e))?;
        drop(
            Section::from_file(copy, self.options.request(length), None)
                .map_err(|e| e.about(&self.subject))?,
        );
        let metadata = file.metadata().map_err(|e| self.failed("inspect", e))?;
        let is_sure_of_room = capacity <= length
            && (self.options.delay_allocate_pages || capacity <= sys::allocated(&metadata));
        let content = if self.name.is_some() || !is_sure_of_room {
            // The name or the room may still be refused, and nothing else brings the bytes back.
            let mut content = memory::room_for(length as usize, &self.subject)?;
            (&*file).read_exact(&mut content).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => Error::sharing_violation(self.subject.clone()),
                _ => self.failed("read", e),
            })?;
            Some(content)
        } else {
            None
        };
        self.will_change(file, length)?;
        // Fails where another process has it mapped: the missing pages would end that process.
        sys::empty_file(file, &self.subject)?;
        if let Some(changed) = &mut self.changed {
            changed.after = 0;
            changed.content = content;
        }
        Ok(())
    }

    /// Fails if the name is in use. This checks before the file changes; taking the name decides.
    fn check_name(&self) -> Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let request = Request { rights: Rights::READ, inheritable: false, ..self.options.request(0) };
        match Section::named(self.options.named(name)?, Disposition::OpenExisting, request) {
            Ok(_) => Err(Error::already_exists(name.subject())),
            Err(_) => Ok(()),
        }
    }

    /// Records the state of the file before it changes. The handle is a second one to the same open file,
    /// because the mapped one is gone by the time it is needed.
    fn will_change(&mut self, file: &File, length: u64) -> Result<()> {
        if self.changed.is_none() {
            let file = file.try_clone().map_err(|e| self.failed("open another handle of", e))?;
            self.changed = Some(Changed { file, before: length, after: length, content: None });
        }
        Ok(())
    }

    /// Makes the file what it was, unless somebody else has it open or mapped or has changed it: whoever has
    /// mapped it would be ended by touching bytes that are cut off.
    fn undo(&mut self) {
        let Some(Changed { file, before, after, content }) = self.changed.take() else { return };
        let mut is_in_use = false;
        sys::while_unmapped(&file, || {
            // The lock of a file that the caller has opened is the caller's.
            let is_shared = self.opened && is_locked_elsewhere(&file);
            if is_shared || file.metadata().map(|metadata| metadata.len()).ok() != Some(after) {
                return;
            }
            if let Some(path) = self.created {
                // Others may have put another file there. And Windows deletes no file that is open.
                is_in_use = sys::is_file_at(&file, path) && std::fs::remove_file(path).is_err();
            } else if let Some(content) = content {
                let _ = put_back(&file, &content);
            } else {
                let _ = file.set_len(before);
            }
        });
        drop(file);
        if is_in_use && let Some(path) = self.created {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Gives a file its bytes back. Where all are zero it takes no disk space: there may be no more than it had.
fn put_back(mut file: &File, content: &[u8]) -> io::Result<()> {
    const PAGE: usize = 4096;
    file.set_len(0)?;
    file.set_len(content.len() as u64)?;
    for (number, page) in content.chunks(PAGE).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start((number * PAGE) as u64))?;
            file.write_all(page)?;
        }
    }
    Ok(())
}

/// Whether somebody else has a file open by `sys::open_file`, which takes a shared lock. If not, `file` has
/// the lock for itself afterwards.
fn is_locked_elsewhere(file: &File) -> bool {
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// The lock under which a file grows, where the system has one.
struct GrowthLock(Option<Section>);

impl GrowthLock {
    fn take(file: &File, options: &MapOptions) -> Result<Self> {
        let section = |file: File| {
            let length = file.metadata()?.len();
            let request =
                Request { access: Access::ReadWrite, inheritable: false, ..options.request(length) };
            Section::from_file(file, request, None)
        };
        // Windows has no section of an empty file, and does not cut files that are mapped.
        let Some(section) = file.try_clone().ok().and_then(|file| section(file).ok()) else {
            return Ok(Self(None));
        };
        let attempt = || match section.try_lock(LockId::GROWTH, LockMode::Exclusive) {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(true)),
            // This file system has no locks.
            Err(_) => Ok(Some(false)),
        };
        let waiting_for = || "another process that is growing the file".to_owned();
        let is_held = Backoff::LOCK.poll(GROWTH_LIMIT, waiting_for, attempt)?;
        Ok(Self(is_held.then_some(section)))
    }
}

impl Drop for GrowthLock {
    fn drop(&mut self) {
        if let Some(section) = &self.0 {
            section.unlock(LockId::GROWTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const LONG: u64 = 100_000;

    fn own_path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("handover-{test}-{}", std::process::id()))
    }

    fn read_write(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn job<'a>(path: &Path, options: &'a MapOptions) -> Job<'a> {
        let mut job = Job::new(Subject::Path(path.to_owned()), Length::AtLeast(LONG), options).unwrap();
        job.opened = true;
        job
    }

    #[test]
    fn undoing_cuts_nothing_that_anybody_has_mapped() {
        let path = own_path("undo-cuts");
        let options = MapOptions::new();
        for (opened, by_path) in [(true, false), (false, false), (false, true)] {
            std::fs::write(&path, b"short").unwrap();
            let mut job = job(&path, &options);
            job.opened = opened;
            let file = read_write(&path);
            assert_eq!(job.grow(&file).unwrap(), LONG);
            let other = if by_path {
                MemoryMappedFile::open_existing(&path).unwrap()
            } else {
                MemoryMappedFile::from_file(read_write(&path), 0).unwrap()
            };
            let view = other.create_view_accessor(0, 0).unwrap();
            job.undo();
            assert_eq!(path.metadata().unwrap().len(), LONG, "opened: {opened}, by path: {by_path}");
            assert_eq!(view.read::<u8>(LONG - 1).unwrap(), 0);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn undoing_removes_no_file_but_the_one_that_was_created() {
        let path = own_path("undo-removes");
        let options = MapOptions::new();
        let mut job = job(&path, &options);
        let (file, created) = sys::open_file(&path, FileMode::CreateNew, true, None).unwrap();
        assert!(created);
        job.created = Some(&path);
        job.will_change(&file, 0).unwrap();
        // Not every system lets anybody put another file there.
        if std::fs::remove_file(&path).is_ok() {
            std::fs::write(&path, b"another's").unwrap();
            job.undo();
            assert_eq!(std::fs::read(&path).unwrap(), b"another's");
            std::fs::remove_file(path).unwrap();
        } else {
            drop(file);
            job.undo();
            assert!(!path.exists());
        }
    }
}
