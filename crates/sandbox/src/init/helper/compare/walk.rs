//! The walk through two chains of layers that finds the files that differ.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::merged::{Found, MergedDirectory};
use crate::init::helper::lookup::{entry, kind};
use crate::os::limits::raise_descriptor_limit;
use crate::protocol::compare::{CompareBoot, ComparedSide, Difference};
use crate::protocol::entry::{Entry, EntryKind};

/// The most differences of a batch.
const BATCH: usize = 2048;
/// The most bytes of the paths of a batch.
const BATCH_BYTES: usize = 4 << 20;
/// After this time, a batch ends even if it is empty.
const BATCH_TIME: Duration = Duration::from_millis(500);
/// The most memory for the remaining names of all levels, in bytes.
const MAX_NAME_BYTES: usize = 256 << 20;
/// The memory that a name takes besides its own bytes, in bytes.
const NAME_COST: usize = 48;
/// The longest path, in bytes. The kernel takes at most 4,096 bytes in one call, but deeper trees
/// exist.
const MAX_PATH_LENGTH: usize = 1 << 20;
/// Descriptors for other uses than the directories of levels.
const SPARE_DESCRIPTORS: u64 = 64;
/// The most descriptors that the directories of levels use.
const MAX_DESCRIPTORS: u64 = 8192;
/// Bytes that are compared at once.
const CHUNK: usize = 64 * 1024;

const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The two sides of a pair, in the order of [`ComparedSide`].
struct Pair<T> {
    before: T,
    after: T,
}

/// A directory whose names are being compared.
struct Level {
    /// The remaining names, in reverse order.
    names: Vec<CString>,
    /// The directories. `None` on a side without one.
    directories: Pair<Option<MergedDirectory>>,
    /// True if the directories were closed, because too many were open.
    closed: bool,
    /// The length of the path of the directory.
    path_length: usize,
}

/// The state of a comparison.
pub(super) struct ComparisonWalk {
    roots: Pair<MergedDirectory>,
    /// The number of the first layer that both sides share.
    common: usize,
    /// The components of the path of the root of the comparison.
    base: Vec<CString>,
    levels: Vec<Level>,
    /// The path of the current level from the root of the comparison.
    path: Vec<u8>,
    name_bytes: usize,
    max_open: usize,
    batch: Vec<Difference>,
    batch_bytes: usize,
}

/// A name on one side.
enum Node {
    Absent,
    Directory(MergedDirectory, Stat),
    Other(Rc<OwnedFd>, Stat),
}

impl Node {
    /// Sockets and devices count as absent, as they are in archives.
    fn of(found: Found) -> Self {
        match found {
            Found::Absent => Self::Absent,
            Found::Directory(directory, stat) => Self::Directory(directory, stat),
            Found::Other(directory, stat) => match kind(&stat) {
                EntryKind::File | EntryKind::Symlink | EntryKind::Fifo => {
                    Self::Other(directory, stat)
                }
                _ => Self::Absent,
            },
        }
    }

    fn describe(&self, name: &CStr) -> Result<Option<Entry>, Errno> {
        let shown = OsStr::from_bytes(name.to_bytes()).to_owned();
        Ok(match self {
            Self::Absent => None,
            Self::Directory(_, stat) => Some(entry(shown, stat, None)),
            Self::Other(directory, stat) => {
                let target = match kind(stat) {
                    EntryKind::Symlink => {
                        Some(readlinkat(directory, name, Vec::new())?.into_bytes())
                    }
                    _ => None,
                };
                Some(entry(shown, stat, target))
            }
        })
    }

    fn into_directory(self) -> Option<MergedDirectory> {
        match self {
            Self::Directory(directory, _) => Some(directory),
            _ => None,
        }
    }
}

