//! Errors of the engine: of starting it, and of answering a request.

use std::fmt::Display;
use std::path::PathBuf;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::types;
use crate::egress::EgressRuleError;
use contree_sqlite::DbError;

/// Why the embedded engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A setting cannot be read.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Neither `CONTREE_DATA_DIR`, `XDG_DATA_HOME` nor `HOME` says where to keep images.
    #[error("no data directory: set CONTREE_DATA_DIR (HOME and XDG_DATA_HOME are not set)")]
    NoDataDirectory,
    /// There is something else in the data directory's place.
    #[error(
        "{path} is not a directory; set CONTREE_DATA_DIR to a directory, or to a path that is free"
    )]
    NotADirectory {
        /// The data directory.
        path: PathBuf,
    },
    /// A directory or file could not be made or used.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The store was written by another release in a way that this one does not know.
    #[error(
        "the data directory {path} has store version {found}, but this release reads only {known}; use the release that made it, or set CONTREE_DATA_DIR to another directory"
    )]
    StoreVersion {
        /// The data directory.
        path: PathBuf,
        /// What is written there.
        found: String,
        /// What this release reads.
        known: &'static str,
    },
    /// The records could not be opened or used.
    #[error(transparent)]
    Records(#[from] DbError),
    /// A file of the data directory could not be used.
    #[error(transparent)]
    File(std::io::Error),
    /// The layers could not be opened.
    #[error(transparent)]
    Sandbox(#[from] contree_sandbox::Error),
    /// Others could reach the engine, and nothing would tell them from its user.
    #[error(
        "{address} can be reached by others, so clients need a token: write one to a file that only you can read and give it with --token-file, or listen on 127.0.0.1 or unix:PATH"
    )]
    NoToken {
        /// Where it would listen.
        address: std::net::SocketAddr,
    },
    /// Others than this machine's users could guess the token.
    #[error(
        "beyond loopback ({address}) a token needs at least 16 characters: make one with `openssl rand -hex 32`"
    )]
    ShortToken {
        /// Where it would listen.
        address: std::net::SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As it was given.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The engine's thread ended before it was ready.
    #[error("the engine's thread ended before it was ready")]
    Thread,
}

/// Why a setting cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// The network of sandboxes is none that there is.
    #[error("the network of sandboxes is `proxy`, `host` or `none`, not `{}`", .0.escape_debug())]
    Network(String),
    /// A rule about the network cannot be read.
    #[error(transparent)]
    EgressRule(#[from] EgressRuleError),
}

/// What records, files and layers answer when they cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// The records.
    #[error(transparent)]
    Records(#[from] DbError),
    /// A file or directory.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The layers and run directories.
    #[error(transparent)]
    Layers(#[from] contree_sandbox::Error),
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Records(error) => Self::Records(error),
            StorageError::File(error) => Self::File(error),
            StorageError::Layers(error) => Self::Sandbox(error),
        }
    }
}

/// An error answer: a status and a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    /// Seconds until another try makes sense.
    retry_after: Option<u32>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same, with the advice to try again after so many seconds.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 400: the request cannot be understood or is out of bounds.
    pub(super) fn bad(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message.to_string())
    }

    /// 404: what it names is not there.
    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 400 in place of 404: what is missing was named by the body, not by the path.
    pub(super) fn missing_is_bad(self) -> Self {
        if self.status == StatusCode::NOT_FOUND {
            Self {
                status: StatusCode::BAD_REQUEST,
                ..self
            }
        } else {
            self
        }
    }

    /// Whether this is a 404.
    pub(super) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// 429: nothing was done, since there is too much to do.
    pub(super) fn too_many(message: impl Into<String>, seconds: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(seconds)
    }

    /// 425: nothing was done, since the operation has not begun.
    pub(super) fn too_early(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_EARLY, message).retry_after(1)
    }

    /// 422: the path is of the wrong kind.
    pub(super) fn kind(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// 500: our own failure.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Whether a sandbox was ended since its layer had become too large.
    pub(super) fn is_too_large(&self) -> bool {
        self.status == StatusCode::INSUFFICIENT_STORAGE
    }

    /// The sentence.
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = types::Error {
            error: self.message,
            status: Some(self.status.as_u16()),
            traceback: None,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<contree_sandbox::Error> for ApiError {
    /// What a machine cannot do is refused for good (403, never repeated by clients); anything else is our failure.
    fn from(error: contree_sandbox::Error) -> Self {
        match error {
            contree_sandbox::Error::Unavailable(_) => {
                Self::new(StatusCode::FORBIDDEN, error.to_string())
            }
            contree_sandbox::Error::LayerTooLarge { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
            }
            other => Self::internal(other.to_string()),
        }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Records(error) => error.into(),
            StorageError::File(error) => error.into(),
            StorageError::Layers(error) => error.into(),
        }
    }
}
