//! Running blocking work outside the asynchronous threads.

use std::any::Any;

use crate::error::ApiError;

/// Runs blocking work on a thread that may block. 500 if it panics.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = run(Box::new(move || Box::new(work()))).await?;
    match done.downcast::<Result<T, ApiError>>() {
        Ok(result) => *result,
        Err(_) => Err(ApiError::internal("a task of the engine has another type")),
    }
}

type Work = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// Without a type parameter, so that the runtime's code for a task exists once.
async fn run(work: Work) -> Result<Box<dyn Any + Send>, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::internal(format!("a task of the engine failed: {error}")))
}
