//! Paths that were not sent, and the reasons.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;

/// Maximum number of skipped paths that are named. All are counted.
const MAX_NAMED: usize = 20;

/// Reasons why a path was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SkipReason {
    #[error("excluded by .gitignore")]
    Gitignore,
    #[error("not read")]
    NotRead,
    #[error("changed while it was read")]
    Changed,
    #[error("unreadable: permission denied")]
    PermissionDenied,
    #[error("removed while it was read")]
    Removed,
    #[error("files in it were added or removed while it was read; send it again")]
    ChangedDirectory,
    #[error("gone here, but this service cannot remove it from an image")]
    GoneHere,
    #[error("unreadable")]
    Unreadable,
    #[error("outside of --allow-path")]
    Outside,
    #[error("credentials")]
    Credentials,
    #[error("name is not UTF-8")]
    Name,
    #[error("empty directory")]
    EmptyDirectory,
    #[error("mode of a directory")]
    DirectoryMode,
    #[error("symbolic link")]
    Link,
    #[error("socket")]
    Socket,
    #[error("pipe")]
    Pipe,
    #[error("device")]
    Device,
}

impl From<&std::io::Error> for SkipReason {
    fn from(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            std::io::ErrorKind::NotFound => Self::Removed,
            _ => Self::Unreadable,
        }
    }
}

impl From<std::io::Error> for SkipReason {
    fn from(error: std::io::Error) -> Self {
        Self::from(&error)
    }
}

impl SkipReason {
    /// Returns why a path that is neither a directory nor a link cannot be sent; `None` for a
    /// regular file.
    pub(super) fn of_kind(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_file() {
            return None;
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt as _;
            if kind.is_socket() {
                return Some(Self::Socket);
            }
            if kind.is_fifo() {
                return Some(Self::Pipe);
            }
        }
        Some(Self::Device)
    }
}

/// A path that was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedPath {
    /// The path below the directory.
    pub path: String,
    /// Why it was not sent.
    pub reason: String,
}

/// Skipped paths, counted by reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct SkippedPaths {
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) named: Vec<SkippedPath>,
}

impl SkippedPaths {
    pub(crate) fn add(&mut self, path: &Path, reason: SkipReason) {
        let reason = reason.to_string();
        *self.counts.entry(reason.clone()).or_default() += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(SkippedPath {
                path: path.to_string_lossy().into_owned(),
                reason,
            });
        }
    }

    pub(super) fn sort(&mut self) {
        self.named.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }
}
