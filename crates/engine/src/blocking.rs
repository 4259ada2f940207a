//! Running blocking work outside the asynchronous threads.

use crate::error::ApiError;

/// Runs blocking work on a thread that may block. 500 if it panics.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    contree_tasks::blocking(work)
        .await
        .map_err(|error| ApiError::internal(format!("a task of the engine failed: {error}")))?
}
