//! Why an image is not imported.

use std::path::PathBuf;

use contree_registry::RegistryError;
use contree_sqlite::DbError;
use tokio::task::JoinError;

use super::docker_archive::ArchiveError;
use super::local_file::FileError;
use super::oci_layout::LayoutError;
use super::plan::PlanError;
use super::progress::size;
use super::verify::VerifyError;
use crate::error::ApiError;

/// Why an import fails, as a sentence for the operation's record.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// There is no room for what is downloaded.
    #[error("cannot make {}: {source}", path.display())]
    Scratch {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The image cannot be had from where it is.
    #[error("cannot import {url}: {source}")]
    Source { url: String, source: FetchError },
    /// The records cannot be asked or changed.
    #[error(transparent)]
    Engine(#[from] ApiError),
    /// It took too long.
    #[error("the import took longer than its `timeout` of {0} s: give it more time")]
    TimedOut(u64),
}

/// Why an image cannot be had from where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The registry.
    #[error("{}{}", .0, advice(.0))]
    Registry(#[source] Box<RegistryError>),
    /// The directory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The archive of `docker save`.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive of files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image's parts do not fit each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its layers are too large before they are even unpacked.
    #[error(
        "its layers are larger than the bound on an image's size: {}, and at most {} are taken",
        size(*packed),
        size(*most)
    )]
    TooLarge { packed: u64, most: u64 },
    /// The records cannot be asked or changed.
    #[error(transparent)]
    Engine(#[from] ApiError),
    /// A layer cannot be unpacked.
    #[error("{name}: {source}")]
    Layer { name: String, source: UnpackError },
    /// The import is to end.
    #[error("it was stopped")]
    Stopped,
    /// A task broke down.
    #[error(transparent)]
    Task(#[from] JoinError),
}

impl From<RegistryError> for FetchError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// What to do about an error of a registry.
fn advice(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::LoginNeeded { .. } => {
            "; the image may be private or not exist: give `registry.credentials` if it is private, and check its name"
        }
        RegistryError::Rejected { .. } => {
            "; check user and password, and that they may pull this image"
        }
        _ => "",
    }
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// Its archive is at fault, or the disk.
    #[error(transparent)]
    Archive(#[from] VerifyError),
    /// The helper that unpacks it is not started, or refuses something of it.
    #[error(transparent)]
    Sandbox(#[from] contree_sandbox::Error),
    /// The records.
    #[error(transparent)]
    Records(#[from] DbError),
    /// It is not what the configuration says.
    #[error("unpacked it has the digest {found}, and the image's configuration says {expected}")]
    WrongDigest {
        found: contree_registry::Digest,
        expected: contree_registry::Digest,
    },
    /// The import is to end.
    #[error("it was stopped")]
    Stopped,
    /// A task broke down.
    #[error(transparent)]
    Task(#[from] JoinError),
}
