//! The files with prose, and the paragraphs in each.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use super::comment::comments;
use super::paragraph::{CODE, Paragraph, paragraphs};

/// The kind of a file with prose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rust,
    Markdown,
    Template,
    Manifest,
}

/// A file with prose.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path in the repository.
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// Directories whose Rust files are checked. A `*` stands for every directory.
const RUST: &[&str] = &["src", "crates/*/src", "tests"];
/// Documents at the root.
const PAGES: &[&str] = &[
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "STYLE.md",
];
/// The first line of a generated page. Its sources are checked: the manifest and the templates.
const GENERATED: &str = "<!-- Generated from ";

/// All files with prose. With the variable `PROSE`, only those whose path contains it.
pub(super) fn sources() -> Vec<Source> {
    let root = crate::support::repository();
    let mut paths: Vec<(String, Kind)> = PAGES
        .iter()
        .map(|page| ((*page).to_owned(), Kind::Markdown))
        .collect();
    paths.push(("tools.yaml".to_owned(), Kind::Manifest));
    add(root, "docs", ".md", Kind::Markdown, &mut paths);
    add(root, "crates", "README.md", Kind::Markdown, &mut paths);
    add(root, "templates", ".md.j2", Kind::Template, &mut paths);
    for pattern in RUST {
        for directory in matching(root, pattern) {
            add(root, &directory, ".rs", Kind::Rust, &mut paths);
        }
    }
    let wanted = std::env::var("PROSE").unwrap_or_default();
    paths.retain(|(path, _)| path.contains(&wanted));
    assert!(
        !paths.is_empty(),
        "no file with prose has `{wanted}` in its path: change the variable PROSE"
    );
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    let read = paths.into_iter().map(|(path, kind)| Source {
        text: fs::read_to_string(root.join(&path)).unwrap(),
        path,
        kind,
    });
    read.filter(|source| !source.text.starts_with(GENERATED))
        .collect()
}

/// The directories that a pattern with at most one `*` stands for.
fn matching(root: &Path, pattern: &str) -> Vec<String> {
    let Some((before, after)) = pattern.split_once("*/") else {
        return vec![pattern.to_owned()];
    };
    let entries = fs::read_dir(root.join(before)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .map(|name| format!("{before}{name}/{after}"))
        .filter(|directory| root.join(directory).is_dir())
        .collect()
}

/// Adds the files below a directory whose names have an ending.
fn add(root: &Path, directory: &str, ending: &str, kind: Kind, paths: &mut Vec<(String, Kind)>) {
    for entry in fs::read_dir(root.join(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{directory}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            add(root, &path, ending, kind, paths);
        } else if path.ends_with(ending) {
            paths.push((path, kind));
        }
    }
}

impl Source {
    /// The paragraphs of prose, each with the line before its first.
    pub(super) fn paragraphs(&self) -> Vec<(usize, Paragraph)> {
        let whole = |text: &str| {
            paragraphs(text)
                .into_iter()
                .map(|found| (0, found))
                .collect()
        };
        match self.kind {
            Kind::Markdown => whole(&self.text),
            Kind::Template => whole(&without_template(&self.text)),
            Kind::Manifest => manifest_texts(&self.text)
                .into_iter()
                .flat_map(|(line, text)| {
                    let found = paragraphs(&without_template(&text));
                    let texts = found.into_iter().map(|paragraph| paragraph.text);
                    texts
                        .map(|text| (0, Paragraph::on_line(line, &text)))
                        .collect::<Vec<_>>()
                })
                .collect(),
            Kind::Rust => comments(&self.text)
                .into_iter()
                .flat_map(|comment| {
                    let found = paragraphs(&comment.text).into_iter();
                    found.map(move |paragraph| (comment.line - 1, paragraph))
                })
                .collect(),
        }
    }
}

static STATEMENT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)\{#.*?#\}|\{%-?\s*(\w+).*?%\}").unwrap());
static EXPRESSION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)\{\{.*?\}\}").unwrap());

/// A template without its statements. Every line stays where it is.
fn without_template(text: &str) -> String {
    let lines = |captures: &Captures<'_>| "\n".repeat(captures[0].matches('\n').count());
    let text = EXPRESSION.replace_all(text, |captures: &Captures<'_>| {
        format!("{CODE}{}", lines(captures))
    });
    let text = STATEMENT.replace_all(&text, |captures: &Captures<'_>| {
        // Two branches are two sentences.
        let is_branch = captures
            .get(1)
            .is_some_and(|name| ["else", "elif"].contains(&name.as_str()));
        format!("{}{}", if is_branch { ". " } else { "" }, lines(captures))
    });
    text.into_owned()
}

/// The texts of the manifest, each with its line.
fn manifest_texts(manifest: &str) -> Vec<(usize, String)> {
    let mut texts = Vec::new();
    let root: Value = serde_yaml::from_str(manifest).unwrap();
    for section in ["toolsets", "unexposed"] {
        let entries = root[section].as_object().into_iter().flatten();
        texts.extend(entries.filter_map(|(_, text)| text.as_str()));
    }
    collect(&root, &mut texts);
    let line_of = |text: &str| {
        let first = text.lines().next().unwrap_or(text);
        let begin: String = first.chars().take(40).collect();
        let found = manifest.lines().position(|line| line.contains(&begin));
        found.map_or(1, |line| line + 1)
    };
    let texts = texts.into_iter().filter(|text| !text.ends_with(".j2"));
    texts.map(|text| (line_of(text), text.to_owned())).collect()
}

/// Adds the texts of a value and of everything in it.
fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(text) if ["doc", "description", "why"].contains(&name.as_str()) => {
                        texts.push(text);
                    }
                    _ => collect(field, texts),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_keep_their_lines() {
        let text = "One {{ two\n}} three.\n{% if a %}\nFour{% else %}five{% endif %}";
        let bare = without_template(text);
        assert_eq!(bare, "One `code`\n three.\n\nFour. five");
    }

    #[test]
    fn texts_of_the_manifest_have_lines() {
        let manifest = "toolsets:\n  run: Run commands\ntools:\n  run:\n    title: Run\n    description: tools/run.md.j2\n    params:\n      a: {doc: First}\n";
        let expected = [(2, "Run commands".to_owned()), (8, "First".to_owned())];
        assert_eq!(manifest_texts(manifest), expected);
    }

    #[test]
    fn lines_of_comments_count_from_the_file() {
        let source = Source {
            path: "a.rs".to_owned(),
            kind: Kind::Rust,
            text: "fn a() {}\n\n/// One.\n///\n/// Two.\nfn b() {}\n".to_owned(),
        };
        let lines: Vec<usize> = source
            .paragraphs()
            .iter()
            .map(|(before, paragraph)| before + paragraph.line_at(0))
            .collect();
        assert_eq!(lines, [3, 5]);
    }
}
