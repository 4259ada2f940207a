//! A local directory whose files are reached without following any link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use contree_diff::{NodeKind, sha256_of};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RawMode, fchmod, fstat, mkdirat, openat, readlinkat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::tree::{Entry, MODE_BITS};

/// Opens a directory as a step of a path. A link fails.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// The permissions that the owner of a directory needs to change its entries.
const OWNER: u32 = 0o700;
/// The permissions of a directory that is made on the way to a file, before the umask.
const NEW_DIRECTORY: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

/// The entry at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Local {
    Missing,
    /// A parent of the path is a link or not a directory, so the path is not in this tree.
    Blocked,
    Entry(Entry),
}

/// A local directory. Paths are relative to it, with `/` between names.
pub(super) struct LocalTree {
    root: OwnedFd,
    path: PathBuf,
}

impl LocalTree {
    /// Opens a directory by its real path.
    ///
    /// # Errors
    /// If the path leads elsewhere by now, such as through a link that was placed meanwhile.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd as _;
            let opened = std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd()));
            if opened.is_ok_and(|opened| opened != path) {
                return Err(io::Error::other(
                    "the directory was replaced while it was opened; try again",
                ));
            }
        }
        Ok(Self {
            root,
            path: path.to_owned(),
        })
    }

    /// The path for messages and rules.
    pub(super) fn absolute(&self, path: &[u8]) -> PathBuf {
        match path {
            b"" => self.path.clone(),
            path => self.path.join(OsStr::from_bytes(path)),
        }
    }

    /// Returns the entry at a path. The digest of a file is computed if `with_content`.
    pub(super) fn look(&self, path: &[u8], with_content: bool) -> io::Result<Local> {
        let (parent, name) = match self.locate(path) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(Local::Missing),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Local::Blocked),
            Err(error) => return Err(error.into()),
        };
        let found = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(Local::Missing),
            Err(error) => return Err(error.into()),
        };
        let mut entry = Entry::directory(Some(mode_bits(found.st_mode)));
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {}
            FileType::RegularFile => {
                entry.kind = NodeKind::File;
                entry.size = u64::try_from(found.st_size).unwrap_or_default();
                if with_content {
                    let (digest, size) = sha256_of(&mut self.open_file(path)?)?;
                    entry.digest = Some(digest);
                    entry.size = size;
                }
            }
            FileType::Symlink => {
                entry.kind = NodeKind::Symlink;
                entry.mode = None;
                let target = readlinkat(&parent, name, Vec::new())?;
                entry.target = Some(target.into_bytes());
            }
            // A pipe, a socket or a device: nothing of an image is equal to it.
            _ => entry.kind = NodeKind::Fifo,
        }
        Ok(Local::Entry(entry))
    }

    /// Opens a regular file for reading.
    pub(super) fn open_file(&self, path: &[u8]) -> io::Result<File> {
        let (parent, name) = self.parent(path, false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&parent, name, flags, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file.into()),
            _ => Err(io::Error::other("it is not a regular file")),
        }
    }

    /// Creates a file, in place of a file or link.
    pub(super) fn create_file(&self, path: &[u8]) -> io::Result<File> {
        let (parent, name) = self.parent(path, true)?;
        remove_entry(&parent, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Creates a symbolic link, in place of a file or link.
    pub(super) fn create_link(&self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path, true)?;
        remove_entry(&parent, name)?;
        Ok(rustix::fs::symlinkat(
            OsStr::from_bytes(target),
            &parent,
            name,
        )?)
    }

    /// Makes a hard link to a file of this tree.
    pub(super) fn create_hard_link(&self, from: &[u8], path: &[u8]) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from, false)?;
        let (parent, name) = self.parent(path, true)?;
        remove_entry(&parent, name)?;
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(
            &from_parent,
            from_name,
            &parent,
            name,
            flags,
        )?)
    }

    /// Makes a directory that its owner may use, in place of a file or link.
    pub(super) fn make_directory(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path, true)?;
        let made = match mkdirat(&parent, name, NEW_DIRECTORY) {
            Err(Errno::EXIST) => {
                let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                    return Ok(());
                }
                remove_entry(&parent, name)?;
                mkdirat(&parent, name, NEW_DIRECTORY)
            }
            made => made,
        };
        Ok(made?)
    }

    /// Moves a file or link of another tree on the same file system here, in place of a file, a
    /// link or an empty directory.
    pub(super) fn move_from(&self, other: &Self, from: &[u8], path: &[u8]) -> io::Result<()> {
        let (from_parent, from_name) = other.parent(from, false)?;
        let (parent, name) = self.parent(path, true)?;
        match renameat(&from_parent, from_name, &parent, name) {
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
                Ok(renameat(&from_parent, from_name, &parent, name)?)
            }
            moved => Ok(moved?),
        }
    }

    /// Sets the permissions of a file or directory.
    pub(super) fn set_mode(&self, path: &[u8], mode: u32) -> io::Result<()> {
        match self.handle(path) {
            #[cfg(target_os = "linux")]
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                use std::os::fd::AsRawFd as _;
                // This opens what cannot be read.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let (parent, name) = self.locate(path)?;
                let opened = openat(&parent, name, flags, Mode::empty())?;
                let opened_path = format!("/proc/self/fd/{}", opened.as_raw_fd());
                Ok(rustix::fs::chmod(opened_path, permissions(mode))?)
            }
            opened => Ok(fchmod(opened?, permissions(mode))?),
        }
    }

    /// Lets the owner of a directory change its entries. Returns the permissions from before, if
    /// they changed. Anything but a directory of this user stays as it is.
    pub(super) fn open_up(&self, path: &[u8]) -> io::Result<Option<u32>> {
        let found = self.locate(path);
        let found =
            found.and_then(|(parent, name)| statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW));
        let mode = match found {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                mode_bits(found.st_mode)
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if mode & OWNER == OWNER {
            return Ok(None);
        }
        match self.set_mode(path, mode | OWNER) {
            Ok(()) => Ok(Some(mode)),
            // The next step reports that they are missing.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets the owner change the entries of all directories.
    pub(super) fn open_up_all(&self) -> io::Result<()> {
        let mut next = vec![Vec::new()];
        while let Some(directory) = next.pop() {
            self.open_up(&directory)?;
            let entries = self.entries(&directory)?.into_iter();
            next.extend(entries.filter_map(|(path, is_directory)| is_directory.then_some(path)));
        }
        Ok(())
    }

    /// Sets the time of the last change, in seconds since 1970.
    pub(super) fn set_modified(&self, path: &[u8], seconds: u64) -> io::Result<()> {
        let time = rustix::fs::Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or_default(),
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        let (parent, name) = self.locate(path)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(&parent, name, &times, flags)?)
    }

    /// Removes a file or link. Returns whether it was there.
    pub(super) fn remove_file(&self, path: &[u8]) -> io::Result<bool> {
        let (parent, name) = match self.parent(path, false) {
            Err(Errno::NOENT) => return Ok(false),
            found => found?,
        };
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a directory if it is empty. Returns whether it is gone.
    pub(super) fn remove_directory(&self, path: &[u8]) -> io::Result<bool> {
        let (parent, name) = match self.parent(path, false) {
            Err(Errno::NOENT) => return Ok(true),
            found => found?,
        };
        match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// All paths below a directory.
    pub(super) fn paths_below(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let (mut found, mut next) = (Vec::new(), vec![path.to_vec()]);
        while let Some(directory) = next.pop() {
            for (path, is_directory) in self.entries(&directory)? {
                if is_directory {
                    next.push(path.clone());
                }
                found.push(path);
            }
        }
        Ok(found)
    }

    /// The paths in a directory, and whether each is a directory.
    fn entries(&self, directory: &[u8]) -> io::Result<Vec<(Vec<u8>, bool)>> {
        let opened = self.handle(directory)?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let path = match directory {
                b"" => name.to_vec(),
                directory => [directory, b"/", name].concat(),
            };
            let kind = statat(&opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
            found.push((path, FileType::from_raw_mode(kind) == FileType::Directory));
        }
        Ok(found)
    }

    /// The open directory that has the entry at a path, and the name there. The root itself has
    /// the name `.`.
    fn locate<'a>(&self, path: &'a [u8]) -> Result<(OwnedFd, &'a OsStr), Errno> {
        match path {
            b"" => {
                let root = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
                Ok((root, OsStr::new(".")))
            }
            path => self.parent(path, false),
        }
    }

    /// Opens a file or directory, but not a link.
    fn handle(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let (parent, name) = self.locate(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(&parent, name, flags, Mode::empty())?)
    }

    /// Opens the directory of a path step by step. With `make`, it makes missing ones.
    fn parent<'a>(&self, path: &'a [u8], make: bool) -> Result<(OwnedFd, &'a OsStr), Errno> {
        let mut names = path.split(|byte| *byte == b'/').peekable();
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        while let Some(name) = names.next() {
            if matches!(name, b"" | b"." | b"..") {
                return Err(Errno::INVAL);
            }
            let name = OsStr::from_bytes(name);
            if names.peek().is_none() {
                return Ok((directory, name));
            }
            directory = match openat(directory.as_fd(), name, STEP, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    match mkdirat(directory.as_fd(), name, NEW_DIRECTORY) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error),
                    }
                    openat(directory.as_fd(), name, STEP, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Err(Errno::INVAL)
    }
}

/// Removes a file or a link, if there is one.
fn remove_entry(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The permission bits of a file's mode.
#[allow(
    clippy::useless_conversion,
    reason = "the type differs between systems"
)]
fn mode_bits(mode: RawMode) -> u32 {
    u32::from(mode) & MODE_BITS
}

/// Permission bits as system calls take them. Some systems have 16 bits.
#[allow(
    clippy::useless_conversion,
    reason = "the type differs between systems"
)]
pub(super) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & MODE_BITS).try_into().unwrap_or_default())
}
