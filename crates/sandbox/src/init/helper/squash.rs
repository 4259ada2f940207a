//! Merges adjacent layers into one, which keeps an image quick to mount after many commits.
//!
//! On top of the rest of the chain, the new layer shows the same files as the merged ones. It has
//! the topmost file of each name and merged directories. Its whiteouts and opaque marks hide the
//! files of lower layers that the merged layers hid.
//!
//! Layers never change, so the new layer hard-links the files of the old ones. Only directories are
//! made again, with the owner, mode, attributes and times of the topmost.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod,
    fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat,
    statat,
};
use rustix::io::Errno;

use super::marks::{is_opaque, is_whiteout, make_opaque};
use crate::os::tree::is_dot;
use crate::protocol::boot::SquashBoot;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The prefix of overlayfs' own attributes.
const OVERLAY_PREFIX: &[u8] = b"user.overlay.";
/// The prefix of escaped attributes, which belong to the image.
const ESCAPED_PREFIX: &[u8] = b"user.overlay.overlay.";

/// Merges the layers into the empty directory `boot.target`.
pub(crate) fn squash(store: &OwnedFd, boot: &SquashBoot) -> io::Result<()> {
    let open = |paths: &[PathBuf]| -> io::Result<Vec<OwnedFd>> {
        paths.iter().map(|path| open_layer(store, path)).collect()
    };
    let (layers, below) = (open(&boot.layers)?, open(&boot.below)?);
    let target = openat(store, &boot.target, DIRECTORY, Mode::empty())?;
    merge(&layers, &below, target.as_fd())?;
    if let Some(top) = layers.first() {
        copy_metadata(top, &target, false)?;
    }
    Ok(())
}

/// Opens a layer through its short link.
pub(super) fn open_layer(store: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(store, path, flags, Mode::empty())?)
}

/// The entry of a name in a directory of a layer.
pub(super) enum LayerEntry {
    Missing,
    Directory(OwnedFd),
    /// Any other file, including whiteouts.
    Other(Stat),
}

pub(super) fn lookup_entry(directory: &OwnedFd, name: &CStr) -> io::Result<LayerEntry> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(LayerEntry::Missing),
        Err(error) => return Err(error.into()),
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let directory = openat(directory, name, DIRECTORY, Mode::empty())?;
        return Ok(LayerEntry::Directory(directory));
    }
    Ok(LayerEntry::Other(stat))
}

/// Merges `layers`, directories with the topmost first, into the empty directory `target`. `below`
/// holds the directories of lower layers that overlayfs will merge with `target`.
fn merge(layers: &[OwnedFd], below: &[OwnedFd], target: BorrowedFd<'_>) -> io::Result<()> {
    let mut merged_names: HashSet<CString> = HashSet::new();
    for (index, directory) in layers.iter().enumerate() {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name) || !merged_names.insert(name.to_owned()) {
                continue;
            }
            match lookup_entry(directory, name)? {
                LayerEntry::Missing => return Err(Errno::STALE.into()),
                LayerEntry::Directory(top) => {
                    let (parts, hides_lower) = merged_directories(top, &layers[index + 1..], name)?;
                    // An opaque directory already hides all names below it.
                    let (under, _) = match (hides_lower, first_directory(below, name)?) {
                        (false, Some((next, rest))) => merged_directories(next, rest, name)?,
                        _ => (Vec::new(), true),
                    };
                    mkdirat(target, name, Mode::RWXU)?;
                    let new_directory = openat(target, name, DIRECTORY, Mode::empty())?;
                    merge(&parts, &under, new_directory.as_fd())?;
                    copy_metadata(&parts[0], &new_directory, hides_lower)?;
                }
                LayerEntry::Other(stat) if is_whiteout(&stat) => {
                    if is_visible(below, name)? {
                        link(directory, name, target, &stat)?;
                    }
                }
                LayerEntry::Other(stat) => link(directory, name, target, &stat)?,
            }
        }
    }
    Ok(())
}

/// The directories that overlayfs merges with `top`, starting with `top`. The flag is true if they
/// hide all lower directories of that name.
pub(super) fn merged_directories(
    top: OwnedFd,
    lower: &[OwnedFd],
    name: &CStr,
) -> io::Result<(Vec<OwnedFd>, bool)> {
    let mut hides_lower = is_opaque(&top)?;
    let mut parts = vec![top];
    for directory in lower {
        if hides_lower {
            break;
        }
        match lookup_entry(directory, name)? {
            LayerEntry::Missing => {}
            LayerEntry::Directory(found) => {
                hides_lower = is_opaque(&found)?;
                parts.push(found);
            }
            LayerEntry::Other(_) => hides_lower = true,
        }
    }
    Ok((parts, hides_lower))
}

/// Finds the uppermost directory of that name, and the layers below it.
pub(super) fn first_directory<'a>(
    below: &'a [OwnedFd],
    name: &CStr,
) -> io::Result<Option<(OwnedFd, &'a [OwnedFd])>> {
    for (index, directory) in below.iter().enumerate() {
        match lookup_entry(directory, name)? {
            LayerEntry::Missing => {}
            LayerEntry::Directory(found) => return Ok(Some((found, &below[index + 1..]))),
            LayerEntry::Other(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Returns true if the name is visible in the layers below.
pub(super) fn is_visible(below: &[OwnedFd], name: &CStr) -> io::Result<bool> {
    for directory in below {
        match lookup_entry(directory, name)? {
            LayerEntry::Missing => {}
            LayerEntry::Directory(_) => return Ok(true),
            LayerEntry::Other(stat) => return Ok(!is_whiteout(&stat)),
        }
    }
    Ok(false)
}

fn link(directory: &OwnedFd, name: &CStr, target: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    match linkat(directory, name, target, name, AtFlags::empty()) {
        // All whiteouts of overlayfs share one inode, which may have reached the maximum link
        // count.
        Err(Errno::MLINK) if is_whiteout(stat) => {
            let kind = FileType::CharacterDevice;
            Ok(mknodat(target, name, kind, Mode::empty(), 0)?)
        }
        other => Ok(other?),
    }
}

/// Copies the owner, mode, attributes and times of an open file or directory to another.
pub(super) fn copy_metadata(from: &OwnedFd, to: &OwnedFd, opaque: bool) -> io::Result<()> {
    let stat = fstat(from)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchown(to, Some(uid), Some(gid))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for name in attributes(from)? {
        fsetxattr(
            to,
            name.as_slice(),
            &value(from, &name)?,
            XattrFlags::empty(),
        )?;
    }
    if opaque {
        make_opaque(to)?;
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(futimens(to, &times)?)
}

fn attributes(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut list = vec![0_u8; 64 * 1024];
    let size = match flistxattr(directory, list.as_mut_slice()) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    let names = list[..size].split(|&byte| byte == 0);
    Ok(names
        .filter(|name| {
            !name.is_empty()
                && (!name.starts_with(OVERLAY_PREFIX) || name.starts_with(ESCAPED_PREFIX))
        })
        .map(<[u8]>::to_vec)
        .collect())
}

fn value(directory: &OwnedFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; 256];
    loop {
        match fgetxattr(directory, name, value.as_mut_slice()) {
            Ok(size) => {
                value.truncate(size);
                return Ok(value);
            }
            // No attribute is larger than 64 KiB (XATTR_SIZE_MAX).
            Err(Errno::RANGE) if value.len() < 64 * 1024 => value.resize(64 * 1024, 0),
            Err(error) => return Err(error),
        }
    }
}
