//! Results of the tools that start operations: `run` and `import_image`.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::operations::Operation;
use super::{PublishedPort, ToolResult};
use crate::tools::answer::ResourceLink;

/// Result of `run`: the ended operation, or with `wait=false` only its id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Run {
    /// The operation that was started (wait=false)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The published ports, with their addresses
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
    /// What could not be recorded
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The ended operation.
    #[serde(flatten)]
    pub ended: Option<Operation>,
}

impl Run {
    /// Creates the result of an ended operation.
    pub(in crate::tools) fn of_ended(operation: Operation) -> Self {
        Self {
            operation_id: None,
            ports: Vec::new(),
            note: None,
            ended: Some(operation),
        }
    }
}

impl ToolResult for Run {
    fn text(&self) -> String {
        let mut text = text_of_start(self.operation_id.as_deref(), self.ended.as_ref());
        for port in &self.ports {
            text.push_str(&port.text());
        }
        if let Some(note) = &self.note {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    fn links(&self) -> Vec<ResourceLink> {
        self.ended
            .as_ref()
            .map(ToolResult::links)
            .unwrap_or_default()
    }
}

/// Result of `import_image`: the ended operation, or with `wait=false` only its id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ImportImage {
    /// The operation that was started (wait=false)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The ended operation.
    #[serde(flatten)]
    pub ended: Option<Operation>,
}

impl ToolResult for ImportImage {
    fn text(&self) -> String {
        text_of_start(self.operation_id.as_deref(), self.ended.as_ref())
    }

    fn links(&self) -> Vec<ResourceLink> {
        self.ended
            .as_ref()
            .map(ToolResult::links)
            .unwrap_or_default()
    }
}

/// The text of an operation that has ended, or that was only started.
fn text_of_start(started: Option<&str>, ended: Option<&Operation>) -> String {
    match (started, ended) {
        (_, Some(ended)) => ended.text(),
        (Some(id), None) => {
            format!("started operation {id}\nnext: wait_operations(operation_ids=[\"{id}\"])\n")
        }
        (None, None) => String::new(),
    }
}
