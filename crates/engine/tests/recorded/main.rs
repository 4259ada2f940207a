//! Every route's answers, good and bad, compared with a recording of them.
//!
//! `requests.txt` says what is asked, `answers.txt` what was answered. `cargo run -p contree-engine --example record`
//! prints the recording; README.md in this directory says how to refresh it.

#![cfg(target_os = "linux")]

mod normalise;
mod record;
mod script;
mod wire;

/// The recording that is compared with.
const ANSWERS: &str = include_str!("answers.txt");

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_recorded() {
    let recorded = record::of_this_engine().await.unwrap();
    if recorded == ANSWERS {
        return;
    }
    let mut differences = Vec::new();
    let (expected, found) = (record::exchanges(ANSWERS), record::exchanges(&recorded));
    for (expected, found) in expected.iter().zip(&found) {
        if expected != found {
            differences.push(format!("recorded:\n{expected}\nanswered:\n{found}"));
        }
    }
    panic!(
        "{} exchanges are recorded and {} were made; {} differ:\n{}",
        expected.len(),
        found.len(),
        differences.len(),
        differences.join("\n")
    );
}
