//! The mapper with a typed value. Each has the same token. rkyv's archives are checked once for each version,
//! and also measured without the check, the way `mmap-sync` is used.

use handover::cell::{Meta, Writer};
use handover::codec::{self, Codec};
use handover::mapper::{ArchivedReader, MapperReader, PlainOptions};
use handover::{MemoryMapper, PlainMapper};

use super::options::{LIMIT, map_options, options, version};
use crate::clock::now;
use crate::payload::{MEDIUM, SMALL, Token};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject, Timer};

/// Room for a token of about `size` bytes in every codec.
fn capacity(size: usize) -> u64 {
    (size + 1024) as u64
}

pub(crate) struct Publisher<C: Codec<Token>> {
    writer: Writer,
    token: Token,
    codec: std::marker::PhantomData<C>,
    // Holds the name.
    _mapper: MemoryMapper<Token, C>,
}

impl<C: Codec<Token>> Producer for Publisher<C> {
    #[inline]
    fn publish(&mut self, number: u64) {
        self.token.number = number;
        // Does what `Lease::set` does; a lease borrows its mapper and could not be kept beside it.
        let meta = Meta { codec: C::ID, ..Meta::default() };
        let bytes = C::encode(&self.token).expect("a token can be written");
        self.writer.publish_as(&meta, &bytes).expect("there is room");
    }
}

fn publisher<C: Codec<Token>>(place: &Place, size: usize) -> Outcome<Publisher<C>> {
    let mapper: MemoryMapper<Token, C> =
        options(place).capacity(capacity(size)).create_or_open(&place.name)?;
    let writer = mapper.cell().try_writer()?.ok_or("somebody else writes")?;
    Ok(Publisher { writer, token: Token::new(size), codec: std::marker::PhantomData, _mapper: mapper })
}

fn open<C: Codec<Token>>(place: &Place) -> Outcome<MemoryMapper<Token, C>> {
    Ok(options(place).open_existing(&place.name)?)
}

/// Uses each line of the bearer, as with bytes.
fn use_token(number: u64, bearer: &str) -> u64 {
    crate::payload::touch(bearer.as_bytes());
    number
}

pub(crate) struct Json;

pub(crate) struct JsonReading {
    mapper: MemoryMapper<Token>,
    reader: MapperReader<Token, codec::Json>,
    size: usize,
    version: u64,
}

impl Consumer for JsonReading {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        std::hint::black_box(self.mapper.get().expect("it is a token").expect("there is a value")).number
    }

    #[inline]
    fn read_unchanged(&mut self) -> u64 {
        self.reader.get().expect("it is a token").expect("there is a value").number
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        let version = self.mapper.version();
        if version == self.version {
            return None;
        }
        self.version = version;
        let token = self.mapper.get().expect("it is a token").expect("there is a value");
        Some(use_token(token.number, &token.bearer))
    }

    fn sleep_other(&mut self, seen: u64) -> u64 {
        self.mapper.cell().wait_newer(self.version, LIMIT).expect("the producer lives");
        self.take_other(seen).expect("it is newer")
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.mapper.get()?.ok_or("no value")?.check(self.size, number)?;
        self.reader.get()?.ok_or("no value")?.check(self.size, number)?;
        Ok(self.mapper.get_shared()?.ok_or("no value")?.check(self.size, number)?)
    }
}

impl Subject for Json {
    const NAME: &'static str = "handover, JSON";
    const KIND: Kind = Kind::Handover;
    type Producer = Publisher<codec::Json>;
    type Consumer = JsonReading;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "MemoryMapper with JSON, a typed token: set under a lease, get; unchanged: MapperReader::get"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] = &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::ReadOwned,
            Measure::ReadUnchanged,
            Measure::ReadWhilePublished,
            Measure::HandoverSpinning,
            Measure::HandoverAsleep,
            Measure::SetOneShot,
            Measure::Open,
            Measure::Create,
        ];
        if size == SMALL { ALL } else { &ALL[..5] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<Self::Producer> {
        publisher(place, size)
    }

    fn consumer(place: &Place, size: usize) -> Outcome<JsonReading> {
        let mapper = open::<codec::Json>(place)?;
        let (reader, version) = (mapper.reader(), mapper.version());
        Ok(JsonReading { mapper, reader, size, version })
    }

    fn open(place: &Place, _size: usize, time: Timer<'_>) -> Outcome<f64> {
        let options = options(place);
        let start = now();
        let opened: MemoryMapper<Token> = options.open_existing(&place.name)?;
        let end = now();
        drop(opened);
        Ok(time(start, end))
    }

    fn create(place: &Place, size: usize, time: Timer<'_>) -> Outcome<f64> {
        let name = format!("{}-created", place.name);
        let options = options(place).capacity(capacity(size));
        let start = now();
        let created: MemoryMapper<Token> = options.create_new(&name)?;
        let end = now();
        drop(created);
        Ok(time(start, end))
    }

    fn one_shot(place: &Place, size: usize) -> Outcome<Box<dyn FnMut(u64)>> {
        let place = place.other(1);
        let mapper: MemoryMapper<Token> =
            options(&place).capacity(capacity(size)).create_or_open(&place.name)?;
        let mut token = Token::new(size);
        Ok(Box::new(move |number| {
            token.number = number;
            mapper.set(&token).expect("nobody else writes");
        }))
    }
}

