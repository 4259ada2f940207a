//! The layer that is being unpacked, and the image below it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
    Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat,
    mkdirat, statat, unlinkat,
};
use rustix::io::Errno;

use super::error::UnpackError;
use super::path::{PathSet, directory_of, file_name, or_dot};
use crate::init::helper::marks::{is_whiteout, make_opaque};
use crate::os::open_resolved::open_resolved;
use crate::os::tree;

/// The flags for resolving every path in the layer and the image.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
/// The flags for opening directories with openat2. [`BENEATH`] reports symbolic links with ELOOP;
/// `O_NOFOLLOW` would report ENOTDIR.
const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directories on which the sandbox mounts file systems. Every image must have them.
pub(super) const MOUNT_POINTS: [&[u8]; 3] = [b"proc", b"sys", b"dev"];

/// The layer that is being unpacked.
pub(super) struct Layer {
    root: OwnedFd,
    /// The image below the layer.
    pub(super) below: Option<OwnedFd>,
    /// True if root is the only user of the namespace.
    pub(super) single: bool,
    /// The last directory in which something was made. Members of one directory usually follow each
    /// other.
    current: Option<ParentDirectory>,
    /// True if the root hides everything in the image below.
    pub(super) root_opaque: bool,
    /// The number of directories that the archive does not contain.
    implied_directories: u64,
    /// The files that were copied from the image below for a hard link. The archive has no member
    /// for them.
    pub(super) copied_up: PathSet,
    /// The device nodes that were left out, and the hard links to them.
    pub(super) left_out_devices: PathSet,
    /// True if the archive has files that are only there as targets of hard links.
    pub(super) has_link_store: bool,
}

struct ParentDirectory {
    path: Vec<u8>,
    directory: OwnedFd,
    /// The modification time to restore: making entries in the directory changes it.
    mtime: Timestamps,
}

