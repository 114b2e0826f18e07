//! A token made from its rkyv archive in private memory: what any reader to an owned value pays beyond
//! finding the bytes. Nothing is handed over.

use super::slots::VERSION;
use crate::payload::{self, ArchivedToken, SMALL, Token};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

pub(crate) struct Decode;

pub(crate) struct Side {
    archive: rkyv::util::AlignedVec,
}

impl Side {
    #[inline]
    fn token(&self) -> &ArchivedToken {
        // SAFETY: the archive was made from a token.
        unsafe { rkyv::access_unchecked(&self.archive) }
    }
}

impl Producer for Side {
    fn publish(&mut self, _number: u64) {}
}

impl Consumer for Side {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        payload::owned(self.token()).number
    }

    fn check(&mut self, _number: u64) -> Outcome<()> {
        if self.read_owned() == self.token().number.to_native() {
            Ok(())
        } else {
            Err("another token was made".into())
        }
    }
}

fn side(size: usize) -> Outcome<Side> {
    Ok(Side { archive: rkyv::to_bytes::<rkyv::rancor::Error>(&Token::new(size))? })
}

impl Subject for Decode {
    const NAME: &'static str = "rkyv in private memory";
    const KIND: Kind = Kind::Bare;
    type Producer = Side;
    type Consumer = Side;

    fn version() -> String {
        VERSION.to_owned()
    }

    fn what() -> String {
        "a token made of its rkyv 0.8 archive in private memory, unchecked: nothing is handed over".to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::ReadOwned] } else { &[] }
    }

    fn producer(_place: &Place, size: usize) -> Outcome<Side> {
        side(size)
    }

    fn consumer(_place: &Place, size: usize) -> Outcome<Side> {
        side(size)
    }
}
