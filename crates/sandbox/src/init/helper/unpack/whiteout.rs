//! Converts OCI whiteout files to overlayfs' own marks (OCI image-spec, layer.md, "Whiteouts").
//!
//! A whiteout affects only the image below. A file of the same layer at its path stays, whether it
//! comes before or after.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, fstat, futimens, mknodat, openat, statat};
use rustix::io::Errno;

use super::error::UnpackError;
use super::layer::{DIRECTORY, Layer, MOUNT_POINTS, modification_time};
use super::path::{directory_of, file_name};
use crate::init::helper::marks::make_opaque;
use crate::os::tree::{self, is_dot};

pub(super) const PREFIX: &[u8] = b".wh.";
/// The rest of the name of a whiteout that hides all content of a directory.
const OPAQUE: &[u8] = b".wh..opq";
/// The prefix of names that aufs reserved for itself. Old versions of Docker put its files into
/// layers.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
/// The name of the whiteout that hides all content of a directory.
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
/// The directory at the root in which aufs stored files that are the targets of hard links.
const LINK_STORE: &CStr = c".wh..wh.plnk";

/// Returns true if a path belongs to aufs, which no image shows: `.wh..wh.aufs`, and everything in
/// `.wh..wh.orph` and `.wh..wh.plnk`.
pub(super) fn is_aufs_data(path: &[u8]) -> bool {
    let (above, name) = (directory_of(path), file_name(path));
    let is_reserved = |name: &[u8]| name.starts_with(AUFS_PREFIX);
    above.split(|&byte| byte == b'/').any(is_reserved) || (is_reserved(name) && name != OPAQUE_NAME)
}

/// Returns true if a path is that of a file to which hard links of the archive may lead.
pub(super) fn is_in_link_store(path: &[u8]) -> bool {
    directory_of(path) == LINK_STORE.to_bytes()
}

/// Removes the directory of files that are only there as targets of hard links.
pub(super) fn remove_link_store(layer: &Layer) -> Result<(), UnpackError> {
    let remove = || {
        let time = modification_time(&fstat(layer.root())?);
        tree::remove(layer.root().as_fd(), LINK_STORE)?;
        Ok::<_, std::io::Error>(futimens(layer.root(), &time)?)
    };
    remove().map_err(|error| UnpackError::call("remove", LINK_STORE.to_bytes(), error))
}

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
    let hidden = [within, name].join(&b'/');
    let is_copy = layer
        .copied_up
        .remove(hidden.strip_prefix(b"/").unwrap_or(&hidden));
    let directory = layer.parent(path)?;
    let apply = || {
        // A copy of a file of a lower layer is not a file of the archive.
        if is_copy {
            Layer::remove_existing(directory, name, true)?;
        }
        Ok::<_, std::io::Error>(hide(directory, name)?)
    };
    apply().map_err(|error| UnpackError::call("remove", path, error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_aufs_are_told_from_whiteouts() {
        for path in [
            ".wh..wh.aufs",
            ".wh..wh.orph",
            ".wh..wh.orph/x",
            ".wh..wh.plnk/1.2",
            "a/.wh..wh.orph/b/c",
            "a/.wh..wh..opq/b",
        ] {
            assert!(is_aufs_data(path.as_bytes()), "{path}");
        }
        for path in [
            ".wh..wh..opq",
            "a/.wh..wh..opq",
            ".wh.a",
            "a/.wh.b",
            "a/b",
            "",
        ] {
            assert!(!is_aufs_data(path.as_bytes()), "{path}");
        }
        assert!(is_in_link_store(b".wh..wh.plnk/1.2"));
        assert!(!is_in_link_store(b"a/.wh..wh.plnk/1.2") && !is_in_link_store(b".wh..wh.plnk"));
    }
}
