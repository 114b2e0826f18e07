//! A daemon that renews an access token, and clients that outlive it.
//!
//! ```text
//! cargo run --example token_daemon -- client     # in many terminals, before the daemon or after it
//! cargo run --example token_daemon -- daemon     # kill it, and start it again
//! ```

use std::time::Duration;

use handover::mapper::Event;
use handover::{Auth, MapperOptions, MemoryMapper, Result};

/// How long a token can be used. The daemon renews it well before.
const LIFE: Duration = Duration::from_secs(5);

/// Everybody creates the map or opens it, so it does not matter who comes first. It is there as long as
/// anybody holds it: a client that stays keeps it for the next daemon.
fn open() -> Result<MemoryMapper<Auth>> {
    MapperOptions::new().secret().ttl(LIFE).create_or_open("token of the example")
}

fn daemon() -> Result<()> {
    let mapper = open()?;
    for count in 0.. {
        // Here a real daemon asks its identity provider.
        mapper.set(&Auth::new(format!("token {count} of process {}", std::process::id())))?;
        std::thread::sleep(LIFE / 50);
    }
    Ok(())
}

fn client() -> Result<()> {
    let mapper = open()?;
    for event in mapper.watch().events() {
        match event? {
            Event::Changed(change) => match change.value {
                Some(auth) => {
                    println!("version {}: a token of {} bytes", change.version, auth.bearer().len());
                }
                None => println!("version {}: the token has expired", change.version),
            },
            Event::WriterGone => println!("the daemon has gone; the last token is good until it expires"),
            Event::WriterBack => println!("the daemon is back"),
            _ => {}
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("daemon") => daemon(),
        Some("client") => client(),
        _ => {
            eprintln!("usage: token_daemon daemon|client");
            std::process::exit(2)
        }
    }
}
