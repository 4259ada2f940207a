//! What can go wrong with the store.

use contree_sqlite::DbError;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct StoreError(#[from] DbError);
