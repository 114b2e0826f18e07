//! What lives in a scope, and what can be removed from it.
//!
//! Relies on `sys`.

use super::options::MapOptions;
use crate::error::Result;
use crate::sys;
use crate::terms::{MapInfo, Scope};

/// The named maps of a scope that have a living holder, sorted by name.
///
/// Of the options, [`scope`](MapOptions::scope), [`directory`](MapOptions::directory) and
/// [`owned_by`](MapOptions::owned_by) count. The names of another user can be listed by root alone.
///
/// ```
/// use handover::map::{self, MapOptions, MemoryMappedFile};
/// # let dir = std::env::temp_dir().join(format!("handover-doc-list-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// let held = MemoryMappedFile::create_new("listed", 4096)?;
/// # if cfg!(unix) {
/// let maps = map::list(&MapOptions::new())?;
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
pub fn list(options: &MapOptions) -> Result<Vec<MapInfo>> {
    let mut maps = sys::list(options.within(options.scope.unwrap_or(Scope::User))?)?;
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(maps)
}

/// Removes what killed holders left behind in a scope, and returns the names. The options count as for
/// [`list`].
///
/// No name leads to what they left. It goes when somebody asks for the same name, and a creation now and then
/// looks for some of it; this removes all at once. On Windows the kernel leaves nothing behind, and the
/// result is empty.
///
/// ```
/// use handover::map::{self, MapOptions};
/// # let dir = std::env::temp_dir().join(format!("handover-doc-gc-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # // SAFETY: the example has one thread.
/// # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
///
/// for name in map::collect_garbage(&MapOptions::new())? {
///     println!("removed {name}");
/// }
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `AccessDenied` or `Io` where the scope's directory can't be read.
pub fn collect_garbage(options: &MapOptions) -> Result<Vec<String>> {
    sys::collect_garbage(options.within(options.scope.unwrap_or(Scope::User))?)
}
