//! Results of the tools about what changed: the history of an image, the differences between two,
//! and a deleted image.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ToolResult, counted, is_false};
use crate::tools::fence::Fence;
use crate::tools::invisible::one_line;
use crate::types;

/// An image in a history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct LogEntry {
    /// UUID of the image
    pub uuid: String,
    /// UUID of the image it was made from
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_uuid: Option<String>,
    /// instance, image_import or host
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The command, or the reference that was imported
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// When it was made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// How long the operation took, in seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Exit code of the command
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Tags of the image
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Number of files and links that it added, changed or removed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_files: Option<u64>,
    /// Disk space of what it added or changed, in bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_bytes: Option<u64>,
    /// Number of images made directly from it
    pub children: u64,
    /// The operation that made it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_uuid: Option<String>,
    /// The program that asked for the operation
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Whether the image itself is deleted
    #[serde(skip_serializing_if = "is_false")]
    pub removed: bool,
}

/// Result of `log`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Log {
    /// Newest first
    pub images: Vec<LogEntry>,
    /// Records that are missing
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The call that lists more
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Log {
    pub(in crate::tools) fn new(log: types::ImageLog, next: Option<String>) -> Self {
        Self {
            images: log.images.into_iter().map(Into::into).collect(),
            note: log.note,
            next,
        }
    }
}

impl From<types::ImageLogEntry> for LogEntry {
    fn from(entry: types::ImageLogEntry) -> Self {
        Self {
            uuid: entry.uuid.to_string(),
            parent_uuid: entry.parent_uuid.map(|uuid| uuid.to_string()),
            kind: entry.kind,
            command: entry.command,
            created_at: entry.created_at,
            duration: entry.duration,
            exit_code: entry.exit_code,
            tags: entry.tags,
            changed_files: entry.changed_files,
            changed_bytes: entry.changed_bytes,
            children: entry.children,
            operation_uuid: entry.operation_uuid.map(|uuid| uuid.to_string()),
            client: entry.client,
            removed: entry.removed,
        }
    }
}

impl ToolResult for Log {
    fn text(&self) -> String {
        let mut text = format!("{}\n", counted(self.images.len(), "image"));
        for image in &self.images {
            let _ = write!(text, "image {}", image.uuid);
            if let Some(parent) = &image.parent_uuid {
                let _ = write!(text, " from {parent}");
            }
            for tag in &image.tags {
                let _ = write!(text, ", tag {}", one_line(tag));
            }
            for (name, value) in [
                ("", &image.created_at),
                ("made by ", &image.kind),
                ("client ", &image.client),
            ] {
                if let Some(value) = value {
                    let _ = write!(text, ", {name}{}", one_line(value));
                }
            }
            if let Some(duration) = image.duration {
                let _ = write!(text, ", {duration} s");
            }
            if let Some(code) = image.exit_code {
                let _ = write!(text, ", exit code {code}");
            }
            if let Some(files) = image.changed_files {
                let _ = write!(text, ", {files} files changed");
            }
            if let Some(bytes) = image.changed_bytes {
                let _ = write!(text, ", {bytes} bytes");
            }
            if image.children > 0 {
                let _ = write!(text, ", children: {}", image.children);
            }
            if image.removed {
                text.push_str(", deleted");
            }
            text.push('\n');
            if let Some(command) = &image.command {
                let _ = writeln!(text, "  {}", one_line(command));
            }
        }
        for (name, value) in [("note", &self.note), ("next", &self.next)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{name}: {value}");
            }
        }
        text
    }
}

/// A file that differs between two images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ImageChange {
    /// Absolute path
    pub path: String,
    /// added, removed, modified, type, mode, owner or renamed
    pub change: String,
    /// file, directory, symlink or fifo; the former type of a removed file
    pub kind: String,
    /// The type that it had, if that differs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind_before: Option<String>,
    /// The path that a renamed file had
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Size of the file before, in bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_before: Option<u64>,
    /// Size of the file now, in bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_after: Option<u64>,
    /// Permissions before, octal, if they differ
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_before: Option<String>,
    /// Permissions now, octal, if they differ
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_after: Option<String>,
    /// Owner and group before, if they differ
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_before: Option<String>,
    /// Owner and group now, if they differ
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_after: Option<String>,
}

