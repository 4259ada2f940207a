//! Checks of the documents: every direct dependency has a reason, and every link has a target.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    crate::support::repository().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The lines of a `Cargo.toml` that declare dependencies: heading, name and value.
fn dependencies(manifest: &str) -> Vec<(&str, &str, &str)> {
    let mut heading = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(begun) = line.strip_prefix('[') {
            heading = begun.trim_end_matches(']');
        } else if heading.ends_with("dependencies")
            && !line.starts_with('#')
            && let Some((name, value)) = line.split_once('=')
        {
            found.push((heading, name.trim(), value.trim()));
        }
    }
    found
}

/// The packages of `[workspace.dependencies]` from a registry, by their names in the registry.
fn registry_dependencies() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    dependencies(&manifest)
        .into_iter()
        .filter(|(heading, _, value)| {
            *heading == "workspace.dependencies" && !value.contains("path = ")
        })
        .map(|(_, name, value)| {
            let renamed = value
                .split_once("package = \"")
                .and_then(|(_, rest)| rest.split_once('"'));
            renamed.map_or(name, |(package, _)| package).to_owned()
        })
        .collect()
}

/// The `Cargo.toml` of every package.
fn manifests() -> Vec<String> {
    let mut found = vec![
        "Cargo.toml".to_owned(),
        "tests/handlers/Cargo.toml".to_owned(),
    ];
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        found.push(format!("crates/{name}/Cargo.toml"));
    }
    found
}

#[test]
fn every_dependency_has_a_reason() {
    let document = read("docs/dependencies.md");
    let listed: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|names| {
            names
                .split(',')
                .map(|name| name.trim_matches([' ', '`']).to_owned())
        })
        .collect();
    let used = registry_dependencies();
    assert!(used.len() > 20, "{used:?}");
    let without: Vec<_> = used.difference(&listed).collect();
    assert!(
        without.is_empty(),
        "add a line to docs/dependencies.md for {without:?}"
    );
    let gone: Vec<_> = listed.difference(&used).collect();
    assert!(
        gone.is_empty(),
        "remove from docs/dependencies.md: {gone:?}"
    );
}

#[test]
fn every_dependency_is_declared_once() {
    for manifest in manifests() {
        let text = read(&manifest);
        for (heading, name, value) in dependencies(&text) {
            let inherits = name.ends_with(".workspace") || value.contains("workspace = true");
            assert!(
                heading == "workspace.dependencies" || inherits,
                "{manifest}: declare `{name}` in [workspace.dependencies] of the root, and inherit it here"
            );
        }
    }
}

/// Types with functions of their own, which belong to no crate.
const PRIMITIVES: [&str; 18] = [
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16",
    "u32", "u64", "u128", "usize", "slice",
];

/// The crates whose paths occur in the recorded public API. The first name of a path is a crate, or
/// begins with a capital letter.
fn crates_in_public_api(record: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for line in record.lines() {
        let mut rest = line;
        while let Some(at) = rest.find("::") {
            let before = &rest[..at];
            let name = before.rsplit(|c| !is_name(c)).next().unwrap_or_default();
            let is_first = !before[..before.len() - name.len()].ends_with("::");
            let is_crate = name.starts_with(|c: char| c.is_ascii_lowercase());
            if is_first && is_crate && !PRIMITIVES.contains(&name) {
                found.insert(name.to_owned());
            }
            rest = &rest[at + 2..];
            // The other names of the path follow.
            rest = rest.trim_start_matches(is_name);
            while let Some(after) = rest.strip_prefix("::") {
                rest = after.trim_start_matches(is_name);
            }
        }
    }
    found
}

#[test]
fn the_public_api_has_types_of_the_listed_crates_alone() {
    let page = read("docs/compatibility.md");
    let (_, section) = page.split_once("### Types of other crates").unwrap();
    let mut allowed: BTreeSet<String> = section
        .split("\n#")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| name.replace('-', "_"))
        .collect();
    assert!(allowed.len() > 5, "{allowed:?}");
    // `contree-engine` is re-exported, and the document says so.
    allowed.extend(["alloc", "contree", "contree_engine", "core", "std"].map(str::to_owned));
    // The part of `serde` that defines its traits.
    allowed.insert("serde_core".to_owned());
    let record = read("public-api/contree.txt");
    assert!(record.contains("contree::Client"), "{record}");
    let found = crates_in_public_api(&record);
    let others: Vec<_> = found.difference(&allowed).collect();
    assert!(
        others.is_empty(),
        "public signatures have types of {others:?}: use own types, or list the crates in docs/compatibility.md"
    );
}

#[test]
fn crates_are_recognized_in_a_record() {
    let record = "pub fn contree::Client::get(&self, id: uuid::Uuid) -> Result<Vec<bytes::bytes::Bytes>, Self::Error>\nimpl<'a> http_body::Body for contree::builder::X<'a>";
    let found = crates_in_public_api(record);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["bytes", "contree", "http_body", "uuid"]);
}

