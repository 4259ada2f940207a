//! The errors of pushes.

use std::io;
use std::path::{Path, PathBuf};

use contree_error_codes::ErrorCode;
use contree_registry::RegistryError;
use contree_sqlite::DatabaseError;
use tokio::task::JoinError;

use crate::error::ApiError;

/// The reason why a push fails, as a sentence for the operation's record.
#[derive(Debug, thiserror::Error)]
pub(super) enum PushError {
    /// The registry refuses a request, or cannot be reached.
    #[error("{}{}", .0, advice(.0))]
    Registry(#[source] Box<RegistryError>),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The target of an archive exists.
    #[error("{} exists; remove it, or give another path", .0.display())]
    Exists(PathBuf),
    /// The target of a layout is another directory.
    #[error("{} is not an OCI layout: {why}; give a directory that is empty or does not exist", path.display())]
    NotALayout { path: PathBuf, why: String },
    /// Another push writes to the layout.
    #[error("another program has been writing to {} for more than {seconds} s; try again later", path.display())]
    Locked { path: PathBuf, seconds: u64 },
    /// A layer cannot be read.
    #[error("cannot read layer {layer} of the image: {source}")]
    Layer {
        layer: u64,
        source: contree_sandbox::Error,
    },
    /// A layer cannot be written as an archive.
    #[error("cannot pack layer {layer} of the image: {source}")]
    Pack { layer: u64, source: io::Error },
    /// The recorded configuration of the image that this one is based on cannot be read.
    #[error("the recorded configuration of the base image is damaged: {0}; push with `squash`")]
    Configuration(#[source] serde_json::Error),
    /// The recorded archive of a layer has an invalid digest.
    #[error("the records of layer {0} are damaged: run `contree-mcp engine check`")]
    Records(u64),
    /// The image was deleted.
    #[error("the image was deleted during the push")]
    ImageGone,
    /// The push took longer than its `timeout`.
    #[error(
        "the push took longer than its `timeout` of {0} s: push again with more time, and only the missing blobs are sent"
    )]
    TimedOut(u64),
    /// The push is being stopped.
    #[error("the push was stopped")]
    Stopped,
    /// The engine's database cannot be read or changed.
    #[error("{}", .0.message())]
    Engine(ApiError),
    /// A task of the engine failed.
    #[error("a task of the engine failed: {0}")]
    Task(#[from] JoinError),
}

impl PushError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Registry(error) => error.code(),
            Self::Write { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::LocalFileUnusable)
            }
            Self::Exists(_) | Self::NotALayout { .. } | Self::Locked { .. } => {
                ErrorCode::PushTargetUnusable
            }
            Self::Layer { source, .. } => source.code(),
            Self::Pack { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::EngineFailed)
            }
            Self::Configuration(_) | Self::Records(_) => ErrorCode::RecordsDamaged,
            Self::ImageGone => ErrorCode::ImageNotFound,
            Self::TimedOut(_) => ErrorCode::TransferTimedOut,
            Self::Stopped => ErrorCode::Cancelled,
            Self::Engine(error) => error.code(),
            Self::Task(_) => ErrorCode::EngineFailed,
        }
    }

    /// Converts I/O errors of writing this path.
    pub(super) fn write(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write {
            path: path.clone(),
            source,
        }
    }
}

impl From<RegistryError> for PushError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<ApiError> for PushError {
    fn from(error: ApiError) -> Self {
        Self::Engine(error)
    }
}

impl From<DatabaseError> for PushError {
    fn from(error: DatabaseError) -> Self {
        Self::Engine(error.into())
    }
}

/// The advice for an error of a registry.
fn advice(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::LoginNeeded { .. } => {
            "; give `registry.credentials` of a user who may push there"
        }
        RegistryError::Rejected { .. } => {
            "; check the user and password, and that this user may push to the repository"
        }
        RegistryError::Unreachable { .. } => {
            "; push again when the registry can be reached: only the missing blobs are sent"
        }
        _ => "",
    }
}
