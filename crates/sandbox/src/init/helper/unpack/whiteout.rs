//! Converts OCI whiteout files to overlayfs' own marks (OCI image-spec, layer.md, "Whiteouts").
//!
//! A whiteout affects only the image below. A file of the same layer at its path stays, whether it
//! comes before or after.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, mknodat, openat, statat};
use rustix::io::Errno;

use super::error::UnpackError;
use super::layer::{DIRECTORY, Layer, MOUNT_POINTS};
use super::path::directory_of;
use crate::init::helper::marks::make_opaque;
use crate::os::tree::is_dot;

pub(super) const PREFIX: &[u8] = b".wh.";
/// The rest of the name of a whiteout that hides all content of a directory.
const OPAQUE: &[u8] = b".wh..opq";
/// The rest of names that an older union file system (aufs) reserved for itself.
const AUFS_PREFIX: &[u8] = b".wh.";

/// Applies the whiteout at `path`, whose last component is [`PREFIX`] and `name`.
pub(super) fn apply(layer: &mut Layer, path: &[u8], name: &[u8]) -> Result<(), UnpackError> {
    let within = directory_of(path);
    if name == OPAQUE {
        if within.is_empty() {
            layer.root_opaque = true;
        } else if layer.open_below(within)?.is_some() {
            let directory = layer.parent(path)?;
            make_opaque(directory)
                .map_err(|error| UnpackError::call("hide what is below", within, error))?;
        }
        return Ok(());
    }
    if name.starts_with(AUFS_PREFIX) {
        return Ok(());
    }
    if matches!(name, b"" | b"." | b"..") {
        return Err(UnpackError::member(path, "is a whiteout without a name"));
    }
    if within.is_empty() && MOUNT_POINTS.contains(&name) {
        return Ok(());
    }
    // Without a directory below there is nothing to hide, and no directory to make.
    let Some(below) = layer.open_below(within)? else {
        return Ok(());
    };
    match statat(&below, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(UnpackError::call("inspect", path, error)),
    }
    let directory = layer.parent(path)?;
    hide(directory, name).map_err(|error| UnpackError::call("remove", path, error))
}

/// Hides everything below the root. Overlayfs has no mark for the root itself.
pub(super) fn hide_all(layer: &Layer) -> Result<(), UnpackError> {
    let Some(below) = layer.open_below(b"")? else {
        return Ok(());
    };
    let hide_each = || {
        for entry in Dir::read_from(&below)? {
            let entry = entry?;
            let name = entry.file_name();
            if !is_dot(name) && !MOUNT_POINTS.contains(&name.to_bytes()) {
                hide(layer.root().as_fd(), name.to_bytes())?;
            }
        }
        Ok(())
    };
    hide_each().map_err(|error: Errno| UnpackError::call("hide what is below", b"/", error))
}

fn hide(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            make_opaque(&openat(directory, name, DIRECTORY, Mode::empty())?)
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
