//! What lives in a scope, and what can be removed from it.
//!
//! Relies on `sys`.

use std::path::Path;

use crate::error::Result;
use crate::sys;
use crate::terms::{MapInfo, Scope};

/// The named maps of `scope` that have a living holder, sorted by name.
///
/// `directory` is as in [`MapOptions::directory`](super::MapOptions::directory).
///
/// ```
/// use handover::map::{self, MemoryMappedFile, Scope};
/// # let dir = std::env::temp_dir().join(format!("handover-doc-list-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// let held = MemoryMappedFile::create_new("listed", 4096)?;
/// # if cfg!(unix) {
/// let maps = map::list(Scope::User, None)?;
/// assert_eq!((maps[0].name.as_str(), maps[0].capacity), ("listed", 4096));
/// # }
/// # drop(held);
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `Unsupported` on Windows, whose kernel does not tell which names belong to this library; `AccessDenied` or
/// `Io` where the scope's directory can't be read.
pub fn list(scope: Scope, directory: Option<&Path>) -> Result<Vec<MapInfo>> {
    let mut maps = sys::list(scope, directory)?;
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(maps)
}

/// Removes what killed holders left behind in `scope`, and returns the names.
///
/// Every operation on a name of the scope does the same; use this for scopes where none happens. On Windows
/// the kernel leaves nothing behind, and the result is empty.
///
/// ```
/// use handover::map::{self, Scope};
/// # let dir = std::env::temp_dir().join(format!("handover-doc-gc-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// for name in map::collect_garbage(Scope::User, None)? {
///     println!("removed {name}");
/// }
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `AccessDenied` or `Io` where the scope's directory can't be read.
pub fn collect_garbage(scope: Scope, directory: Option<&Path>) -> Result<Vec<String>> {
    sys::collect_garbage(scope, directory)
}
