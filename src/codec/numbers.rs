//! The codecs' stored numbers, and their names. Relies on nothing.

pub(super) const NONE: u32 = 0;
pub(super) const JSON: u32 = 1;
pub(super) const MESSAGE_PACK: u32 = 2;
pub(super) const TEXT: u32 = 3;
pub(super) const BYTES: u32 = 4;
pub(super) const RKYV: u32 = 5;

/// The name of the codec with this number, for messages.
///
/// ```
/// use handover::codec::{self, Json};
///
/// assert_eq!(codec::name_of(Json::ID), "JSON");
/// assert_eq!(codec::name_of(70_000), "codec 70000");
/// ```
pub fn name_of(id: u32) -> String {
    match id {
        NONE => "bytes of no codec".to_owned(),
        JSON => "JSON".to_owned(),
        MESSAGE_PACK => "MessagePack".to_owned(),
        TEXT => "text".to_owned(),
        BYTES => "bytes".to_owned(),
        RKYV => "rkyv".to_owned(),
        other => format!("codec {other}"),
    }
}
