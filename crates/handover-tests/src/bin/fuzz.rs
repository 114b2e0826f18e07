//! Feeds a target with new inputs for as long as asked: `fuzz [TARGET] [--minutes N] [--seed S]`.
//!
//! Inputs run in a child, which writes each to a file before it runs it. When the child crashes or stays
//! silent, that input is kept in the target's corpus, where the ordinary tests find it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handover_tests::Start;
use handover_tests::fuzz::{Source, TARGETS, Target};

/// A child that is silent this long hangs: it reports every second, and an input takes milliseconds.
const SILENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["--child", target, seconds, seed, file] => {
            feed(target, seconds, seed, Path::new(file));
            Ok(())
        }
        _ => run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let mut minutes = 5.0;
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut targets: Vec<&Target> = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a number"));
        match *argument {
            "--minutes" => minutes = value()?.parse().map_err(|e| format!("--minutes: {e}"))?,
            "--seed" => seed = value()?.parse().map_err(|e| format!("--seed: {e}"))?,
            name => targets.push(Target::find(name).ok_or_else(|| {
                let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
                format!("there is no target {name:?}; there are {}", known.join(", "))
            })?),
        }
    }
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    let each = Duration::try_from_secs_f64(minutes * 60.0 / targets.len() as f64)
        .map_err(|e| format!("--minutes: {e}"))?;
    println!("seed {seed}; {} s for each of {} targets", each.as_secs(), targets.len());
    let mut failed = Vec::new();
    for target in targets {
        println!("{}: {}", target.name, target.about);
        failed.extend(supervise(target, each, seed)?);
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("kept for the tests: {}", failed.join(", "))) }
}

/// Runs children on one target until the time is up or one fails. Returns the name of the kept input.
fn supervise(target: &Target, time: Duration, seed: u64) -> Result<Option<String>, String> {
    let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
    let file = directory.path().join("input");
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program)
        .args(["--child", target.name, &time.as_secs().to_string(), &seed.to_string()])
        .arg(&file)
        .env("TMPDIR", directory.path())
        .stdout(Stdio::piped())
        .start()
        .map_err(|e| format!("start a child: {e}"))?;
    let output = child.stdout.take().ok_or("no output")?;
    let (sender, lines) = channel();
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let why = loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => {
                print!("\r  {line}");
                let _ = std::io::stdout().flush();
            }
            Err(RecvTimeoutError::Disconnected) => break "crashed",
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                break "hung";
            }
        }
    };
    println!();
    let status = child.wait().map_err(|e| e.to_string())?;
    let _ = reading.join();
    if status.success() {
        return Ok(None);
    }
    let input = fs::read(&file).map_err(|e| format!("the input in progress: {e}"))?;
    let place = target.corpus_directory();
    fs::create_dir_all(&place).map_err(|e| e.to_string())?;
    let kept = place.join(format!("{why}-{seed}"));
    fs::write(&kept, input).map_err(|e| e.to_string())?;
    println!("  {why} ({status}); the input was kept");
    Ok(Some(format!("{}/{why}-{seed}", target.name)))
}

/// The child: feeds one target.
fn feed(target: &str, seconds: &str, seed: &str, file: &Path) {
    #[cfg(target_os = "linux")]
    limit_memory();
    let target = Target::find(target).expect("the parent named it");
    let time = Duration::from_secs(seconds.parse().expect("the parent gave it"));
    let mut source = Source::new(target, seed.parse().expect("the parent gave it"));
    let start = Instant::now();
    let mut said = start;
    let mut count = 0u64;
    while start.elapsed() < time {
        let input = source.next_input();
        fs::write(file, &input).expect("write the input");
        (target.one_input)(&input);
        count += 1;
        if said.elapsed() > Duration::from_secs(1) {
            said = Instant::now();
            println!("{count} inputs in {} s", start.elapsed().as_secs());
        }
    }
    println!("{count} inputs in {} s", start.elapsed().as_secs());
}

/// Then an allocation that follows a number from hostile memory ends this process, not the machine.
#[cfg(target_os = "linux")]
fn limit_memory() {
    let limit = libc::rlimit { rlim_cur: 2 << 30, rlim_max: 2 << 30 };
    // SAFETY: `limit` is a valid `rlimit`.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
}
