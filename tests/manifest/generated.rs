//! Checks that generated files are up to date: surfaces, pages, code from small manifests, and
//! messages about mistakes.

use contree_xtask::fixture::Fixture;
use contree_xtask::{GENERATE_COMMAND, SyncMode, generate};

use super::root;

#[test]
fn generated_files_are_up_to_date() {
    let stale = generate(root(), SyncMode::Check).unwrap_or_else(|problem| panic!("{problem}"));
    let said: Vec<String> = stale.iter().map(ToString::to_string).collect();
    assert!(
        said.is_empty(),
        "{}\nRefresh with: {GENERATE_COMMAND}",
        said.join("\n")
    );
}

#[test]
fn compiling_twice_gives_the_same() {
    let fixture = Fixture::read(root()).unwrap();
    let (first, second) = (fixture.compile().unwrap(), fixture.compile().unwrap());
    assert_eq!(first.rust, second.rust);
    assert_eq!(first.surface, second.surface);
}
