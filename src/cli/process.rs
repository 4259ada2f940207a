//! What a command needs of its own process.

use std::io;

use tokio::runtime::Runtime;

/// What the operating system refuses to a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

/// A runtime for one command: two workers, since the work is done by the backend.
pub(super) fn runtime() -> Result<Runtime, ProcessError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("contree-mcp")
        .enable_all()
        .build()
        .map_err(ProcessError::Runtime)
}
