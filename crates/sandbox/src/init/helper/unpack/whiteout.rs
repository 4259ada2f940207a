//! What a layer removes: OCI's whiteout files, as overlayfs' own marks (OCI image-spec, layer.md, "Whiteouts").
//!
//! A whiteout concerns the image below alone. What the same layer makes at its path stays, whether it came before or after.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, mknodat, openat, statat};
use rustix::io::Errno;

use super::layer::{DIRECTORY, Layer, MOUNT_POINTS};
use super::path::directory_of;
use super::refused::Refused;
use crate::init::helper::marks::make_opaque;
use crate::os::tree::is_dot;

pub(super) const PREFIX: &[u8] = b".wh.";
/// What follows the prefix where all of a directory's content is hidden.
const OPAQUE: &[u8] = b".wh..opq";
/// What follows the prefix in names that an older union file system kept for itself.
const OWN: &[u8] = b".wh.";

/// Applies the whiteout at `path`, whose last component is [`PREFIX`] and `name`.
pub(super) fn apply(layer: &mut Layer, path: &[u8], name: &[u8]) -> Result<(), Refused> {
    let within = directory_of(path);
    if name == OPAQUE {
        if within.is_empty() {
            layer.root_opaque = true;
        } else if layer.look_below(within)?.is_some() {
            let directory = layer.parent(path)?;
            make_opaque(directory)
                .map_err(|error| Refused::on("hide what is below", within, error))?;
        }
        return Ok(());
    }
    if name.starts_with(OWN) {
        return Ok(());
    }
    if matches!(name, b"" | b"." | b"..") {
        return Err(Refused::path(path, "removes nothing that has a name"));
    }
    if within.is_empty() && MOUNT_POINTS.contains(&name) {
        return Ok(());
    }
    // Where nothing is below there is nothing to hide, and no directory has to be made for it.
    let Some(below) = layer.look_below(within)? else {
        return Ok(());
    };
    match statat(&below, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Refused::on("look at", path, error)),
    }
    let directory = layer.parent(path)?;
    hide(directory, name).map_err(|error| Refused::on("remove", path, error))
}

/// Hides all that is below the root, where overlayfs knows no mark.
pub(super) fn hide_all(layer: &Layer) -> Result<(), Refused> {
    let Some(below) = layer.look_below(b"")? else {
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
    hide_each().map_err(|error: Errno| Refused::on("hide what is below", b"/", error))
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
