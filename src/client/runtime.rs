//! The Tokio runtime that every call needs.

use tokio::runtime::Handle;

use crate::Error;

/// Checks that the caller is in a runtime. Timers, files and connections would panic without one.
pub(super) fn check() -> Result<(), Error> {
    Handle::try_current()
        .map(drop)
        .map_err(|_| Error::NoRuntime)
}
