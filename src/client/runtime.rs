//! The Tokio runtime that every call needs, and its threads for work that may block.

use std::any::Any;

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
    let done = run(Box::new(move || Box::new(work()))).await?;
    match done.downcast::<Result<T, Error>>() {
        Ok(result) => *result,
        Err(_) => Err(Error::other("blocking work has another type of result")),
    }
}

type Work = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// Without a type parameter, so that the runtime's code for a task exists once.
async fn run(work: Work) -> Result<Box<dyn Any + Send>, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::other)
}
