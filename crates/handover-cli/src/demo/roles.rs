//! What the processes of the demo do: a producer and a consumer, as any program would write them.
//!
//! Relies on the library's mapper and on `jwt`. They answer with lines of JSON on standard output.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use handover::codec::Zeroizing;
use handover::{Auth, MapperOptions, MemoryMapper};
use serde_json::{Value as Json, json};

use super::jwt;
use crate::failure::{Failure, Outcome};
use crate::{output, secret};

/// How long the consumer waits for the map, which is there by then, and for a new version.
const WAIT: Duration = Duration::from_secs(10);

/// The producer's process: stores each line of standard input as a token, and holds the name until there are
/// no more.
pub(crate) fn producer(name: &str) -> Outcome {
    let mut held: Option<MemoryMapper<Auth>> = None;
    loop {
        let mut bearer = Zeroizing::new(String::with_capacity(4096));
        let failed = |e: io::Error| Failure::other(format!("the producer could not read: {e}"));
        // The pipe closes when the demo ends, however it ends.
        if io::stdin().lock().read_line(&mut bearer).map_err(failed)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let auth = Auth::new(bearer.trim_end());
        let (start, at) = (Instant::now(), since_epoch());
        let mapper = match held.take() {
            Some(mapper) => mapper,
            None => MemoryMapper::create_or_open(name)?,
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
    let mapper: MemoryMapper<Auth> = MapperOptions::new().wait(WAIT).open_existing(name)?;
    for change in mapper.watch().timeout(WAIT).take(2) {
        let change = change?;
        let (took, at) = (start.elapsed(), since_epoch());
        let auth = change.value.ok_or_else(|| Failure::other("the consumer found no token"))?;
        tell(change.version, &auth, took, at)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(json: &Json) -> Result<(), Failure> {
    output::print(format!("{json}\n").as_bytes())
}

/// The time by the clock that all processes see.
pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
