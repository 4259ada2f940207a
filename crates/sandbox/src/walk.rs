//! A walk through a directory of an image.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;
use crate::protocol::entry::{Entry, Item, Kind};
use crate::protocol::reply::Reply;
use crate::protocol::request::ViewRequest;
use crate::protocol::wire::{MOST_FILES, WireError};
use crate::view::{View, ViewError, checked};

/// The longest path of an entry from the walk's root. The kernel takes none over 4,096 bytes at once, but deeper trees exist.
const LONGEST_PATH: usize = 1 << 20;

/// A walk through a directory and all that is below it: parents before children, each directory's names sorted, files before
/// directories. Symbolic links are not followed. Memory does not grow with the size of the tree.
#[derive(Debug)]
pub struct Walk {
    view: View,
    /// Of the directory that the last entries are in, from the walk's root, without a slash at either end.
    path: Vec<u8>,
    /// How long the path was at each level.
    lengths: Vec<usize>,
    items: Vec<Item>,
}

impl Walk {
    /// A walk takes a view for itself. It begins with [`Walk::start`].
    pub fn new(view: View) -> Self {
        Self {
            view,
            path: Vec::new(),
            lengths: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Starts at a path, in place of where it was before. Symbolic links are followed inside the image. Answers what is there; if
    /// it is not a directory then there is nothing to walk.
    ///
    /// # Errors
    /// When there is no such path.
    pub fn start(&mut self, path: &Path) -> Result<Entry, ViewError> {
        self.path.clear();
        self.lengths.clear();
        self.items.clear();
        let path = checked(path)?;
        match self.view.request(&ViewRequest::Walk { path })? {
            (Reply::Found { entry }, _) => Ok(entry),
            _ => Err(Error::Gone.into()),
        }
    }

    /// Goes on to the next entries, all of one directory; false at the end. Only the last of them can be a directory, and `enter`
    /// says whether to go into the one that the entries before ended with.
    ///
    /// # Errors
    /// When a directory cannot be read or is out of all proportion (256 MiB of names, paths over 1 MiB).
    pub fn next(&mut self, enter: bool) -> Result<bool, ViewError> {
        let (depth, items) = match self.view.request(&ViewRequest::Next { enter })? {
            (Reply::Walked { depth, items }, _) => (depth, items),
            _ => return Err(Error::Gone.into()),
        };
        if items.is_empty() {
            self.items = items;
            return Ok(false);
        }
        if depth == self.lengths.len() + 1
            && let Some(last) = self.items.last()
        {
            self.lengths.push(self.path.len());
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(last.entry.name.as_bytes());
            if self.path.len() > LONGEST_PATH {
                return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG).into());
            }
        } else if let Some(&length) = self.lengths.get(depth) {
            self.path.truncate(length);
            self.lengths.truncate(depth);
        }
        self.items = items;
        Ok(true)
    }

    /// The entries.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The directory that the entries are in, as a path from the walk's root; empty for the root itself.
    pub fn directory(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Whether the entries end with a directory that could be entered.
    pub fn ends_with_directory(&self) -> bool {
        self.items
            .last()
            .is_some_and(|item| item.entry.kind == Kind::Directory)
    }

    /// Opens regular files among the entries, by their places: at most [`Walk::AT_ONCE`].
    ///
    /// # Errors
    /// When the helper is gone; that a single file could not be opened is its own answer.
    pub fn open(&self, which: &[usize]) -> Result<Vec<io::Result<File>>, ViewError> {
        let request = ViewRequest::Take {
            which: which.to_vec(),
        };
        let (errnos, files) = match self.view.request(&request)? {
            (Reply::Taken { errnos }, files) => (errnos, files),
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

    /// How many files can be opened at once.
    pub const AT_ONCE: usize = MOST_FILES;

    /// The view that it walks through.
    pub fn view(&self) -> &View {
        &self.view
    }
}
