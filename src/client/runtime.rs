//! The Tokio runtime that every call needs, and its threads for work that may block.

use tokio::runtime::Handle;

use crate::Error;

/// Checks that the caller is in a runtime. Timers, files and connections would panic without one.
pub(super) fn check() -> Result<(), Error> {
    Handle::try_current()
        .map(drop)
        .map_err(|_| Error::NoRuntime)
}

/// Runs work that may block on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    contree_tasks::blocking(work).await.map_err(Error::other)?
}
