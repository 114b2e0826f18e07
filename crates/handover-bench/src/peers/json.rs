//! Ways that need only a JSON library: a file that is replaced, a socket, and a map as a C# program writes
//! it.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::versions::version_of;
use crate::payload::{SMALL, Token, touch};
use crate::place::SharedMemory;
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

/// A token, and room for its JSON.
pub(super) struct Encoder {
    token: Token,
    json: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(size: usize) -> Self {
        Self { token: Token::new(size), json: Vec::with_capacity(size + 1024) }
    }

    /// The JSON of the token with this number, after a head of this many bytes.
    #[inline]
    pub(super) fn encode(&mut self, number: u64, head: usize) -> &mut Vec<u8> {
        self.token.number = number;
        self.json.clear();
        self.json.resize(head, 0);
        serde_json::to_writer(&mut self.json, &self.token).expect("a token can be written");
        &mut self.json
    }
}

pub(super) fn decode(json: &[u8]) -> Token {
    serde_json::from_slice(json).expect("it is a token")
}

fn used(token: &Token, seen: u64) -> Option<u64> {
    (token.number != seen).then(|| {
        touch(token.bearer.as_bytes());
        token.number
    })
}

fn version() -> String {
    format!("serde_json {}", version_of("serde_json"))
}

// ---- a file that is replaced

pub(crate) struct FileRename;

pub(crate) struct FileSide {
    encoder: Encoder,
    path: PathBuf,
    temporary: PathBuf,
    read: Vec<u8>,
    size: usize,
}

impl FileSide {
    fn new(place: &Place, size: usize) -> Self {
        Self {
            encoder: Encoder::new(size),
            path: place.path("file.json"),
            temporary: place.path("file.json.new"),
            read: Vec::new(),
            size,
        }
    }

    fn get(&mut self) -> Token {
        self.read.clear();
        let mut file = File::open(&self.path).expect("the file is there");
        file.read_to_end(&mut self.read).expect("it can be read");
        decode(&self.read)
    }
}

impl Producer for FileSide {
    fn publish(&mut self, number: u64) {
        fs::write(&self.temporary, self.encoder.encode(number, 0)).expect("there is room");
        fs::rename(&self.temporary, &self.path).expect("the directory can be written");
    }
}

impl Consumer for FileSide {
    fn read_owned(&mut self) -> u64 {
        black_box(self.get()).number
    }

    fn read_unchanged(&mut self) -> u64 {
        self.read_owned()
    }

    fn take_other(&mut self, seen: u64) -> Option<u64> {
        used(&self.get(), seen)
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        let size = self.size;
        Ok(self.get().check(size, number)?)
    }
}

const MEASURES: &[Measure] = &[
    Measure::Publish,
    Measure::PublishWhileRead,
    Measure::ReadOwned,
    Measure::ReadUnchanged,
    Measure::ReadWhilePublished,
    Measure::HandoverSpinning,
    Measure::Readers,
];

fn measures(size: usize) -> &'static [Measure] {
    if size == SMALL { MEASURES } else { &MEASURES[..5] }
}

impl Subject for FileRename {
    const NAME: &'static str = "file + rename";
    const KIND: Kind = Kind::Peer;
    const PAIRS: usize = 0;
    type Producer = FileSide;
    type Consumer = FileSide;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "a typed token in JSON, written to a temporary file in memory that is renamed; whole values; a reader \
         opens and reads the file each time"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        measures(size)
    }

    fn producer(place: &Place, size: usize) -> Outcome<FileSide> {
        Ok(FileSide::new(place, size))
    }

    fn consumer(place: &Place, size: usize) -> Outcome<FileSide> {
        Ok(FileSide::new(place, size))
    }
}

// ---- a map as C# programs write it

pub(crate) struct NaiveMap;

pub(crate) struct MapSide {
    memory: SharedMemory,
    encoder: Encoder,
    read: Vec<u8>,
    capacity: usize,
    size: usize,
}

impl MapSide {
    fn new(memory: SharedMemory, capacity: usize, size: usize) -> Self {
        Self { memory, encoder: Encoder::new(size), read: vec![1; capacity], capacity, size }
    }

    /// `None` where a write was under way.
    fn get(&mut self) -> Option<Token> {
        let from = self.memory.bytes(0, self.capacity);
        let copy = crate::bare::copier();
        // SAFETY: both have that many bytes; this subject may return a mix of two values.
        unsafe { copy(self.read.as_mut_ptr().cast(), from.cast(), self.capacity) };
        let end = self.read.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        serde_json::from_slice(&self.read[..end]).ok()
    }
}

impl Producer for MapSide {
    fn publish(&mut self, number: u64) {
        let json = self.encoder.encode(number, 0);
        // The rest is zeroed: an earlier value may have been longer.
        json.resize(self.capacity, 0);
        let to = self.memory.bytes(0, self.capacity);
        // SAFETY: both have that many bytes; a concurrent reader may see a mix, as this subject's users do.
        unsafe { crate::bare::copier()(to.cast(), json.as_ptr().cast(), self.capacity) };
    }
}

