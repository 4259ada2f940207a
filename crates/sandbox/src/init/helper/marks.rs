//! How overlayfs marks in a layer what is removed or hidden.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat, XattrFlags, fsetxattr};
use rustix::io::Errno;

/// The mark of a directory that hides what is below it, where it is mounted with `userxattr`.
pub(crate) const OPAQUE: &[u8] = b"user.overlay.opaque";

/// Marks a directory as one that hides what is below it.
pub(crate) fn make_opaque(directory: impl AsFd) -> Result<(), Errno> {
    fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
}

/// Whether this stands for something that was removed.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
