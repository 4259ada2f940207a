//! The error of unpacking an archive.

use crate::tar::TarError;

/// The most bytes of a path that an error shows.
const MAX_SHOWN_BYTES: usize = 300;

/// The reason why an archive is refused, as a sentence.
pub(super) struct UnpackError(pub(super) String);

impl From<TarError> for UnpackError {
    fn from(error: TarError) -> Self {
        Self(error.to_string())
    }
}

impl UnpackError {
    /// A kernel call that failed on a path of the archive.
    pub(super) fn call(what: &str, path: &[u8], error: impl Into<std::io::Error>) -> Self {
        Self(format!("{what} {}: {}", display_path(path), error.into()))
    }

    pub(super) fn member(path: &[u8], why: &str) -> Self {
        Self(format!("the archive's member {} {why}", display_path(path)))
    }
}

/// Formats a path for users: shortened, without control characters.
pub(super) fn display_path(path: &[u8]) -> String {
    let cut = path.len().min(MAX_SHOWN_BYTES);
    let more = if cut < path.len() { "..." } else { "" };
    format!("`{}{more}`", path[..cut].escape_ascii())
}
