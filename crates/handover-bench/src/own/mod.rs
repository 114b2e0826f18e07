//! handover itself: the cell with bytes, the mapper with JSON and with rkyv, and the plain mapper.

mod bytes;
mod options;
mod typed;

pub(crate) use self::bytes::Bytes;
pub(crate) use self::typed::{Json, Plain, Rkyv};
