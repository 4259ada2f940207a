//! Errors of the engine: why it did not start, and error answers of the API.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contree_error_codes::ErrorCode;

use crate::api::types;
use crate::egress::EgressRuleError;
use contree_paths::HomeError;
use contree_sqlite::DatabaseError;

/// An error of starting or using the embedded engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A setting cannot be read.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// None of `CONTREE_DATA_DIR`, `XDG_DATA_HOME` and `HOME` is set.
    #[error("no data directory: set CONTREE_DATA_DIR (HOME and XDG_DATA_HOME are not set)")]
    NoDataDirectory,
    /// The path of the data directory is not a directory.
    #[error(
        "{path} is not a directory; set CONTREE_DATA_DIR to a directory, or to a path that does not exist"
    )]
    NotADirectory {
        /// The data directory.
        path: PathBuf,
    },
    /// A directory or file could not be created or used.
    #[error("{action} {path}: {source}{}", remedy(action, source))]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The data directory could not be opened, for a reason that names no remedy itself.
    #[error("{source}; set CONTREE_DATA_DIR to another directory, which you can write")]
    DataDirectory {
        /// The data directory.
        path: PathBuf,
        /// The reason.
        source: Box<EngineError>,
    },
    /// Another release wrote the store with a layout that this release does not read.
    #[error(
        "the data directory {path} has store version {found}, but this release reads only {known}; use the release that made it, or set CONTREE_DATA_DIR to another directory"
    )]
    StoreVersion {
        /// The data directory.
        path: PathBuf,
        /// The version of the directory's layout.
        found: String,
        /// The version that this release reads.
        known: &'static str,
    },
    /// The records could not be opened or used.
    #[error(transparent)]
    Records(#[from] DatabaseError),
    /// A file of the data directory could not be used.
    #[error(transparent)]
    File(std::io::Error),
    /// The layers could not be opened.
    #[error(transparent)]
    Sandbox(#[from] contree_sandbox::Error),
    /// The engine would listen beyond loopback without a token.
    #[error(
        "others can reach {address}, so clients need a token: write one to a file that only you can read and give it with --token-file, or listen on 127.0.0.1 or unix:PATH"
    )]
    NoToken {
        /// The address to listen on.
        address: std::net::SocketAddr,
    },
    /// The engine would listen beyond loopback with a token that can be guessed.
    #[error(
        "beyond loopback ({address}) a token needs at least 16 characters: make one with `openssl rand -hex 32`"
    )]
    ShortToken {
        /// The address to listen on.
        address: std::net::SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address")]
    Listen {
        /// The address as the caller gave it.
        address: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The system refused the engine's threads.
    #[error(
        "cannot start the threads of the embedded engine: {0}; end other programs of this user, or raise the limit of processes (ulimit -u) or of memory"
    )]
    Start(#[source] std::io::Error),
    /// The engine's thread ended before it was ready.
    #[error(
        "the engine's thread ended before it was ready; start the program again, and report this if it happens again"
    )]
    Thread,
}

/// A setting that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// The network mode is unknown.
    #[error("the network of sandboxes is `proxy`, `host` or `none`, not `{}`", .0.escape_debug())]
    Network(String),
    /// The setting about published ports is unknown.
    #[error("publishing ports of sandboxes takes `allow` or `deny`, not `{}`", .0.escape_debug())]
    Publish(String),
    /// The mode of the transparent network is unknown.
    #[error("the transparent network of sandboxes is `auto` or `off`, not `{}`", .0.escape_debug())]
    TransparentNetwork(String),
    /// The size of `/dev/shm` is invalid.
    #[error("the size of /dev/shm in sandboxes is a number of bytes or has a unit, such as 512m or 2g, and is 64k or more, not `{}`", .0.escape_debug())]
    SharedMemory(String),
    /// A variable is neither true nor false.
    #[error("{0} is `{value}`: give true or false", value = .1.escape_debug())]
    Flag(&'static str, String),
    /// A variable is not text.
    #[error("{0} is not UTF-8 text; set it to text, or unset it")]
    NotText(&'static str),
    /// The `~` of a variable with a path cannot be expanded.
    #[error("{name}: {source}")]
    Home {
        /// The variable.
        name: &'static str,
        /// The reason.
        source: HomeError,
    },
    /// An egress rule cannot be read.
    #[error(transparent)]
    EgressRule(#[from] EgressRuleError),
}

impl EngineError {
    /// Adds the remedy to an error of opening a data directory, unless it has one.
    pub(crate) fn while_opening(self, data_directory: &Path) -> Self {
        let is_of_directory = matches!(
            self.code(),
            ErrorCode::DataDirectoryUnusable | ErrorCode::EngineFailed
        );
        if !is_of_directory || self.to_string().contains("CONTREE_DATA_DIR") {
            return self;
        }
        Self::DataDirectory {
            path: data_directory.to_owned(),
            source: Box::new(self),
        }
    }

    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Setting(_) => ErrorCode::SettingInvalid,
            Self::NoDataDirectory => ErrorCode::NoHomeDirectory,
            Self::NotADirectory { .. } => ErrorCode::DataDirectoryUnusable,
            Self::DataDirectory { source, .. } => match source.code() {
                ErrorCode::EngineFailed => ErrorCode::DataDirectoryUnusable,
                code => code,
            },
            Self::Io { source, .. } | Self::File(source) => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::DataDirectoryUnusable)
            }
            Self::StoreVersion { .. } => ErrorCode::DataDirectoryNewer,
            Self::Records(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::NoToken { .. } | Self::ShortToken { .. } => ErrorCode::ListenNeedsToken,
            Self::Listen { source, .. } => match source.kind() {
                std::io::ErrorKind::AddrInUse => ErrorCode::PortInUse,
                std::io::ErrorKind::PermissionDenied => ErrorCode::PortNotPermitted,
                _ => ErrorCode::ListenFailed,
            },
            Self::Start(_) => ErrorCode::ResourcesRefused,
            Self::Thread => ErrorCode::EngineFailed,
        }
    }
}

