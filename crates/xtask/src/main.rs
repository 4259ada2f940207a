//! `cargo run -q -p contree-xtask -- generate [--check] | sbom`

use std::path::Path;
use std::process::ExitCode;

use contree_xtask::{GENERATE_COMMAND, SyncMode, generate, sbom};

const USAGE: &str = "\
Usage: cargo run -q -p contree-xtask -- generate [--check] | sbom

  generate           Write the files that are generated from tools.yaml, templates/, the API document and the codes of errors
  generate --check   List those that are out of date, and write nothing
  sbom               Print the components of the program as CycloneDX JSON";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mode = match arguments.as_slice() {
        ["generate"] => SyncMode::Write,
        ["generate", "--check"] => SyncMode::Check,
        ["sbom"] => return print_components(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let root = root();
    let stale = match generate(root, mode) {
        Ok(stale) => stale,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    match mode {
        SyncMode::Write => {
            for file in &stale {
                println!("wrote {}", file.path.display());
            }
        }
        SyncMode::Check if stale.is_empty() => {}
        SyncMode::Check => {
            for file in &stale {
                eprintln!("{file}");
            }
            eprintln!("Refresh them with: {GENERATE_COMMAND}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn print_components() -> ExitCode {
    match sbom::components(root(), "contree-mcp") {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
