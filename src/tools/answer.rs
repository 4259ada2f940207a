//! Answers of tools: structured content and text.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::ToolError;
use super::invisible::visible;

/// The line that follows a text with escapes.
const ESCAPES_NOTE: &str =
    "invisible characters are shown as \\u{…}; the structured content has them unchanged\n";

/// Rendering of a tool's result.
pub trait ToolResult {
    /// Renders the whole result as text, for clients that show only text.
    fn text(&self) -> String;

    /// Returns resources of this server to follow up with, for clients that support links.
    fn links(&self) -> Vec<ResourceLink> {
        Vec::new()
    }

    /// Reports whether the result describes a failure, so that clients mark it as an error.
    fn is_failure(&self) -> bool {
        false
    }

    /// A page that the client must show the user before it repeats the call.
    fn page_request(&self) -> Option<PageRequest> {
        None
    }
}

/// An answer as structured content and as text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolAnswer {
    /// A JSON object that matches the tool's output schema.
    pub structured: Value,
    /// The same content as text.
    pub text: String,
    /// Resources of this server to follow up with.
    pub links: Vec<ResourceLink>,
    /// Whether the answer describes a failure.
    pub is_failure: bool,
    /// A page that the client must show the user before it repeats the call.
    pub page_request: Option<PageRequest>,
}

/// A link to a resource of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceLink {
    /// URI for `resources/read`.
    pub uri: String,
    /// Name for people.
    pub name: &'static str,
    /// Media type of the content.
    pub mime: &'static str,
}

/// A page that the client must show the user, with a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageRequest {
    /// Why the user should open the page.
    pub message: String,
    /// URL of the page.
    pub url: String,
}

impl ResourceLink {
    /// Creates a link to the listing of an image's root directory.
    pub(super) fn files_of(image: &str) -> Self {
        Self {
            uri: format!("contree://image/{image}/ls/."),
            name: "files of the result image",
            mime: "text/plain",
        }
    }
}

impl ToolAnswer {
    /// Renders a result. In the text, hidden characters are escaped.
    ///
    /// # Errors
    /// If the result cannot be serialised. Every result type of this crate can be.
    pub(super) fn of<T: ToolResult + Serialize>(result: T) -> Result<Self, ToolError> {
        let structured = serde_json::to_value(&result)
            .map_err(|error| ToolError::internal("cannot serialise the result", error))?;
        Ok(Self {
            structured,
            text: shown(result.text()),
            links: result.links(),
            is_failure: result.is_failure(),
            page_request: result.page_request(),
        })
    }
}

/// Escapes hidden characters, and says so.
fn shown(text: String) -> String {
    match visible(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped + ESCAPES_NOTE,
    }
}