/// A failure of the records, the files or the layers of a data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// The records.
    #[error(transparent)]
    Records(#[from] DatabaseError),
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

/// The kernel's message about a full disk (ENOSPC).
const DISK_FULL: &str = "No space left on device";

/// The remedy for a full disk.
const DISK_FULL_REMEDY: &str = "; free some space on the disk of the data directory (`contree-mcp engine prune` removes what is unused), or set CONTREE_DATA_DIR to a directory on a larger disk";

/// The kernel's message about too few descriptors (EMFILE, ENFILE).
const NO_DESCRIPTORS: &str = "Too many open files";

/// The remedy for too few descriptors.
const NO_DESCRIPTORS_REMEDY: &str = "; the engine's process has too few file descriptors: try again once other commands have ended, run fewer at once, or raise the limit (`ulimit -n`, `LocalConfig::raise_descriptor_limit`)";

/// Seconds after which a client may try again if there were too few descriptors.
const DESCRIPTORS_RETRY_AFTER: u32 = 1;

/// An error answer of the API: a status, a code and a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    /// Seconds after which the client may try again.
    retry_after: Option<u32>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    /// Adds the advice to try again after `seconds`.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Replaces the code.
    pub(super) fn with_code(mut self, code: ErrorCode) -> Self {
        self.code = code;
        self
    }

    /// Sets the code of the cause, unless the message has already given a code.
    fn caused_by(self, code: ErrorCode) -> Self {
        match self.code {
            ErrorCode::EngineFailed => self.with_code(code),
            _ => self,
        }
    }

    /// 400: a value is out of bounds.
    pub(super) fn bad(message: impl Display) -> Self {
        let message = message.to_string();
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidArgument, message)
    }

    /// 400: the request cannot be read.
    pub(super) fn malformed(message: impl Display) -> Self {
        Self::bad(message).with_code(ErrorCode::MalformedRequest)
    }

    /// 404: the request names something that does not exist.
    pub(super) fn missing(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Turns a 404 into a 400, because the body names the missing thing and not the path.
    pub(super) fn not_found_as_bad_request(self) -> Self {
        if self.status == StatusCode::NOT_FOUND {
            Self {
                status: StatusCode::BAD_REQUEST,
                ..self
            }
        } else {
            self
        }
    }

    /// Returns whether this is a 404.
    pub(super) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// 429: the engine is too busy and did nothing.
    pub(super) fn too_many(message: impl Into<String>, seconds: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooBusy, message).retry_after(seconds)
    }

    /// 425: the operation has not started, so nothing was done.
    pub(super) fn too_early(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_EARLY,
            ErrorCode::OperationNotStarted,
            message,
        )
        .retry_after(1)
    }

    /// 422: the path is not of the required kind, such as a directory.
    pub(super) fn wrong_file_kind(message: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, ErrorCode::WrongFileKind, message)
    }

    /// 500: a failure of the engine itself. 429 if there are too few descriptors, since nothing was
    /// done then.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.contains(NO_DESCRIPTORS) {
            if !message.contains(NO_DESCRIPTORS_REMEDY) {
                message.push_str(NO_DESCRIPTORS_REMEDY);
            }
            return Self::too_many(message, DESCRIPTORS_RETRY_AFTER)
                .with_code(ErrorCode::TooFewDescriptors);
        }
        let is_full = message.contains(DISK_FULL);
        if is_full && !message.contains(DISK_FULL_REMEDY) {
            message.push_str(DISK_FULL_REMEDY);
        }
        let code = if is_full {
            ErrorCode::DiskFull
        } else {
            ErrorCode::EngineFailed
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }

    /// Returns whether the engine was too busy, or had too few descriptors.
    #[cfg(test)]
    pub(super) fn is_too_many(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Returns whether a sandbox was ended because of what it wrote, or because the disk is nearly
    /// full.
    pub(super) fn is_too_large(&self) -> bool {
        self.status == StatusCode::INSUFFICIENT_STORAGE
    }

    /// The code.
    pub(super) fn code(&self) -> ErrorCode {
        self.code
    }

    /// The sentence for the client.
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
            x_code: Some(self.code.name().to_owned()),
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

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        Self::internal(error.to_string()).caused_by(error.code())
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        let code = ErrorCode::of_io(&error).unwrap_or(ErrorCode::EngineFailed);
        Self::internal(with_advice(&error, &error)).caused_by(code)
    }
}

