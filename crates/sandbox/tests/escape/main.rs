//! Puts this very program into a sandbox, where it tries to get out. Each attempt is a line; one that succeeds is a hole.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(target_os = "linux")]
mod attempts;
#[cfg(target_os = "linux")]
mod outside;

#[cfg(target_os = "linux")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--inside") => attempts::all(&arguments[1..]),
        // As the test harness answers.
        Some("--list") => println!("escape: test"),
        _ => outside::run(),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
