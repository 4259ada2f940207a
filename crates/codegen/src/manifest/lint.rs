//! Finds forbidden text: invisible characters, characters that change the text direction, and links
//! to hosts that the manifest does not name.

use super::Inputs;
use super::model::Manifest;
use super::problem::{Problem, SourceFile};

/// Checks the files of the manifest and of every template.
pub fn lint(inputs: &Inputs<'_>, manifest: &Manifest) -> Vec<Problem> {
    let hosts: Vec<&str> = manifest
        .links
        .iter()
        .map(|host| host.value.as_str())
        .collect();
    let mut problems = lint_file(&inputs.manifest.name, inputs.manifest, &hosts);
    for template in inputs.templates {
        let file = format!("templates/{}", template.name);
        problems.extend(lint_file(&file, template, &hosts));
    }
    problems
}

fn lint_file(file: &str, source: &SourceFile, hosts: &[&str]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (line, text) in (1..).zip(source.text.lines()) {
        if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
            problems.push(Problem::new(
                file,
                line,
                format!(
                    "the character U+{:04X} is invisible (remove it)",
                    u32::from(hidden)
                ),
            ));
        }
        for host in links(text) {
            if !hosts.contains(&host) {
                problems.push(Problem::new(
                    file,
                    line,
                    format!(
                        "the link to `{host}` is not allowed (name the host under `links`, or remove the link)"
                    ),
                ));
            }
        }
    }
    problems
}

/// The hosts that a line links to.
fn links(text: &str) -> Vec<&str> {
    let after = |scheme: &str| -> Vec<usize> {
        text.match_indices(scheme)
            .map(|(at, _)| at + scheme.len())
            .collect()
    };
    let mut starts = [after("http://"), after("https://")].concat();
    starts.sort_unstable();
    let is_end = |c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    starts
        .into_iter()
        .map(|start| &text[start..])
        .map(|rest| &rest[..rest.find(is_end).unwrap_or(rest.len())])
        .filter(|host| !host.is_empty())
        .collect()
}

/// Returns true for control and format characters, direction marks, unusual spaces, tags and
/// private-use characters.
fn is_hidden(c: char) -> bool {
    matches!(
        u32::from(c),
        0..=0x1f | 0x7f..=0xa0 | 0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f
            | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x2800 | 0x3000 | 0x3164 | 0xfe00..=0xfe0f | 0xfeff
            | 0xffa0 | 0xfff0..=0xfffb | 0xe000..=0xf8ff | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a
            | 0xe0000..=0x10ffff
    )
}
