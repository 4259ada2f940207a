//! Guides, prompts and resources as the manifest describes them.

use contree_error_codes::ErrorCode;

use super::suggestion::{brief, nearest};
use super::{GUIDES, RESOURCES, ToolError};

/// Prefix of every resource URI of this server.
const SCHEME: &str = "contree://";
/// Length of the longest URI, in bytes. A path in an image has at most 4,096 bytes, each encoded as
/// three.
const MAX_URI_BYTES: usize = 16 * 1024;

/// A longer text that agents read on demand.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Guide {
    /// Unique name.
    pub name: &'static str,
    /// URI of its resource.
    pub uri: &'static str,
    /// Title for people.
    pub title: &'static str,
    /// One-sentence description.
    pub doc: &'static str,
    /// Text in Markdown.
    pub text: &'static str,
    /// Tools that the text mentions.
    pub tools: &'static [&'static str],
}

/// A prompt, with which a person starts an agent.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Prompt {
    /// Unique name.
    pub name: &'static str,
    /// Title for people.
    pub title: &'static str,
    /// Description of the task that the prompt gives an agent.
    pub description: &'static str,
    /// Name of its template.
    pub template: &'static str,
    /// Arguments in their order.
    pub arguments: &'static [PromptArgument],
    /// Tools that the text calls.
    pub tools: &'static [&'static str],
}

/// An argument of a prompt. Its value is always a string.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PromptArgument {
    /// Unique name.
    pub name: &'static str,
    /// One-sentence description.
    pub doc: &'static str,
    /// Whether it is required.
    pub required: bool,
    /// Default value.
    pub default: Option<&'static str>,
    /// Source of its completions, if it has one.
    pub complete: Option<CompletionSource>,
}

/// Source of completions for an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionSource {
    /// Tags of images, as `tag:NAME`.
    Image,
    /// Paths in the image that another argument names.
    Path,
    /// Ids of operations.
    Operation,
    /// Ids of runs.
    Instance,
    /// Ids of imports.
    Import,
    /// Names of guides.
    Guide,
}

/// A resource template: a URI with variables, under which content can be read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Resource {
    /// Unique name.
    pub name: &'static str,
    /// URI template.
    pub uri: &'static str,
    /// Title for people.
    pub title: &'static str,
    /// One-sentence description.
    pub doc: &'static str,
    /// Media type of its content if it is text.
    pub mime: &'static str,
    /// Tool that reads the same. The resource is offered together with it.
    pub tool: &'static str,
    /// Variables in the order of the URI, each with the source of its completions.
    pub variables: &'static [(&'static str, Option<CompletionSource>)],
}

/// Content of a resource.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ResourceContent {
    /// Text or bytes.
    pub body: ContentBody,
    /// How long clients may cache it.
    pub lifetime: CacheLifetime,
}

/// Body of a resource's content.
#[derive(Clone, Debug, PartialEq)]
pub enum ContentBody {
    /// Text.
    Text(String),
    /// Bytes in base64.
    Base64(String),
}

/// How long content stays valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLifetime {
    /// Valid as long as this server version is used.
    ThisVersion,
    /// Never changes, but its image or operation can be deleted.
    Immutable,
    /// May change at any time, so it must not be cached.
    None,
}

impl ResourceContent {
    /// Creates text content.
    #[must_use]
    pub fn text(text: impl Into<String>, lifetime: CacheLifetime) -> Self {
        Self {
            body: ContentBody::Text(text.into()),
            lifetime,
        }
    }
}

/// Decoded variables of a URI.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UriVariables(Vec<(&'static str, String)>);

impl UriVariables {
    /// Takes the value of a variable. If the URI matched the template, there is one.
    pub(super) fn take(&mut self, name: &str) -> Result<String, ToolError> {
        let known = self.0.iter_mut().find(|(known, _)| *known == name);
        known
            .map(|(_, value)| std::mem::take(value))
            .ok_or_else(|| ToolError::invalid(format!("the URI has no `{name}`")))
    }
}

/// Finds a guide by its name or URI.
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
        .with_hint(format!("The guides are: {}.", names.join(", ")))
        .with_code(ErrorCode::UnknownTool)
    })
}

/// Finds the resource template that `uri` matches, and the values of its variables.
///
/// A variable matches one part between slashes; the last variable matches the rest. If a name such
/// as a tag has unencoded slashes, the shortest match wins.
#[must_use]
pub fn find_resource(uri: &str) -> Option<(&'static Resource, UriVariables)> {
    if uri.len() > MAX_URI_BYTES {
        return None;
    }
    let path = uri.strip_prefix(SCHEME)?;
    let parts: Vec<&str> = path.split('/').collect();
    let found = RESOURCES.iter().filter_map(|resource| {
        let pattern: Vec<&'static str> = resource.uri.strip_prefix(SCHEME)?.split('/').collect();
        let mut values = Vec::new();
        matches_pattern(&pattern, &parts, &mut values).then_some((resource, values))
    });
    let (resource, values) = found.min_by_key(|(_, values)| {
        // The last variable always matches the rest, so its length does not count.
        let inner = values.len().saturating_sub(1);
        values[..inner]
            .iter()
            .map(|parts| parts.len())
            .sum::<usize>()
    })?;
    let variables = resource.variables.iter().zip(values);
    let variables = variables.map(|((name, _), parts)| (*name, decode(&parts.join("/"))));
    Some((resource, UriVariables(variables.collect())))
}

/// Reports whether the parts of a URI match a pattern, and collects each variable's parts in
/// `values`.
fn matches_pattern<'p, 'a>(
    pattern: &[&str],
    parts: &'p [&'a str],
    values: &mut Vec<&'p [&'a str]>,
) -> bool {
    match pattern {
        [] => parts.is_empty(),
        [last] if last.starts_with('{') => {
            values.push(parts);
            true
        }
        [variable, rest @ ..] if variable.starts_with('{') => (1..=parts.len()).any(|length| {
            let before = values.len();
            values.push(&parts[..length]);
            let fits = !parts[0].is_empty() && matches_pattern(rest, &parts[length..], values);
            if !fits {
                values.truncate(before);
            }
            fits
        }),
        [word, rest @ ..] => {
            parts.first() == Some(word) && matches_pattern(rest, &parts[1..], values)
        }
    }
}

/// Decodes `%XX`. Invalid codes stay as they are, and invalid UTF-8 is replaced.
fn decode(text: &str) -> String {
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
pub fn encode_uri_part(name: &str) -> String {
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

/// Builds the error for a URI that matches no template.
#[must_use]
pub fn unknown_resource(uri: &str) -> ToolError {
    let known: Vec<&str> = RESOURCES.iter().map(|resource| resource.uri).collect();
    let meant = nearest(uri, known.iter().copied());
    let message = format!("there is no resource `{}`", brief(uri));
    ToolError::not_found(match meant {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => format!("{message}; the resources are: {}", known.join(", ")),
    })
    .with_code(ErrorCode::UnknownTool)
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
    fn paths_may_contain_slashes_and_percent_codes() {
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
    fn other_uris_match_no_resource() {
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
    fn an_encoded_name_is_one_part_and_decodes_to_itself() {
        for name in ["tag:common/numpy/python", "a b%", "ä/?#", ""] {
            assert!(!encode_uri_part(name).contains('/'));
            assert_eq!(decode(&encode_uri_part(name)), name);
        }
    }
}
