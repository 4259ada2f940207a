//! The caller's side of a walk through a directory of an image.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;
use crate::protocol::entry::{Entry, EntryKind, WalkEntry};
use crate::protocol::reply::Reply;
use crate::protocol::request::ViewRequest;
use crate::protocol::wire::{MAX_FILES, WireError};
use crate::view::{View, ViewError, checked_path};

/// The longest path of an entry from the walk's root, in bytes. The kernel takes at most 4,096
/// bytes in one call, but deeper trees exist.
const MAX_PATH_LENGTH: usize = 1 << 20;

/// A walk through a directory and everything below it.
///
/// Parents come before children. The names of each directory are sorted, and its files come before
/// its directories. Symbolic links are not followed. Memory does not grow with the size of the
/// tree.
#[derive(Debug)]
pub struct Walk {
    view: View,
    /// The directory of the last entries: its path from the walk's root, without a slash at either
    /// end.
    path: Vec<u8>,
    /// The length of the path at each level.
    lengths: Vec<usize>,
    entries: Vec<WalkEntry>,
}

impl Walk {
    /// Takes over a view for a walk. The walk begins with [`Walk::start`].
    pub fn new(view: View) -> Self {
        Self {
            view,
            path: Vec::new(),
            lengths: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Starts at a path and abandons any earlier walk. Symbolic links are followed inside the
    /// image. Returns the entry at the path; if it is not a directory, the walk is empty.
    ///
    /// # Errors
    /// When the path does not exist.
    pub fn start(&mut self, path: &Path) -> Result<Entry, ViewError> {
        self.path.clear();
        self.lengths.clear();
        self.entries.clear();
        let path = checked_path(path)?;
        match self.view.request(&ViewRequest::Walk { path })? {
            (Reply::Entry { entry }, _) => Ok(entry),
            _ => Err(Error::Gone.into()),
        }
    }

    /// Reads the next entries, all of one directory. Returns false at the end of the walk.
    ///
    /// Only the last of the entries can be a directory. `enter` decides whether the walk enters the
    /// directory at which the previous entries ended.
    ///
    /// # Errors
    /// When a directory cannot be read, or exceeds the bounds: 256 MiB of names, paths of 1 MiB.
    pub fn next(&mut self, enter: bool) -> Result<bool, ViewError> {
        let (depth, entries) = match self.view.request(&ViewRequest::Next { enter })? {
            (Reply::WalkEntries { depth, entries }, _) => (depth, entries),
            _ => return Err(Error::Gone.into()),
        };
        if entries.is_empty() {
            self.entries = entries;
            return Ok(false);
        }
        if depth == self.lengths.len() + 1
            && let Some(last) = self.entries.last()
        {
            self.lengths.push(self.path.len());
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(last.entry.name.as_bytes());
            if self.path.len() > MAX_PATH_LENGTH {
                return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG).into());
            }
        } else if let Some(&length) = self.lengths.get(depth) {
            self.path.truncate(length);
            self.lengths.truncate(depth);
        }
        self.entries = entries;
        Ok(true)
    }

    /// The current entries.
    pub fn entries(&self) -> &[WalkEntry] {
        &self.entries
    }

    /// The directory of the current entries, as a path from the walk's root. It is empty for the
    /// root itself.
    pub fn directory(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Returns true if the last of the current entries is a directory.
    pub fn ends_with_directory(&self) -> bool {
        self.entries
            .last()
            .is_some_and(|item| item.entry.kind == EntryKind::Directory)
    }

    /// Opens regular files among the current entries by their indices, at most [`Walk::MAX_OPEN`].
    ///
    /// # Errors
    /// When the helper is gone. If a single file cannot be opened, its own result is the error.
    pub fn open(&self, indices: &[usize]) -> Result<Vec<io::Result<File>>, ViewError> {
        let request = ViewRequest::OpenFiles {
            indices: indices.to_vec(),
        };
        let (errnos, files) = match self.view.request(&request)? {
            (Reply::Opened { errnos }, files) => (errnos, files),
            _ => return Err(Error::Gone.into()),
        };
        let expected = errnos.iter().filter(|errno| **errno == 0).count();
        if files.len() != expected {
            let found = files.len();
            return Err(Error::from(WireError::Files { found, expected }).into());
        }
        let mut files = files.into_iter();
        Ok(errnos
            .into_iter()
            .map(|errno| match errno {
                0 => files
                    .next()
                    .map(File::from)
                    .ok_or_else(|| io::ErrorKind::NotFound.into()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            })
            .collect())
    }

    /// The number of files that one call can open.
    pub const MAX_OPEN: usize = MAX_FILES;

    /// The view that the walk reads.
    pub fn view(&self) -> &View {
        &self.view
    }
}