impl ComparisonWalk {
    /// Starts a comparison. Fails with NOENT if neither side has the path, and with LOOP if the
    /// path leads through a symbolic link.
    pub(super) fn begin(store: &OwnedFd, boot: &CompareBoot) -> Result<Self, Errno> {
        let common = boot.after.len() + boot.before.len();
        let shared = || (common..).zip(&boot.common);
        let roots = Pair {
            before: MergedDirectory::open_root(
                store,
                (boot.after.len()..).zip(&boot.before).chain(shared()),
            )?,
            after: MergedDirectory::open_root(store, (0..).zip(&boot.after).chain(shared()))?,
        };
        let limit = raise_descriptor_limit().min(MAX_DESCRIPTORS);
        let mut walk = Self {
            roots,
            common,
            base: components(&boot.path)?,
            levels: Vec::new(),
            path: Vec::new(),
            name_bytes: 0,
            max_open: usize::try_from(limit.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(0),
            batch: Vec::new(),
            batch_bytes: 0,
        };
        let before = walk.find(ComparedSide::Before, &walk.base)?;
        let after = walk.find(ComparedSide::After, &walk.base)?;
        if let (Node::Absent, Node::Absent) = (&before, &after) {
            return Err(Errno::NOENT);
        }
        let name = walk.base.last().cloned().unwrap_or_else(|| c"/".to_owned());
        walk.compare(&name, before, after)?;
        Ok(walk)
    }

    /// The next differences, and whether they are the last.
    pub(super) fn next_batch(&mut self) -> Result<(Vec<Difference>, bool), Errno> {
        let end = Instant::now() + BATCH_TIME;
        while self.batch.len() < BATCH && self.batch_bytes < BATCH_BYTES && Instant::now() < end {
            if !self.step()? {
                break;
            }
        }
        self.batch_bytes = 0;
        Ok((std::mem::take(&mut self.batch), self.levels.is_empty()))
    }

    /// Opens a regular file of one side. The path is from the root of the comparison.
    pub(super) fn open(&self, side: ComparedSide, path: &Path) -> Result<(Entry, OwnedFd), Errno> {
        let names = [self.base.clone(), components(path)?].concat();
        let (Node::Other(directory, stat), Some(name)) = (self.find(side, &names)?, names.last())
        else {
            return Err(Errno::ISDIR);
        };
        let file = open_file(&directory, name, &stat)?;
        Ok((
            entry(OsStr::from_bytes(name.to_bytes()).to_owned(), &stat, None),
            file,
        ))
    }

    /// Looks up a path of one side from the root of the image.
    fn find(&self, side: ComparedSide, names: &[CString]) -> Result<Node, Errno> {
        let mut current = match side {
            ComparedSide::Before => self.roots.before.clone(),
            ComparedSide::After => self.roots.after.clone(),
        };
        let Some((last, parents)) = names.split_last() else {
            let stat = current.stat()?;
            return Ok(Node::Directory(current, stat));
        };
        for name in parents {
            current = match current.find(name)? {
                Found::Directory(directory, _) => directory,
                Found::Other(_, stat) if kind(&stat) == EntryKind::Symlink => {
                    return Err(Errno::LOOP);
                }
                _ => return Ok(Node::Absent),
            };
        }
        Ok(Node::of(current.find(last)?))
    }

    /// Compares the next name. Returns false at the end.
    fn step(&mut self) -> Result<bool, Errno> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(false);
        };
        self.path.truncate(level.path_length);
        let Some(name) = level.names.pop() else {
            self.levels.pop();
            return Ok(true);
        };
        self.name_bytes -= name.count_bytes() + NAME_COST;
        if level.closed {
            self.reopen_last()?;
        }
        let Some(level) = self.levels.last_mut() else {
            return Ok(false);
        };
        let find = |directory: &Option<MergedDirectory>| match directory {
            Some(directory) => directory.find(&name).map(Node::of),
            None => Ok(Node::Absent),
        };
        let before = find(&level.directories.before)?;
        let after = find(&level.directories.after)?;
        if level.names.is_empty() {
            // No name follows, so a chain of directories needs no descriptors for its upper levels.
            level.directories = Pair {
                before: None,
                after: None,
            };
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        if self.path.len() > MAX_PATH_LENGTH {
            return Err(Errno::NAMETOOLONG);
        }
        self.compare(&name, before, after)?;
        Ok(true)
    }

