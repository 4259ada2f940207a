//! The SDK's error.

use std::{path::PathBuf, time::Duration};

use http::StatusCode;
use uuid::Uuid;

use crate::types;

/// What can go wrong between a caller and a backend.
///
/// No variant ever carries a token or the user part of a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend refused or failed.
    #[error("the backend answered {status}: {message}")]
    #[non_exhaustive]
    Api {
        /// The HTTP status of the answer.
        status: StatusCode,
        /// The backend's own words, or what a proxy said in its place.
        message: String,
        /// How long the backend asked to wait before the next try.
        retry_after: Option<Duration>,
    },
    /// The backend could not be reached, or the connection broke.
    #[error("no connection to the backend: {0}")]
    Connection(String),
    /// The backend did not answer, or fell silent, for too long.
    #[error("the backend was silent for too long: {0}")]
    Timeout(String),
    /// An answer that the API does not allow.
    #[error("the backend's answer makes no sense: {0}")]
    Protocol(String),
    /// Reading or writing a local file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file changed between being hashed and being sent.
    #[error("{} changed while it was being uploaded: upload it again when it is at rest", path.display())]
    #[non_exhaustive]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// An argument that cannot be meant.
    #[error("{0}")]
    InvalidArgument(String),
    /// The operation was not over when the time to wait for it was; it goes on.
    #[error("operation {operation} is still {status} after {}s; it goes on", timeout.as_secs_f64())]
    #[non_exhaustive]
    WaitTimedOut {
        /// What was waited for.
        operation: Uuid,
        /// Its last known status.
        status: crate::OperationStatus,
        /// How long was waited.
        timeout: Duration,
    },
    /// The embedded engine could not be started.
    #[error("the embedded engine: {0}")]
    Engine(String),
}

impl Error {
    /// The HTTP status, if the backend answered at all.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the backend said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl types::Error {
    /// The reason as text, whatever its shape.
    pub fn message(&self) -> String {
        match &self.error {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}
