//! A failed kernel call with its context.

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// A failed kernel call: the action, its subject and the kernel's error.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct OsError {
    what: String,
    error: io::Error,
}

impl OsError {
    pub(crate) fn new(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self {
            what: what.into(),
            error: error.into(),
        }
    }

    /// The kernel's error.
    pub fn io(&self) -> &io::Error {
        &self.error
    }
}

/// Adds context to a failed kernel call.
pub(crate) trait CallContext<T> {
    /// Adds the action `what`, for calls that concern no path.
    fn context(self, what: &str) -> Result<T, OsError>;
    /// Adds the action `what` and the path that it concerns.
    fn context_path(self, what: &str, path: impl AsRef<Path>) -> Result<T, OsError>;
}

impl<T, E: Into<io::Error>> CallContext<T> for Result<T, E> {
    fn context(self, what: &str) -> Result<T, OsError> {
        self.map_err(|error| OsError::new(what, error))
    }

    fn context_path(self, what: &str, path: impl AsRef<Path>) -> Result<T, OsError> {
        self.map_err(|error| OsError::new(format!("{what} {}", path.as_ref().display()), error))
    }
}

/// The error number of an I/O error.
pub(crate) fn errno(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}
