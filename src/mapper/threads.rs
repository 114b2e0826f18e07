//! What may go to other threads and be shared between them, checked whenever the library is built.

use super::{
    Auth, Change, Event, Events, Lease, MapperOptions, MapperReader, MemoryMapper, PlainMapper, PlainOptions,
    Watch, WatchGuard,
};
use crate::codec::{AnyCodec, Bytes, Json, Text, Untyped};

const fn is_send_and_sync<T: Send + Sync>() {}

const _: () = {
    is_send_and_sync::<Auth>();
    is_send_and_sync::<MapperOptions>();
    is_send_and_sync::<PlainOptions>();
    is_send_and_sync::<MemoryMapper<Vec<u8>>>();
    is_send_and_sync::<PlainMapper<Vec<u8>>>();
    is_send_and_sync::<MapperReader<Vec<u8>, Json>>();
    is_send_and_sync::<Lease<'_, Vec<u8>, Json>>();
    is_send_and_sync::<Watch<Vec<u8>, Json>>();
    is_send_and_sync::<Events<Vec<u8>, Json>>();
    is_send_and_sync::<WatchGuard>();
    // A watch may go to the thread that its values are made in, even where they are bound to one.
    is_send_and_sync::<Watch<*const u8, Json>>();
    is_send_and_sync::<(Change<Vec<u8>>, Event<Vec<u8>>)>();
    is_send_and_sync::<(Json, Text, Bytes, AnyCodec, Untyped)>();
    // The codec is never held: one that is of a single thread makes nothing else so. Nor is a plain mapper's
    // value.
    is_send_and_sync::<MemoryMapper<u8, *const u8>>();
    is_send_and_sync::<PlainMapper<*const u8, *const u8>>();
};

#[cfg(feature = "messagepack")]
const _: () = is_send_and_sync::<crate::codec::MessagePack>();

#[cfg(feature = "async")]
const _: () = is_send_and_sync::<super::Changes<Vec<u8>, Json>>();

#[cfg(feature = "rkyv")]
const _: () = {
    use super::{ArchivedReader, ArchivedSnapshot, ArchivedValue};
    is_send_and_sync::<ArchivedValue<Vec<u8>>>();
    is_send_and_sync::<ArchivedReader<Vec<u8>>>();
    is_send_and_sync::<ArchivedSnapshot<Vec<u8>>>();
    is_send_and_sync::<(crate::codec::Rkyv, crate::codec::ArchiveWriter)>();
};
