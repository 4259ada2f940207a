//! The result of unpacking a directory of an image.

use std::path::PathBuf;

/// Maximum number of skipped paths that are named.
#[cfg(any(not(unix), test))]
const MAX_NAMED: usize = 20;

/// The result of unpacking a directory of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacked {
    /// Number of regular files, including hard links.
    pub files: u64,
    /// The size of the regular files in bytes.
    pub bytes: u64,
    /// The first 20 paths that were not unpacked: links that lead out of the directory, and special
    /// files.
    pub skipped: Vec<PathBuf>,
    /// Number of paths that were not unpacked.
    pub skipped_count: u64,
}

#[cfg(any(not(unix), test))]
impl Unpacked {
    pub(super) fn skip(&mut self, path: PathBuf) {
        self.skipped_count += 1;
        if self.skipped.len() < MAX_NAMED {
            self.skipped.push(path);
        }
    }
}
