//! How all of handover's subjects open their maps.

use handover::MapperOptions;
use handover::map::MapOptions;

use crate::subject::Place;

/// The limit of waits that should not be necessary.
pub(super) const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// The library's version. Its manifest and this crate's are in one repository.
pub(super) fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

pub(super) fn map_options(place: &Place) -> MapOptions {
    MapOptions::new().directory(place.folder())
}

pub(super) fn options(place: &Place) -> MapperOptions {
    MapperOptions::new().map(map_options(place))
}
