//! Work that blocks, off the asynchronous threads.

use crate::error::ApiError;

/// Runs what blocks off the asynchronous threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::internal(format!("the engine's worker failed: {error}")))?
}
