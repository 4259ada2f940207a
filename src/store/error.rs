//! The error of the store.

use contree_sqlite::DbError;

/// A failure to read or write the store.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct StoreError(#[from] DbError);
