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
fn the_readme_links_to_every_document() {
    let front = read("README.md");
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            front.contains(&format!("(docs/{name})")),
            "README.md does not link to docs/{name}"
        );
    }
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
