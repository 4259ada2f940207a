//! Results of the tools for running sandboxes.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ToolResult, is_false};
use crate::tools::answer::ResourceLink;
use crate::tools::fence::Fence;

/// Result of `exec`: the ended process, or one that continues, with its output so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Exec {
    /// The run
    pub operation_id: String,
    /// Id of the process in the run, for `interact`
    pub process_id: u64,
    /// Whether it still runs
    #[serde(skip_serializing_if = "is_false")]
    pub running: bool,
    /// Its exit code, -1 if it was killed; absent while it runs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that killed it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// Whether the kernel killed it because a memory limit was reached
    #[serde(skip_serializing_if = "is_false")]
    pub oom_killed: bool,
    /// Duration in seconds
    pub duration: f64,
    /// Standard output
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Standard error
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// Whether stdout or stderr was cut
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Whether bytes that are not UTF-8 were replaced
    #[serde(skip_serializing_if = "is_false")]
    pub lossy: bool,
    /// The call that continues with it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Result of `interact`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Interact {
    /// New standard output
    pub stdout: String,
    /// New standard error
    pub stderr: String,
    /// Whether the process still runs
    pub running: bool,
    /// Its exit code at the end, -1 if it was killed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that killed it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// Whether the kernel killed it because a memory limit was reached
    #[serde(skip_serializing_if = "is_false")]
    pub oom_killed: bool,
    /// Whether `until` appeared
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<bool>,
    /// Bytes of new output that are not shown, because there was too much
    pub dropped_bytes: u64,
    /// Whether bytes that are not UTF-8 were replaced
    #[serde(skip_serializing_if = "is_false")]
    pub lossy: bool,
}

/// Result of `snapshot`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Snapshot {
    /// The image; the one that the run started on if nothing has changed
    pub image_uuid: String,
    /// How many files and links the run has added, changed or removed
    pub changed_files: u64,
    /// The disk space of these changes
    pub bytes: u64,
    /// Parts of the sandbox that the image lacks
    pub note: String,
}

/// The end of a process.
struct ProcessEnd {
    running: bool,
    exit_code: Option<i64>,
    signal: Option<i64>,
    oom_killed: bool,
}

/// Renders the output of a process and how it ended, without a line break at the end.
fn process_text(stdout: &str, stderr: &str, end: &ProcessEnd) -> String {
    let mut text = String::new();
    let fence = Fence::around(&[stdout, stderr]);
    for (name, stream) in [("stdout", stdout), ("stderr", stderr)] {
        if !stream.is_empty() {
            text.push_str(&fence.block(name, stream));
        }
    }
    text.push_str(if end.running { "running" } else { "ended" });
    if let Some(code) = end.exit_code {
        let _ = write!(text, ", exit code {code}");
    }
    if let Some(signal) = end.signal {
        let _ = write!(text, ", killed by signal {signal}");
    }
    if end.oom_killed {
        text.push_str(", out of memory");
    }
    text
}

impl ToolResult for Exec {
    fn text(&self) -> String {
        let end = ProcessEnd {
            running: self.running,
            exit_code: self.exit_code,
            signal: self.signal,
            oom_killed: self.oom_killed,
        };
        let mut text = process_text(&self.stdout, &self.stderr, &end);
        let _ = writeln!(text, ", {} s", self.duration);
        let _ = writeln!(
            text,
            "process {} of operation {}",
            self.process_id, self.operation_id
        );
        if self.truncated {
            text.push_str("output cut\n");
        }
        if self.lossy {
            text.push_str("bytes that are not UTF-8 were replaced\n");
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

impl ToolResult for Interact {
    fn text(&self) -> String {
        let end = ProcessEnd {
            running: self.running,
            exit_code: self.exit_code,
            signal: self.signal,
            oom_killed: self.oom_killed,
        };
        let mut text = process_text(&self.stdout, &self.stderr, &end);
        if self.found == Some(false) {
            text.push_str(", `until` has not appeared");
        }
        text.push('\n');
        if self.dropped_bytes > 0 {
            let _ = writeln!(
                text,
                "{} bytes of new output are not shown",
                self.dropped_bytes
            );
        }
        if self.lossy {
            text.push_str("bytes that are not UTF-8 were replaced\n");
        }
        text
    }
}

impl ToolResult for Snapshot {
    fn text(&self) -> String {
        format!(
            "image {}\n{} changed files, {} bytes\n{}\n",
            self.image_uuid, self.changed_files, self.bytes, self.note
        )
    }

    fn links(&self) -> Vec<ResourceLink> {
        vec![ResourceLink::files_of(&self.image_uuid)]
    }
}
