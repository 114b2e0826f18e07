//! `handover demo`: a hand-over between real processes, told step by step.
//!
//! The demo starts this program again as a producer and as a consumer. Secrets (the token, and the key that
//! signs it) go to them over their standard input, never among arguments or in the environment; they answer
//! with one line of JSON on their standard output.

mod actor;
mod jwt;
mod roles;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use handover::ErrorKind;
use handover::codec::Zeroizing;
use handover::map::{MapOptions, collect_garbage, list};
use serde_json::{Value as Json, json};

use self::actor::Actor;
use self::roles::since_epoch;
pub(crate) use self::roles::{consumer, producer};
use crate::failure::{Failure, Outcome};
use crate::output::{self, BOLD, DIM, GOOD, size, styled};

/// How long the demo waits before it has a new version stored, so that the consumer sleeps by then.
const NAP: Duration = Duration::from_millis(50);

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
    consumer.say_no_more();
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
    match list(&MapOptions::new()) {
        Ok(maps) => {
            let map = maps
                .into_iter()
                .find(|map| map.name == name)
                .ok_or_else(|| Failure::other("the name is not in the list, though the producer holds it"))?;
            Story::detail(&format!("{} of memory taken", size(map.allocated)))?;
            match map.holders {
                // Others may hold it for a moment too: a 'handover ls' elsewhere looks at it.
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

/// The `get` before swept what the producer left; another sweep must find nothing more of it.
fn nothing_left(name: &str) -> Result<(), Failure> {
    let left = collect_garbage(&MapOptions::new())?;
    if left.iter().any(|left| left == name) {
        return Err(Failure::other("the bytes of the killed producer were still there"));
    }
    Ok(())
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
