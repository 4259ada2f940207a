//! The error type of the SDK.

use std::{path::PathBuf, time::Duration};

use http::StatusCode;
use uuid::Uuid;

use crate::types;

/// An error of the client.
///
/// No variant carries a token or the user part of a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend answered with an error status.
    #[error("the backend answered {status}: {message}{}", doubt(*unconfirmed))]
    #[non_exhaustive]
    Api {
        /// The HTTP status of the answer.
        status: StatusCode,
        /// The backend's message, or the text that a proxy sent instead.
        message: String,
        /// The delay before the next attempt that the backend asks for (`Retry-After`).
        retry_after: Option<Duration>,
        /// Whether the backend may have acted on the request nevertheless, and would act again if
        /// it were repeated.
        unconfirmed: bool,
    },
    /// The answer to a request was lost or cannot be used. The backend may have acted on the
    /// request, and would act again if it were repeated.
    #[error("the request was sent, but has no usable answer, so it may have taken effect: {0}")]
    Unconfirmed(String),
    /// The backend could not be reached, or the connection broke.
    #[error("no connection to the backend: {0}")]
    Connection(String),
    /// The backend was silent or slow for longer than the timeout.
    #[error("the backend was silent for too long: {0}")]
    Timeout(String),
    /// The backend's answer does not follow the API document.
    #[error("the backend's answer is invalid: {0}")]
    Protocol(String),
    /// The server at the backend's URL answers with web pages.
    #[error("{0}, so this is not a Contree API; check the URL")]
    NotContree(String),
    /// Reading or writing a local file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file changed between being hashed and being sent.
    #[error("{} changed while it was being uploaded: upload it again once no program writes to it", path.display())]
    #[non_exhaustive]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// An argument is invalid.
    #[error("{0}")]
    InvalidArgument(String),
    /// The operation did not end within the given time. It keeps running.
    #[error("operation {operation} is still {status} after {}s; it keeps running", timeout.as_secs_f64())]
    #[non_exhaustive]
    WaitTimedOut {
        /// The operation.
        operation: Uuid,
        /// Its last known status.
        status: crate::OperationStatus,
        /// How long the client waited.
        timeout: Duration,
    },
    /// The call was made outside of a Tokio runtime.
    #[error(
        "this call needs a Tokio runtime, and there is none here: call it within `#[tokio::main]` or `Runtime::block_on`, \
         or enter a runtime with `Handle::enter` first"
    )]
    NoRuntime,
    /// The embedded engine could not be started.
    #[error("the embedded engine: {0}")]
    Engine(String),
}

impl Error {
    /// The HTTP status, if the backend answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the backend answered 404 (not found).
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Whether the backend may have acted on the failed request, although repeating it would have a
    /// second effect.
    ///
    /// It is true only for requests that are not safe to repeat, such as the start of a run. Look
    /// for the effect before you send such a request again.
    pub fn is_unconfirmed(&self) -> bool {
        match self {
            Self::Unconfirmed(_) => true,
            Self::Api { unconfirmed, .. } => *unconfirmed,
            _ => false,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// The end of the message of an answer after which the request may have taken effect.
fn doubt(unconfirmed: bool) -> &'static str {
    if unconfirmed {
        "; the request may have taken effect nevertheless"
    } else {
        ""
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
