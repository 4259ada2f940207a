//! Checks of the book: its contents are complete, the anchors of its links exist, and
//! `docs/troubleshooting.md` has the words of real errors. `.ci/run book` checks the built pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::support::repository;

/// Pages of the book that stand at the root of the repository.
const ROOT_PAGES: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "STYLE.md",
];
const CONTENTS: &str = "docs/SUMMARY.md";

fn read(page: &str) -> String {
    fs::read_to_string(repository().join(page)).unwrap()
}

/// The pages in `docs/`, without the table of contents.
fn documents() -> BTreeSet<String> {
    let entries = fs::read_dir(repository().join("docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "md"))
        .map(|name| format!("docs/{name}"))
        .filter(|page| page != CONTENTS)
        .collect()
}

/// A heading of a page.
struct Heading {
    level: u8,
    text: String,
    /// Its code spans.
    code: Vec<String>,
}

/// The headings and the addresses of links and pictures of a page.
fn parts(page: &str) -> (Vec<Heading>, Vec<String>) {
    let (mut headings, mut addresses) = (Vec::new(), Vec::new());
    let mut current: Option<Heading> = None;
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                current = Some(Heading {
                    level: level as u8,
                    text: String::new(),
                    code: Vec::new(),
                });
            }
            Event::End(TagEnd::Heading(_)) => headings.extend(current.take()),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                addresses.push(dest_url.into_string());
            }
            Event::Text(text) => {
                if let Some(heading) = &mut current {
                    heading.text.push_str(&text);
                }
            }
            Event::Code(code) => {
                if let Some(heading) = &mut current {
                    heading.text.push_str(&code);
                    heading.code.push(code.into_string());
                }
            }
            _ => {}
        }
    }
    (headings, addresses)
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for heading in parts(page).0 {
        let text = heading.text.to_lowercase().replace(' ', "-");
        let anchor: String = text
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_".contains(*c))
            .collect();
        let count = counts.entry(anchor.clone()).or_default();
        found.insert(match *count {
            0 => anchor,
            _ => format!("{anchor}-{count}"),
        });
        *count += 1;
    }
    found
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                found.pop();
            }
            part => found.push(part),
        }
    }
    found
}

#[test]
fn the_contents_have_every_document_once() {
    let (_, addresses) = parts(&read(CONTENTS));
    let listed: Vec<String> = addresses
        .iter()
        .map(|address| {
            let path = normal(&Path::new("docs").join(address));
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let pages: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(pages.len(), listed.len(), "a page is listed twice");
    let mut expected = documents();
    expected.extend(ROOT_PAGES.iter().map(|page| (*page).to_owned()));
    let missing: Vec<_> = expected.difference(&pages).collect();
    assert!(missing.is_empty(), "add to {CONTENTS}: {missing:?}");
    let gone: Vec<_> = pages.difference(&expected).collect();
    assert!(gone.is_empty(), "remove from {CONTENTS}: {gone:?}");
}

#[test]
fn anchors_of_links_between_documents_exist() {
    let mut pages = documents();
    pages.extend(ROOT_PAGES.iter().map(|page| (*page).to_owned()));
    let known: BTreeMap<&str, BTreeSet<String>> = pages
        .iter()
        .map(|page| (page.as_str(), anchors(&read(page))))
        .collect();
    let mut broken = Vec::new();
    let mut count = 0;
    for page in &pages {
        for address in parts(&read(page)).1 {
            let Some((path, anchor)) = address.split_once('#') else {
                continue;
            };
            if address.contains("://") {
                continue;
            }
            let target = match path {
                "" => PathBuf::from(page),
                path => normal(&Path::new(page).parent().unwrap().join(path)),
            };
            if let Some(anchors) = known.get(target.to_str().unwrap()) {
                count += 1;
                if !anchors.contains(anchor) {
                    broken.push(format!("{page}: {address}"));
                }
            }
        }
    }
    assert!(count > 40, "only {count} links have an anchor");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn anchors_are_made_as_on_github() {
    let page = "# A `b_c`: d, e!\n\n## 1. Two\n\n## A b_c d e\n\n## A `b_c`: d e\n";
    let found = anchors(page);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["1-two", "a-b_c-d-e", "a-b_c-d-e-1", "a-b_c-d-e-2"]);
}

/// Adds the text of every Rust file below a directory. A line that ends with a backslash continues
/// in the next one, as in a string.
fn add_sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_sources(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let mut continues = false;
            for line in fs::read_to_string(path).unwrap().lines() {
                let line = if continues { line.trim_start() } else { line };
                continues = line.ends_with('\\');
                text.push_str(line.trim_end_matches('\\'));
                if !continues {
                    text.push('\n');
                }
            }
        }
    }
}

/// The fixed parts of an error's text: what stands between the `…`, without a number at the end.
fn fixed_parts(error: &str) -> impl Iterator<Item = &str> {
    let parts = error.split('…').map(str::trim);
    let is_varying = |c: char| c.is_ascii_digit() || c == ' ';
    let parts = parts.map(move |part| part.trim_end_matches(is_varying));
    parts.filter(|part| !part.is_empty())
}

#[test]
fn errors_in_troubleshooting_are_those_of_the_program() {
    let mut sources = String::new();
    for directory in ["src", "crates"] {
        add_sources(&repository().join(directory), &mut sources);
    }
    let (headings, _) = parts(&read("docs/troubleshooting.md"));
    let errors: Vec<String> = headings
        .into_iter()
        .filter(|heading| heading.level == 3)
        .flat_map(|heading| heading.code)
        .collect();
    assert!(errors.len() > 30, "{errors:#?}");
    let mut unknown = Vec::new();
    for error in &errors {
        let gone: Vec<_> = fixed_parts(error)
            .filter(|part| !sources.contains(part))
            .collect();
        if !gone.is_empty() {
            unknown.push(format!("`{error}`: no error has {gone:?}"));
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn fixed_parts_of_an_error_are_found() {
    let found: Vec<&str> = fixed_parts("stopped after … s; -t SECS").collect();
    assert_eq!(found, ["stopped after", "s; -t SECS"]);
    let found: Vec<&str> = fixed_parts("the backend answered 401").collect();
    assert_eq!(found, ["the backend answered"]);
}
