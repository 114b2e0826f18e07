//! `handover demo`: a hand-over between real processes, told step by step.
//!
//! The demo starts this program again as a producer and as a consumer. Secrets (the token, and the key that
//! signs it) go to them over their standard input, never among arguments or in the environment; they answer
//! with one line of JSON on their standard output.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use handover::{Auth, ErrorKind, MapperOptions, MemoryMapper, Scope};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::output::{BOLD, DIM, GOOD, size, styled};
use crate::{Failure, Outcome, jwt, output, secret};

/// How long the consumer waits for the map, which is there by then, and for a new version.
const WAIT: Duration = Duration::from_secs(10);

/// How long the consumer is left waiting before the new version, so that it sleeps by then.
const NAP: Duration = Duration::from_millis(50);

/// A process of the demo; killed if the demo ends early.
struct Actor {
    role: &'static str,
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts this program again with `arguments` and writes `input` to it. Its standard input stays open.
    fn start(role: &'static str, arguments: &[&str], input: &[u8]) -> Result<Self, Failure> {
        let failed = |e: io::Error| Failure::other(format!("could not start the {role}: {e}"));
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let answers = BufReader::new(child.stdout.take().expect("piped above"));
        let mut actor = Self { role, child, answers };
        actor.tell(input)?;
        Ok(actor)
    }

    /// Writes to its standard input.
    fn tell(&mut self, input: &[u8]) -> Result<(), Failure> {
        let stdin = self.child.stdin.as_mut().expect("piped, and told only before it is closed");
        stdin
            .write_all(input)
            .and_then(|()| stdin.flush())
            .map_err(|e| Failure::other(format!("could not write to the {}: {e}", self.role)))
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says, once it does.
    fn answer(&mut self) -> Result<Json, Failure> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .ok()
            .and_then(|_| serde_json::from_str(&line).ok())
            .ok_or_else(|| Failure::other(format!("the {} ended without an answer", self.role)))
    }

    fn kill(&mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|e| Failure::other(format!("could not kill the {}: {e}", self.role)))
    }

    /// Waits for its end, which must be a success.
    fn finish(&mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::other(format!("the {} failed ({status})", self.role))),
            Err(e) => Err(Failure::other(format!("could not wait for the {}: {e}", self.role))),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The story, one step after the other.
struct Story {
    step: usize,
}

impl Story {
    fn step(&mut self, text: &str) -> Result<(), Failure> {
        self.step += 1;
        output::print_styled(&format!("\n{} {text}\n", styled(BOLD, format!("{}.", self.step))))
    }

    fn detail(text: &str) -> Result<(), Failure> {
        output::print_styled(&format!("   {text}\n"))
    }

    fn held(text: &str) -> Result<(), Failure> {
        output::print_styled(&format!("   {} {text}\n", styled(GOOD, "✓")))
    }
}

