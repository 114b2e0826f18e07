//! The Rust side of `cargo xtask csharp`: a process that does what a test tells it, with a `PlainMapper`. It
//! understands the same requests as tests/csharp/Peer.cs, which describes them.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use handover::codec::{Codec, Json, Text};
use handover::mapper::PlainOptions;
use handover::{Auth, Error, ErrorKind, MemoryMapper, PlainMapper};
use serde::{Deserialize, Serialize};

/// One of everything that JSON has; tests/csharp/Models.cs has the same one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sample {
    name: String,
    count: i64,
    large: u64,
    ratio: f64,
    on: bool,
    nothing: Option<String>,
    tags: Vec<String>,
    inner: Auth,
}

impl Sample {
    fn known() -> Self {
        Self {
            name: "one of \"everything\" + \\ and \u{e9}\u{4e2d}\u{1F600}".to_owned(),
            count: i64::MIN,
            large: u64::MAX,
            ratio: 0.1,
            on: true,
            nothing: None,
            tags: vec!["a".to_owned(), String::new(), "\u{1}".to_owned()],
            inner: Auth::new("t"),
        }
    }
}

/// A map and its place.
struct Peer {
    auth: PlainMapper<Auth>,
    place: Where,
}

enum Where {
    Name(String),
    File(PathBuf),
}

fn main() {
    let mut peer = None;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let words: Vec<&str> = line.split('\t').collect();
        let reply = match obey(&mut peer, &words) {
            Ok(result) => format!("ok\t{result}\n"),
            Err(error) => format!("failed\t{:?}\t{}\n", error.kind(), error.to_string().replace('\n', " ")),
        };
        let mut out = std::io::stdout().lock();
        if out.write_all(reply.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn obey(peer: &mut Option<Peer>, words: &[&str]) -> Result<String, Error> {
    let options = PlainOptions::new();
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number: {text}"));
    let (auth, place) = match *words {
        ["create", name, capacity] => {
            (options.capacity(number(capacity)).create_or_open(name)?, Where::Name(name.to_owned()))
        }
        ["open", name] => (options.open_existing(name)?, Where::Name(name.to_owned())),
        ["create-file", path, capacity] => {
            let path = PathBuf::from(path);
            (options.capacity(number(capacity)).create_or_open(&path)?, Where::File(path))
        }
        ["open-file", path] => {
            let path = PathBuf::from(path);
            (options.open_existing(&path)?, Where::File(path))
        }
        ["open-as-cell", name] => return MemoryMapper::<Auth>::open_existing(name).map(|_| String::new()),
        ["open-file-as-cell", path] => {
            return MemoryMapper::<Auth>::open_existing(Path::new(path)).map(|_| String::new());
        }
        _ => return peer.as_ref().expect("a map is open").obey(words),
    };
    *peer = Some(Peer { auth, place });
    Ok(String::new())
}

impl Peer {
    fn obey(&self, words: &[&str]) -> Result<String, Error> {
        let done = |()| String::new();
        match *words {
            ["capacity"] => Ok(self.auth.capacity().to_string()),
            ["set", token] => self.auth.set(&Auth::new(token)).map(done),
            ["get"] => self.there(self.auth.get()?).map(|auth| auth.bearer().to_owned()),
            ["text"] => self.there(self.auth.get_text()?).map(|text| text.to_string()),
            ["put", text] => self.another::<String, Text>()?.set(&text.to_owned()).map(done),
            ["set-sample"] => self.another::<_, Json>()?.set(&Sample::known()).map(done),
            ["get-sample"] => {
                let sample = self.there(self.another::<Sample, Json>()?.get()?)?;
                Ok(if sample == Sample::known() { "known" } else { "another" }.to_owned())
            }
            ["rewrite", first, second, milliseconds] => self.rewrite([first, second], limit(milliseconds)),
            ["reread", first, second, milliseconds] => self.reread([first, second], limit(milliseconds)),
            _ => panic!("no such request: {words:?}"),
        }
    }

    /// The same map as a value of another type.
    fn another<T, C: Codec<T>>(&self) -> Result<PlainMapper<T, C>, Error> {
        match &self.place {
            Where::Name(name) => PlainMapper::open_existing(name),
            Where::File(path) => PlainMapper::open_existing(path),
        }
    }

    /// A request for a value fails where there is none, as it does in Peer.cs.
    fn there<T>(&self, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::new(ErrorKind::NoValue, "nothing is stored").about(self.auth.subject()))
    }

    fn rewrite(&self, tokens: [&str; 2], limit: Duration) -> Result<String, Error> {
        let start = Instant::now();
        let mut rounds = 0;
        loop {
            for token in tokens {
                self.auth.set(&Auth::new(token))?;
            }
            rounds += 1;
            if start.elapsed() >= limit {
                return Ok(rounds.to_string());
            }
        }
    }

    fn reread(&self, tokens: [&str; 2], limit: Duration) -> Result<String, Error> {
        let start = Instant::now();
        let (mut whole, mut refused, mut mixed) = (0, 0, 0);
        loop {
            match self.auth.get().and_then(|auth| self.there(auth)) {
                Ok(auth) if tokens.contains(&auth.bearer()) => whole += 1,
                Ok(_) => mixed += 1,
                Err(e) if e.kind() == ErrorKind::Decode => refused += 1,
                Err(e) => return Err(e),
            }
            if start.elapsed() >= limit {
                return Ok(format!("{whole} {refused} {mixed}"));
            }
        }
    }
}

fn limit(milliseconds: &str) -> Duration {
    Duration::from_millis(milliseconds.parse().expect("milliseconds"))
}
