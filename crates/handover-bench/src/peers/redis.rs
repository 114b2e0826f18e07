//! Redis over its Unix socket, persistence off: SET and GET of a token in JSON; asleep: PUBLISH to a
//! subscriber. The client is a few lines of code here, so that the figures contain no client library's cost.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::json::{Encoder, decode};
use crate::payload::{SMALL, Token, touch};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

pub(crate) struct Redis;

const PROGRAM: &str = "redis-server";

fn socket(run: &Path) -> PathBuf {
    run.join("redis.socket")
}

/// The server of a run. Dropping this ends it.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(run: &Path) -> Outcome<Self> {
        let path = socket(run);
        let mut server = Command::new(PROGRAM)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocketperm", "600"])
            .arg("--unixsocket")
            .arg(&path)
            .arg("--dir")
            .arg(run)
            .stdin(Stdio::null())
            .stdout(File::create(run.join("redis.log"))?)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{PROGRAM}: {error}"))?;
        let start = Instant::now();
        while UnixStream::connect(&path).is_err() {
            if server.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(10) {
                let _ = server.kill();
                return Err(format!("{PROGRAM} does not answer").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self(server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection: commands out, replies in.
struct Connection {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
    reply: Vec<u8>,
}

impl Connection {
    fn open(place: &Place) -> Outcome<Self> {
        let run = place.folder().parent().ok_or("a case lies in its run's directory")?;
        let stream = BufReader::with_capacity(64 << 10, UnixStream::connect(socket(run))?);
        Ok(Self { stream, line: Vec::new(), reply: Vec::new() })
    }

    fn send(&mut self, parts: &[&[u8]]) -> Outcome<()> {
        self.line.clear();
        write!(self.line, "*{}\r\n", parts.len())?;
        for part in parts {
            write!(self.line, "${}\r\n", part.len())?;
            self.line.extend_from_slice(part);
            self.line.extend_from_slice(b"\r\n");
        }
        Ok(self.stream.get_mut().write_all(&self.line)?)
    }

    /// One line of a reply: its kind, and the number in it if it is one.
    fn head(&mut self) -> Outcome<(u8, i64)> {
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line)?;
        let text = str::from_utf8(&self.line)?.trim_end();
        match text.as_bytes().first() {
            None => Err("the server hung up".into()),
            Some(b'-') => Err(text.to_owned().into()),
            Some(kind) => Ok((*kind, text[1..].parse().unwrap_or(0))),
        }
    }

    /// Reads a string into `reply` and skips everything else.
    fn value(&mut self) -> Outcome<()> {
        let (kind, length) = self.head()?;
        if kind != b'$' {
            return Ok(());
        }
        let length = usize::try_from(length).map_err(|_| "no such key")?;
        self.reply.resize(length + 2, 0);
        self.stream.read_exact(&mut self.reply)?;
        self.reply.truncate(length);
        Ok(())
    }

    /// A message of a subscription: three parts, of which the last stays in `reply`.
    fn message(&mut self) -> Outcome<()> {
        let (_, parts) = self.head()?;
        for _ in 0..parts {
            self.value()?;
        }
        Ok(())
    }
}

pub(crate) struct RedisProducer {
    connection: Connection,
    encoder: Encoder,
    key: String,
}

pub(crate) struct RedisConsumer {
    connection: Connection,
    subscription: Connection,
    key: String,
    size: usize,
}

/// No other case has this one.
fn key(place: &Place) -> String {
    let case = place.folder().file_name().unwrap_or_default();
    format!("{}-{}", case.to_string_lossy(), place.name)
}

impl RedisProducer {
    fn call(&mut self, command: &[u8], number: u64) -> Outcome<()> {
        let json = self.encoder.encode(number, 0);
        self.connection.send(&[command, self.key.as_bytes(), json])?;
        self.connection.value()
    }
}

impl Producer for RedisProducer {
    fn publish(&mut self, number: u64) {
        self.call(b"SET", number).expect("the server lives");
    }

    fn publish_and_wake(&mut self, number: u64) {
        self.call(b"PUBLISH", number).expect("the server lives");
    }
}

impl Drop for RedisProducer {
    fn drop(&mut self) {
        let key = self.key.clone();
        let _ = self.connection.send(&[b"DEL", key.as_bytes()]);
        let _ = self.connection.value();
    }
}

impl RedisConsumer {
    fn get(&mut self) -> Outcome<Token> {
        self.connection.send(&[b"GET", self.key.as_bytes()])?;
        self.connection.value()?;
        Ok(decode(&self.connection.reply))
    }
}

fn used(token: &Token) -> u64 {
    touch(token.bearer.as_bytes());
    token.number
}

impl Consumer for RedisConsumer {
    fn read_owned(&mut self) -> u64 {
        black_box(self.get().expect("the server lives")).number
    }

    fn read_unchanged(&mut self) -> u64 {
        self.read_owned()
    }

    fn take_other(&mut self, seen: u64) -> Option<u64> {
        let token = self.get().expect("the server lives");
        (token.number != seen).then(|| used(&token))
    }

    fn sleep_other(&mut self, _seen: u64) -> u64 {
        self.subscription.message().expect("the server lives");
        used(&decode(&self.subscription.reply))
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        Ok(self.get()?.check(self.size, number)?)
    }
}

impl Subject for Redis {
    const NAME: &'static str = "Redis";
    const KIND: Kind = Kind::Peer;
    const PAIRS: usize = 0;
    type Producer = RedisProducer;
    type Consumer = RedisConsumer;

    fn version() -> String {
        let output = Command::new(PROGRAM).arg("--version").output().map(|output| output.stdout);
        let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
        let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
        version.unwrap_or("-").to_owned()
    }

    fn what() -> String {
        "SET and GET of a typed token in JSON over the server's Unix socket, persistence off; asleep: PUBLISH to \
         a subscriber; the server is a third process on the same processors"
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
            Measure::Readers,
        ];
        if size == SMALL { ALL } else { &ALL[..4] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<RedisProducer> {
        let connection = Connection::open(place)?;
        Ok(RedisProducer { connection, encoder: Encoder::new(size), key: key(place) })
    }

    fn consumer(place: &Place, size: usize) -> Outcome<RedisConsumer> {
        let key = key(place);
        let mut subscription = Connection::open(place)?;
        subscription.send(&[b"SUBSCRIBE", key.as_bytes()])?;
        subscription.message()?;
        Ok(RedisConsumer { connection: Connection::open(place)?, subscription, key, size })
    }
}