pub(crate) struct Rkyv<const CHECKED: bool>;

pub(crate) struct RkyvReading {
    mapper: MemoryMapper<Token, codec::Rkyv>,
    reader: ArchivedReader<Token>,
    size: usize,
    version: u64,
}

impl Consumer for RkyvReading {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        let archived = self.reader.load().expect("it is a token").expect("there is a value");
        crate::payload::owned(archived).number
    }

    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        self.reader.load().expect("it is a token").expect("there is a value").number.to_native()
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        let version = self.reader.version();
        if version == self.version {
            return None;
        }
        self.version = version;
        let token = self.reader.load().expect("it is a token").expect("there is a value");
        Some(use_token(token.number.to_native(), &token.bearer))
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.mapper.get()?.ok_or("no value")?.check(self.size, number)?;
        let archived = self.reader.load()?.ok_or("no value")?;
        let token: Token = rkyv::deserialize::<Token, rkyv::rancor::Error>(archived)?;
        Ok(token.check(self.size, number)?)
    }
}

impl<const CHECKED: bool> Subject for Rkyv<CHECKED> {
    const NAME: &'static str = if CHECKED { "handover, rkyv" } else { "handover, rkyv unchecked" };
    const KIND: Kind = Kind::Handover;
    type Producer = Publisher<codec::Rkyv>;
    type Consumer = RkyvReading;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        let check = if CHECKED { "each version checked once" } else { "without a check, as with mmap-sync" };
        format!(
            "MemoryMapper with rkyv, a typed token: set under a lease; zero-copy: ArchivedReader::load; owned: \
             deserialized from there; {check}"
        )
    }

    fn measures(size: usize) -> &'static [Measure] {
        if CHECKED {
            &[
                Measure::Publish,
                Measure::PublishWhileRead,
                Measure::ReadOwned,
                Measure::ReadZeroCopy,
                Measure::ReadUnchanged,
                Measure::ReadWhilePublished,
                Measure::HandoverSpinning,
            ]
        } else if size == SMALL {
            &[Measure::ReadOwned, Measure::ReadZeroCopy]
        } else {
            &[]
        }
    }

    fn producer(place: &Place, size: usize) -> Outcome<Self::Producer> {
        publisher(place, size)
    }

    fn consumer(place: &Place, size: usize) -> Outcome<RkyvReading> {
        let mapper = open::<codec::Rkyv>(place)?;
        // SAFETY: only this crate's processes open the map, through the library; they do not fork.
        let mut reader = unsafe { mapper.trust_writers()? };
        if !CHECKED {
            // SAFETY: as above, and they store tokens only.
            reader = unsafe { reader.unchecked() };
        }
        let version = mapper.version();
        Ok(RkyvReading { mapper, reader, size, version })
    }
}

/// The layout of C#'s programs, through the library: with a lock, and without versions.
pub(crate) struct Plain;

pub(crate) struct PlainSide {
    mapper: PlainMapper<Token>,
    token: Token,
    size: usize,
}

impl PlainSide {
    fn new(place: &Place, size: usize) -> Outcome<Self> {
        let options = PlainOptions::new().map(map_options(place)).capacity(capacity(size));
        let mapper = options.create_or_open(&place.name)?;
        Ok(Self { mapper, token: Token::new(size), size })
    }
}

impl Producer for PlainSide {
    #[inline]
    fn publish(&mut self, number: u64) {
        self.token.number = number;
        self.mapper.set(&self.token).expect("there is room");
    }
}

impl Consumer for PlainSide {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        std::hint::black_box(self.mapper.get().expect("it is a token").expect("there is a value")).number
    }

    #[inline]
    fn read_unchanged(&mut self) -> u64 {
        self.read_owned()
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        Ok(self.mapper.get()?.ok_or("no value")?.check(self.size, number)?)
    }
}

impl Subject for Plain {
    const NAME: &'static str = "handover, plain";
    const KIND: Kind = Kind::Handover;
    type Producer = PlainSide;
    type Consumer = PlainSide;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "PlainMapper, the layout of C# programs, with JSON, a typed token: a lock for each set and get"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size > MEDIUM {
            return &[];
        }
        &[Measure::Publish, Measure::ReadOwned, Measure::ReadUnchanged]
    }

    fn producer(place: &Place, size: usize) -> Outcome<PlainSide> {
        PlainSide::new(place, size)
    }

    fn consumer(place: &Place, size: usize) -> Outcome<PlainSide> {
        PlainSide::new(place, size)
    }
}
