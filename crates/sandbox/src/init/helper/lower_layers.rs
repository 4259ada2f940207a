//! The layers of an image, as overlayfs merges them below an upper directory.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::marks::OPAQUE;
use crate::init::setup::upper::{attribute, attributes};

/// The layers of the image below the upper directory.
pub(super) struct LowerLayers<'a> {
    lowers: &'a [PathBuf],
}

impl<'a> LowerLayers<'a> {
    pub(super) fn new(lowers: &'a [PathBuf]) -> Self {
        Self { lowers }
    }

    /// The layers that overlayfs merges at the directory `path`, topmost first. The list is empty
    /// if the image has no directory there.
    pub(super) fn visible_layers(&self, path: &[u8]) -> io::Result<Vec<usize>> {
        let all: Vec<usize> = (0..self.lowers.len()).collect();
        let mut layers = self.merged_layers(&all, b"")?;
        for parent in prefixes(path) {
            layers = self.merged_layers(&layers, parent)?;
        }
        Ok(layers)
    }

    /// The regular file of the image at `path`, if an upper directory does not hide its directory.
    pub(super) fn visible_file(&self, upper: &Path, path: &[u8]) -> io::Result<Option<PathBuf>> {
        let parent = parent(path);
        for directory in prefixes(parent) {
            if is_opaque(&join(upper, directory))? {
                return Ok(None);
            }
        }
        for layer in self.visible_layers(parent)? {
            let there = join(&self.lowers[layer], path);
            match fs::statat(CWD, &there, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
                Ok(stat) => {
                    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                    return Ok(is_file.then_some(there));
                }
            }
        }
        Ok(None)
    }

    /// The candidate layers that overlayfs merges at the directory `path`, topmost first. The list
    /// is empty if the image has no directory there.
    pub(super) fn merged_layers(
        &self,
        candidates: &[usize],
        path: &[u8],
    ) -> io::Result<Vec<usize>> {
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
    pub(super) fn difference(
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

/// Describes the difference between the metadata of two files, if any.
pub(super) fn compare(above: &Path, below: &Path) -> Result<Option<&'static str>, Errno> {
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

/// The path of the directory that contains `path`; empty at the top.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte == b'/');
    end.map_or(&[], |end| &path[..end])
}

/// The path and all directories above it, the highest first, without the root.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let ends = ends.map(|(end, _)| end).chain([path.len()]);
    ends.filter(|end| *end > 0).map(move |end| &path[..end])
}

fn join(base: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() {
        base.to_owned()
    } else {
        base.join(OsStr::from_bytes(path))
    }
}

pub(super) fn display_path(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
