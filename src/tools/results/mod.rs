//! Results of tools: one struct per tool, which is both the structured content and its published
//! schema.
//!
//! Null, "", [], {} and false are omitted, except in fields that every answer of a tool has.
//! [`ToolResult`] produces the text rendering with the same facts, for clients that show only text.

mod account;
mod files;
mod history;
mod images;
mod inspection;
mod operation_lists;
mod operations;
mod ports;
mod processes;
mod push;
mod runs;

use schemars::JsonSchema;
use serde::Serialize;

pub use super::answer::ToolResult;
use super::invisible::visible_json;

pub use account::{RegistryAuth, RegistryTokenObtain, Whoami};
pub use files::{Apply, Download, DownloadSource, PathWhy, Rsync, SkippedPath, Upload};
pub use history::{DeleteImage, Diff, ImageChange, Log, LogEntry};
pub use images::{GetImage, Image, Lineage, LineageData, ListImages, SetTag};
pub use inspection::{FileEntry, Grep, GrepMatch, ListFiles, ReadFile};
pub use operation_lists::{
    CancelOperation, ListOperations, LiveProcess, OperationSummary, WaitOperations,
};
pub use operations::{GetOperation, Operation, OperationResult};
pub use ports::{Publish, PublishedPort};
pub use processes::{Exec, Interact, Snapshot};
pub use push::{PushImage, PushedImage};
pub use runs::{ImportImage, Run};

/// Reports whether a flag is unset, for `skip_serializing_if`.
fn is_false(value: &bool) -> bool {
    !value
}

/// Reports whether a count is zero, for `skip_serializing_if`.
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Returns a count with its noun, such as `2 images`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Result of `get_guide`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct GetGuide {
    /// Name of the guide
    pub section: String,
    /// Text of the guide, in Markdown
    pub content: String,
    /// Names of all guides
    pub available_sections: Vec<String>,
}

impl ToolResult for GetGuide {
    fn text(&self) -> String {
        format!(
            "{}\n\nOther guides: {}\n",
            self.content.trim_end(),
            self.available_sections.join(", ")
        )
    }
}

/// An unchanged answer of the API, for tools without a result type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ApiAnswer(serde_json::Map<String, serde_json::Value>);

impl ApiAnswer {
    /// Wraps an answer. One that is not an object becomes the field `result` of an object.
    #[allow(
        dead_code,
        reason = "generated handlers of tools with `answer: plain` call it"
    )]
    pub(super) fn of(answer: impl Serialize) -> Result<Self, super::ToolError> {
        let value = serde_json::to_value(answer)
            .map_err(|error| super::ToolError::internal("cannot serialise the answer", error))?;
        Ok(Self(match value {
            serde_json::Value::Object(fields) => fields,
            other => std::iter::once(("result".to_owned(), other)).collect(),
        }))
    }
}

impl JsonSchema for ApiAnswer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ApiAnswer".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": true})
    }
}

impl ToolResult for ApiAnswer {
    fn text(&self) -> String {
        let value = serde_json::Value::Object(self.0.clone());
        visible_json(&format!("{value:#}\n")).into_owned()
    }
}
