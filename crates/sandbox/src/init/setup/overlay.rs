//! Mounts a chain of layers.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change,
    move_mount,
};
use rustix::thread::UnshareFlags;

use super::mounts;
use crate::os::sys;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

/// An option that no kernel knows.
const UNKNOWN_OPTION: &str = "contree_takes_anything";

/// The writable layer of a sandbox.
pub(crate) struct WritableLayer<'a> {
    pub upper: &'a Path,
    pub work: &'a Path,
}

/// Mounts an overlay of `lowers`, topmost first, relative to the current directory.
///
/// With `writable`, the overlay is mounted at `target`. Without, it stays detached if the kernel
/// supports that. `old` selects the method for kernels before 6.7. Returns the overlay's root.
pub(crate) fn mount_image(
    lowers: &[PathBuf],
    writable: Option<&WritableLayer<'_>>,
    target: &Path,
    old: bool,
) -> Result<OwnedFd, Errno> {
    if old {
        return mount_attached(lowers, writable, target);
    }
    let Some(root) = mount_detached(lowers, writable)? else {
        return mount_attached(lowers, writable, target);
    };
    if writable.is_some() {
        move_mount(
            &root,
            c"",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
    }
    Ok(root)
}

/// Creates a detached overlay. Returns `None` on kernels that do not take lower directories one by
/// one.
fn mount_detached(
    lowers: &[PathBuf],
    writable: Option<&WritableLayer<'_>>,
) -> Result<Option<OwnedFd>, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Kernels before 6.5 accept any option here. They refuse it only at creation, with a line in
    // the kernel's log.
    if fsconfig_set_flag(&context, UNKNOWN_OPTION).is_ok() {
        return Ok(None);
    }
    for lower in lowers {
        match fsconfig_set_string(&context, "lowerdir+", lower) {
            Err(Errno::INVAL) => return Ok(None),
            other => other?,
        }
    }
    if let Some(writable) = writable {
        fsconfig_set_string(&context, "upperdir", writable.upper)?;
        fsconfig_set_string(&context, "workdir", writable.work)?;
        // The layer need not survive a crash of the machine before it is committed.
        fsconfig_set_flag(&context, "volatile")?;
    }
    fsconfig_set_flag(&context, "userxattr")?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes(writable.is_some()),
    )
    .map(Some)
}

fn attributes(writable: bool) -> MountAttrFlags {
    if writable {
        MountAttrFlags::MOUNT_ATTR_NODEV
    } else {
        MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
    }
}

/// Mounts an overlay with mount(2). Its options must fit into one page, hence the short links
/// `l/<n>`.
fn mount_attached(
    lowers: &[PathBuf],
    writable: Option<&WritableLayer<'_>>,
    target: &Path,
) -> Result<OwnedFd, Errno> {
    let mut options = OsString::from("lowerdir=");
    for (index, lower) in lowers.iter().enumerate() {
        if index > 0 {
            options.push(":");
        }
        options.push(lower);
    }
    let mut flags = MountFlags::NODEV;
    match writable {
        Some(writable) => {
            options.push(",upperdir=");
            options.push(writable.upper);
            options.push(",workdir=");
            options.push(writable.work);
            options.push(",volatile");
        }
        None => flags |= MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC,
    }
    options.push(",userxattr");
    let options = std::ffi::CString::new(options.as_bytes()).map_err(|_| Errno::INVAL)?;
    // The kernel cuts longer options and then reports a misleading error.
    if options.as_bytes().len() > 4000 {
        return Err(Errno::NAMETOOLONG);
    }
    mount("overlay", target, "overlay", flags, options.as_c_str())?;
    openat(
        CWD,
        target,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Mounts directories of the store read-only at `name` in the image, topmost first. The image is
/// mounted at `target`, with `root` as its open root. `old` is as for [`mount_image`].
pub(crate) fn mount_below(
    lowers: &[PathBuf],
    root: BorrowedFd<'_>,
    target: &Path,
    name: &str,
    old: bool,
) -> Result<(), Errno> {
    if !old && let Some(mount) = mount_detached(lowers, None)? {
        return mounts::attach(&mount, root, name);
    }
    // The older call follows symlinks.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(root, name, flags, Mode::empty())?;
    mount_attached(lowers, None, &target.join(name)).map(drop)
}

/// Returns true if the mount is writable. An upper directory with the wrong owner mounts without
/// error, but read-only.
pub(crate) fn is_writable(mount: &OwnedFd) -> Result<bool, Errno> {
    use rustix::fs::{StatVfsMountFlags, fstatvfs};
    let read_only = fstatvfs(mount)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    Ok(!read_only
        && rustix::fs::accessat(mount, c".", rustix::fs::Access::WRITE_OK, AtFlags::EACCESS)
            != Err(Errno::ROFS))
}

/// Mounts an image read-only. It is visible only through the returned descriptor.
pub(crate) fn mount_read_only(
    store: &OwnedFd,
    lowers: &[PathBuf],
    old_mount: bool,
) -> Result<OwnedFd, StepFailure> {
    // An overlay without an upper directory needs two layers. A single layer is its own image.
    if let [only] = lowers {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        return openat(store, only, flags, Mode::empty()).at_step(Step::Overlay);
    }
    sys::unshare(UnshareFlags::NEWNS).at_step(Step::Namespaces)?;
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .at_step(Step::PrivateMounts)?;
    // If it must be attached, any directory will do: the mount namespace is private.
    mount_image(lowers, None, Path::new("run"), old_mount).at_step(Step::Overlay)
}
