//! Detects whether a sandbox has changed its image.
//!
//! The image is changed if the upper directory holds anything but directories equal to the image's
//! in type, mode, owner and extended attributes. Times do not count. Directories that overlayfs
//! copied up for a file removed since do not count either.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::marks::{OPAQUE, is_whiteout};
use crate::init::setup::upper::{attribute, attributes};
use crate::os::tree::{self, DiskUse, disk_use};
use crate::protocol::boot::SandboxBoot;

/// Finds the first change, if any, and measures the upper directory. The current
/// directory is the store.
pub(crate) fn inspect(
    store: &OwnedFd,
    boot: &SandboxBoot,
) -> io::Result<(Option<String>, DiskUse)> {
    let upper = boot.run.join("L/d");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = fs::openat(store, &upper, flags, Mode::empty())?;
    Ok((first_change(&root, &upper, &boot.lowers)?, disk_use(&root)?))
}

fn first_change(root: &OwnedFd, upper: &Path, lowers: &[PathBuf]) -> io::Result<Option<String>> {
    let lower_layers = LowerLayers { lowers };
    let all: Vec<usize> = (0..lowers.len()).collect();
    let top = lower_layers.merged_layers(&all, b"")?;
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
        let above = path
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(&b""[..], |end| &path[..end]);
        let layers = match merged.get(above) {
            Some(candidates) => lower_layers.merged_layers(candidates, path)?,
            None => Vec::new(),
        };
        let reason = lower_layers.difference(upper, path, &layers)?;
        merged.insert(path.to_vec(), layers);
        Ok(reason)
    })
}

/// The layers of the image below the upper directory.
struct LowerLayers<'a> {
    lowers: &'a [PathBuf],
}

impl LowerLayers<'_> {
    /// The candidate layers that overlayfs merges at the directory `path`, topmost first. The list
    /// is empty if the image has no directory there.
    fn merged_layers(&self, candidates: &[usize], path: &[u8]) -> io::Result<Vec<usize>> {
        let mut found = Vec::new();
        for &candidate in candidates {
            let there = join(&self.lowers[candidate], path);
            // The layer itself is reached through its short link. Below it no symlink is followed.
            let follow = if path.is_empty() {
                AtFlags::empty()
            } else {
                AtFlags::SYMLINK_NOFOLLOW
            };
            let stat = match fs::statat(CWD, &there, follow) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(Errno::NAMETOOLONG) => break,
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                break;
            }
            found.push(candidate);
            if !path.is_empty() && is_opaque(&there)? {
                break;
            }
        }
        Ok(found)
    }

    /// Describes the difference between a directory of the upper directory and the image's, if any.
    fn difference(
        &self,
        upper: &Path,
        path: &[u8],
        layers: &[usize],
    ) -> io::Result<Option<String>> {
        let Some(&layer) = layers.first() else {
            return Ok(Some(format!("made the directory {}", display_path(path))));
        };
        let (above, below) = (join(upper, path), join(&self.lowers[layer], path));
        let difference = match compare(&above, &below) {
            // The path from the store is too long. An image alone has no such path.
            Err(Errno::NAMETOOLONG) => Some("made the directory"),
            other => other?,
        };
        Ok(difference.map(|what| format!("{what} {}", display_path(path))))
    }
}

fn compare(above: &Path, below: &Path) -> Result<Option<&'static str>, Errno> {
    let (new, old) = (
        fs::statat(CWD, above, AtFlags::empty())?,
        fs::statat(CWD, below, AtFlags::empty())?,
    );
    if new.st_mode != old.st_mode {
        return Ok(Some("changed the mode of"));
    }
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
        return Ok(Some("changed the owner of"));
    }
    if is_opaque(above)? {
        return Ok(Some("replaced the directory"));
    }
    let names = attributes(above)?;
    let same = names == attributes(below)?
        && names.iter().try_fold(true, |same, name| {
            Ok::<_, Errno>(same && attribute(above, name)? == attribute(below, name)?)
        })?;
    Ok((!same).then_some("changed the attributes of"))
}

fn is_opaque(path: &Path) -> Result<bool, Errno> {
    match attribute(path, OPAQUE) {
        Ok(value) => Ok(value == b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

fn join(base: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() {
        base.to_owned()
    } else {
        base.join(OsStr::from_bytes(path))
    }
}

fn display_path(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
