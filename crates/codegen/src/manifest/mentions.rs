//! Checks that texts mention only tools, arguments and guides that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Manifest;
use super::names::suggestion;
use super::problem::Problem;
use super::resolve::{ResolvedManifest, guide_uri};
use super::templates::{TextEntry, is_template};

/// Checks texts against the names that they may mention.
pub struct MentionChecker<'a> {
    tools: BTreeMap<&'a str, Vec<&'a str>>,
    /// Former names of tools, each with the current name.
    aliases: BTreeMap<&'a str, &'a str>,
    guides: Vec<&'a str>,
    /// The prefix of the URI of every guide.
    guide_prefix: String,
}

impl<'a> MentionChecker<'a> {
    /// Creates a checker with the names of a manifest.
    pub fn new(scheme: &str, manifest: &'a Manifest, resolved: &'a ResolvedManifest) -> Self {
        let tools = resolved.tools.iter().map(|tool| {
            let params = tool
                .params
                .iter()
                .map(|param| param.name.as_str())
                .collect();
            (tool.name.as_str(), params)
        });
        let aliases = resolved.tools.iter().flat_map(|tool| {
            tool.aliases
                .iter()
                .map(|alias| (alias.as_str(), tool.name.as_str()))
        });
        Self {
            tools: tools.collect(),
            aliases: aliases.collect(),
            guides: manifest.guides.keys().map(|name| name.as_str()).collect(),
            guide_prefix: guide_uri(scheme, ""),
        }
    }

    /// Checks a rendered text: calls in code such as `` `run(image=…)` ``, and links to guides. In
    /// a code block, each line may be a call.
    ///
    /// Returns the tools that the text mentions.
    pub fn check(
        &self,
        entry: TextEntry<'_>,
        source: &str,
        text: &str,
        problems: &mut Vec<Problem>,
    ) -> BTreeSet<String> {
        let (file, first) = if is_template(entry.text) {
            (format!("templates/{}", entry.text), 1)
        } else {
            (entry.file.to_owned(), entry.line)
        };
        // A page repeats descriptions, so a mistake in a description is reported only once.
        let mut report = |mention: &str, text: String| {
            let line = source
                .lines()
                .position(|line| line.contains(mention))
                .unwrap_or(0) as u64;
            let text = format!("the text mentions `{mention}`, but {text}");
            if !problems.iter().any(|problem| problem.text == text) {
                problems.push(Problem::new(&file, first + line, text));
            }
        };
        for span in code_lines(text) {
            if let Some((name, arguments)) = call(span) {
                self.call(span, name, arguments, &mut report);
            }
        }
        for link in text.split(&self.guide_prefix).skip(1) {
            let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let name = &link[..link.find(|c| !in_name(c)).unwrap_or(link.len())];
            if !name.is_empty() && !self.guides.contains(&name) {
                let hint = suggestion(name, self.guides.iter().copied());
                report(
                    &format!("{}{name}", self.guide_prefix),
                    format!("there is no such guide{hint}"),
                );
            }
        }
        self.mentioned_tools(text)
    }

    /// The tools that a text mentions between backticks.
    pub fn mentioned_tools(&self, text: &str) -> BTreeSet<String> {
        code_lines(text)
            .map(|span| call(span).map_or(span, |(name, _)| name))
            .filter(|name| self.tools.contains_key(name))
            .map(str::to_owned)
            .collect()
    }

    fn call(&self, span: &str, name: &str, arguments: &str, report: &mut impl FnMut(&str, String)) {
        let Some(params) = self.tools.get(name) else {
            if let Some(current) = self.aliases.get(name) {
                let text = format!("that is a former name of `{current}` (write `{current}`)");
                report(span, text);
                return;
            }
            let hint = suggestion(name, self.tools.keys().copied());
            report(span, format!("there is no tool `{name}`{hint}"));
            return;
        };
        for argument in keywords(arguments) {
            if !params.contains(&argument) {
                let hint = suggestion(argument, params.iter().copied());
                report(span, format!("`{name}` has no argument `{argument}`{hint}"));
            }
        }
    }
}

/// The trimmed lines of code between backticks.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .flat_map(str::lines)
        .map(str::trim)
}

/// The name and the arguments of `name(…)`.
fn call(span: &str) -> Option<(&str, &str)> {
    let (name, arguments) = span.strip_suffix(')')?.split_once('(')?;
    super::names::is_snake_case(name).then_some((name, arguments))
}

/// The names of keyword arguments: those before a `=` that is outside of quotes and brackets.
fn keywords(arguments: &str) -> Vec<&str> {
    let mut keywords = Vec::new();
    let (mut start, mut depth, mut quoted, mut escaped) = (0, 0_u32, false, false);
    for (position, c) in arguments.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => start = position + 1,
            '=' if !quoted && depth == 0 => {
                let name = arguments[start..position].trim();
                if super::names::is_snake_case(name) {
                    keywords.push(name);
                }
                start = position + 1;
            }
            _ => {}
        }
    }
    keywords
}
