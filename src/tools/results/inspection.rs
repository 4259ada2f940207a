//! Results of the tools that look into images: directories, files and matches.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::ToolResult;
use crate::tools::fence::Fence;
use crate::tools::invisible::one_line;

/// A matching line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct GrepMatch {
    /// Path of the file
    pub path: String,
    /// Number of the line, counted from 1
    pub line_number: u64,
    /// Text of the line, cut if it is long
    pub line_text: String,
}

/// Result of `grep`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Grep {
    /// The path that was searched
    pub path: String,
    /// The patterns
    pub patterns: Vec<String>,
    /// Whether there are more matches
    pub truncated: bool,
    /// Matches, sorted by file and line
    pub matches: Vec<GrepMatch>,
    /// How to see the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ToolResult for Grep {
    fn text(&self) -> String {
        let count = self.matches.len();
        let mut text = format!("{count} {}\n", if count == 1 { "match" } else { "matches" });
        let mut lines = String::new();
        for found in &self.matches {
            let _ = writeln!(
                lines,
                "{}:{}:{}",
                one_line(&found.path),
                found.line_number,
                found.line_text
            );
        }
        if !lines.is_empty() {
            text.push_str(&Fence::around(&[&lines]).block("matches", &lines));
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// An entry of a directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct FileEntry {
    /// Name
    pub name: String,
    /// Absolute path
    pub path: String,
    /// file, directory, symlink or other
    #[serde(rename = "type")]
    pub kind: String,
    /// Size in bytes
    pub size: u64,
    /// Permissions, octal
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Target of a symbolic link
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Result of `list_files`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListFiles {
    /// Path of the directory
    pub path: String,
    /// Number of entries in the directory
    pub count: u64,
    /// The requested entries, sorted by name
    pub files: Vec<FileEntry>,
    /// The call that returns the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ToolResult for ListFiles {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: {}\n",
            one_line(&self.path),
            if self.count == 1 {
                "1 entry".into()
            } else {
                format!("{} entries", self.count)
            }
        );
        let mut lines = String::new();
        for file in &self.files {
            let _ = write!(
                lines,
                "{} {} {:>9} {}",
                file.kind,
                file.mode.as_deref().unwrap_or("----"),
                file.size,
                one_line(&file.name)
            );
            if let Some(target) = &file.target {
                let _ = write!(lines, " -> {}", one_line(target));
            }
            lines.push('\n');
        }
        if !lines.is_empty() {
            text.push_str(&Fence::around(&[&lines]).block("entries", &lines));
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// Result of `read_file`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ReadFile {
    /// Path of the file
    pub path: String,
    /// The requested bytes
    pub content: String,
    /// utf-8 or base64
    pub encoding: String,
    /// Size of the whole file in bytes
    pub bytes_size: u64,
    /// Byte at which the content begins
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The call that returns the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ToolResult for ReadFile {
    fn text(&self) -> String {
        let mut text = format!("{}: {} bytes", one_line(&self.path), self.bytes_size);
        if let Some(offset) = self.offset {
            let _ = write!(text, ", from byte {offset}");
        }
        if self.content.is_empty() {
            text.push('\n');
        } else {
            let block = Fence::around(&[&self.content]).block("content", &self.content);
            let _ = write!(text, ", {}\n{block}", self.encoding);
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}
