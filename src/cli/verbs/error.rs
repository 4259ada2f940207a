//! The error of a verb.

use std::path::PathBuf;

use crate::Error;
use crate::cli::process::ProcessError;
use crate::store::StoreError;
use crate::tools::ToolError;

/// An error of a verb. The program prints it and exits with status 1.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum VerbError {
    /// The backend refused a request, or cannot be reached.
    #[error(transparent)]
    Client(#[from] Error),
    /// There is no backend.
    #[error(transparent)]
    Backend(#[from] ToolError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A local file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The arguments name something that does not exist. The message says what to do.
    #[error("{0}")]
    Unknown(String),
    /// The arguments are wrong. The exit status is 2.
    #[error("{0}")]
    Usage(String),
}

impl VerbError {
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
