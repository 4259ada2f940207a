//! Results of the tools that list, await and cancel operations.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::operations::Operation;
use super::{PublishedPort, ToolResult, counted, is_false};
use crate::tools::invisible::one_line;

/// An entry of `list_operations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OperationSummary {
    /// UUID of the operation
    pub uuid: String,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// PENDING, ASSIGNED, EXECUTING, SUCCESS, FAILED or CANCELLED
    pub status: String,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was started
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// Duration in seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The image it ran on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uuid: Option<String>,
    /// The image it made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_image_uuid: Option<String>,
    /// While it runs: attached, left (on purpose), or gone
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// While it runs: the processes that calls started
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<LiveProcess>,
    /// While it runs: how many processes its sandbox has
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u64>,
    /// While it runs: the memory of its sandbox, in bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// While it runs: its published ports
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
}

/// A running process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct LiveProcess {
    /// Id for `interact`; 1 is the command of the run
    pub process_id: u64,
    /// Its command
    pub command: String,
    /// How long it has been running
    pub seconds: f64,
}

/// Result of `list_operations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListOperations {
    /// Newest first
    pub operations: Vec<OperationSummary>,
}

impl ToolResult for ListOperations {
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
                let _ = write!(text, ", error: {}", one_line(error));
            }
            if let Some(client) = &operation.client {
                let _ = write!(text, ", client {client}");
            }
            if let Some(count) = operation.process_count {
                let _ = write!(text, ", processes {count}");
            }
            if let Some(bytes) = operation.memory_bytes {
                let _ = write!(text, ", memory {bytes} bytes");
            }
            text.push('\n');
            for process in &operation.processes {
                let LiveProcess {
                    process_id,
                    command,
                    seconds,
                } = process;
                let _ = writeln!(
                    text,
                    "  process {process_id}, {seconds} s: {}",
                    one_line(command)
                );
            }
            for published in &operation.ports {
                let _ = writeln!(text, "  port {} at {}", published.port, published.url);
            }
        }
        text
    }
}

/// Result of `wait_operations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct WaitOperations {
    /// Ended operations, by id
    pub results: BTreeMap<String, Operation>,
    /// Ids that ended by themselves
    pub completed: Vec<String>,
    /// Ids that were cancelled because another one ended first (mode any)
    pub cancelled: Vec<String>,
    /// Ids that could not be followed, with the reason
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, String>,
    /// Ids that were still running after `timeout`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// The output so far of those that were still running, by id
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub running: BTreeMap<String, Operation>,
    /// Whether some were still running after `timeout`
    #[serde(skip_serializing_if = "is_false")]
    pub timed_out: bool,
    /// The call that waits for the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ToolResult for WaitOperations {
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
            text.push_str("; the timeout was reached");
        }
        text.push('\n');
        for (id, operation) in &self.results {
            let _ = write!(text, "\n{id}\n{}", operation.text());
        }
        for (id, operation) in &self.running {
            let _ = write!(text, "\n{id} so far\n{}", operation.text());
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

/// Result of `cancel_operation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct CancelOperation {
    /// Whether it was cancelled; false if it had already ended
    pub cancelled: bool,
    /// UUID of the operation
    pub operation_id: String,
}

impl ToolResult for CancelOperation {
    fn text(&self) -> String {
        let Self {
            cancelled,
            operation_id,
        } = self;
        if *cancelled {
            format!("cancelled operation {operation_id}\n")
        } else {
            format!("operation {operation_id} had already ended\n")
        }
    }
}
