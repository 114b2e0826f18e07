//! Frames of 1920 x 1080 pixels for several consumers, none of which copies them.
//!
//! ```text
//! cargo run --release --example video_frames -- screen    # twice, before the camera or after it
//! cargo run --release --example video_frames -- camera    # kill it, and start it again
//! ```

use std::io::Write;
use std::time::Duration;

use handover::Result;
use handover::cell::{Cell, CellOptions};

const WIDTH: usize = 1920 * 4;
const HEIGHT: usize = 1080;
const LONG: Duration = Duration::from_secs(3600);

/// A cell holds bytes. What is larger than 64 KiB needs room, which costs memory only once it is used.
fn open() -> Result<Cell> {
    CellOptions::new().capacity((WIDTH * HEIGHT) as u64).create_or_open("camera of the example")
}

fn camera() -> Result<()> {
    let mut writer = open()?.writer_timeout(Duration::from_secs(10))?;
    for number in 0_u8.. {
        // Each line goes where the consumers will read it.
        writer.publish_with(WIDTH * HEIGHT, |frame| {
            (0..HEIGHT).try_for_each(|_| Ok(frame.write_all(&[number; WIDTH])?))
        })?;
        std::thread::sleep(Duration::from_millis(16));
    }
    Ok(())
}

fn screen() -> Result<()> {
    let cell = open()?;
    // SAFETY: all programs that know this name use the library, none of which changes what a reader pins.
    let mut reader = unsafe { cell.reader().trust_writers() };
    let mut seen = 0;
    loop {
        cell.wait_for_writer(LONG)?;
        println!("there is a camera");
        while let Some(version) = cell.wait_newer_while_written(seen, LONG)? {
            let Some(frame) = reader.load()? else { continue };
            // The bytes lie in the shared memory; they stay as they are until the next `load`.
            assert!(frame.iter().all(|byte| *byte == frame[0]), "a frame is never torn");
            println!("frame {version}: {} bytes of {}", frame.len(), frame[0]);
            seen = version;
        }
        println!("the camera has gone");
    }
}

fn main() -> Result<()> {
    let is_camera = std::env::args().nth(1).is_some_and(|role| role == "camera");
    if is_camera { camera() } else { screen() }
}