impl Consumer for MapSide {
    fn read_owned(&mut self) -> u64 {
        black_box(self.get()).map_or(0, |token| token.number)
    }

    fn read_unchanged(&mut self) -> u64 {
        self.read_owned()
    }

    fn take_other(&mut self, seen: u64) -> Option<u64> {
        used(&self.get()?, seen)
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        let size = self.size;
        Ok(self.get().ok_or("no token")?.check(size, number)?)
    }
}

impl Subject for NaiveMap {
    const NAME: &'static str = "plain map";
    const KIND: Kind = Kind::Peer;
    const PAIRS: usize = 0;
    type Producer = MapSide;
    type Consumer = MapSide;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "a map as a C# program uses it: a typed token in JSON at its start, the rest zero, no lock; a reader may \
         see a mix of two values"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &MEASURES[..6] } else { &MEASURES[..5] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<MapSide> {
        let capacity = (size + 1024).next_multiple_of(4096);
        Ok(MapSide::new(SharedMemory::create(&place.path("map"), capacity)?, capacity, size))
    }

    fn consumer(place: &Place, size: usize) -> Outcome<MapSide> {
        let capacity = (size + 1024).next_multiple_of(4096);
        Ok(MapSide::new(SharedMemory::open(&place.path("map"))?, capacity, size))
    }
}

// ---- a socket

pub(crate) struct Socket;

/// Bytes of the length prefix.
const HEAD: usize = 4;

/// Answers each byte that comes with the value.
pub(crate) struct SocketServer {
    listener: UnixListener,
    client: Option<UnixStream>,
    encoder: Encoder,
}

pub(crate) struct SocketClient {
    stream: UnixStream,
    read: Vec<u8>,
    size: usize,
}

impl SocketServer {
    fn client(&mut self) -> &mut UnixStream {
        let listener = &self.listener;
        self.client.get_or_insert_with(|| listener.accept().expect("the reader connects").0)
    }

    fn send(&mut self) {
        let json = std::mem::take(&mut self.encoder.json);
        self.client().write_all(&json).expect("the reader is there");
        self.encoder.json = json;
    }
}

impl Producer for SocketServer {
    fn publish(&mut self, number: u64) {
        let frame = self.encoder.encode(number, HEAD);
        let length = (frame.len() - HEAD) as u32;
        frame[..HEAD].copy_from_slice(&length.to_le_bytes());
    }

    fn publish_and_wake(&mut self, number: u64) {
        self.publish(number);
        self.send();
    }

    fn serves(&self) -> bool {
        true
    }

    fn serve(&mut self, go_on: &dyn Fn() -> bool) {
        let limit = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        while go_on() {
            let client = self.client();
            let mut ready = [PollFd::new(client, PollFlags::IN)];
            if poll(&mut ready, Some(&limit)).is_ok_and(|count| count > 0) {
                let mut request = [0];
                client.read_exact(&mut request).expect("the reader is there");
                self.send();
            }
        }
    }
}

impl SocketClient {
    fn receive(&mut self) -> Token {
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head).expect("the server answers");
        self.read.resize(u32::from_le_bytes(head) as usize, 0);
        self.stream.read_exact(&mut self.read).expect("the server answers");
        decode(&self.read)
    }

    fn get(&mut self) -> Token {
        self.stream.write_all(&[1]).expect("the server is there");
        self.receive()
    }
}

impl Consumer for SocketClient {
    fn read_owned(&mut self) -> u64 {
        black_box(self.get()).number
    }

    fn read_unchanged(&mut self) -> u64 {
        self.read_owned()
    }

    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        // Values come unasked only to a reader that sleeps.
        None
    }

    fn sleep_other(&mut self, seen: u64) -> u64 {
        used(&self.receive(), seen).expect("each value is sent once")
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        let size = self.size;
        Ok(self.get().check(size, number)?)
    }
}

impl Subject for Socket {
    const NAME: &'static str = "Unix socket";
    const KIND: Kind = Kind::Peer;
    const PAIRS: usize = 0;
    type Producer = SocketServer;
    type Consumer = SocketClient;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "a typed token in JSON: the producer keeps it (publish is the encoding) and answers a request for each \
         read; asleep: it sends the value to the reader, which blocks in read"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] =
            &[Measure::Publish, Measure::ReadOwned, Measure::ReadUnchanged, Measure::HandoverAsleep];
        if size == SMALL { ALL } else { &ALL[..3] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<SocketServer> {
        let listener = UnixListener::bind(place.path("socket"))?;
        Ok(SocketServer { listener, client: None, encoder: Encoder::new(size) })
    }

    fn consumer(place: &Place, size: usize) -> Outcome<SocketClient> {
        Ok(SocketClient { stream: UnixStream::connect(place.path("socket"))?, read: Vec::new(), size })
    }
}
