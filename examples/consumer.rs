//! Prints the token that a producer stored, waiting for it if asked to.
//!
//! ```text
//! cargo run --example consumer
//! cargo run --example consumer -- --wait 10s
//! ```

use std::error::Error;
use std::time::Duration;

use handover::{Auth, MapperOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds: u64 = match arguments.as_slice() {
        [] => 0,
        [option, time] if option == "--wait" => time.trim_end_matches('s').parse()?,
        _ => return Err("usage: consumer [--wait SECONDS]".into()),
    };
    let wait = Duration::from_secs(seconds);
    let auth = MapperOptions::new().wait(wait).open::<Auth>(Auth::MAP_NAME)?.wait(wait)?;
    println!("{}", auth.bearer());
    Ok(())
}
