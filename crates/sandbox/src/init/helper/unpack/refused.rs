//! Why an archive is refused.

use crate::tar::TarError;

/// How much of a path is shown in an error.
const SHOWN: usize = 300;

/// Why an archive is not unpacked, as a sentence.
pub(super) struct Refused(pub(super) String);

impl From<TarError> for Refused {
    fn from(error: TarError) -> Self {
        Self(error.to_string())
    }
}

impl Refused {
    /// A call to the kernel that failed on a path of the archive.
    pub(super) fn on(what: &str, path: &[u8], error: impl Into<std::io::Error>) -> Self {
        Self(format!("{what} {}: {}", shown(path), error.into()))
    }

    pub(super) fn path(path: &[u8], why: &str) -> Self {
        Self(format!("the archive's member {} {why}", shown(path)))
    }
}

/// A path for people: bounded, without control characters.
pub(super) fn shown(path: &[u8]) -> String {
    let cut = path.len().min(SHOWN);
    let more = if cut < path.len() { "..." } else { "" };
    format!("`{}{more}`", path[..cut].escape_ascii())
}
