//! Prints the token that a producer stored, waiting for it if asked to.
//!
//! ```text
//! cargo run --example consumer
//! cargo run --example consumer -- --wait 10s
//! ```

use std::error::Error;
use std::time::Duration;

use handover::{Auth, MapperOptions, MemoryMapper};

fn main() {
    if let Err(error) = print_token() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn print_token() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let auth = match arguments.as_slice() {
        [] => MemoryMapper::<Auth>::open(Auth::MAP_NAME)?.read()?,
        [option, time] if option == "--wait" => {
            let limit = Duration::from_secs(time.trim_end_matches('s').parse()?);
            MapperOptions::new().wait(limit).open::<Auth>(Auth::MAP_NAME)?.wait(limit)?
        }
        _ => return Err("usage: consumer [--wait SECONDS]".into()),
    };
    println!("{}", auth.bearer());
    Ok(())
}
