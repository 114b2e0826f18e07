//! mmap-sync: two data files, of which the writer takes the one without a counted reader. Readers do not
//! wait. A reader that is stopped between two steps can see a mix of two values, and a reader that dies makes
//! the writer wait for the grace period. Archives are read without a check, as in its own examples.

use std::marker::PhantomData;
use std::time::Duration;

use mmap_sync::locks::LockDisabled;
use mmap_sync::synchronizer::Synchronizer;
use rkyv07::ser::Serializer;
use rkyv07::ser::serializers::AllocSerializer;
use rkyv07::{AlignedVec, Deserialize, Infallible};
use wyhash::WyHash;

use super::versions::version_of;
use crate::payload::{self, SMALL, Token, check_bytes, number_of, touch};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

/// The defaults, except that a writer that finds a reader looks again after 1 µs and not after 1 s.
type Sync = Synchronizer<WyHash, LockDisabled, 1024, 1000>;

const GRACE: Duration = Duration::from_secs(1);

fn open(place: &Place) -> Sync {
    Sync::with_params(place.path("sync").as_os_str())
}

fn memory(place: &Place, mut write: impl FnMut(usize, &mut Sync), size: usize) -> Outcome<(u64, u64)> {
    let mut sync = open(place);
    let mut held = [0; 2];
    for (held, size) in held.iter_mut().zip([size, SMALL]) {
        for _ in 0..8 {
            write(size, &mut sync);
        }
        *held = place.memory()?;
    }
    Ok((held[0], held[1]))
}

/// The archive of bytes, made once; a publication changes the number in it.
fn archive(size: usize) -> AlignedVec {
    let mut bytes = payload::Bytes::new(size);
    let value = bytes.numbered(0).to_vec();
    let mut serializer = AllocSerializer::<1024>::default();
    serializer.serialize_value(&value).expect("bytes can be archived");
    serializer.into_serializer().into_inner()
}

pub(crate) struct SyncBytes;

pub(crate) struct BytesProducer {
    sync: Sync,
    archive: AlignedVec,
    size: usize,
}

pub(crate) struct BytesConsumer {
    sync: Sync,
    own: Vec<u8>,
    size: usize,
}

impl Producer for BytesProducer {
    #[inline]
    fn publish(&mut self, number: u64) {
        // The bytes come first in their archive.
        let number = number.to_le_bytes();
        let last = self.size - payload::NUMBER;
        self.archive[..payload::NUMBER].copy_from_slice(&number);
        self.archive[last..self.size].copy_from_slice(&number);
        self.sync.write_raw::<Vec<u8>>(&self.archive, GRACE).expect("there is room");
    }
}

impl BytesConsumer {
    #[inline]
    fn with<R>(&mut self, using: impl FnOnce(&[u8], &mut Vec<u8>) -> R) -> R {
        // SAFETY: this crate wrote the bytes as this type, and the guard is dropped long before the grace
        // period ends.
        let read = unsafe { self.sync.read::<Vec<u8>>(false) };
        using(read.expect("there is a value").as_slice(), &mut self.own)
    }
}

impl Consumer for BytesConsumer {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        self.with(|bytes, own| {
            own.copy_from_slice(bytes);
            number_of(std::hint::black_box(own))
        })
    }

    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        self.with(|bytes, _| number_of(bytes))
    }

    #[inline]
    fn take_other(&mut self, seen: u64) -> Option<u64> {
        // Its versions are not numbers but a slot, a length and a checksum, so this reads the number from the
        // value.
        self.with(|bytes, _| (number_of(bytes) != seen).then(|| touch(bytes)))
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.read_owned();
        let size = self.size;
        check_bytes(&self.own, size, number)?;
        Ok(self.with(|bytes, _| check_bytes(bytes, size, number))?)
    }
}

const MEASURES: &[Measure] = &[
    Measure::Publish,
    Measure::PublishWhileRead,
    Measure::ReadOwned,
    Measure::ReadZeroCopy,
    Measure::ReadUnchanged,
    Measure::ReadWhilePublished,
    Measure::HandoverSpinning,
    Measure::Memory,
    Measure::Readers,
];

impl Subject for SyncBytes {
    const NAME: &'static str = "mmap-sync, bytes";
    const KIND: Kind = Kind::Peer;
    type Producer = BytesProducer;
    type Consumer = BytesConsumer;

    fn version() -> String {
        version_of("mmap-sync")
    }

