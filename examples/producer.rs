//! Stores a token under a name, and holds the name until Enter.
//!
//! ```text
//! print-token | cargo run --example producer
//! cargo run --example producer -- TOKEN     (other users can see arguments: for tokens that are no secret)
//! ```
//!
//! The token is the first line of standard input unless it is an argument; the next line, or the end of
//! standard input, ends the producer, and the name goes with it.

use std::error::Error;
use std::io::stdin;

use handover::{Auth, MemoryMapper};

fn main() -> Result<(), Box<dyn Error>> {
    let bearer = match std::env::args().nth(1) {
        Some(bearer) => bearer,
        None => line()?,
    };
    let mapper = MemoryMapper::<Auth>::create_or_open(Auth::MAP_NAME)?;
    mapper.set(&Auth::new(bearer))?;
    println!("stored a token in {}; Enter ends this process and the name", mapper.subject());
    line()?;
    Ok(())
}

fn line() -> Result<String, std::io::Error> {
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