    /// Compares the two files at the current path, and enters them if they are directories.
    fn compare(&mut self, name: &CStr, before: Node, after: Node) -> Result<(), Errno> {
        let mut same_content = false;
        match (&before, &after) {
            (Node::Absent, Node::Absent) => return Ok(()),
            (Node::Directory(old, old_stat), Node::Directory(new, new_stat)) => {
                if old.is_same(new) {
                    return Ok(());
                }
                if !has_same_attributes(old_stat, new_stat) {
                    self.push(name, &before, &after, false)?;
                }
                return self.enter(before, after);
            }
            (Node::Other(old_in, old), Node::Other(new_in, new)) => {
                if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino) {
                    return Ok(());
                }
                if kind(old) == kind(new) {
                    same_content = match kind(old) {
                        EntryKind::File => {
                            has_same_content((&**old_in, old), (&**new_in, new), name)?
                        }
                        EntryKind::Symlink => {
                            readlinkat(old_in, name, Vec::new())?
                                == readlinkat(new_in, name, Vec::new())?
                        }
                        _ => true,
                    };
                    if same_content && has_same_attributes(old, new) {
                        return Ok(());
                    }
                }
            }
            _ => {}
        }
        self.push(name, &before, &after, same_content)?;
        self.enter(before, after)
    }

    fn push(
        &mut self,
        name: &CStr,
        before: &Node,
        after: &Node,
        same_content: bool,
    ) -> Result<(), Errno> {
        self.batch_bytes += self.path.len();
        self.batch.push(Difference {
            path: OsStr::from_bytes(&self.path).to_owned(),
            before: before.describe(name)?,
            after: after.describe(name)?,
            same_content,
        });
        Ok(())
    }

    /// Enters the directories at the current path, if there are any.
    fn enter(&mut self, before: Node, after: Node) -> Result<(), Errno> {
        let directories = Pair {
            before: before.into_directory(),
            after: after.into_directory(),
        };
        let mut names = BTreeSet::new();
        let both = (&directories.before, &directories.after);
        // Where the sides share all common layers, only the names of the other layers can differ.
        let end = match both {
            (Some(old), Some(new)) if old.shares_layers_from(self.common, new) => self.common,
            (None, None) => return Ok(()),
            _ => usize::MAX,
        };
        for directory in [both.0, both.1].into_iter().flatten() {
            directory.add_names(end, &mut names)?;
        }
        let cost = |name: &CString| name.count_bytes() + NAME_COST;
        self.name_bytes += names.iter().map(cost).sum::<usize>();
        if self.name_bytes > MAX_NAME_BYTES {
            return Err(Errno::TOOBIG);
        }
        self.levels.push(Level {
            names: names.into_iter().rev().collect(),
            directories,
            closed: false,
            path_length: self.path.len(),
        });
        self.close_excess();
        Ok(())
    }

    /// Closes directories of upper levels while too many are open.
    fn close_excess(&mut self) {
        let count = |level: &Level| {
            let of = |directory: &Option<MergedDirectory>| {
                directory.as_ref().map_or(0, MergedDirectory::count)
            };
            of(&level.directories.before) + of(&level.directories.after)
        };
        // The last level is in use, and so is one for reopening.
        if self.levels.len() < 3 {
            return;
        }
        let open: usize = self.levels.iter().map(count).sum();
        if open <= self.max_open {
            return;
        }
        let last = self.levels.len() - 2;
        let mut excess = open - self.max_open / 2;
        for level in &mut self.levels[..last] {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(count(level));
            level.closed = true;
            level.directories = Pair {
                before: None,
                after: None,
            };
        }
    }

    /// Opens the directories of the last level again.
    fn reopen_last(&mut self) -> Result<(), Errno> {
        let names = [
            self.base.clone(),
            components(Path::new(OsStr::from_bytes(&self.path)))?,
        ]
        .concat();
        let directories = Pair {
            before: self.find(ComparedSide::Before, &names)?.into_directory(),
            after: self.find(ComparedSide::After, &names)?.into_directory(),
        };
        if let Some(level) = self.levels.last_mut() {
            level.directories = directories;
            level.closed = false;
        }
        Ok(())
    }
}

/// The names of a path. `..` is not resolved.
fn components(path: &Path) -> Result<Vec<CString>, Errno> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)),
        Component::ParentDir => Some(Err(Errno::INVAL)),
        _ => None,
    });
    names.collect()
}

/// Returns true if owner and mode are equal. The mode of a symbolic link does not count.
fn has_same_attributes(old: &Stat, new: &Stat) -> bool {
    let mode = |stat: &Stat| match kind(stat) {
        EntryKind::Symlink => 0,
        _ => stat.st_mode & 0o7777,
    };
    (old.st_uid, old.st_gid, mode(old)) == (new.st_uid, new.st_gid, mode(new))
}

fn open_file(directory: &OwnedFd, name: &CStr, stat: &Stat) -> Result<OwnedFd, Errno> {
    if kind(stat) != EntryKind::File {
        return Err(Errno::ISDIR);
    }
    let file = openat(directory, name, FILE, Mode::empty())?;
    if kind(&fstat(&file)?) != EntryKind::File {
        return Err(Errno::ISDIR);
    }
    Ok(file)
}

/// Compares the content of two regular files of the same name.
fn has_same_content(
    (old_in, old): (&OwnedFd, &Stat),
    (new_in, new): (&OwnedFd, &Stat),
    name: &CStr,
) -> Result<bool, Errno> {
    if old.st_size != new.st_size {
        return Ok(false);
    }
    let mut old = std::fs::File::from(open_file(old_in, name, old)?);
    let mut new = std::fs::File::from(open_file(new_in, name, new)?);
    let (mut old_chunk, mut new_chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let old_length = read_full(&mut old, &mut old_chunk)?;
        let new_length = read_full(&mut new, &mut new_chunk)?;
        if old_chunk[..old_length] != new_chunk[..new_length] {
            return Ok(false);
        }
        if old_length < CHUNK {
            return Ok(true);
        }
    }
}

/// Fills the buffer unless the file ends before.
fn read_full(file: &mut std::fs::File, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
            }
        }
    }
    Ok(length)
}
