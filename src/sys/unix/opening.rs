//! Sections by name and on files: where `section` and `names` meet.

use std::fs::File;

use super::file::{path_of, set_inheritable, share_mapped};
use super::names;
use super::section::{Opened, Section};
use crate::error::{Error, Result};
use crate::sys::asked::{Disposition, Named, Request};
use crate::terms::Subject;

impl Section {
    pub(crate) fn named(place: Named<'_>, disposition: Disposition, request: Request) -> Result<Opened> {
        names::open(place, disposition, request)
    }

    pub(crate) fn from_file(file: File, request: Request, place: Option<Named<'_>>) -> Result<Self> {
        let hold = match place {
            Some(place) => Some(names::link(place, &file, request)?),
            None => None,
        };
        // A section of no bytes loses none, and its file may be one that this process keeps from others until
        // it has grown.
        if request.capacity > 0 {
            let subject = || match place {
                Some(place) => place.name.subject(),
                None => path_of(&file).map_or(Subject::Anonymous, Subject::Path),
            };
            share_mapped(&file, subject)?;
            // From here on nobody cuts it. Somebody may have, since its length was looked at.
            let metadata = file.metadata().map_err(|e| Error::from_io("inspect", subject(), e))?;
            if metadata.is_file() && metadata.len() < request.capacity {
                return Err(Error::sharing_violation(subject()));
            }
        }
        set_inheritable(&file, request.inheritable)?;
        Ok(Self::on_file(file, hold))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    #[cfg(target_os = "linux")]
    use super::super::file::while_unmapped;
    use super::super::file::{empty_file, grow_file, open_file};
    use super::*;
    use crate::error::ErrorKind;
    use crate::terms::{Access, FileMode};

    fn own_path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("handover-{test}-{}", std::process::id()))
    }

    fn open(path: &Path) -> File {
        open_file(path, FileMode::Open, true, None).unwrap().0
    }

    fn map(file: File, capacity: u64) -> Result<Section> {
        let access = Access::ReadWrite;
        let request = Request {
            capacity,
            access,
            rights: access.rights(),
            delay_allocate_pages: false,
            inheritable: false,
        };
        Section::from_file(file, request, None)
    }

    #[test]
    fn a_file_that_is_too_short_by_now_is_not_mapped() {
        let path = own_path("too-short");
        std::fs::write(&path, b"short").unwrap();
        // As after a look at the length, before somebody emptied the file.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let error = map(file, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SharingViolation, "{error}");
        assert_eq!(error.subject(), Some(&Subject::Path(path.clone())));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_was_emptied_is_kept_from_others_until_it_has_grown() {
        let path = own_path("kept-back");
        std::fs::write(&path, b"short").unwrap();
        let file = open(&path);
        empty_file(&file, &Subject::Anonymous).unwrap();
        // For its locks.
        let locks = map(file.try_clone().unwrap(), 0).unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| open(&path));
            std::thread::sleep(Duration::from_millis(100));
            assert!(!other.is_finished());
            grow_file(&file, 0, 10, false, &Subject::Anonymous).unwrap();
            assert_eq!(other.join().unwrap().metadata().unwrap().len(), 10);
        });
        drop(locks);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_view_alone_has_its_file_mapped() {
        let path = own_path("view-alone");
        std::fs::write(&path, b"short").unwrap();
        let section = map(open(&path), 5).unwrap();
        let view = section.map(0, 5, 5, Access::ReadWrite, &Subject::Anonymous).unwrap();
        section.stop_sharing_file();
        drop(section);
        let file = open(&path);
        while_unmapped(&file, || panic!("it is mapped"));
        drop(view);
        let mut is_unmapped = false;
        while_unmapped(&file, || is_unmapped = true);
        assert!(is_unmapped);
        std::fs::remove_file(path).unwrap();
    }
}