/// Result of `diff`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Diff {
    /// UUID of the image with the changes
    pub image: String,
    /// UUID of the image it is compared with
    pub base: String,
    /// In order of path
    pub changes: Vec<ImageChange>,
    /// Number of all changes
    pub count: u64,
    /// The changes as a patch for git apply, relative to path
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// The call that returns the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Diff {
    pub(in crate::tools) fn new(diff: types::ImageDiff, next: Option<String>) -> Self {
        Self {
            image: diff.image.to_string(),
            base: diff.base.to_string(),
            changes: diff.changes.into_iter().map(Into::into).collect(),
            count: diff.count,
            patch: diff.patch,
            next,
        }
    }
}

impl From<types::ImageChange> for ImageChange {
    fn from(change: types::ImageChange) -> Self {
        Self {
            path: change.path,
            change: change.change,
            kind: change.kind,
            kind_before: change.kind_before,
            from: change.from,
            size_before: change.size_before,
            size_after: change.size_after,
            mode_before: change.mode_before,
            mode_after: change.mode_after,
            owner_before: change.owner_before,
            owner_after: change.owner_after,
        }
    }
}

impl ImageChange {
    fn line(&self) -> String {
        let mut line = format!("{} {} {}", self.change, self.kind, one_line(&self.path));
        if let Some(from) = &self.from {
            let _ = write!(line, " from {}", one_line(from));
        }
        if let Some(kind) = &self.kind_before {
            let _ = write!(line, ", was {kind}");
        }
        if self.size_before != self.size_after {
            let size = |size: Option<u64>| size.map_or("-".to_owned(), |size| size.to_string());
            let (before, after) = (size(self.size_before), size(self.size_after));
            let _ = write!(line, ", {before} -> {after} bytes");
        }
        for (name, before, after) in [
            ("mode", &self.mode_before, &self.mode_after),
            ("owner", &self.owner_before, &self.owner_after),
        ] {
            if let (Some(before), Some(after)) = (before, after) {
                let _ = write!(line, ", {name} {before} -> {after}");
            }
        }
        line.push('\n');
        line
    }
}

impl ToolResult for Diff {
    fn text(&self) -> String {
        let mut text = format!(
            "{} from image {} to {}\n",
            counted(usize::try_from(self.count).unwrap_or(usize::MAX), "change"),
            self.base,
            self.image
        );
        let lines: String = self.changes.iter().map(ImageChange::line).collect();
        let patch = self.patch.as_deref().unwrap_or_default();
        let fence = Fence::around(&[&lines, patch]);
        if !lines.is_empty() {
            text.push_str(&fence.block("changes", &lines));
        }
        if !patch.is_empty() {
            text.push_str(&fence.block("patch", patch));
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// Result of `delete_image`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct DeleteImage {
    /// UUID of the deleted image
    pub uuid: String,
    /// Its tags, which are gone too
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Number of layers that were deleted
    pub layers: u64,
    /// Disk space of these layers, in bytes
    pub bytes: u64,
}

impl From<types::DeletedImage> for DeleteImage {
    fn from(deleted: types::DeletedImage) -> Self {
        Self {
            uuid: deleted.uuid.to_string(),
            tags: deleted.tags,
            layers: deleted.layers,
            bytes: deleted.bytes,
        }
    }
}

impl ToolResult for DeleteImage {
    fn text(&self) -> String {
        let mut text = format!(
            "deleted image {}, {} and {} bytes\n",
            self.uuid,
            counted(usize::try_from(self.layers).unwrap_or(usize::MAX), "layer"),
            self.bytes
        );
        for tag in &self.tags {
            let _ = writeln!(text, "tag {} is gone too", one_line(tag));
        }
        text
    }
}
