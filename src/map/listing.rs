//! What lives in a scope, and what can be cleared away.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::name::Scope;
use crate::error::Result;
use crate::sys;

/// A named map that has a living holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapInfo {
    /// The name, without its scope prefix.
    pub name: String,
    /// The scope it lives in.
    pub scope: Scope,
    /// Bytes in the map.
    pub capacity: u64,
    /// Bytes of memory (or disk) that it takes at the moment.
    pub allocated: u64,
    /// The file it lies on, for a named map on a file.
    pub path: Option<PathBuf>,
    /// When it was created.
    pub created: SystemTime,
    /// The user who created it, where the system has numbers for users.
    pub owner: Option<u32>,
    /// Its permission bits, where the system has them.
    pub mode: Option<u32>,
    /// The processes that hold it, ascending; `None` where the system does not tell. Processes that this user
    /// may not look into are missing.
    pub holders: Option<Vec<u32>>,
}

/// The named maps of `scope` that have a living holder, sorted by name.
///
/// `directory` is as in [`MapOptions::directory`](crate::MapOptions::directory).
///
/// # Errors
///
/// `Unsupported` on Windows, whose kernel does not tell this library's names from others'.
pub fn list(scope: Scope, directory: Option<&Path>) -> Result<Vec<MapInfo>> {
    let mut maps = sys::list(scope, directory)?;
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(maps)
}

/// Removes what holders that were killed left behind in `scope`, and gives the names. Every operation on a
/// name of the scope does the same; this is for when there is none.
///
/// On Windows the kernel leaves nothing behind, and the result is empty.
pub fn collect_garbage(scope: Scope, directory: Option<&Path>) -> Result<Vec<String>> {
    sys::collect_garbage(scope, directory)
}
