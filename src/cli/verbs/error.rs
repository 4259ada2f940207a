//! The error of a verb.

use std::path::PathBuf;

use contree_error_codes::ErrorCode;

use crate::Error;
use crate::cli::process::ProcessError;
use crate::store::StoreError;
use crate::tools::ToolError;

/// An error of a verb.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum VerbError {
    /// The backend refused a request, or cannot be reached.
    #[error(transparent)]
    Client(#[from] Error),
    /// There is no backend, or code that verbs share with the tools failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
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
    /// Another error, with its own code. The message says what to do.
    #[error("{1}")]
    WithCode(ErrorCode, String),
    /// The arguments are wrong. The exit status is 2.
    #[error("{0}")]
    Usage(String),
}

impl VerbError {
    /// The code of the error.
    pub(in crate::cli) fn code(&self) -> ErrorCode {
        match self {
            Self::Client(error) => error.code(),
            Self::Tool(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Process(error) => error.code(),
            Self::Json(_) => ErrorCode::ProgramError,
            Self::File { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::LocalFileUnusable)
            }
            Self::WithCode(code, _) => *code,
            Self::Usage(_) => ErrorCode::Usage,
        }
    }

    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
