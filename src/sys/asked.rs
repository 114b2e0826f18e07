//! What the library asks of a system: names, sections and locks. The same on every system.
//!
//! Relies on `name` and `terms`; the systems' modules rely on it.

use std::path::Path;

use crate::name::MapName;
use crate::terms::{Access, Rights, Scope};

/// Where names are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within<'a> {
    pub(crate) scope: Scope,
    /// In place of the system's base directory.
    pub(crate) directory: Option<&'a Path>,
    /// The user whose names in the global scope are meant, if not this process's.
    pub(crate) owner: Option<u32>,
}

/// A name and what its scope needs to know about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a MapName,
    pub(crate) within: Within<'a>,
    /// Permission bits of a new map.
    pub(crate) mode: Option<u32>,
    /// The group of a new map, if not the one that the system gives it.
    pub(crate) group: Option<u32>,
    /// The first bytes of a new map: they are in place before anybody else can open it.
    pub(crate) head: &'a [u8],
}

/// How to find a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    CreateNew,
    CreateOrOpen,
    OpenExisting,
}

/// What a section must be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Bytes; ignored for `OpenExisting`.
    pub(crate) capacity: u64,
    /// What views of a new section may do.
    pub(crate) access: Access,
    /// What this handle may do.
    pub(crate) rights: Rights,
    pub(crate) delay_allocate_pages: bool,
    pub(crate) inheritable: bool,
}

/// What a call that opens or creates by name returns.
#[derive(Debug)]
#[must_use = "dropping it releases the name"]
pub(crate) struct Opened<S> {
    pub(crate) section: S,
    pub(crate) capacity: u64,
    /// The access the section was created with: a ceiling for all its handles.
    pub(crate) protection: Access,
    pub(crate) created: bool,
}

/// One of a section's locks, by number. The system keeps the numbers apart by byte ranges or names. 0 and 2
/// belong to the system's own module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockId(pub(crate) u64);

impl LockId {
    /// Held while a value in the plain layout is read (shared) or written (exclusive).
    pub(crate) const VALUE: Self = Self(1);
    /// Held while a file grows: of two processes that find it short, the second must see what the first made
    /// of it.
    pub(crate) const GROWTH: Self = Self(3);
}

/// How a holder has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    Shared,
    Exclusive,
}
