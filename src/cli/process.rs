//! The runtime of a command, and the errors of its process.

use std::io;

use contree_error_codes::ErrorCode;
use tokio::runtime::Runtime;

/// An error of the operating system.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

impl ProcessError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Runtime(_) | Self::Signals(_) => ErrorCode::ResourcesRefused,
            Self::Output(error) => ErrorCode::of_io(error).unwrap_or(ErrorCode::OutputNotWritten),
        }
    }
}

/// Builds the runtime of a command. Two workers suffice, since the backend does the work.
pub(super) fn runtime() -> Result<Runtime, ProcessError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("contree-mcp")
        .enable_all()
        .build()
        .map_err(ProcessError::Runtime)
}
