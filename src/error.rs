//! The error type of the SDK.

use std::{path::PathBuf, time::Duration};

use contree_error_codes::ErrorCode;
use http::StatusCode;
use uuid::Uuid;

use crate::{
    OperationStatus,
    output::{NotUtf8, PartialOutput, RunOutput, UnknownSignal},
    types,
};

/// The reason of an error as text, and the error that led to it.
///
/// Its [`source`](std::error::Error::source) is that error, such as one of the operating system.
#[derive(Debug)]
pub struct Reason {
    text: String,
    code: Option<ErrorCode>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Reason {
    /// A reason with the error that led to it.
    pub(crate) fn new(
        text: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            text: text.into(),
            code: None,
            source: Some(source.into()),
        }
    }

    /// Sets the code of the error that led to it.
    #[cfg(any(all(feature = "engine", target_os = "linux"), feature = "push"))]
    pub(crate) fn with_code(self, code: ErrorCode) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self {
            text,
            code: None,
            source: None,
        }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Reason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

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
        /// The code that the backend gave, or the one that fits the status.
        code: ErrorCode,
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
    Unconfirmed(#[source] Reason),
    /// The backend could not be reached, or the connection broke.
    #[error("no connection to the backend: {0}")]
    Connection(#[source] Reason),
    /// The backend was silent or slow for longer than the timeout.
    #[error("the backend was silent for too long: {0}")]
    Timeout(#[source] Reason),
    /// The backend's answer does not follow the API document.
    #[error("the backend's answer is invalid: {0}")]
    Protocol(#[source] Reason),
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
        status: OperationStatus,
        /// How long the client waited.
        timeout: Duration,
    },
    /// The call was made outside of a Tokio runtime.
    #[error(
        "this call needs a Tokio runtime, and there is none here: call it within `#[tokio::main]` or `Runtime::block_on`, \
         or enter a runtime with `Handle::enter` first"
    )]
    NoRuntime,
    /// The backend cannot do this, and the client cannot do it without the backend.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A registry does not take an image.
    #[error("{0}")]
    Registry(#[source] Reason),
    /// The embedded engine could not be started.
    #[error("the embedded engine: {0}")]
    Engine(#[source] Reason),
    /// A command ended with another exit status than 0. The output has all that it left behind.
    #[error("{}", exit_message(.0))]
    Exit(Box<RunOutput<Option<Uuid>>>),
    /// An operation failed or was cancelled, so its command may not have run.
    #[error("operation {operation} is {status}: {reason}")]
    #[non_exhaustive]
    Operation {
        /// The operation.
        operation: Uuid,
        /// Its final status.
        status: OperationStatus,
        /// The backend's reason.
        reason: String,
        /// The code of the reason.
        code: ErrorCode,
        /// The output until then.
        output: Box<PartialOutput>,
    },
    /// Output is used as text, and is not.
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
    /// An error of the program itself, from [`Error::other`].
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The code of the error. It is stable, has a cause and a remedy, and does not depend on the
    /// text of the error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Api { code, .. } | Self::Operation { code, .. } => *code,
            Self::Unconfirmed(_) => ErrorCode::Unconfirmed,
            Self::Connection(_) => ErrorCode::ConnectionFailed,
            Self::Timeout(_) => ErrorCode::ServiceSilent,
            Self::Protocol(_) => ErrorCode::InvalidAnswer,
            Self::NotContree(_) => ErrorCode::NotContreeApi,
            Self::Io { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::LocalFileUnusable)
            }
            Self::FileChanged { .. } => ErrorCode::FileChanged,
            Self::InvalidArgument(_) => ErrorCode::InvalidArgument,
            Self::WaitTimedOut { .. } => ErrorCode::WaitTimedOut,
            Self::NoRuntime => ErrorCode::NoRuntime,
            Self::Unsupported(_) => ErrorCode::UnsupportedByService,
            Self::Registry(reason) => reason.code.unwrap_or(ErrorCode::RegistryAnswerInvalid),
            Self::Engine(reason) => reason.code.unwrap_or(ErrorCode::EngineFailed),
            Self::Exit(_) => ErrorCode::CommandFailed,
            Self::NotUtf8(_) => ErrorCode::NotText,
            Self::Other(_) => ErrorCode::ProgramError,
        }
    }

    /// The HTTP status, if the backend answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Wraps another error, so that a function of the program can return it as this type.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// Whether the same call may succeed later, and cannot have a second effect.
    ///
    /// It is true:
    ///
    /// - after connection failures and time-outs;
    /// - after the statuses 425, 429, 500, 502, 503 and 504;
    /// - for a file that changed while it was sent;
    /// - for a wait that took too long.
    ///
    /// It is false if [`is_unconfirmed`](Self::is_unconfirmed) is true.
    pub fn is_retryable(&self) -> bool {
        match self {
            _ if self.is_unconfirmed() => false,
            Self::Api { status, .. } => {
                matches!(status.as_u16(), 425 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Connection(_) | Self::Timeout(_) => true,
            Self::FileChanged { .. } | Self::WaitTimedOut { .. } => true,
            _ => false,
        }
    }

    /// The delay before the next attempt that the backend asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The operation that the error is about.
    pub fn operation(&self) -> Option<Uuid> {
        match self {
            Self::Exit(output) => Some(output.operation),
            Self::Operation { operation, .. } | Self::WaitTimedOut { operation, .. } => {
                Some(*operation)
            }
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

/// The code of an operation that did not succeed: the backend's, if it gave a known one.
pub(crate) fn code_of_end(status: &OperationStatus, given: Option<&str>) -> ErrorCode {
    match given.and_then(|name| name.parse().ok()) {
        Some(code) => code,
        None if *status == OperationStatus::Cancelled => ErrorCode::Cancelled,
        None => ErrorCode::OperationFailed,
    }
}

/// The status of a command, with the last line of its standard error.
fn exit_message(output: &RunOutput<Option<Uuid>>) -> String {
    /// Maximum number of characters of the line.
    const WIDTH: usize = 200;
    let stderr = output.stderr.text_lossy();
    let last = stderr
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty());
    match last {
        None => format!("the command ended with {}", output.status),
        Some(line) => {
            let line: String = line
                .chars()
                .filter(|c| !c.is_control())
                .take(WIDTH)
                .collect();
            format!("the command ended with {}: {line}", output.status)
        }
    }
}

impl From<UnknownSignal> for Error {
    fn from(error: UnknownSignal) -> Self {
        Self::InvalidArgument(error.to_string())
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
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
