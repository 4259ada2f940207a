//! Results of the tools that send files and directories, and download files.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ToolResult, is_false};
use crate::tools::invisible::one_line;

/// Result of `upload`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Upload {
    /// UUID of the upload, for `files` of `run`
    pub uuid: String,
    /// SHA-256 of the content
    pub sha256: String,
    /// Size in bytes
    pub size: u64,
}

impl ToolResult for Upload {
    fn text(&self) -> String {
        format!(
            "file {}, {} bytes, sha256 {}\n",
            self.uuid, self.size, self.sha256
        )
    }
}

/// A path that was not sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct SkippedPath {
    /// Path below `source`
    pub path: String,
    /// Why it was not sent
    pub reason: String,
}

/// Result of `rsync`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Rsync {
    /// Id of the directory state, for `run`
    pub directory_state_id: i64,
    /// Number of files in the state
    pub files: u64,
    /// Size of these files in bytes
    pub bytes: u64,
    /// Number of files that had to be uploaded
    pub uploaded: u64,
    /// The first paths that were not sent
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedPath>,
    /// Number of paths not sent, by reason
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped_counts: BTreeMap<String, u64>,
}

impl ToolResult for Rsync {
    fn text(&self) -> String {
        let mut text = format!(
            "directory state {}: {} files, {} bytes, {} uploaded\n",
            self.directory_state_id, self.files, self.bytes, self.uploaded
        );
        for (reason, count) in &self.skipped_counts {
            let _ = writeln!(text, "skipped ({reason}): {count}");
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "  {} ({})", one_line(&skipped.path), skipped.reason);
        }
        let _ = writeln!(
            text,
            "next: run(image=…, command=…, directory_state_id={})",
            self.directory_state_id
        );
        text
    }
}

/// Source of a download.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct DownloadSource {
    /// The image
    pub image: String,
    /// Path of the file in the image
    pub path: String,
}

/// Result of `download`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Download {
    /// Always true: a failure is an error
    pub success: bool,
    /// Image and path of the file
    pub source: DownloadSource,
    /// Path of the saved file
    pub destination: String,
    /// Size in bytes
    pub size: u64,
    /// Whether the file was made executable
    pub executable: bool,
    /// Whether it replaced an existing file
    #[serde(skip_serializing_if = "is_false")]
    pub replaced: bool,
}

impl ToolResult for Download {
    fn text(&self) -> String {
        let executable = if self.executable { ", executable" } else { "" };
        let replaced = if self.replaced {
            ", replaced an existing file"
        } else {
            ""
        };
        format!(
            "saved {} of image {} as {}: {} bytes{executable}{replaced}\n",
            one_line(&self.source.path),
            one_line(&self.source.image),
            one_line(&self.destination),
            self.size
        )
    }
}
