//! Every error has a code, every code has an error, and the documents have all of them.

use std::path::{Path, PathBuf};

use contree::ErrorCode;

use crate::support::repository;

/// The directories with the code of the programs.
const SOURCES: [&str; 6] = [
    "src",
    "crates/engine/src",
    "crates/http/src",
    "crates/registry/src",
    "crates/sandbox/src",
    "crates/sqlite/src",
];

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// The source files with their texts, without their unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for directory in SOURCES {
        rust_files(&repository().join(directory), &mut files);
    }
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
        (path, code)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn each_code_is_the_code_of_an_error() {
    let sources = sources();
    let is_used = |code: &ErrorCode| {
        let name = format!("ErrorCode::{code:?}");
        sources.iter().any(|(_, text)| {
            text.match_indices(&name).any(|(at, _)| {
                let next = text[at + name.len()..].chars().next();
                !next.is_some_and(|next| next.is_alphanumeric())
            })
        })
    };
    let unused: Vec<_> = ErrorCode::ALL
        .iter()
        .filter(|code| !is_used(code))
        .collect();
    assert!(unused.is_empty(), "no error has these codes: {unused:?}");
}

/// A new variant of an error must not get a code by accident, so no `code` has a last arm for all
/// the rest.
#[test]
fn each_variant_of_an_error_is_given_its_code() {
    let mut found = 0;
    for (path, text) in sources() {
        for (at, _) in text.match_indices("fn code(&self) -> ") {
            found += 1;
            let body = text[at..].split("\n    }\n").next().unwrap();
            let catches_all = body
                .lines()
                .any(|line| line.starts_with("            _ =>"));
            assert!(!catches_all, "{}: {body}", path.display());
        }
    }
    assert!(found > 30, "{found}");
}

#[test]
fn the_page_of_errors_has_each_code_once() {
    let page = std::fs::read_to_string(repository().join("docs/errors.md")).unwrap();
    for code in ErrorCode::ALL {
        let row = format!("| `{code}` | {} | {} |", code.cause(), code.remedy());
        assert_eq!(page.matches(&row).count(), 1, "{code}");
    }
    let troubleshooting = repository().join("docs/troubleshooting.md");
    let troubleshooting = std::fs::read_to_string(troubleshooting).unwrap();
    assert!(troubleshooting.contains("(errors.md)"));
}
