//! What a tool answers, in both of its renderings.

use serde::Serialize;
use serde_json::Value;

use super::ToolError;

/// The text rendering of an answer.
pub trait Render {
    /// All of the answer, for a reader who sees nothing else.
    fn text(&self) -> String;

    /// Resources of this server that the answer leads to, for clients that follow links.
    fn links(&self) -> Vec<Link> {
        Vec::new()
    }

    /// Whether it tells of a failure, which clients should see at once.
    fn is_failure(&self) -> bool {
        false
    }

    /// A page that the client is to show the user before it calls again.
    fn wanted_page(&self) -> Option<WantedPage> {
        None
    }
}

/// An answer in both renderings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// A JSON object, as the tool's output schema says.
    pub structured: Value,
    /// The same as text.
    pub text: String,
    /// Resources of this server that it leads to.
    pub links: Vec<Link>,
    /// Whether it tells of a failure: it is an answer all the same.
    pub is_failure: bool,
    /// A page that the client is to show the user before it calls again.
    pub wanted_page: Option<WantedPage>,
}

/// A resource of this server that an answer leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Its address, which `resources/read` takes.
    pub uri: String,
    /// What it is, for people.
    pub name: &'static str,
    /// The media type of its content.
    pub mime: &'static str,
}

/// A page that the client is to show the user, and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WantedPage {
    /// Why the user is to see it.
    pub message: String,
    /// Its address.
    pub url: String,
}

impl Link {
    /// The files of an image, as a listing of its root.
    pub(super) fn files_of(image: &str) -> Self {
        Self {
            uri: format!("contree://image/{image}/ls/."),
            name: "files of the result image",
            mime: "text/plain",
        }
    }
}

impl Answer {
    /// Renders a result.
    ///
    /// # Errors
    /// Fails only for a result that is no JSON, which a result type cannot be.
    pub(super) fn of<T: Render + Serialize>(result: T) -> Result<Self, ToolError> {
        let structured = serde_json::to_value(&result)
            .map_err(|error| ToolError::internal("the result is no JSON", error))?;
        Ok(Self {
            structured,
            text: result.text(),
            links: result.links(),
            is_failure: result.is_failure(),
            wanted_page: result.wanted_page(),
        })
    }
}
