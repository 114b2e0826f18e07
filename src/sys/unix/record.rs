//! The record at the start of a named map's file: which name it is, and where its bytes lie.
//!
//! All numbers are little-endian.
//!
//! ```text
//!   0   8  magic "HANDOVER"
//!   8   4  version of this record: 2
//!  12   4  kind: 1 the bytes follow in this file, 2 they are the file whose path follows the name
//!  16   8  offset of the bytes in this file, a multiple of 65,536 (kind 1; else 0)
//!  24   8  capacity in bytes
//!  32   4  access the map was created with (the number of `Access`)
//!  36   4  length of the name in bytes
//!  40   8  time of creation, nanoseconds since 1970-01-01 UTC
//!  48   4  length of the path in bytes
//!  52   4  dead: 0, or 1 once the last holder was one who may not delete the file
//!  56   8  device of the file that the path leads to (kind 2)
//!  64   8  its inode
//!  72   8  token: the number of the file for locks beside this one; 0: this file itself
//!  80  48  zero
//! 128      the name in UTF-8, then the path
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::inspect::FileId;
use super::size::size_limit;
use crate::name::NAME_MAX;
use crate::sys::time::nanoseconds;
use crate::terms::Access;

const MAGIC: &[u8; 8] = b"HANDOVER";
const VERSION: u32 = 2;
const FIXED: usize = 128;
const DEAD: usize = 52;
/// The bytes start at a multiple of the largest page size of the supported systems.
const DATA_ALIGNMENT: u64 = 65_536;
/// A UTF-16 unit takes at most 3 bytes of UTF-8.
const NAME_BYTES_MAX: usize = NAME_MAX * 3;
const PATH_BYTES_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) capacity: u64,
    pub(super) access: Access,
    pub(super) created: SystemTime,
    /// The number of the file for locks; 0: the map's file itself.
    pub(super) token: u64,
    /// Nobody may join any more.
    pub(super) is_dead: bool,
    pub(super) place: DataPlace,
}

/// What the start of a file says of its record.
#[derive(Debug)]
pub(super) enum Found {
    Record(Record),
    /// It is a map of a version before 0.2 of this library.
    OlderVersion,
    /// It is no record, and why.
    None(&'static str),
}

#[derive(Clone, Debug)]
pub(super) enum DataPlace {
    Here { offset: u64 },
    File { path: PathBuf, id: FileId },
}

impl Record {
    /// Where the bytes of a map with this name start.
    pub(super) fn data_offset(name: &str) -> u64 {
        ((FIXED + name.len()) as u64).next_multiple_of(DATA_ALIGNMENT)
    }

    /// Bytes that the record takes.
    pub(super) fn len(&self) -> u64 {
        let path = match &self.place {
            DataPlace::Here { .. } => 0,
            DataPlace::File { path, .. } => path.as_os_str().len(),
        };
        (FIXED + self.name.len() + path) as u64
    }

    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let (kind, offset, path, id) = match &self.place {
            DataPlace::Here { offset } => (1u32, *offset, &[][..], FileId { device: 0, inode: 0 }),
            DataPlace::File { path, id } => (2, 0, path.as_os_str().as_bytes(), *id),
        };
        if path.len() > PATH_BYTES_MAX {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let mut bytes = Vec::with_capacity(FIXED + self.name.len() + path.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&self.capacity.to_le_bytes());
        bytes.extend_from_slice(&(self.access as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&nanoseconds(self.created).to_le_bytes());
        bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.is_dead).to_le_bytes());
        bytes.extend_from_slice(&id.device.to_le_bytes());
        bytes.extend_from_slice(&id.inode.to_le_bytes());
        bytes.extend_from_slice(&self.token.to_le_bytes());
        bytes.resize(FIXED, 0);
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.extend_from_slice(path);
        file.write_all_at(&bytes, 0)
    }

    /// Marks the record in `file` dead.
    pub(super) fn mark_dead(file: &File) -> io::Result<()> {
        if size_limit().is_some_and(|limit| limit < FIXED as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(&1u32.to_le_bytes(), DEAD as u64)
    }

    /// Whether the record in `file`, which was found whole, has been marked dead since.
    pub(super) fn is_marked_dead(file: &File) -> io::Result<bool> {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, DEAD as u64)?;
        Ok(word != [0; 4])
    }

    /// Reads and checks the record of a file of `length` bytes.
    pub(super) fn read(file: &File, length: u64) -> io::Result<Found> {
        let none = |why| Ok(Found::None(why));
        // Most records are shorter than this.
        let mut start = [0; 512];
        let there = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut start, 0))?;
        if start.starts_with(MAGIC) && start[8..12] == 1u32.to_le_bytes() {
            return Ok(Found::OlderVersion);
        }
        if there < FIXED {
            return none("it is too short");
        }
        let (fixed, rest_there) = start[..there].split_at(FIXED);
        let u32_at = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if &fixed[..8] != MAGIC {
            return none("it does not start with the mark of a map");
        }
        if u32_at(8) != VERSION {
            return none("it was made by a later version of this library");
        }
        let (kind, offset, capacity) = (u32_at(12), u64_at(16), u64_at(24));
        let (name_len, path_len) = (u32_at(36) as usize, u32_at(48) as usize);
        let access = Access::ALL.into_iter().find(|access| *access as u32 == u32_at(32));
        let Some(access) = access else { return none("the access in its record is not valid") };
        if name_len == 0 || name_len > NAME_BYTES_MAX || path_len > PATH_BYTES_MAX {
            return none("the lengths in its record are impossible");
        }
        let mut rest = vec![0; name_len + path_len];
        let at_once = rest.len().min(rest_there.len());
        let (first, more) = rest.split_at_mut(at_once);
        first.copy_from_slice(&rest_there[..at_once]);
        match file.read_exact_at(more, (FIXED + at_once) as u64) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return none("its record is cut short"),
            other => other?,
        }
        let path = rest.split_off(name_len);
        let Ok(name) = String::from_utf8(rest) else { return none("its name is not text") };
        let place = match kind {
            1 => {
                // Its length is fixed before its name appears, so a shorter file is damaged.
                let whole = offset.checked_add(capacity).is_some_and(|end| end <= length);
                if offset != Self::data_offset(&name) || path_len != 0 || !whole {
                    return none("its length does not fit its record");
                }
                DataPlace::Here { offset }
            }
            2 => DataPlace::File {
                path: OsString::from_vec(path).into(),
                id: FileId { device: u64_at(56), inode: u64_at(64) },
            },
            _ => return none("its kind is unknown"),
        };
        let created = UNIX_EPOCH + Duration::from_nanos(u64_at(40));
        let (token, is_dead) = (u64_at(72), u32_at(DEAD) != 0);
        Ok(Found::Record(Self { name, capacity, access, created, token, is_dead, place }))
    }
}
