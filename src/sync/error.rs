//! The error of reading a directory that is to be sent.

use std::io;
use std::path::{Path, PathBuf};

/// A directory cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// The caller gave up.
    #[error("the call was cancelled")]
    Cancelled,
    /// One of the patterns that exclude files is invalid.
    #[error("`exclude`: {0}; use patterns as in .gitignore, such as `*.log` or `build/`")]
    Pattern(#[source] ignore::Error),
    /// A pattern is several lines.
    #[error(
        "`exclude`: the pattern {0:?} contains a line break; give each pattern as an element of its own"
    )]
    LineBreak(String),
    /// The patterns that exclude files are invalid together.
    #[error("`exclude`: {0}")]
    Patterns(#[source] ignore::Error),
    /// A local file cannot be read.
    #[error("{}: {source}", path.display())]
    Local { path: PathBuf, source: io::Error },
    /// The source is neither a directory nor a regular file.
    #[error("{} is neither a directory nor a regular file; `source` needs one of them", .0.display())]
    NotAFile(PathBuf),
    /// The name of the source is not text.
    #[error("the name of {} is not UTF-8; rename the file", .0.display())]
    Name(PathBuf),
    /// A task of this process failed.
    #[error("{context}: {source}")]
    Task {
        context: &'static str,
        source: tokio::task::JoinError,
    },
}

impl SyncError {
    pub(super) fn local(path: &Path, source: io::Error) -> Self {
        Self::Local {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn task(context: &'static str) -> impl FnOnce(tokio::task::JoinError) -> Self {
        move |source| Self::Task { context, source }
    }
}

impl From<SyncError> for crate::Error {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Local { path, source } => Self::Io { path, source },
            SyncError::Task { source, .. } => Self::other(source),
            error => Self::InvalidArgument(error.to_string()),
        }
    }
}
