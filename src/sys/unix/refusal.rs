//! Errors of the system, sorted into the library's.
//!
//! Relies on nothing; the rest of this folder relies on it.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::{Error, ErrorKind};
use crate::terms::Subject;

/// Sorts an error of the system, met while `doing` something to `subject`, into its class.
pub(super) fn refused(doing: &str, subject: Subject, e: impl Into<io::Error>) -> Error {
    let e = e.into();
    let (which, advice) = match Errno::from_io_error(&e) {
        Some(Errno::MFILE) => {
            let limit = getrlimit(Resource::Nofile).current;
            let many = limit.map_or_else(String::new, |limit| format!("{limit} "));
            (format!("this process's {many}"), "close some or raise the limit (ulimit -n)")
        }
        Some(Errno::NFILE) => (
            "this machine's ".to_owned(),
            "end programs that have many files open, or raise the limit (fs.file-max, kern.maxfiles)",
        ),
        _ => return Error::from_io(doing, subject, e),
    };
    Error::new(ErrorKind::Io, format!("could not {doing} it: all of {which}descriptors are in use"))
        .about(&subject)
        .with_advice(advice)
        .with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_run_out_are_told_as_that() {
        for (errno, told) in
            [(Errno::MFILE, "all of this process's"), (Errno::NFILE, "all of this machine's")]
        {
            let error = refused("open", Subject::Anonymous, errno);
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.to_string().contains(told) && error.advice().is_some(), "{error}");
            assert_eq!(error.subject(), Some(&Subject::Anonymous));
        }
        assert_eq!(refused("open", Subject::Anonymous, Errno::NOSPC).kind(), ErrorKind::NoSpace);
    }
}