    fn what() -> String {
        "write_raw of an archived Vec<u8>, read without a check of the archive; the writer looks for readers \
         every 1 µs; a reader that was stopped may see a mix of two values"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { MEASURES } else { &MEASURES[..MEASURES.len() - 1] }
    }

    fn series(_size: usize) -> &'static [Measure] {
        &[Measure::Publish, Measure::ReadOwned, Measure::ReadZeroCopy]
    }

    fn producer(place: &Place, size: usize) -> Outcome<BytesProducer> {
        Ok(BytesProducer { sync: open(place), archive: archive(size), size })
    }

    fn consumer(place: &Place, size: usize) -> Outcome<BytesConsumer> {
        Ok(BytesConsumer { sync: open(place), own: vec![1; size], size })
    }

    fn memory(place: &Place, size: usize) -> Outcome<(u64, u64)> {
        let archives = [(size, archive(size)), (SMALL, archive(SMALL))];
        memory(
            place,
            |size, sync| {
                let archive = archives.iter().find(|(of, _)| *of == size).expect("one of the two");
                sync.write_raw::<Vec<u8>>(&archive.1, GRACE).expect("there is room");
            },
            size,
        )
    }
}

use old::{ArchivedOldToken, OldToken};

#[allow(unsafe_op_in_unsafe_fn, reason = "the derives of rkyv 0.7 are older than this lint")]
mod old {
    /// The same token, for rkyv 0.7.
    #[derive(rkyv07::Archive, rkyv07::Serialize, rkyv07::Deserialize)]
    #[archive(crate = "rkyv07", check_bytes)]
    pub(super) struct OldToken {
        pub(super) number: u64,
        pub(super) bearer: String,
        pub(super) issuer: String,
        pub(super) subject: String,
        pub(super) scopes: Vec<String>,
        pub(super) expires: u64,
    }
}

impl From<Token> for OldToken {
    fn from(token: Token) -> Self {
        let Token { number, bearer, issuer, subject, scopes, expires } = token;
        Self { number, bearer, issuer, subject, scopes, expires }
    }
}

impl From<OldToken> for Token {
    fn from(token: OldToken) -> Self {
        let OldToken { number, bearer, issuer, subject, scopes, expires } = token;
        Self { number, bearer, issuer, subject, scopes, expires }
    }
}

pub(crate) struct SyncTyped;

pub(crate) struct TypedSide {
    sync: Sync,
    token: OldToken,
    size: usize,
    shared: PhantomData<OldToken>,
}

impl TypedSide {
    fn new(place: &Place, size: usize) -> Self {
        Self { sync: open(place), token: Token::new(size).into(), size, shared: PhantomData }
    }

    #[inline]
    fn with<R>(&mut self, using: impl FnOnce(&ArchivedOldToken) -> R) -> R {
        // SAFETY: as for bytes.
        let read = unsafe { self.sync.read::<OldToken>(false) };
        using(&read.expect("there is a value"))
    }

    #[inline]
    fn owned(&mut self) -> OldToken {
        self.with(|archived| archived.deserialize(&mut Infallible).unwrap_or_else(|never| match never {}))
    }
}

impl Producer for TypedSide {
    #[inline]
    fn publish(&mut self, number: u64) {
        self.token.number = number;
        self.sync.write(&self.token, GRACE).expect("there is room");
    }
}

impl Consumer for TypedSide {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        std::hint::black_box(self.owned()).number
    }

    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        self.with(|token| token.number)
    }

    #[inline]
    fn take_other(&mut self, seen: u64) -> Option<u64> {
        self.with(|token| {
            (token.number != seen).then(|| {
                touch(token.bearer.as_bytes());
                token.number
            })
        })
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        Ok(Token::from(self.owned()).check(self.size, number)?)
    }
}

impl Subject for SyncTyped {
    const NAME: &'static str = "mmap-sync";
    const KIND: Kind = Kind::Peer;
    type Producer = TypedSide;
    type Consumer = TypedSide;

    fn version() -> String {
        version_of("mmap-sync")
    }

    fn what() -> String {
        "write and read of a typed token (rkyv 0.7), read without a check of the archive; the rest as with bytes"
            .to_owned()
    }

    fn measures(_size: usize) -> &'static [Measure] {
        &MEASURES[..MEASURES.len() - 2]
    }

    fn producer(place: &Place, size: usize) -> Outcome<TypedSide> {
        Ok(TypedSide::new(place, size))
    }

    fn consumer(place: &Place, size: usize) -> Outcome<TypedSide> {
        Ok(TypedSide::new(place, size))
    }
}
