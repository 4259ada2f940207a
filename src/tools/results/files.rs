//! Files and directories that go from this machine to the service and back.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::Render;

/// What `upload` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Upload {
    /// The stored file, for `files` of `run`
    pub uuid: String,
    /// SHA-256 of the content
    pub sha256: String,
    /// Bytes
    pub size: u64,
}

impl Render for Upload {
    fn text(&self) -> String {
        format!(
            "file {}, {} bytes, sha256 {}\n",
            self.uuid, self.size, self.sha256
        )
    }
}

/// Something that was not sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct SkippedPath {
    /// Below the source
    pub path: String,
    /// Why
    pub reason: String,
}

/// What `rsync` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Rsync {
    /// For `run`
    pub directory_state_id: i64,
    /// Files in the state
    pub files: u64,
    /// Their bytes
    pub bytes: u64,
    /// Contents that had to be sent
    pub uploaded: u64,
    /// What could not be sent; the first of them
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedPath>,
    /// All that could not be sent, by reason
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped_counts: BTreeMap<String, u64>,
}

impl Render for Rsync {
    fn text(&self) -> String {
        let mut text = format!(
            "directory state {}: {} files, {} bytes, {} uploaded\n",
            self.directory_state_id, self.files, self.bytes, self.uploaded
        );
        for (reason, count) in &self.skipped_counts {
            let _ = writeln!(text, "skipped ({reason}): {count}");
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "  {} ({})", skipped.path, skipped.reason);
        }
        let _ = writeln!(
            text,
            "next: run(image=…, command=…, directory_state_id={})",
            self.directory_state_id
        );
        text
    }
}

/// Where a download comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct DownloadSource {
    /// The image
    pub image: String,
    /// The file in it
    pub path: String,
}

/// What `download` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Download {
    /// Always true: a failure is an error
    pub success: bool,
    /// Where it comes from
    pub source: DownloadSource,
    /// Where it was saved
    pub destination: String,
    /// Bytes
    pub size: u64,
    /// Whether it was made executable
    pub executable: bool,
}

impl Render for Download {
    fn text(&self) -> String {
        let how = if self.executable { ", executable" } else { "" };
        format!(
            "saved {} of image {} as {}: {} bytes{how}\n",
            self.source.path, self.source.image, self.destination, self.size
        )
    }
}
