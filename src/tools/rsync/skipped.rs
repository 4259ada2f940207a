//! What of a directory was not sent, and why.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;

use super::super::results::SkippedPath;

/// How many skipped paths are named; all are counted.
const NAMED: usize = 20;

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SkipReason {
    #[error("not read")]
    NotRead,
    #[error("changed while it was read")]
    Changed,
    #[error("unreadable: permission denied")]
    PermissionDenied,
    #[error("went away meanwhile")]
    WentAway,
    #[error("unreadable")]
    Unreadable,
    #[error("outside of --allow-path")]
    Outside,
    #[error("place of credentials")]
    Credentials,
    #[error("name is not UTF-8")]
    Name,
    #[error("empty directory")]
    EmptyDirectory,
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
            std::io::ErrorKind::NotFound => Self::WentAway,
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
    /// Why something that is no directory cannot be sent, if it cannot.
    pub(super) fn of_kind(about: &Metadata) -> Option<Self> {
        let kind = about.file_type();
        if kind.is_file() {
            return None;
        }
        if kind.is_symlink() {
            return Some(Self::Link);
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

/// What was left out, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct SkippedPaths {
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) named: Vec<SkippedPath>,
}

impl SkippedPaths {
    pub(super) fn add(&mut self, path: &Path, reason: SkipReason) {
        let reason = reason.to_string();
        *self.counts.entry(reason.clone()).or_default() += 1;
        if self.named.len() < NAMED {
            self.named.push(SkippedPath {
                path: path.to_string_lossy().into_owned(),
                reason,
            });
        }
    }
}
