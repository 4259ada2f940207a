//! Results of the tools for runs, imports and operations.

use std::collections::BTreeMap;
use std::fmt::Write;

use contree_error_codes::ErrorCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{PublishedPort, ToolResult, counted, is_false};
use crate::tools::answer::ResourceLink;
use crate::tools::fence::Fence;
use crate::tools::invisible::one_line;
use crate::types;

/// An operation: a run or an import.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Operation {
    /// UUID of the operation
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
    /// The code of `error`, for the error of a call.
    #[serde(skip)]
    pub(crate) error_code: Option<ErrorCode>,
    /// When it was started
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// The image that a push wrote
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<PushedImage>,
    /// Image and tag that an import made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<OperationResult>,
    /// Duration in seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Size of the result image in bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<i64>,
    /// CPU time in seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_cpu: Option<f64>,
    /// Memory used, in bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_memory: Option<i64>,
    /// The image it ran on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uuid: Option<String>,
    /// The image with the run's changes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_image_uuid: Option<String>,
    /// The command's exit code, -1 if it was killed; absent while it runs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that killed the command
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// Whether the command was killed after `timeout`
    #[serde(skip_serializing_if = "is_false")]
    pub timed_out: bool,
    /// Whether the kernel killed a process because a memory limit was reached
    #[serde(skip_serializing_if = "is_false")]
    pub oom_killed: bool,
    /// Standard output
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Standard error
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// Whether stdout or stderr was cut
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Size of the whole standard output in bytes, if it was cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    /// Size of the whole standard error in bytes, if it was cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// Whether bytes that are not UTF-8 were replaced
    #[serde(skip_serializing_if = "is_false")]
    pub lossy: bool,
    /// How to see the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Image and tag that an import made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OperationResult {
    /// UUID of the image
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Tag of the image
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// The image that a push wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PushedImage {
    /// Digest of its manifest; of its configuration in a docker-archive
    pub digest: String,
    /// Layers and configurations that were sent
    pub blobs_sent: u64,
    /// Those that were there already
    pub blobs_present: u64,
    /// Bytes of those that were sent
    pub bytes_sent: u64,
}

impl From<types::PushResult> for PushedImage {
    fn from(result: types::PushResult) -> Self {
        Self {
            digest: result.digest,
            blobs_sent: result.blobs_sent,
            blobs_present: result.blobs_present,
            bytes_sent: result.bytes_sent,
        }
    }
}

impl PushedImage {
    fn text(&self) -> String {
        format!(
            "pushed {}\n{} blobs with {} bytes sent, {} were there\n",
            self.digest, self.blobs_sent, self.bytes_sent, self.blobs_present
        )
    }
}

/// Result of `push_image`: what was pushed, or with `wait=false` only the operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PushImage {
    /// The operation that was started (wait=false)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The pushed image.
    #[serde(flatten)]
    pub pushed: Option<PushedImage>,
}

impl ToolResult for PushImage {
    fn text(&self) -> String {
        match (&self.operation_id, &self.pushed) {
            (_, Some(pushed)) => pushed.text(),
            (Some(id), None) => {
                format!("started operation {id}\nnext: wait_operations(operation_ids=[\"{id}\"])\n")
            }
            (None, None) => String::new(),
        }
    }
}

impl ToolResult for Operation {
    fn is_failure(&self) -> bool {
        self.status == crate::OperationStatus::Failed.to_string()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let fence = Fence::around(&[&self.stdout, &self.stderr]);
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                text.push_str(&fence.block(name, stream));
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
        if self.oom_killed {
            text.push_str(", out of memory");
        }
        if let Some(duration) = self.duration {
            let _ = write!(text, ", {duration} s");
        }
        text.push('\n');
        if let Some(pushed) = &self.push {
            text.push_str(&pushed.text());
        }
        let mut line = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let _ = writeln!(text, "{name}: {}", one_line(value));
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
                    "its whole size is unknown".into()
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

    fn links(&self) -> Vec<ResourceLink> {
        let result_image = self.result_image_uuid.as_deref();
        result_image
            .filter(|result_image| self.image_uuid.as_deref() != Some(result_image))
            .map(ResourceLink::files_of)
            .into_iter()
            .collect()
    }
}

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

/// Result of `get_operation`.
pub type GetOperation = Operation;

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
