//! What the manifest says of guides, prompts and resources, before any is used.

use super::suggestion::{brief, nearest};
use super::{GUIDES, RESOURCES, ToolError};

/// What stands before the path of every URI of ours.
const SCHEME: &str = "contree://";
/// The longest URI, in bytes: a path in an image may have 4,096, each of them encoded by three.
const LONGEST: usize = 16 * 1024;

/// A longer text that agents read on demand.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Guide {
    /// Its name.
    pub name: &'static str,
    /// Where it is read.
    pub uri: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// The text, in Markdown.
    pub text: &'static str,
    /// The tools that it speaks of.
    pub tools: &'static [&'static str],
}

/// A prompt: what a person starts an agent with.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Prompt {
    /// Its name.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it makes an agent do.
    pub description: &'static str,
    /// The name of its template.
    pub template: &'static str,
    /// Its arguments.
    pub arguments: &'static [PromptArgument],
    /// The tools that its text calls.
    pub tools: &'static [&'static str],
}

/// An argument of a prompt. All are texts.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PromptArgument {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when left out.
    pub default: Option<&'static str>,
    /// What completes it.
    pub complete: Option<Complete>,
}

/// What can complete a half-typed argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Complete {
    /// Tags of images, written `tag:NAME`.
    Image,
    /// Paths in the image that another argument names.
    Path,
    /// Ids of operations.
    Operation,
    /// Ids of operations that ran commands.
    Instance,
    /// Ids of imports.
    Import,
    /// Names of guides.
    Guide,
}

/// A resource template: what can be read under a URI with variables.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Resource {
    /// Its name.
    pub name: &'static str,
    /// Its URI with variables.
    pub uri: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What is read there.
    pub doc: &'static str,
    /// The type of its contents, where they are text.
    pub mime: &'static str,
    /// The tool that it goes with.
    pub tool: &'static str,
    /// Its variables, in the order of the URI, and what completes each.
    pub variables: &'static [(&'static str, Option<Complete>)],
}

/// What a resource holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Content {
    /// The contents.
    pub body: Body,
    /// How long a reader may keep them.
    pub kept: Kept,
}

/// The contents of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A text.
    Text(String),
    /// Bytes that are no text, in base64.
    Base64(String),
}

/// How long something that was read stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As long as this version of the server is used.
    Forever,
    /// It belongs to an image or operation that does not change any more.
    Long,
    /// It may be different at once.
    No,
}

impl Content {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>, kept: Kept) -> Self {
        Self {
            body: Body::Text(text.into()),
            kept,
        }
    }
}

/// The variables of a URI, decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables(Vec<(&'static str, String)>);

impl Variables {
    /// The value of a variable, which is there if the URI matched the template.
    pub(super) fn take(&mut self, name: &str) -> Result<String, ToolError> {
        let known = self.0.iter_mut().find(|(known, _)| *known == name);
        known
            .map(|(_, value)| std::mem::take(value))
            .ok_or_else(|| ToolError::invalid(format!("the URI has no `{name}`")))
    }
}

/// The guide with this name, or with this URI.
pub(super) fn find_guide(name: &str) -> Result<&'static Guide, ToolError> {
    let wanted = name.trim().to_lowercase();
    let known = GUIDES
        .iter()
        .find(|guide| guide.name == wanted || guide.uri == wanted);
    known.ok_or_else(|| {
        let names: Vec<&str> = GUIDES.iter().map(|guide| guide.name).collect();
        let message = format!("there is no guide `{}`", brief(name));
        match nearest(&wanted, names.iter().copied()) {
            Some(meant) => ToolError::not_found(format!("{message}; did you mean `{meant}`?")),
            None => ToolError::not_found(message),
        }
        .with_hint(format!("There are: {}.", names.join(", ")))
    })
}

/// The resource template that `uri` is one of, and its variables.
///
/// Each variable is one part between slashes, the last one all the rest. Where a name has slashes that were not encoded,
/// such as a tag, the shortest that fits is taken.
#[must_use]
pub fn find_resource(uri: &str) -> Option<(&'static Resource, Variables)> {
    if uri.len() > LONGEST {
        return None;
    }
    let path = uri.strip_prefix(SCHEME)?;
    let parts: Vec<&str> = path.split('/').collect();
    let found = RESOURCES.iter().filter_map(|resource| {
        let pattern: Vec<&'static str> = resource.uri.strip_prefix(SCHEME)?.split('/').collect();
        let mut taken = Vec::new();
        fits(&pattern, &parts, &mut taken).then_some((resource, taken))
    });
    let (resource, taken) = found.min_by_key(|(_, taken)| {
        // The last variable may be as long as it likes.
        let inner = taken.len().saturating_sub(1);
        taken[..inner]
            .iter()
            .map(|parts| parts.len())
            .sum::<usize>()
    })?;
    let variables = resource.variables.iter().zip(taken);
    let variables = variables.map(|((name, _), parts)| (*name, decoded(&parts.join("/"))));
    Some((resource, Variables(variables.collect())))
}

