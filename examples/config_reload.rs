//! A configuration with nested enums, which a server under tokio takes over while it runs.
//!
//! ```text
//! cargo run --example config_reload --features async -- server
//! cargo run --example config_reload --features async -- set 8080    # or a path, or off; until killed
//! ```

use std::path::PathBuf;
use std::time::Duration;

use handover::mapper::Event;
use handover::{MemoryMapper, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Config {
    Off,
    Serve { at: Listen, rotate_log: Option<Duration> },
}

#[derive(Debug, Serialize, Deserialize)]
enum Listen {
    Tcp(u16),
    Unix(PathBuf),
}

async fn server() -> Result<()> {
    let mut events = MemoryMapper::<Config>::create_or_open("config of the example")?.changes().events();
    let mut requests = tokio::time::interval(Duration::from_millis(20));
    let (mut config, mut served) = (None, 0);
    loop {
        tokio::select! {
            _ = requests.tick(), if config.is_some() => served += 1,
            event = events.event() => match event {
                Some(Ok(Event::Changed(change))) => {
                    config = change.value;
                    println!("after {served} requests {config:?}");
                }
                Some(Ok(event)) => println!("{event:?}: the configuration stays"),
                Some(Err(error)) => println!("kept the old one: {error}"),
                None => return Ok(()),
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Some(text) = std::env::args().nth(2) else { return server().await };
    let rotate_log = Some(Duration::from_secs(3600));
    let config = match (text.as_str(), text.parse()) {
        ("off", _) => Config::Off,
        (_, Ok(port)) => Config::Serve { at: Listen::Tcp(port), rotate_log },
        (path, _) => Config::Serve { at: Listen::Unix(path.into()), rotate_log },
    };
    let mapper = MemoryMapper::<Config>::create_or_open("config of the example")?;
    mapper.set(&config)?;
    std::future::pending().await
}
