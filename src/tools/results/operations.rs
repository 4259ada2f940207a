//! Operations: what ran, runs, and is listed.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Render, counted, no};
use crate::tools::answer::Link;

/// An operation: a command that ran or runs, or an import.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Operation {
    /// The operation
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// PENDING, ASSIGNED, EXECUTING, SUCCESS, FAILED or CANCELLED
    pub status: String,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was started
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// Image and tag that it made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<OperationResult>,
    /// Seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Bytes of the result image
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<i64>,
    /// Processor seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_cpu: Option<f64>,
    /// Bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_memory: Option<i64>,
    /// The image it ran on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uuid: Option<String>,
    /// The image with its changes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_image_uuid: Option<String>,
    /// The command's exit status, -1 if it was killed; absent while it runs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that ended it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// It was killed because its time was up
    #[serde(skip_serializing_if = "no")]
    pub timed_out: bool,
    /// Its standard output
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Its standard error
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// A stream was cut
    #[serde(skip_serializing_if = "no")]
    pub truncated: bool,
    /// Bytes of the whole standard output, if cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    /// Bytes of the whole standard error, if cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// Bytes that are not UTF-8 were replaced
    #[serde(skip_serializing_if = "no")]
    pub lossy: bool,
    /// How to see the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What an import made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OperationResult {
    /// The image
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its tag
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl Render for Operation {
    fn is_failure(&self) -> bool {
        self.status == crate::OperationStatus::Failed.to_string()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                let _ = write!(text, "{name}:\n{stream}");
                if !stream.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        text.push_str(&self.status);
        if let Some(code) = self.exit_code {
            let _ = write!(text, ", exit code {code}");
        }
        if let Some(signal) = self.signal {
            let _ = write!(text, ", killed by signal {signal}");
        }
        if self.timed_out {
            text.push_str(", timed out");
        }
        if let Some(duration) = self.duration {
            let _ = write!(text, ", {duration} s");
        }
        text.push('\n');
        let mut line = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let _ = writeln!(text, "{name}: {value}");
            }
        };
        line("error", self.error.as_deref());
        line("result image", self.result_image_uuid.as_deref());
        let result = self.result.as_ref();
        line(
            "result image",
            result
                .filter(|_| self.result_image_uuid.is_none())
                .and_then(|made| made.image.as_deref()),
        );
        line("tag", result.and_then(|made| made.tag.as_deref()));
        line("image", self.image_uuid.as_deref());
        line("operation", Some(&self.uuid));
        if self.truncated {
            let whole = |name: &str, bytes: Option<u64>| {
                bytes.map(|bytes| format!("{name} has {bytes} bytes"))
            };
            let cut = [
                whole("stdout", self.stdout_bytes),
                whole("stderr", self.stderr_bytes),
            ];
            let cut: Vec<String> = cut.into_iter().flatten().collect();
            let _ = writeln!(
                text,
                "output cut: {}",
                if cut.is_empty() {
                    "its size is unknown".into()
                } else {
                    cut.join(", ")
                }
            );
        }
        if self.lossy {
            text.push_str("bytes that are not UTF-8 were replaced\n");
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }

    fn links(&self) -> Vec<Link> {
        let made = self.result_image_uuid.as_deref();
        made.filter(|made| self.image_uuid.as_deref() != Some(made))
            .map(Link::files_of)
            .into_iter()
            .collect()
    }
}

/// What `run` answers: the operation's end, or with `wait=false` its id alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Run {
    /// The operation that was started (wait=false)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// How it ended.
    #[serde(flatten)]
    pub ended: Option<Operation>,
}

impl Run {
    /// The answer of an operation that is over.
    pub(in crate::tools) fn over(operation: Operation) -> Self {
        Self {
            operation_id: None,
            ended: Some(operation),
        }
    }
}

impl Render for Run {
    fn text(&self) -> String {
        match (&self.operation_id, &self.ended) {
            (_, Some(ended)) => ended.text(),
            (Some(id), None) => {
                format!("started operation {id}\nnext: wait_operations(operation_ids=[\"{id}\"])\n")
            }
            (None, None) => String::new(),
        }
    }

    fn links(&self) -> Vec<Link> {
        self.ended.as_ref().map(Render::links).unwrap_or_default()
    }
}

/// What `import_image` answers: the operation's end, or with `wait=false` its id alone.
pub type ImportImage = Run;

/// What `get_operation` answers.
pub type GetOperation = Operation;

/// One line of `list_operations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OperationSummary {
    /// The operation
    pub uuid: String,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How far it is
    pub status: String,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was started
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// Seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The image it ran on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uuid: Option<String>,
    /// The image it made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_image_uuid: Option<String>,
}

/// What `list_operations` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListOperations {
    /// Newest first
    pub operations: Vec<OperationSummary>,
}

impl Render for ListOperations {
    fn text(&self) -> String {
        let mut text = format!("{}\n", counted(self.operations.len(), "operation"));
        for operation in &self.operations {
            let _ = write!(
                text,
                "{} {} {} {}",
                operation.uuid, operation.status, operation.kind, operation.created_at
            );
            if let Some(duration) = operation.duration {
                let _ = write!(text, ", {duration} s");
            }
            if let Some(image) = &operation.image_uuid {
                let _ = write!(text, ", image {image}");
            }
            if let Some(image) = &operation.result_image_uuid {
                let _ = write!(text, ", result {image}");
            }
            if let Some(error) = &operation.error {
                let _ = write!(text, ", error: {error}");
            }
            text.push('\n');
        }
        text
    }
}

/// What `wait_operations` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct WaitOperations {
    /// The operations that ended, by id
    pub results: BTreeMap<String, Operation>,
    /// The ids that ended by themselves
    pub completed: Vec<String>,
    /// The ids that mode any cancelled
    pub cancelled: Vec<String>,
    /// Ids that could not be followed, with the reason
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, String>,
    /// Ids that were still running when the time was over
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// The time was over before all had ended
    #[serde(skip_serializing_if = "no")]
    pub timed_out: bool,
    /// How to wait on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Render for WaitOperations {
    fn text(&self) -> String {
        let mut text = format!("{} completed", self.completed.len());
        for (count, what) in [
            (self.cancelled.len(), "cancelled"),
            (self.errors.len(), "with errors"),
            (self.pending.len(), "pending"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        if self.timed_out {
            text.push_str("; the time was over");
        }
        text.push('\n');
        for (id, operation) in &self.results {
            let _ = write!(text, "\n{id}\n{}", operation.text());
        }
        for (id, error) in &self.errors {
            let _ = write!(text, "\n{id}\nerror: {error}\n");
        }
        if !self.pending.is_empty() {
            let _ = write!(text, "\npending: {}\n", self.pending.join(", "));
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// What `cancel_operation` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct CancelOperation {
    /// false: it was over already
    pub cancelled: bool,
    /// The operation
    pub operation_id: String,
}

impl Render for CancelOperation {
    fn text(&self) -> String {
        let Self {
            cancelled,
            operation_id,
        } = self;
        if *cancelled {
            format!("cancelled operation {operation_id}\n")
        } else {
            format!("operation {operation_id} was over already\n")
        }
    }
}
