//! Reads files of this machine.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use contree_registry::manifest::MAX_DOCUMENT_BYTES;

/// The reason why a local file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It cannot be made or written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// It is a directory, a pipe or another special file.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// It is too large to be read into memory.
    #[error("{} is larger than {MAX_DOCUMENT_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
}

impl FileError {
    /// Converts I/O errors of making or writing this path.
    pub(super) fn write(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write {
            path: path.clone(),
            source,
        }
    }

    /// Returns whether there is no such file.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            Self::Read { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
            Self::NotRegular(_) => true,
            Self::Write { .. } | Self::TooLarge(_) => false,
        }
    }

    /// Converts I/O errors of reading this path.
    pub(super) fn read(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}

/// Opens a regular file and returns its length. Opening a pipe would block until its other end
/// opens.
pub(super) fn open(path: &Path) -> Result<(File, u64), FileError> {
    let failed = FileError::read(path);
    // Checked before opening, so that no pipe is opened, and again on the open file.
    if !fs::metadata(path).map_err(&failed)?.is_file() {
        return Err(FileError::NotRegular(path.to_owned()));
    }
    let file = File::open(path).map_err(&failed)?;
    let about = file.metadata().map_err(&failed)?;
    if !about.is_file() {
        return Err(FileError::NotRegular(path.to_owned()));
    }
    Ok((file, about.len()))
}

/// Reads a small file into memory.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let (file, length) = open(path)?;
    if length > MAX_DOCUMENT_BYTES as u64 {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(FileError::read(path))?;
    Ok(bytes)
}
