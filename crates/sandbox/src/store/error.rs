//! What can go wrong with a store on disk.

use std::path::PathBuf;

use crate::os::error::OsError;
use crate::protocol::spec::LayerId;

/// A failure of the layer store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another user's store.
    #[error(
        "the data directory {} belongs to the user with id {owner}: {remedy}",
        path.display()
    )]
    Foreign {
        /// The store.
        path: PathBuf,
        /// Who made it.
        owner: u32,
        /// What to do.
        remedy: String,
    },
    /// The record of the store's ids cannot be read.
    #[error("{} is damaged ({reason}): {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// Another process has made the store's record in the meantime, with other ids.
    #[error("another process has just set the data directory {} up for other ids: start again", path.display())]
    Raced {
        /// The store.
        path: PathBuf,
    },
    /// Not a name for a run directory.
    #[error(
        "`{0}` cannot name a run: letters, digits, `-`, `_` and `.` only, not starting with a dot"
    )]
    Name(String),
    /// Somebody is using it.
    #[error("the run directory {0} is in use by another process")]
    Busy(String),
    /// There already is one.
    #[error("layer {} exists already", .0.0)]
    LayerExists(LayerId),
    /// The kernel refused.
    #[error(transparent)]
    Os(#[from] OsError),
}
