//! Names as the kernel has them. Relies on `kernel`.

use super::kernel;
use crate::error::{Error, Result};
use crate::sys::asked::{Named, Within};
use crate::terms::{MapInfo, Scope};

/// The most UTF-16 units of a name with its prefix: what a kernel string holds, without a NUL.
const LONGEST_NAME: usize = 32_766;

/// The kernel's prefix for a scope.
pub(super) fn prefix(scope: Scope) -> &'static str {
    match scope {
        Scope::User => "Local\\",
        Scope::Global => "Global\\",
    }
}

/// The name as the kernel takes it, with a NUL at the end. First checks the rest of `place`.
pub(super) fn kernel_name(place: &Named<'_>) -> Result<Vec<u16>> {
    if let Some(directory) = place.within.directory {
        return Err(Error::unsupported(format!(
            "names live in the Windows kernel, not in a directory such as '{}'; leave the directory out",
            directory.display()
        )));
    }
    if let Some(owner) = place.within.owner {
        return Err(Error::unsupported(format!(
            "Windows has no numbers for users, such as owner {owner}; leave the owner out: whether this user \
             may open a map is for its creator to say"
        )));
    }
    if let Some(group) = place.group {
        return Err(Error::unsupported(format!(
            "Windows has no numbers for groups, such as group {group}; leave the group out"
        )));
    }
    if let Some(mode) = place.mode.filter(|mode| *mode != 0o600) {
        return Err(Error::unsupported(format!(
            "file mode {mode:#o}: on Windows a map admits the user who creates it (0o600) and nobody else"
        )));
    }
    let name = kernel::wide(&format!("{}{}", prefix(place.within.scope), place.name.text()));
    // Not left to the system, whose strings cut off the excess.
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

/// The kernel's directories of names don't tell which names are maps of this library.
pub(crate) fn list(_within: Within<'_>) -> Result<Vec<MapInfo>> {
    Err(Error::unsupported(
        "Windows does not tell which names are maps of this library; open the map by its name",
    ))
}

/// The kernel deletes a name with its last handle, however that handle's process ends.
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
pub(crate) fn collect_garbage(_within: Within<'_>) -> Result<Vec<String>> {
    Ok(Vec::new())
}

pub(crate) fn user_number(name: &str) -> Result<u32> {
    Err(Error::unsupported(format!(
        "Windows has no numbers for users, such as '{name}'; leave the owner out"
    )))
}

pub(crate) fn group_number(name: &str) -> Result<u32> {
    Err(Error::unsupported(format!(
        "Windows has no numbers for groups, such as '{name}'; leave the group out"
    )))
}
