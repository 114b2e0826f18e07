//! Prints the token that a producer stored, waiting for it if asked to.
//!
//! ```text
//! cargo run --example consumer
//! cargo run --example consumer -- --wait 10s
//! ```

use std::error::Error;
use std::time::Duration;

use handover::{Auth, MapperOptions, MemoryMapper};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let auth = match arguments.as_slice() {
        [] => MemoryMapper::<Auth>::open_existing(Auth::MAP_NAME)?.get()?.ok_or("no token there yet")?,
        [option, time] if option == "--wait" => {
            let limit = Duration::from_secs(time.trim_end_matches('s').parse()?);
            let mapper: MemoryMapper<Auth> =
                MapperOptions::new().wait(limit).open_existing(Auth::MAP_NAME)?;
            mapper.wait(limit)?
        }
        _ => return Err("usage: consumer [--wait SECONDS]".into()),
    };
    println!("{}", auth.bearer());
    Ok(())
}
