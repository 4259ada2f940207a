//! Errors of a store on disk.

use std::path::PathBuf;

use crate::os::error::OsError;
use crate::protocol::spec::LayerId;

/// The error of the layer store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store belongs to another user.
    #[error(
        "the data directory {} belongs to the user with id {owner}: {remedy}",
        path.display()
    )]
    Foreign {
        /// The store's directory.
        path: PathBuf,
        /// The id of the user who made it.
        owner: u32,
        /// The remedy, in the imperative.
        remedy: String,
    },
    /// The recorded id map cannot be read.
    #[error("{} is damaged ({reason}): {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The defect.
        reason: String,
        /// The remedy, in the imperative.
        remedy: String,
    },
    /// Another process has recorded a different id map in the meantime.
    #[error("another process has just set the data directory {} up for other ids: start again", path.display())]
    Raced {
        /// The store's directory.
        path: PathBuf,
    },
    /// The name is not valid for a run directory.
    #[error(
        "`{0}` cannot name a run: letters, digits, `-`, `_` and `.` only, not starting with a dot"
    )]
    Name(String),
    /// Another process uses the run directory.
    #[error("the run directory {0} is in use by another process")]
    Busy(String),
    /// The layer already exists.
    #[error("layer {} exists already", .0.0)]
    LayerExists(LayerId),
    /// A kernel call failed.
    #[error(transparent)]
    Os(#[from] OsError),
}