impl Layer {
    pub(super) fn new(
        root: OwnedFd,
        below: Option<OwnedFd>,
        single: bool,
    ) -> Result<Self, UnpackError> {
        let layer = Self {
            root,
            below,
            single,
            current: None,
            root_opaque: false,
            implied_directories: 0,
            copied_up: PathSet::default(),
            left_out_devices: PathSet::default(),
            has_link_store: false,
        };
        if let Some(below) = layer.open_below(b"")? {
            layer
                .copy_metadata(&below, &layer.root)
                .map_err(|error| UnpackError::call("prepare", b"/", error))?;
        }
        Ok(layer)
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The number of directories that were made because a member is in them.
    pub(super) fn implied_directories(&self) -> u64 {
        self.implied_directories
    }

    /// Opens the parent directory of `path`, and makes missing directories.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, UnpackError> {
        let wanted = directory_of(path);
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.path != wanted)
        {
            self.restore_time();
            let directory = self.open_or_make_directory(wanted)?;
            let stat =
                fstat(&directory).map_err(|error| UnpackError::call("inspect", wanted, error))?;
            self.current = Some(ParentDirectory {
                path: wanted.to_vec(),
                directory,
                mtime: modification_time(&stat),
            });
        }
        self.current_directory()
            .ok_or_else(|| UnpackError::member(path, "has no parent directory"))
    }

    /// The directory that [`Layer::parent`] opened last.
    pub(super) fn current_directory(&self) -> Option<BorrowedFd<'_>> {
        self.current
            .as_ref()
            .map(|current| current.directory.as_fd())
    }

    /// Restores the modification time of the last directory in which something was made.
    pub(super) fn restore_time(&mut self) {
        if let Some(current) = self.current.take() {
            let _ = futimens(&current.directory, &current.mtime);
        }
    }

    /// Opens a directory of the layer, and makes it if it is missing.
    fn open_or_make_directory(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        match self.open(path) {
            Ok(found) => return Ok(found),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(self.open_error(path, error)),
        }
        let mut end = 0;
        let mut above = self
            .open(b"")
            .map_err(|error| UnpackError::call("open", path, error))?;
        for name in path.split(|&byte| byte == b'/') {
            end += name.len() + usize::from(end > 0);
            let here = &path[..end];
            above = match self.open(here) {
                Ok(found) => found,
                Err(Errno::NOENT) => self.make_implied_directory(&above, name, here)?,
                Err(Errno::NOTDIR) if is_whiteout_at(above.as_fd(), name) => {
                    // A whiteout is here; a new directory replaces it.
                    remove(above.as_fd(), name)
                        .map_err(|error| UnpackError::call("replace", here, error))?;
                    let new_directory = self.make_implied_directory(&above, name, here)?;
                    make_opaque(&new_directory)
                        .map_err(|error| UnpackError::call("make opaque", here, error))?;
                    new_directory
                }
                Err(error) => return Err(self.open_error(here, error)),
            };
        }
        Ok(above)
    }

    /// Makes a directory that the archive does not contain. If the image below has it, its metadata
    /// is copied.
    fn make_implied_directory(
        &mut self,
        above: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<OwnedFd, UnpackError> {
        self.implied_directories += 1;
        let make = || {
            let before = modification_time(&fstat(above)?);
            mkdirat(above, name, Mode::from_raw_mode(0o755))?;
            let new_directory = open_resolved(above, name, OPEN_DIRECTORY, BENEATH)?;
            if let Some(model) = self.open_below(path).unwrap_or_default() {
                self.copy_metadata(&model, &new_directory)?;
            }
            futimens(above, &before)?;
            Ok(new_directory)
        };
        make().map_err(|error: Errno| UnpackError::call("make the directory", path, error))
    }

    pub(super) fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open_resolved(&self.root, or_dot(path), OPEN_DIRECTORY, BENEATH)
    }

    fn open_error(&self, path: &[u8], error: Errno) -> UnpackError {
        match error {
            Errno::LOOP => UnpackError::member(path, "would be written through a symbolic link"),
            Errno::NOTDIR => {
                UnpackError::member(path, "is a file, but other members are inside it")
            }
            other => UnpackError::call("open", path, other),
        }
    }

    /// Opens a directory of the image below. Returns `None` if there is none at this path without
    /// symbolic links.
    pub(super) fn open_below(&self, path: &[u8]) -> Result<Option<OwnedFd>, UnpackError> {
        let Some(below) = &self.below else {
            return Ok(None);
        };
        let flags = BENEATH.difference(ResolveFlags::NO_XDEV);
        match open_resolved(below, or_dot(path), OPEN_DIRECTORY, flags) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(UnpackError::call("inspect", path, error)),
        }
    }

    /// Removes the entry `name`, and reports its kind. With `keep_directory`, a directory stays.
    pub(super) fn remove_existing(
        directory: BorrowedFd<'_>,
        name: &[u8],
        keep_directory: bool,
    ) -> Result<PreviousEntry, std::io::Error> {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(PreviousEntry::Nothing),
            Err(error) => return Err(error.into()),
        };
        if keep_directory && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(PreviousEntry::Directory);
        }
        remove(directory, name)?;
        Ok(match is_whiteout(&stat) {
            true => PreviousEntry::Whiteout,
            false => PreviousEntry::Other,
        })
    }

    /// Copies the mode, owner, extended attributes and modification time of a file to another.
    pub(super) fn copy_metadata(&self, from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
        let stat = fstat(from)?;
        fchown(
            to,
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
        )?;
        for (name, value) in attributes(from).unwrap_or_default() {
            let _ = fsetxattr(to, name.as_slice(), &value, XattrFlags::empty());
        }
        fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        futimens(to, &modification_time(&stat))
    }

    /// Makes `name` a hard link to a file of this layer.
    pub(super) fn link(
        &self,
        target: &[u8],
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), Errno> {
        let from = self.open(directory_of(target))?;
        linkat(&from, file_name(target), directory, name, AtFlags::empty())
    }
}

/// The entry that was at a path before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreviousEntry {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

fn remove(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), std::io::Error> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => tree::remove(directory, &CString::new(name)?),
        other => Ok(other?),
    }
}

fn is_whiteout_at(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_whiteout(&stat))
}

/// The name and value of an extended attribute.
type Attribute = (Vec<u8>, Vec<u8>);

/// The extended attributes of an open file that belong to the image.
fn attributes(file: &OwnedFd) -> Result<Vec<Attribute>, Errno> {
    let mut list = vec![0_u8; 64 * 1024];
    let size = flistxattr(file, list.as_mut_slice())?;
    let mut found = Vec::new();
    for name in list[..size].split(|&byte| byte == 0) {
        if name.is_empty() || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let size = fgetxattr(file, name, value.as_mut_slice())?;
        value.truncate(size);
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

/// The modification time of a file, to set on another. The access time stays as it is.
pub(super) fn modification_time(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            #[allow(clippy::useless_conversion, reason = "unsigned in some C libraries")]
            tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or_default(),
        },
    }
}
