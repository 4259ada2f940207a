//! `cargo run -q -p contree-xtask -- generate [--check]`

use std::path::Path;
use std::process::ExitCode;

use contree_xtask::{GENERATE, Mode, generate};

const USAGE: &str = "\
Usage: cargo run -q -p contree-xtask -- generate [--check]

  generate           Write the files that are generated from tools.yaml, templates/ and the API document
  generate --check   List those that are out of date, and write nothing";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mode = match arguments.as_slice() {
        ["generate"] => Mode::Write,
        ["generate", "--check"] => Mode::Check,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let stale = match generate(root, mode) {
        Ok(stale) => stale,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    match mode {
        Mode::Write => {
            for file in &stale {
                println!("wrote {}", file.path.display());
            }
        }
        Mode::Check if stale.is_empty() => {}
        Mode::Check => {
            for file in &stale {
                eprintln!("{file}");
            }
            eprintln!("Refresh them with: {GENERATE}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
