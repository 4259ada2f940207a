//! The errors of imports.

use std::path::PathBuf;

use contree_registry::RegistryError;
use contree_sqlite::DatabaseError;
use tokio::task::JoinError;

use super::docker_archive::ArchiveError;
use super::local_file::FileError;
use super::oci_layout::LayoutError;
use super::plan::PlanError;
use super::progress::format_size;
use super::verify::VerifyError;
use crate::error::ApiError;

/// The reason why an import fails, as a sentence for the operation's record.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// The directory for downloads cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Scratch {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The image cannot be fetched from its source.
    #[error("cannot import {url}: {source}")]
    Source { url: String, source: FetchError },
    /// The engine's database cannot be read or changed.
    #[error(transparent)]
    Engine(#[from] ApiError),
    /// The import took longer than its `timeout`.
    #[error("the import took longer than its `timeout` of {0} s: give it more time")]
    TimedOut(u64),
}

/// The reason why an image cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The registry does not provide it.
    #[error("{}{}", .0, advice(.0))]
    Registry(#[source] Box<RegistryError>),
    /// The OCI layout is not valid.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The archive of `docker save` is not valid.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The root filesystem archive cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest and the configuration of the image do not match.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The compressed layers already exceed the size limit of an image.
    #[error(
        "its layers exceed the size limit of an image: they have {}, and at most {} are allowed",
        format_size(*packed),
        format_size(*limit)
    )]
    TooLarge { packed: u64, limit: u64 },
    /// The disk has no room for the compressed layers.
    #[error(
        "its layers have {} to download, and the data directory's file system has room for {} (imports leave some space free): free space there",
        format_size(*downloaded),
        format_size(*spare)
    )]
    DiskNearlyFull { downloaded: u64, spare: u64 },
    /// The engine's database cannot be read or changed.
    #[error(transparent)]
    Engine(#[from] ApiError),
    /// A layer cannot be unpacked.
    #[error("{name}: {source}")]
    Layer { name: String, source: UnpackError },
    /// The import was stopped.
    #[error("it was stopped")]
    Stopped,
    /// A task of the import panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
}

impl From<RegistryError> for FetchError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// The advice for an error of a registry.
fn advice(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::LoginNeeded { .. } => {
            "; the image may be private or not exist: check its name, and give `registry.credentials` if it is private"
        }
        RegistryError::Rejected { .. } => {
            "; check the user and password, and that this user may pull the image"
        }
        RegistryError::LocalFile { source, .. } if is_full(source) => {
            "; free space on the disk of the data directory, and import the image again"
        }
        _ => "",
    }
}

/// Returns whether a disk or a user's part of it is full.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// The reason why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// The layer's archive is not valid, or the disk fails.
    #[error(transparent)]
    Archive(#[from] VerifyError),
    /// The helper process does not start, or it rejects an entry of the archive.
    #[error(transparent)]
    Sandbox(#[from] contree_sandbox::Error),
    /// The engine's database cannot be read or changed.
    #[error(transparent)]
    Records(#[from] DatabaseError),
    /// The unpacked layer does not have the digest that the configuration states.
    #[error(
        "its digest after decompression is {found}, but the image's configuration states {expected}"
    )]
    WrongDigest {
        found: contree_registry::Digest,
        expected: contree_registry::Digest,
    },
    /// The import was stopped.
    #[error("it was stopped")]
    Stopped,
    /// The unpacking task panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
}
