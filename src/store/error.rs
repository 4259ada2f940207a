//! The error of the store.

use contree_error_codes::ErrorCode;
use contree_sqlite::DatabaseError;

/// A failure to read or write the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The record must outlive the process, but the store is in memory, since its file cannot be
    /// opened.
    #[error("nothing was stored: {why}; then start the program again")]
    InMemory {
        /// The reason, with the remedy.
        why: String,
    },
    /// The record is in the file, which cannot be opened.
    #[error("the stored state cannot be read: {why}; then start the program again")]
    Unreadable {
        /// The reason, with the remedy.
        why: String,
    },
}

impl StoreError {
    /// The code of the error.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Database(error) => match error.code() {
                ErrorCode::DataDirectoryUnusable | ErrorCode::EngineFailed => {
                    ErrorCode::StoreUnusable
                }
                code => code,
            },
            Self::InMemory { .. } | Self::Unreadable { .. } => ErrorCode::StoreUnusable,
        }
    }
}
