//! What tools answer: one struct a tool, which is both the structured content and its published schema.
//!
//! Left out are null, "", [], {} and false, except what every answer of a tool has. [`Render`] gives the text
//! rendering, which says the same, for clients that show only text.

mod account;
mod files;
mod images;
mod inspection;
mod operations;

use schemars::JsonSchema;
use serde::Serialize;

pub use super::answer::Render;

pub use account::{RegistryAuth, RegistryTokenObtain, Whoami};
pub use files::{Download, DownloadSource, Rsync, SkippedPath, Upload};
pub use images::{GetImage, Image, Lineage, LineageData, ListImages, SetTag};
pub use inspection::{FileEntry, Grep, GrepMatch, ListFiles, ReadFile};
pub use operations::{
    CancelOperation, GetOperation, ImportImage, ListOperations, Operation, OperationResult,
    OperationSummary, Run, WaitOperations,
};

fn no(value: &bool) -> bool {
    !value
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// What `get_guide` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct GetGuide {
    /// The guide
    pub section: String,
    /// Its text, in Markdown
    pub content: String,
    /// All guides
    pub available_sections: Vec<String>,
}

impl Render for GetGuide {
    fn text(&self) -> String {
        format!(
            "{}\n\nOther guides: {}\n",
            self.content.trim_end(),
            self.available_sections.join(", ")
        )
    }
}

/// An answer of the API as it is, for tools that need no type of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Plain(serde_json::Map<String, serde_json::Value>);

impl Plain {
    /// The answer of an operation; one that is no object becomes the field `result` of one.
    #[allow(
        dead_code,
        reason = "generated handlers of tools with `answer: plain` call it"
    )]
    pub(super) fn of(answer: impl Serialize) -> Result<Self, super::ToolError> {
        let value = serde_json::to_value(answer)
            .map_err(|error| super::ToolError::internal("the answer is no JSON", error))?;
        Ok(Self(match value {
            serde_json::Value::Object(fields) => fields,
            other => std::iter::once(("result".to_owned(), other)).collect(),
        }))
    }
}

impl JsonSchema for Plain {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Plain".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": true})
    }
}

impl Render for Plain {
    fn text(&self) -> String {
        let value = serde_json::Value::Object(self.0.clone());
        format!("{value:#}\n")
    }
}
