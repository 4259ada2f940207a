//! Mounts by descriptors. The older mount calls, which resolve paths of the image, are not used.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::os::open_resolved::open_resolved;
use crate::os::sys;

/// Creates a new file system, attached nowhere. An option without a value is a flag.
pub(crate) fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, *key)?;
        } else {
            fsconfig_set_string(&context, *key, *value)?;
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Clones the mount at `path` with additional attributes, attached nowhere.
pub(crate) fn copy(
    directory: impl AsFd,
    path: &str,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let mount = open_tree(directory, path, flags)?;
    sys::set_mount_attributes(&mount, attributes)?;
    Ok(mount)
}

/// Attaches a mount to `path` below a directory. No symlink is followed in `path`.
pub(crate) fn attach(mount: &OwnedFd, directory: impl AsFd, path: &str) -> Result<(), Errno> {
    let target = open_resolved(
        directory,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// Makes the directory if it does not exist.
pub(crate) fn ensure_directory(parent: BorrowedFd<'_>, name: &str, mode: u32) -> Result<(), Errno> {
    match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}