/// The message of an error, with advice if the cause is a full disk.
fn with_advice(message: &dyn Display, cause: &std::io::Error) -> String {
    match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            format!("{message}; free some space, for instance with `contree-mcp engine prune`")
        }
        _ => message.to_string(),
    }
}

impl From<contree_sandbox::Error> for ApiError {
    /// Gives these statuses:
    ///
    /// - 403 for something that this machine cannot do, because clients do not repeat a 403;
    /// - 507 for a layer that is too large, and for a disk that is nearly full;
    /// - 500 for any other error.
    fn from(error: contree_sandbox::Error) -> Self {
        let code = error.code();
        match error {
            contree_sandbox::Error::Unavailable(_) => {
                Self::new(StatusCode::FORBIDDEN, code, error.to_string())
            }
            contree_sandbox::Error::LayerTooLarge { .. }
            | contree_sandbox::Error::LayerTooManyFiles { .. }
            | contree_sandbox::Error::LayerNotMeasurable { .. }
            | contree_sandbox::Error::DiskNearlyFull { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, code, error.to_string())
            }
            contree_sandbox::Error::Os(error) => {
                Self::internal(with_advice(&error, error.io())).caused_by(code)
            }
            other => Self::internal(other.to_string()).caused_by(code),
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

/// The remedy for a data directory that cannot be written.
fn remedy(action: &str, source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    let writes = ["create the data directory", "write"];
    let refused = matches!(
        source.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    );
    if refused && writes.iter().any(|end| action.ends_with(end)) {
        "; make it writable, or set CONTREE_DATA_DIR to a directory on a writable disk"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_full_disk_names_the_remedy_once() {
        const NO_SPACE: i32 = 28;
        let error = ApiError::from(std::io::Error::from_raw_os_error(NO_SPACE));
        assert!(error.message().contains("CONTREE_DATA_DIR"), "{error}");
        let again = ApiError::internal(error.message());
        assert_eq!(again.message(), error.message());
    }

    #[test]
    fn a_directory_that_cannot_be_written_has_a_remedy() {
        let error = |kind: std::io::ErrorKind| EngineError::Io {
            action: "cannot create the data directory",
            path: "/data".into(),
            source: kind.into(),
        };
        for kind in [
            std::io::ErrorKind::PermissionDenied,
            std::io::ErrorKind::ReadOnlyFilesystem,
        ] {
            let message = error(kind).to_string();
            assert!(message.contains("set CONTREE_DATA_DIR"), "{message}");
            let message = error(kind).while_opening(Path::new("/data")).to_string();
            assert_eq!(message.matches("CONTREE_DATA_DIR").count(), 1, "{message}");
        }
        let message = error(std::io::ErrorKind::NotFound).to_string();
        assert!(!message.contains("CONTREE_DATA_DIR"), "{message}");
    }

    #[test]
    fn too_few_descriptors_are_a_reason_to_try_again() {
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE] {
            let error = ApiError::from(std::io::Error::from(errno));
            assert!(error.is_too_many() && error.retry_after.is_some());
            assert!(error.message().contains("ulimit -n"), "{error}");
            let again = ApiError::internal(error.message());
            assert_eq!(again.message(), error.message());
        }
    }
}
