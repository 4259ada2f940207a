//! Compares the answers of every route, including errors, with a recording.
//!
//! `requests.txt` has the requests, and `answers.txt` has the recorded answers. `cargo run -p
//! contree-engine --example record` prints a recording. README.md in this directory explains how to
//! refresh it.

#![cfg(target_os = "linux")]

mod normalise;
mod record;
mod script;
mod wire;

/// The stored recording.
const ANSWERS: &str = include_str!("answers.txt");

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_recorded() {
    let recorded = record::record_this_build().await.unwrap();
    if recorded == ANSWERS {
        return;
    }
    let mut differences = Vec::new();
    let (expected, actual) = (record::exchanges(ANSWERS), record::exchanges(&recorded));
    for (expected, actual) in expected.iter().zip(&actual) {
        if expected != actual {
            differences.push(format!("recorded:\n{expected}\nanswered:\n{actual}"));
        }
    }
    panic!(
        "{} exchanges are recorded and {} were made; {} differ:\n{}",
        expected.len(),
        actual.len(),
        differences.len(),
        differences.join("\n")
    );
}
