//! Runs this program in a sandbox, where it tries to escape. It prints a line for each attempt; a
//! successful one is a hole.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(target_os = "linux")]
mod attempts;
#[cfg(target_os = "linux")]
mod neighbour;
#[cfg(target_os = "linux")]
mod outside;
#[cfg(target_os = "linux")]
mod packets;
#[cfg(target_os = "linux")]
#[path = "../shared/proof.rs"]
mod proof;

#[cfg(target_os = "linux")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--inside") => attempts::all(&arguments[1..]),
        Some("--serve") => neighbour::serve(),
        // Answer like the test harness.
        Some("--list") => println!("escape: test"),
        _ => outside::run(),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
