//! Prepares the writable layer before it is mounted.

use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use crate::protocol::boot::SandboxBoot;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

/// A test attribute in the namespace of overlayfs' own attributes.
const PROBE: &std::ffi::CStr = c"user.contree.probe";

/// Copies the metadata of the image's root to the writable layer's root, which `/` shows.
pub(crate) fn prepare(boot: &SandboxBoot) -> Result<(), StepFailure> {
    let upper = boot.run.join("L/d");
    if boot.probe_upper {
        probe(&boot.run.join("w")).at_step(Step::Upper)?;
    }
    match boot.lowers.first() {
        Some(lower) => copy_metadata(lower, &upper).at_step(Step::Upper),
        None => Ok(()),
    }
}

/// Tests the operations that overlayfs needs in an upper directory. Without attributes it cannot
/// replace directories, and without whiteouts it cannot remove files. The mount alone would not
/// reveal either.
fn probe(directory: &Path) -> Result<(), Errno> {
    fs::setxattr(directory, PROBE, b"1", XattrFlags::empty())?;
    fs::removexattr(directory, PROBE)?;
    let whiteout = directory.join("whiteout");
    match fs::mknodat(CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM) => return Err(Errno::OPNOTSUPP),
        other => other?,
    }
    fs::unlinkat(CWD, &whiteout, AtFlags::empty())
}

fn copy_metadata(from: &Path, to: &Path) -> Result<(), Errno> {
    let stat = fs::statat(CWD, from, AtFlags::empty())?;
    fs::chownat(
        CWD,
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        AtFlags::empty(),
    )?;
    fs::chmodat(
        CWD,
        to,
        Mode::from_raw_mode(stat.st_mode & 0o7777),
        AtFlags::empty(),
    )?;
    for name in attributes(from)? {
        let value = attribute(from, &name)?;
        fs::setxattr(to, name.as_slice(), &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// The extended attributes that belong to the image. They exclude overlayfs' own marks but include
/// escaped ones.
pub(crate) fn attributes(path: &Path) -> Result<Vec<Vec<u8>>, Errno> {
    let size = match fs::llistxattr_query(path) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut list = vec![0_u8; size];
    let size = fs::llistxattr(path, list.as_mut_slice())?;
    let mut names: Vec<Vec<u8>> = list[..size]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .filter(|name| {
            !name.starts_with(b"user.overlay.") || name.starts_with(b"user.overlay.overlay.")
        })
        .map(<[u8]>::to_vec)
        .collect();
    names.sort();
    Ok(names)
}

/// The value of an extended attribute.
pub(crate) fn attribute(path: &Path, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let size = fs::lgetxattr_query(path, name)?;
    let mut value = vec![0_u8; size];
    if size > 0 {
        let size = fs::lgetxattr(path, name, value.as_mut_slice())?;
        value.truncate(size);
    }
    Ok(value)
}