/// Whether the parts of a URI fit a pattern; `taken` is what each variable stands for then.
fn fits<'p, 'a>(pattern: &[&str], parts: &'p [&'a str], taken: &mut Vec<&'p [&'a str]>) -> bool {
    match pattern {
        [] => parts.is_empty(),
        [last] if last.starts_with('{') => {
            taken.push(parts);
            true
        }
        [variable, rest @ ..] if variable.starts_with('{') => (1..=parts.len()).any(|length| {
            let before = taken.len();
            taken.push(&parts[..length]);
            let fits = !parts[0].is_empty() && fits(rest, &parts[length..], taken);
            if !fits {
                taken.truncate(before);
            }
            fits
        }),
        [word, rest @ ..] => parts.first() == Some(word) && fits(rest, &parts[1..], taken),
    }
}

/// Resolves `%XX`. What is no such code stays as it is, and bytes that are no UTF-8 are replaced.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Encodes a name as one part of a URI.
#[must_use]
pub fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The error for a URI that no template has.
#[must_use]
pub fn unknown_resource(uri: &str) -> ToolError {
    let known: Vec<&str> = RESOURCES.iter().map(|resource| resource.uri).collect();
    let meant = nearest(uri, known.iter().copied());
    let message = format!("there is no resource `{}`", brief(uri));
    ToolError::not_found(match meant {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => format!("{message}; there are: {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(uri: &str) -> (&'static str, Vec<String>) {
        let (resource, variables) = find_resource(uri).unwrap_or_else(|| panic!("{uri}"));
        let values = variables.0.into_iter().map(|(_, value)| value);
        (resource.name, values.collect())
    }

    #[test]
    fn paths_may_have_slashes_and_codes() {
        for (uri, name, values) in [
            (
                "contree://image/u/read/etc/hosts",
                "read_file",
                ["u", "etc/hosts"],
            ),
            ("contree://image/u/ls/.", "image_ls", ["u", "."]),
            ("contree://image/u/ls/", "image_ls", ["u", ""]),
            (
                "contree://image/u/read/usr/ls/x",
                "read_file",
                ["u", "usr/ls/x"],
            ),
            (
                "contree://image/u/read/a%20b%2Fc",
                "read_file",
                ["u", "a b/c"],
            ),
            (
                "contree://image/u/read/100%/%zz/%",
                "read_file",
                ["u", "100%/%zz/%"],
            ),
            ("contree://image/u/read/a?b#c", "read_file", ["u", "a?b#c"]),
            (
                "contree://image/tag:a%2Fb/ls/c",
                "image_ls",
                ["tag:a/b", "c"],
            ),
            ("contree://image/tag:a/b/ls/c", "image_ls", ["tag:a/b", "c"]),
            ("contree://image/u/read/%C3%A4", "read_file", ["u", "ä"]),
            ("contree://image/u/read/ä%e", "read_file", ["u", "ä%e"]),
        ] {
            assert_eq!(
                found(uri),
                (name, values.map(str::to_owned).to_vec()),
                "{uri}"
            );
        }
        assert_eq!(found("contree://image/tag:a/b/lineage").1, ["tag:a/b"]);
    }

    #[test]
    fn what_is_no_resource_is_not_found() {
        for uri in [
            "",
            "contree:",
            "contree://",
            "file:///etc/passwd",
            "contree://image/u",
            "contree://image//read/x",
            "contree://nothing/u/read/x",
        ] {
            assert!(find_resource(uri).is_none(), "{uri}");
        }
        let long = format!("contree://image/{}", "a/".repeat(500_000));
        assert!(find_resource(&long).is_none());
        assert!(unknown_resource(&long).to_string().len() < 1000);
        let error = unknown_resource("contree://image/u/raed/x").to_string();
        assert!(
            error.contains("contree://image/{image}/read/{path}"),
            "{error}"
        );
    }

    #[test]
    fn what_is_encoded_is_one_part_and_comes_back() {
        for name in ["tag:common/numpy/python", "a b%", "ä/?#", ""] {
            assert!(!encoded(name).contains('/'));
            assert_eq!(decoded(&encoded(name)), name);
        }
    }
}
