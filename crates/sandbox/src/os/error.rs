//! A failed call to the kernel, with what it was for.

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// A kernel call that failed: what was being done, on what, and the kernel's answer.
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

    /// The kernel's answer.
    pub fn io(&self) -> &io::Error {
        &self.error
    }
}

/// Adds to a failed call what it was for.
pub(crate) trait Doing<T> {
    /// `what` alone, for calls that concern no path.
    fn doing(self, what: &str) -> Result<T, OsError>;
    /// `what` and the path it concerns.
    fn on(self, what: &str, path: impl AsRef<Path>) -> Result<T, OsError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, OsError> {
        self.map_err(|error| OsError::new(what, error))
    }

    fn on(self, what: &str, path: impl AsRef<Path>) -> Result<T, OsError> {
        self.map_err(|error| OsError::new(format!("{what} {}", path.as_ref().display()), error))
    }
}

/// The error number of an I/O error.
pub(crate) fn errno(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}
