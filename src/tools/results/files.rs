//! Results of the tools that send files and directories, and download files.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ToolResult, is_false, is_zero};
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
    /// Number of symbolic links in the state
    #[serde(skip_serializing_if = "is_zero")]
    pub links: u64,
    /// Number of directories in the state that are empty or have another mode than 0755
    #[serde(skip_serializing_if = "is_zero")]
    pub directories: u64,
    /// Number of paths gone since the last sending; run removes them from images that have them
    #[serde(skip_serializing_if = "is_zero")]
    pub removed: u64,
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
        let more = [
            ("symbolic links", self.links),
            ("directories", self.directories),
            ("removed", self.removed),
        ];
        for (what, count) in more.into_iter().filter(|(_, count)| *count > 0) {
            let _ = writeln!(text, "{what}: {count}");
        }
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
    /// Whether it replaced an existing file, or files were in the directory before
    #[serde(skip_serializing_if = "is_false")]
    pub replaced: bool,
    /// Number of files, if it is a directory
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    /// Number of symbolic links in the directory
    #[serde(skip_serializing_if = "is_zero")]
    pub links: u64,
    /// Number of directories in the directory
    #[serde(skip_serializing_if = "is_zero")]
    pub directories: u64,
    /// The first paths of the directory that were not saved
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedPath>,
    /// Number of paths of the directory that were not saved
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped_count: u64,
}

/// A path with a reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PathWhy {
    /// Path below `destination`
    pub path: String,
    /// Why it was not written
    pub why: String,
}

/// Result of `apply`. Paths are below `destination`; of each list, at most 1000 are named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Apply {
    /// Files, links and directories that were written
    pub written: Vec<String>,
    /// The written files in which both versions were merged
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// Files, links and directories that were removed
    pub removed: Vec<String>,
    /// Paths that changed in the image and kept their local version
    pub kept: Vec<String>,
    /// Paths that changed on both sides
    pub conflicts: Vec<PathWhy>,
    /// Paths that tools do not write
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<PathWhy>,
    /// Whether nothing was written because of conflicts
    #[serde(skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// Whether this is what would be done
    pub dry_run: bool,
    /// Number of paths in each list that is longer
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

impl ToolResult for Apply {
    fn text(&self) -> String {
        let mut text = String::new();
        if self.dry_run && !self.stopped {
            text.push_str("nothing is written: this is what would be done\n");
        } else if self.stopped {
            text.push_str(
                "nothing is written: resolve the conflicts here, or call again with conflicts=\"skip\", conflicts=\"theirs\" or merge=true\n",
            );
        }
        for (what, paths) in [
            ("written", &self.written),
            ("removed", &self.removed),
            ("kept", &self.kept),
        ] {
            for path in paths {
                let is_merged = what == "written" && self.merged.contains(path);
                let merged = if is_merged { " (merged)" } else { "" };
                let _ = writeln!(text, "{what}: {}{merged}", one_line(path));
            }
        }
        for (what, paths) in [("conflict", &self.conflicts), ("refused", &self.refused)] {
            for found in paths {
                let (path, why) = (one_line(&found.path), one_line(&found.why));
                let _ = writeln!(text, "{what}: {path}: {why}");
            }
        }
        for (list, count) in &self.counts {
            let _ = writeln!(text, "{list}: {count} in all");
        }
        if text.is_empty() {
            text.push_str("nothing to do: the directory has the changes of the image\n");
        }
        text
    }
}

impl ToolResult for Download {
    fn text(&self) -> String {
        let executable = if self.executable { ", executable" } else { "" };
        let replaced = if self.replaced {
            ", replaced an existing file"
        } else {
            ""
        };
        let mut text = format!(
            "saved {} of image {} as {}: {} bytes{executable}{replaced}\n",
            one_line(&self.source.path),
            one_line(&self.source.image),
            one_line(&self.destination),
            self.size
        );
        for (what, count) in [
            ("files", self.files),
            ("links", self.links),
            ("directories", self.directories),
            ("skipped", self.skipped_count),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{what}: {count}");
            }
        }
        for skipped in &self.skipped {
            let (path, reason) = (one_line(&skipped.path), one_line(&skipped.reason));
            let _ = writeln!(text, "  {path} ({reason})");
        }
        text
    }
}
