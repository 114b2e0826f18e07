//! Bare loops: the least that a part of handing over can cost. None of them is a way to hand over values:
//! each leaves out something necessary, and says what.

mod calls;
mod copy;
mod decode;
mod flip;
mod header;
mod pin;
mod promised;
mod seqlock;
mod slots;
mod wake;

pub(crate) use self::calls::Calls;
pub(crate) use self::copy::Memcpy;
pub(crate) use self::decode::Decode;
pub(crate) use self::flip::Flip;
pub(crate) use self::header::FlipHeader;
pub(crate) use self::pin::{AsymmetricPin, Pin};
pub(crate) use self::promised::PromisedCalls;
pub(crate) use self::seqlock::Seqlock;
pub(crate) use self::slots::copier;
pub(crate) use self::wake::{CacheLine, Futex};
