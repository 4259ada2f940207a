//! Detects whether a sandbox has changed its image.
//!
//! The image is changed if the upper directory holds anything but directories equal to the image's
//! in type, mode, owner and extended attributes. Times do not count. Directories that overlayfs
//! copied up for a file removed since do not count either.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, FileType, Mode, OFlags};

use super::lower_layers::{LowerLayers, display_path, parent};
use super::marks::is_whiteout;
use super::temporary_lines;
use crate::os::tree::{self, DiskUse, disk_use};
use crate::protocol::spec::TemporaryLines;

/// Takes temporary lines out of an upper directory that is no longer in use, finds the first
/// change, if any, and measures the directory. The current directory is the store.
pub(crate) fn inspect(
    store: &OwnedFd,
    upper: &Path,
    lowers: &[PathBuf],
    lines: &[TemporaryLines],
) -> io::Result<(Option<String>, DiskUse)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = fs::openat(store, upper, flags, Mode::empty())?;
    temporary_lines::remove(&root, upper, lowers, lines)?;
    Ok((first_change(&root, upper, lowers)?, disk_use(&root)?))
}

fn first_change(root: &OwnedFd, upper: &Path, lowers: &[PathBuf]) -> io::Result<Option<String>> {
    let lower_layers = LowerLayers::new(lowers);
    let top = lower_layers.visible_layers(b"")?;
    if let Some(reason) = lower_layers.difference(upper, b"", &top)? {
        return Ok(Some(reason));
    }
    let mut merged: HashMap<Vec<u8>, Vec<usize>> = HashMap::from([(Vec::new(), top)]);
    tree::walk(root.as_fd(), |_, _, path, stat| {
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let what = if is_whiteout(stat) {
                "removed"
            } else {
                "changed"
            };
            return Ok(Some(format!("{what} {}", display_path(path))));
        }
        let layers = match merged.get(parent(path)) {
            Some(candidates) => lower_layers.merged_layers(candidates, path)?,
            None => Vec::new(),
        };
        let reason = lower_layers.difference(upper, path, &layers)?;
        merged.insert(path.to_vec(), layers);
        Ok(reason)
    })
}
