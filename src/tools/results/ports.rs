//! Results about published ports.

use schemars::JsonSchema;
use serde::Serialize;

use super::ToolResult;
use crate::types;

/// A published port of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PublishedPort {
    /// The port inside
    pub port: u64,
    /// Its address on the machine of the engine, until the sandbox ends
    pub url: String,
}

impl From<types::PublishedPort> for PublishedPort {
    fn from(published: types::PublishedPort) -> Self {
        Self {
            port: published.port,
            url: published.url,
        }
    }
}

impl ToolResult for PublishedPort {
    fn text(&self) -> String {
        format!("port {} of the sandbox is at {}\n", self.port, self.url)
    }
}

/// Result of `publish`.
pub type Publish = PublishedPort;
