//! Checks the written architecture: allowed dependencies between modules and crates, and no circles
//! of files.
//!
//! The tables of `docs/architecture.md` list which module of `src/` and which crate may use which.
//! The test resolves every `use` and every path in the code, through re-exports, to the file that
//! defines the name.

mod circles;
mod modules;
mod resolve;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use circles::circles;
use modules::Sources;
use resolve::{Imports, imports};
use table::{Pairs, pairs};

/// The text of a file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(crate::support::repository().join(path)).unwrap()
}

/// The source files of a crate by their path below `directory`.
fn sources(directory: &str) -> Sources {
    fn add(directory: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                add(&entry.path(), &format!("{name}/"), found);
            } else if name.ends_with(".rs") {
                found.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    add(
        &crate::support::repository().join(directory),
        "",
        &mut found,
    );
    Sources(found)
}

/// The source directories of all crates.
fn directories() -> Vec<String> {
    let crates = fs::read_dir(crate::support::repository().join("crates")).unwrap();
    let names = crates.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = names.map(|name| format!("crates/{name}/src")).collect();
    all.push("src".to_owned());
    all.sort();
    all
}

/// The differences between the allowed and the actual uses, with one line for each.
fn problems(allowed: &Pairs, used: &BTreeMap<(String, String), String>) -> Vec<String> {
    let forbidden = used.iter().filter(|(pair, _)| !allowed.contains(pair));
    let forbidden = forbidden.map(|((from, to), example)| {
        format!("`{from}` uses `{to}`, which docs/architecture.md does not allow: {example}")
    });
    let unused = allowed.iter().filter(|pair| !used.contains_key(*pair));
    let unused = unused.map(|(from, to)| {
        format!("docs/architecture.md lets `{from}` use `{to}`, and no code does: remove it there")
    });
    forbidden.chain(unused).collect()
}

/// The uses between top-level modules, each with an example.
fn uses(imports: &Imports) -> BTreeMap<(String, String), String> {
    let mut uses = BTreeMap::new();
    for ((from, to), names) in &imports.between_files {
        if let (Some(a), Some(b)) = (top_level(from), top_level(to))
            && a != b
        {
            uses.entry((a, b))
                .or_insert_with(|| example(from, to, names));
        }
    }
    for ((from, to), names) in &imports.of_crates {
        if let Some(from_module) = top_level(from) {
            uses.entry((from_module, to.clone()))
                .or_insert_with(|| example(from, to, names));
        }
    }
    uses
}

fn example(from: &str, to: &str, names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!("{from} -> {to}: {}", names.join(", "))
}

/// The top-level module of a file; none for the root of a crate.
fn top_level(file: &str) -> Option<String> {
    let name = file.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

/// The workspace crates that a `Cargo.toml` depends on, without dev-dependencies.
fn crate_dependencies(manifest: &str) -> BTreeSet<String> {
    let mut heading = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(begun) = line.strip_prefix('[') {
            heading = begun.trim_end_matches(']');
        } else if heading.ends_with("dependencies")
            && !heading.ends_with("dev-dependencies")
            && heading != "workspace.dependencies"
            && let Some(name) = line.split(['=', '.', ' ']).next()
            && name.starts_with("contree")
        {
            found.insert(name.to_owned());
        }
    }
    found
}

/// The name of the package that a `Cargo.toml` describes.
fn package_name(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[package]\n")?;
    let line = package.lines().find(|line| line.starts_with("name = "))?;
    line.split('"').nth(1)
}

#[test]
fn modules_use_only_allowed_modules() {
    let allowed = pairs(&read("docs/architecture.md"), "Module");
    assert!(!allowed.is_empty(), "the table of modules was not found");
    let problems = problems(&allowed, &uses(&imports(&sources("src"))));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn crates_use_only_allowed_crates() {
    let allowed = pairs(&read("docs/architecture.md"), "Crate");
    assert!(!allowed.is_empty(), "the table of crates was not found");
    let mut used = BTreeMap::new();
    for directory in directories() {
        let path = match directory.strip_suffix("/src") {
            Some(directory) => format!("{directory}/Cargo.toml"),
            None => "Cargo.toml".to_owned(),
        };
        let manifest = read(&path);
        let name = package_name(&manifest).unwrap();
        for dependency in crate_dependencies(&manifest) {
            used.insert((name.to_owned(), dependency), path.clone());
        }
    }
    let problems = problems(&allowed, &used);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn no_files_depend_on_each_other_in_a_circle() {
    let mut found = Vec::new();
    for directory in directories() {
        let imports = imports(&sources(&directory));
        for circle in circles(&imports) {
            found.push(format!(
                "{directory}: {} files know each other in a circle:\n{circle}",
                circle.files.len()
            ));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(files: &[(&str, &str)]) -> Imports {
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        imports(&Sources(files.collect()))
    }

    fn table(rows: &str) -> Pairs {
        pairs(
            &format!("| Module | May use |\n|---|---|\n{rows}\n"),
            "Module",
        )
    }

    #[test]
    fn a_forbidden_use_is_found() {
        let code = small(&[
            ("lib.rs", "mod high; mod low;"),
            (
                "high.rs",
                "pub fn run() { crate::low::work(); contree_sqlite::open(); }",
            ),
            (
                "low.rs",
                "pub fn work() { println!(\"{}\", crate::high::NAME) }",
            ),
        ]);
        let rows = "| `high` | `low`, `contree-sqlite` |";
        let problems = problems(&table(rows), &uses(&code));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with("`low` uses `high`"),
            "{}",
            problems[0]
        );
        assert!(problems[0].contains("low.rs -> high.rs: NAME"));
    }

    #[test]
    fn a_row_that_no_code_uses_is_found() {
        let code = small(&[
            ("lib.rs", "mod high; mod low;"),
            ("high.rs", "use crate::low::work;"),
            ("low.rs", "pub fn work() {}"),
        ]);
        let rows = "| `high` | `low` |\n| `low` | `high` |";
        let problems = problems(&table(rows), &uses(&code));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("lets `low` use `high`"),
            "{}",
            problems[0]
        );
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let code = small(&[
            ("lib.rs", "mod one; mod two; mod three;"),
            ("one.rs", "use super::two::Two; pub struct One(Two);"),
            (
                "two.rs",
                "pub struct Two; fn f(_: Option<super::one::One>) {}",
            ),
            ("three.rs", "use crate::{one::One, two::Two};"),
        ]);
        let found = circles(&code);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].files, ["one.rs", "two.rs"]);
        let text = found[0].to_string();
        assert!(text.contains("one.rs -> two.rs: Two"), "{text}");
        assert!(text.contains("two.rs -> one.rs: One"), "{text}");
    }

    #[test]
    fn a_reexport_resolves_to_the_defining_file() {
        let code = small(&[
            (
                "lib.rs",
                "pub mod room; mod user; pub use room::Thing as Alias;",
            ),
            (
                "room/mod.rs",
                "mod inner; mod outer; pub use self::inner::*; pub use outer::*;",
            ),
            ("room/inner.rs", "pub struct Thing;"),
            ("room/outer.rs", "pub fn unrelated() {}"),
            ("user.rs", "use crate::Alias; pub struct User(Alias);"),
        ]);
        assert!(
            code.between_files
                .contains_key(&("user.rs".into(), "room/inner.rs".into())),
            "{:?}",
            code.between_files
        );
        let code = small(&[
            ("lib.rs", "pub mod room; mod user; pub use user::User;"),
            ("room/mod.rs", "mod inner; pub use inner::*;"),
            ("room/inner.rs", "pub struct Thing; fn f(_: crate::User) {}"),
            ("user.rs", "use crate::room; pub struct User(room::Thing);"),
        ]);
        assert_eq!(circles(&code)[0].files, ["room/inner.rs", "user.rs"]);
    }

    #[test]
    fn a_module_and_its_children_are_no_circle() {
        let code = small(&[
            ("lib.rs", "mod room;"),
            (
                "room/mod.rs",
                "mod child; pub(in crate::room) struct Own; use child::Made;",
            ),
            ("room/child.rs", "use super::Own; pub struct Made(Own);"),
        ]);
        assert!(circles(&code).is_empty());
    }

    #[test]
    fn uses_in_tests_are_ignored() {
        let code = small(&[
            ("lib.rs", "mod one; mod two;"),
            (
                "one.rs",
                "use crate::two::Two; #[cfg(all(test, unix))] mod tests { use crate::two::Two; }",
            ),
            (
                "two.rs",
                "pub struct Two; #[cfg(test)] mod tests { use crate::one::One; } #[cfg(not(test))] use crate::two;",
            ),
        ]);
        assert!(circles(&code).is_empty());
    }

    #[test]
    fn uses_in_functions_and_macros_are_found() {
        let code = small(&[
            ("lib.rs", "mod one; mod two;"),
            (
                "one.rs",
                "pub fn f() { use crate::two; two::g(); } pub struct One;",
            ),
            (
                "two.rs",
                "pub fn g() { assert!(matches!(0, _ if { crate::one::f(); true })); }",
            ),
        ]);
        assert_eq!(circles(&code)[0].files, ["one.rs", "two.rs"]);
    }

    #[test]
    fn dev_dependencies_are_ignored() {
        let manifest = "[package]\nname = \"contree-x\"\n\n[dependencies]\ncontree-http.workspace = true\nserde.workspace = true\n\
            [build-dependencies]\ncontree-codegen = { workspace = true }\n[dev-dependencies]\ncontree-engine.workspace = true\n";
        let found: Vec<String> = crate_dependencies(manifest).into_iter().collect();
        assert_eq!(found, ["contree-codegen", "contree-http"]);
        assert_eq!(package_name(manifest), Some("contree-x"));
    }
}
