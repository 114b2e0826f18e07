//! handover itself: the cell with bytes, and the mapper with JSON, with rkyv, and in the plain layout.

mod bytes;
mod typed;

pub(crate) use self::bytes::Bytes;
pub(crate) use self::typed::{Json, Plain, Rkyv};

use handover::{MapOptions, MapperOptions};

use crate::subject::Place;

/// How long anything waits that should not have to.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// The library's version. Its manifest and this crate's stand in one repository.
fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

fn map_options(place: &Place) -> MapOptions {
    MapOptions::new().directory(place.folder())
}

fn options(place: &Place) -> MapperOptions {
    MapperOptions::new().map(map_options(place))
}
