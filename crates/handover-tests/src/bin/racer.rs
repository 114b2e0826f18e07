//! Holds a race for names, as the first argument says in JSON, and prints how it went. See
//! `handover_tests::names_race`.

#[cfg(target_os = "linux")]
fn main() {
    let setup = std::env::args().nth(1).expect("a setup");
    let setup = serde_json::from_str(&setup).expect("a setup in JSON");
    let report = handover_tests::names_race::direct(&setup).expect("a race");
    println!("{}", serde_json::to_string(&report).expect("JSON"));
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("written for Linux only");
}
