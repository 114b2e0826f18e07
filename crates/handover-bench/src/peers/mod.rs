//! What else people use to hand over values on one machine. Each is used as its documentation shows, with
//! what its interface offers for speed, and without durability.

mod iceoryx;
mod json;
mod lmdb;
mod redis;
mod sync;
mod versions;

pub(crate) use self::iceoryx::{Blackboard, Event, PublishSubscribe};
pub(crate) use self::json::{FileRename, NaiveMap, Socket};
pub(crate) use self::lmdb::Lmdb;
pub(crate) use self::redis::{Redis, Server};
pub(crate) use self::sync::{SyncBytes, SyncTyped};
