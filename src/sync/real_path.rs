//! Real paths of open files.

use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
};

/// Returns the real path of an open file.
///
/// Linux reports it. Elsewhere the path is resolved again and must lead to the same file.
pub(crate) fn real_path_of(file: &File, path: &Path, metadata: &Metadata) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        if let Ok(real_path) = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
            return Ok(real_path);
        }
    }
    let _ = file;
    let real_path = path.canonicalize()?;
    if is_same_file(&std::fs::metadata(&real_path)?, metadata) {
        Ok(real_path)
    } else {
        Err(io::Error::other(
            "the file was replaced while it was opened; try again",
        ))
    }
}

#[cfg(unix)]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    one.len() == other.len() && one.modified().ok() == other.modified().ok()
}
