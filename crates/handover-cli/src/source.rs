//! Where a value is: a place, and how its map is to be opened.
//!
//! Turns what the command line says into the library's `Place` and `MapOptions`. Relies on `args`; whatever
//! opens a map relies on it.

use std::path::Path;

use handover::map::{Access, Account, MapInfo, MapOptions, MemoryMappedFile};
use handover::{Error, ErrorKind, Place, Result, Scope};

use crate::args::{FromArgs, ScopeArgs};
use crate::output;

/// Where to look for names: in both scopes, or in the global one alone, there in the owner's given.
pub(crate) fn scopes(global: bool, owner: Option<&Account>) -> impl Iterator<Item = (Scope, MapOptions)> {
    let scopes: &[Scope] = if global { &[Scope::Global] } else { &[Scope::User, Scope::Global] };
    scopes.iter().map(move |scope| {
        let options = MapOptions::new().scope(*scope);
        (*scope, if let Some(owner) = owner { options.owned_by(owner.clone()) } else { options })
    })
}

/// Where a value is, or is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) place: Place<'a>,
    map: MapOptions,
}

impl<'a> Source<'a> {
    /// A map from the list of this user's names, or of the owner's given.
    pub(crate) fn listed(map: &'a MapInfo, owner: Option<&Account>) -> Self {
        Self::name(&map.name, &ScopeArgs { global: map.scope == Scope::Global, owner: owner.cloned() })
    }

    /// A name, in the scope that the options say.
    pub(crate) fn name(name: &'a str, scope: &ScopeArgs) -> Self {
        let mut map = MapOptions::new();
        if scope.global {
            map = map.scope(Scope::Global);
        }
        if let Some(owner) = &scope.owner {
            map = map.owned_by(owner.clone());
        }
        Self { place: Place::Name(name), map }
    }

    /// A file.
    pub(crate) fn file(path: &'a Path) -> Self {
        Self { place: Place::File(path), map: MapOptions::new() }
    }

    /// With this group and these rights for a new map.
    pub(crate) fn shared(mut self, group: Option<Account>, mode: Option<u32>) -> Self {
        if let Some(group) = group {
            self.map = self.map.group(group);
        }
        if let Some(mode) = mode {
            self.map = self.map.file_mode(mode);
        }
        self
    }

    /// The options that open the map with this access.
    pub(crate) fn options(&self, access: Access) -> MapOptions {
        self.map.clone().access(access)
    }

    /// Opens the map that is there.
    pub(crate) fn open(&self, access: Access) -> Result<MemoryMappedFile> {
        self.check()?;
        self.options(access).open_existing(self.place)
    }

    /// Checks that there is something to open: an empty file can't be mapped, and holds no value yet.
    pub(crate) fn check(&self) -> Result<()> {
        match self.place {
            Place::File(path)
                if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) =>
            {
                let what = format!("'{}' is empty and holds no value yet", path.display());
                Err(Error::new(ErrorKind::NoValue, what))
            }
            _ => Ok(()),
        }
    }

    /// What it is called, for people.
    pub(crate) fn shown(&self) -> String {
        match self.place {
            Place::Name(name) => output::printable(name),
            Place::File(path) => path.display().to_string(),
        }
    }
}

impl<'a> From<&'a FromArgs> for Source<'a> {
    fn from(args: &'a FromArgs) -> Self {
        match &args.path {
            Some(path) => Self::file(path),
            None => Self::name(args.name.as_deref().unwrap_or_default(), &args.scope),
        }
    }
}