pub(crate) fn run() -> Outcome {
    let mut random = Zeroizing::new([0; 32 + 4]);
    getrandom::fill(&mut *random).map_err(|e| Failure::other(format!("no random numbers: {e}")))?;
    let (key, unique) = random.split_first_chunk::<32>().expect("36 bytes");
    let unique = unique.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let me = std::process::id();
    let name = format!("demo-{me}-{unique:08x}");

    let mut story = Story { step: 0 };
    output::print_styled(&format!(
        "{}\n",
        styled(BOLD, "An access token goes from one process to another, by a name, through memory.")
    ))?;

    let now = since_epoch().as_secs();
    let claims = json!({ "iss": "handover demo", "sub": "somebody", "iat": now, "exp": now + 300 });
    let token = Zeroizing::new(jwt::sign(key, &claims));
    story.step(&format!("This process ({me}) makes a token and signs it with a random key:"))?;
    Story::detail(&format!("a JWT (HS256) of {} bytes, {}…", token.len(), &token[..24]))?;
    Story::detail(&styled(DIM, &claims))?;

    story.step("A producer is started. It gets the token on its standard input and stores it.")?;
    let started = Instant::now();
    let input = Zeroizing::new([token.as_bytes(), b"\n"].concat());
    let mut producer = Actor::start("producer", &["demo-producer", &name], &input)?;
    let stored = micros(&producer.answer()?)?;
    Story::held(&format!("process {} stored it under the name '{name}' in {}", producer.id(), time(stored)))?;
    Story::held("it holds the name now; nothing else keeps it, and no file of yours has the token")?;

    story.step("A consumer is started. It knows the name, and a key to check the signature.")?;
    let mut consumer = Actor::start("consumer", &["demo-consumer", &name], key)?;
    drop(consumer.child.stdin.take());
    let answer = consumer.answer()?;
    let read = micros(&answer)?;
    let both = started.elapsed();
    check(&answer, 1, &token, &claims)?;
    Story::held(&format!("process {} opened the name and read the token in {}", consumer.id(), time(read)))?;
    Story::held("it is the same token, and its signature is good")?;
    Story::detail(&format!(
        "The hand-over took {}: {} to store and {} to read; {} with the start of both processes.",
        styled(BOLD, time(stored + read)),
        time(stored),
        time(read),
        time(both)
    ))?;

    story.step("The consumer waits for the next version. The producer stores a new token.")?;
    let claims = json!({ "iss": "handover demo", "sub": "somebody", "iat": now, "exp": now + 600 });
    let token = Zeroizing::new(jwt::sign(key, &claims));
    std::thread::sleep(NAP);
    producer.tell(&Zeroizing::new([token.as_bytes(), b"\n"].concat()))?;
    let stored = nanoseconds(&producer.answer()?)?;
    let answer = consumer.answer()?;
    check(&answer, 2, &token, &claims)?;
    consumer.finish()?;
    Story::held(&format!(
        "it was woken and had read version 2 {} after the producer began to store it",
        styled(BOLD, time(nanoseconds(&answer)?.saturating_sub(stored)))
    ))?;
    Story::held("it is the new token, and its signature is good; the consumer ends")?;

    story.step("Who holds the name, and how much (what 'handover ls' shows; never the value):")?;
    show_holders(&name, producer.id())?;

    story.step("The producer is killed (SIGKILL), so it can't clean up.")?;
    producer.kill()?;
    Story::held(&format!("process {} is dead; it was the last holder", producer.id()))?;

    story.step(&format!("Another consumer asks for the name: handover get {name}"))?;
    ask_in_vain(&name)?;
    Story::held("the name went with its last holder (exit code 3: no such map)")?;
    nothing_left(&name)?;
    Story::held("nothing is left behind: the bytes are gone too")?;
    output::print_styled(&format!(
        "\n{} A name lives exactly as long as a process holds it.\n",
        styled(GOOD, "Every step held.")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Checks what the consumer says that it read.
fn check(answer: &Json, version: u64, token: &str, claims: &Json) -> Result<(), Failure> {
    if answer["version"] != version {
        return Err(Failure::other(format!(
            "the consumer read version {}, not {version}",
            answer["version"]
        )));
    }
    if answer["fingerprint"] != jwt::fingerprint(token) {
        return Err(Failure::other("the consumer read another token than the producer stored"));
    }
    if answer["claims"] != *claims {
        return Err(Failure::other("the consumer did not find the signature good"));
    }
    Ok(())
}

fn show_holders(name: &str, producer: u32) -> Result<(), Failure> {
    match handover::list(Scope::User, None) {
        Ok(maps) => {
            let map = maps
                .into_iter()
                .find(|map| map.name == name)
                .ok_or_else(|| Failure::other("the name is not in the list, though the producer holds it"))?;
            Story::detail(&format!("{} of memory taken", size(map.allocated)))?;
            match map.holders {
                // Others can be there too, but only for the moment of a look: a 'handover ls' elsewhere.
                Some(pids) if pids.contains(&producer) => {
                    Story::held(&format!("held by process {producer}: the producer"))
                }
                Some(pids) => Err(Failure::other(format!(
                    "the name is held by {pids:?}, and the producer is process {producer}"
                ))),
                None => Story::detail("this system does not tell the holders"),
            }
        }
        Err(e) if e.kind() == ErrorKind::Unsupported => Story::detail("this system does not list names"),
        Err(e) => Err(e.into()),
    }
}

/// A real `handover get`, which must find nothing.
fn ask_in_vain(name: &str) -> Result<(), Failure> {
    let failed = |e| Failure::other(format!("could not start 'handover get': {e}"));
    let asked = Command::new(std::env::current_exe().map_err(failed)?)
        .args(["get", name])
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    for said in String::from_utf8_lossy(&asked.stderr).lines() {
        Story::detail(&styled(DIM, said))?;
    }
    if asked.status.code() != Some(3) || !asked.stdout.is_empty() {
        return Err(Failure::other(format!("the name is still there ({})", asked.status)));
    }
    Ok(())
}

/// The `get` before has swept what the producer left; a sweep of our own must find nothing more of it.
fn nothing_left(name: &str) -> Result<(), Failure> {
    let left = handover::collect_garbage(Scope::User, None)?;
    if left.iter().any(|left| left == name) {
        return Err(Failure::other("the bytes of the killed producer were still there"));
    }
    Ok(())
}

/// The producer's process: stores each line of standard input as a token, and holds the name until there are
/// no more.
pub(crate) fn producer(name: &str) -> Outcome {
    let mut held: Option<MemoryMapper<Auth>> = None;
    loop {
        let mut bearer = Zeroizing::new(String::with_capacity(4096));
        let failed = |e: io::Error| Failure::other(format!("the producer could not read: {e}"));
        // It ends when the demo does, however it does: then the pipe closes.
        if io::stdin().lock().read_line(&mut bearer).map_err(failed)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let auth = Auth::new(bearer.trim_end());
        let (start, at) = (Instant::now(), since_epoch());
        let mapper = match held.take() {
            Some(mapper) => mapper,
            None => MemoryMapper::create(name, 64 << 10)?,
        };
        mapper.set(&auth)?;
        held = Some(mapper);
        answer(&json!({ "micros": start.elapsed().as_micros() as u64, "at": at.as_nanos() as u64 }))?;
    }
}

/// The consumer's process: a key on standard input, the token from the map, and then the next version of it.
pub(crate) fn consumer(name: &str) -> Outcome {
    let key = secret::read_all(&mut io::stdin().lock())
        .map_err(|e| Failure::other(format!("the consumer could not read: {e}")))?;
    let key: &jwt::Key = key.as_slice().try_into().map_err(|_| Failure::other("the consumer got no key"))?;
    let tell = |version: u64, auth: &Auth, took: Duration, at: Duration| {
        answer(&json!({
            "version": version,
            "micros": took.as_micros() as u64,
            "at": at.as_nanos() as u64,
            "claims": jwt::verify(key, auth.bearer()),
            "fingerprint": jwt::fingerprint(auth.bearer()),
        }))
    };
    let start = Instant::now();
    let mapper = MapperOptions::new().wait(WAIT).open::<Auth>(name)?;
    for change in mapper.watch().timeout(WAIT).take(2) {
        let change = change?;
        let (took, at) = (start.elapsed(), since_epoch());
        let auth = change.value.ok_or_else(|| Failure::other("the consumer found no token"))?;
        tell(change.version, &auth, took, at)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn answer(json: &Json) -> Result<(), Failure> {
    output::print(format!("{json}\n").as_bytes())
}

fn micros(answer: &Json) -> Result<Duration, Failure> {
    let micros = answer["micros"].as_u64().ok_or_else(|| Failure::other("an answer without a time"))?;
    Ok(Duration::from_micros(micros))
}

/// When it happened, by the clock that all processes see.
fn nanoseconds(answer: &Json) -> Result<Duration, Failure> {
    let at = answer["at"].as_u64().ok_or_else(|| Failure::other("an answer without a time"))?;
    Ok(Duration::from_nanos(at))
}

/// A duration with a digit after the point: `145.0 µs`, `2.1 ms`.
fn time(duration: Duration) -> String {
    format!("{duration:.1?}")
}
