//! The marks that overlayfs makes in a layer for removed and hidden files.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat, XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Errno;

/// The attribute that marks a directory as opaque in mounts with `userxattr`. An opaque directory
/// hides the content of the same directory in lower layers.
pub(crate) const OPAQUE: &[u8] = b"user.overlay.opaque";

/// Marks a directory as opaque.
pub(crate) fn make_opaque(directory: impl AsFd) -> Result<(), Errno> {
    fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
}

/// Returns true if the directory is opaque.
pub(crate) fn is_opaque(directory: impl AsFd) -> Result<bool, Errno> {
    let mut value = [0_u8; 16];
    match fgetxattr(directory, OPAQUE, &mut value) {
        Ok(size) if &value[..size] == b"y" => Ok(true),
        // The mark has a value that this code does not make and whose meaning it does not know.
        Ok(_) | Err(Errno::RANGE) => Err(Errno::OPNOTSUPP),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns true if the file is a whiteout, which stands for a removed file.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
