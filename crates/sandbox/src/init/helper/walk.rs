//! The helper's side of a walk through a directory of a view: pre-order, with sorted names, and
//! files before directories. The caller requests each batch and decides whether to enter each
//! directory.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::lookup::{entry, kind, last_name, resolve};
use crate::os::tree::is_dot;
use crate::protocol::entry::{Entry, EntryKind, WalkEntry};
use crate::protocol::wire::{MAX_DATAGRAM, MAX_FILES};

/// The most memory for the remaining names of all levels, in bytes. A directory of a million files
/// stays far below.
const MAX_NAME_BYTES: usize = 256 << 20;
/// The memory that a name takes besides its own bytes, in bytes.
const NAME_COST: usize = 48;
/// The most entries of a batch.
const BATCH: usize = 256;
/// The most bytes of a batch's entries. The rest of a message is for the data around them.
const BATCH_BYTES: usize = MAX_DATAGRAM - 4096;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The state of a walk.
pub(crate) struct DirectoryWalk {
    current: OwnedFd,
    levels: Vec<RemainingNames>,
    /// The names of the last returned entries, all in `current`.
    batch: Vec<CString>,
    /// True if the last of them is a directory.
    ends_with_directory: bool,
    /// The memory of the remaining names of all levels, in bytes.
    name_bytes: usize,
}

/// The remaining names of a directory, in reverse order.
struct RemainingNames {
    files: Vec<CString>,
    directories: Vec<CString>,
}

impl DirectoryWalk {
    /// Starts a walk at `path`. Returns the entry at the path, and the walk if it is a directory.
    pub(crate) fn begin(root: BorrowedFd<'_>, path: &Path) -> Result<(Entry, Option<Self>), Errno> {
        let found = resolve(root, path, OFlags::PATH)?;
        let stat = fstat(&found)?;
        let entry = entry(last_name(path), &stat, None);
        if kind(&stat) != EntryKind::Directory {
            return Ok((entry, None));
        }
        let mut walk = Self {
            current: openat(&found, c".", DIRECTORY, Mode::empty())?,
            levels: Vec::new(),
            batch: Vec::new(),
            ends_with_directory: false,
            name_bytes: 0,
        };
        walk.read_level()?;
        Ok((entry, Some(walk)))
    }

    /// Returns the depth of a directory and its next entries, or `None` at the end. With `enter`,
    /// the walk first enters the directory that was the last of the previous entries.
    pub(crate) fn next(&mut self, enter: bool) -> Result<Option<(usize, Vec<WalkEntry>)>, Errno> {
        let last = self.batch.pop();
        self.batch.clear();
        if let (true, true, Some(name)) = (enter, self.ends_with_directory, last) {
            self.current = openat(&self.current, &name, DIRECTORY, Mode::empty())?;
            self.read_level()?;
        }
        self.ends_with_directory = false;
        loop {
            let Some(level) = self.levels.last() else {
                return Ok(None);
            };
            if level.files.is_empty() && level.directories.is_empty() {
                self.levels.pop();
                if !self.levels.is_empty() {
                    // An image never changes and a directory has one name, so `..` leads back to
                    // the level above.
                    self.current = openat(&self.current, c"..", DIRECTORY, Mode::empty())?;
                }
                continue;
            }
            let depth = self.levels.len() - 1;
            return self.next_batch().map(|entries| Some((depth, entries)));
        }
    }

    /// Opens regular files of the last entries. Returns an errno for each index, which is 0 for an
    /// opened file, and the opened files. Other types are never opened.
    pub(crate) fn open_files(&self, indices: &[usize]) -> (Vec<i32>, Vec<OwnedFd>) {
        let mut files = Vec::new();
        let errnos = indices
            .iter()
            .take(MAX_FILES)
            .map(|&at| match self.open(at) {
                Ok(file) => {
                    files.push(file);
                    0
                }
                Err(error) => error.raw_os_error(),
            })
            .collect();
        (errnos, files)
    }

    fn open(&self, at: usize) -> Result<OwnedFd, Errno> {
        let name = self.batch.get(at).ok_or(Errno::INVAL)?;
        let regular = |stat: &Stat| kind(stat) == EntryKind::File;
        if !regular(&statat(&self.current, name, AtFlags::SYMLINK_NOFOLLOW)?) {
            return Err(Errno::ISDIR);
        }
        let file = openat(&self.current, name, FILE, Mode::empty())?;
        if !regular(&fstat(&file)?) {
            return Err(Errno::ISDIR);
        }
        Ok(file)
    }

    fn next_batch(&mut self) -> Result<Vec<WalkEntry>, Errno> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < BATCH && bytes < BATCH_BYTES {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            let (name, is_directory) = match level.files.pop() {
                Some(name) => (name, false),
                None => match level.directories.pop() {
                    Some(name) => (name, true),
                    None => break,
                },
            };
            self.name_bytes -= name_cost(&name);
            let entry = describe(self.current.as_fd(), &name)?;
            let size = max_encoded_size(&entry);
            if bytes + size > BATCH_BYTES && !entries.is_empty() {
                // The next batch starts with it.
                self.name_bytes += name_cost(&name);
                let names = if is_directory {
                    &mut level.directories
                } else {
                    &mut level.files
                };
                names.push(name);
                break;
            }
            bytes += size;
            entries.push(entry);
            self.batch.push(name);
            if is_directory {
                self.ends_with_directory = true;
                break;
            }
        }
        Ok(entries)
    }

    /// Reads the names of the current directory.
    fn read_level(&mut self) -> Result<(), Errno> {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for item in Dir::read_from(&self.current)? {
            let item = item?;
            let name = item.file_name();
            if is_dot(name) {
                continue;
            }
            self.name_bytes += name_cost(name);
            if self.name_bytes > MAX_NAME_BYTES {
                return Err(Errno::TOOBIG);
            }
            let is_directory = match item.file_type() {
                FileType::Unknown => {
                    let stat = statat(&self.current, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    kind(&stat) == EntryKind::Directory
                }
                known => known == FileType::Directory,
            };
            let names = if is_directory {
                &mut directories
            } else {
                &mut files
            };
            names.push(name.to_owned());
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        directories.sort_unstable_by(|a, b| b.cmp(a));
        self.levels.push(RemainingNames { files, directories });
        Ok(())
    }
}

fn name_cost(name: &CStr) -> usize {
    name.count_bytes() + NAME_COST
}

/// The most bytes of an entry in a message. Each byte of a name takes at most six, and numbers have
/// a bounded length.
fn max_encoded_size(entry: &WalkEntry) -> usize {
    let target = entry.entry.target.as_ref().map_or(0, |target| target.len());
    400 + 6 * (entry.entry.name.len() + target)
}

fn describe(directory: BorrowedFd<'_>, name: &CStr) -> Result<WalkEntry, Errno> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let target = match kind(&stat) {
        EntryKind::Symlink => Some(readlinkat(directory, name, Vec::new())?.into_bytes()),
        _ => None,
    };
    let name = OsStr::from_bytes(name.to_bytes()).to_owned();
    Ok(WalkEntry {
        identity: (stat.st_dev, stat.st_ino),
        entry: entry(name, &stat, target),
    })
}
