//! An operation as the tools return it.

use std::fmt::Write;

use contree_error_codes::ErrorCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::push::PushedImage;
use super::{ToolResult, is_false};
use crate::tools::answer::ResourceLink;
use crate::tools::fence::Fence;
use crate::tools::invisible::one_line;

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

/// Result of `get_operation`.
pub type GetOperation = Operation;