/// The links of a Markdown page within this repository.
fn links(page: &str) -> Vec<String> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn links_between_documents_have_a_target() {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "STYLE.md",
    ]
    .iter()
    .map(PathBuf::from)
    .collect();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        pages.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let page = Path::new("crates")
            .join(entry.unwrap().file_name())
            .join("README.md");
        if root().join(&page).is_file() {
            pages.push(page);
        }
    }
    let mut broken = Vec::new();
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|extension| extension == "md"))
    {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for link in links(&text) {
            if !root().join(page).parent().unwrap().join(&link).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_commands_of_the_readme_are_those_that_ci_runs() {
    let front = read("README.md");
    for command in [
        "\ncargo run --release -- call --raw run image=tag:host",
        "\ncargo test --workspace\n",
    ] {
        assert!(
            front.contains(command),
            "README.md lacks {command:?}, which .ci/run looks for"
        );
    }
}

/// The code spans of a page, without its code blocks.
fn code_spans(page: &str) -> Vec<&str> {
    let mut is_block = false;
    let lines = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_block ^= is_fence;
        !is_block && !is_fence
    });
    lines
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// The paths of this repository among code spans. Each begins with a directory of the root, or is
/// the name of a document or manifest at the root.
fn paths<'a>(spans: &[&'a str], directories: &[String]) -> BTreeSet<&'a str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    spans
        .iter()
        .copied()
        .filter(|span| span.chars().all(is_path))
        .filter(|span| match span.split_once('/') {
            Some((first, _)) => directories.iter().any(|directory| directory == first),
            None => span.ends_with(".md") || span.ends_with(".yaml"),
        })
        .collect()
}

#[test]
fn paths_in_documents_exist() {
    let directories: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let mut missing = Vec::new();
    for page in ["docs/architecture.md", "CONTRIBUTING.md", "STYLE.md"] {
        let text = read(page);
        let named = paths(&code_spans(&text), &directories);
        assert!(!named.is_empty(), "{page} names no file");
        let gone = named.into_iter().filter(|path| !root().join(path).exists());
        missing.extend(gone.map(|path| format!("{page} names {path}, which does not exist")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn paths_are_told_from_other_code() {
    let page = "`src/a.rs`, `README.md`, `src/` and `tools/call`, `mod.rs`, `x.y(a/b)`\n\
                ```\n`src/code.rs`\n```\n`docs/b.md`";
    let directories = ["src".to_owned(), "docs".to_owned()];
    let found = paths(&code_spans(page), &directories);
    let found: Vec<&str> = found.into_iter().collect();
    assert_eq!(found, ["README.md", "docs/b.md", "src/", "src/a.rs"]);
}

/// The names of Rust items among code spans: those with an underscore, a capital, `::` or `!`.
fn names<'a>(spans: &[&'a str]) -> BTreeSet<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_:!".contains(c);
    let is_item = |c: char| c.is_ascii_uppercase() || "_:!".contains(c);
    spans
        .iter()
        .copied()
        .filter(|span| span.chars().all(is_name) && span.contains(is_item))
        .collect()
}

/// The paragraphs and list items of a page.
fn paragraphs(page: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in page.lines() {
        let text = line.trim_start();
        let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_item =
            text.starts_with("- ") || (number.len() < text.len() && number.starts_with(". "));
        if text.is_empty() || is_item {
            found.push(String::new());
        }
        let paragraph = found.last_mut().unwrap();
        paragraph.push_str(line);
        paragraph.push('\n');
    }
    found
}

/// Adds the text of every Rust file below a directory.
fn add_sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !before.ends_with(is_name) && !after.starts_with(is_name)
    })
}

/// If a paragraph names Rust files, its names have to be in one of them.
#[test]
fn names_in_the_architecture_exist() {
    let mut sources = String::new();
    for directory in ["src", "crates", "tests"] {
        add_sources(&root().join(directory), &mut sources);
    }
    let mut gone = Vec::new();
    let mut count = 0;
    for paragraph in paragraphs(&read("docs/architecture.md")) {
        let spans = code_spans(&paragraph);
        let files = spans.iter().filter(|span| span.ends_with(".rs"));
        let files = files.filter_map(|file| fs::read_to_string(root().join(file)).ok());
        let files: String = files.collect();
        let text = if files.is_empty() { &sources } else { &files };
        for name in names(&spans) {
            count += 1;
            if !has_word(text, name) {
                gone.push(format!("`{name}` in: {}", paragraph.trim()));
            }
        }
    }
    assert!(count > 20, "{count}");
    assert!(
        gone.is_empty(),
        "docs/architecture.md names what the sources lack:\n{}",
        gone.join("\n")
    );
}

/// The names of all functions in the Rust files below a directory.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                functions(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(text.split("fn ").skip(1).map(|rest| {
                let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                rest[..end.unwrap_or(rest.len())].to_owned()
            }));
        }
    }
}

#[test]
fn every_promise_has_tests_that_exist() {
    let mut known = BTreeSet::new();
    for directory in ["crates", "src", "tests"] {
        functions(&root().join(directory), &mut known);
    }
    let mut attempts = BTreeSet::new();
    functions(
        &root().join("crates/sandbox/tests/escape/attempts"),
        &mut attempts,
    );
    let page = read("docs/promises.md");
    let mut promises = 0;
    for line in page.lines() {
        let Some((promise, tests)) = line
            .strip_prefix("| ")
            .and_then(|line| line.strip_suffix(" |")?.split_once(" | "))
            .filter(|(promise, _)| *promise != "Promise")
        else {
            continue;
        };
        promises += 1;
        let names: Vec<&str> = tests.split(", ").collect();
        for name in names {
            let name = name.trim_matches('`');
            let exists = match name.strip_prefix("escape: ") {
                Some(attempt) => attempts.contains(attempt),
                None => known.contains(name),
            };
            assert!(exists, "{promise} The test `{name}` does not exist.");
        }
    }
    assert!(promises > 30, "{promises}");
}

/// The database of advisories is not always at hand, so a run must say that it did without.
#[test]
fn known_flaws_of_dependencies_are_checked() {
    let settings = read("deny.toml");
    assert!(settings.contains("\n[advisories]\n"), "{settings}");
    let checks = read(".ci/run");
    for expected in ["check advisories", "NOT CHECKED"] {
        assert!(checks.contains(expected), ".ci/run lacks `{expected}`");
    }
}
