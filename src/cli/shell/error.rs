//! The error of a command on the terminal.

use std::io;

use contree_error_codes::ErrorCode;

use crate::Error;

/// An error of a command on the terminal.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ShellError {
    #[error(
        "standard input and output must be a terminal; to run a command without one, use `contree-mcp call --raw run`"
    )]
    NoTerminal,
    #[error("cannot use the terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error(transparent)]
    Backend(#[from] Error),
    /// The command was started, and then the connection to its terminal failed.
    #[error("the terminal of the sandbox is lost, so its command was ended: {0}")]
    Lost(#[source] Error),
    /// The operation failed.
    #[error("{0}")]
    Operation(String),
}

impl ShellError {
    /// The code of the error.
    pub(in crate::cli) fn code(&self) -> ErrorCode {
        match self {
            Self::NoTerminal => ErrorCode::Usage,
            Self::Terminal(_) => ErrorCode::ResourcesRefused,
            Self::Backend(error) => error.code(),
            Self::Lost(_) => ErrorCode::SandboxGone,
            Self::Operation(_) => ErrorCode::OperationFailed,
        }
    }
}
