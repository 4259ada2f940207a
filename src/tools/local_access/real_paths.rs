//! Resolves paths: real paths, spellings, chains of links, and handles of open directories.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Maximum number of links that are followed in a row. Linux has the same limit.
const MAX_LINKS: usize = 40;

/// Opens a file for reading. Does not wait for the writer of a pipe.
pub(in super::super) fn open_nonblocking(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

/// Returns device and inode of a file, which are equal for all its hard links.
#[cfg(unix)]
pub(super) fn device_and_inode(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
pub(super) fn device_and_inode(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Returns the permissions of a file, without set-id bits.
#[cfg(unix)]
pub(super) fn permissions(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o777
}

#[cfg(not(unix))]
pub(super) fn permissions(_: &Metadata) -> u32 {
    0o666
}

/// Reports whether a file has several hard links.
#[cfg(unix)]
pub(super) fn has_other_links(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.nlink() > 1
}

#[cfg(not(unix))]
pub(super) fn has_other_links(_: &Metadata) -> bool {
    false
}

/// Returns the chain of links at the end of a path, each with the real path of its directory.
pub(super) fn link_chain(path: &Path) -> Vec<PathBuf> {
    let mut links = Vec::new();
    let mut next = path.to_owned();
    while links.len() < MAX_LINKS {
        let (Some(parent), Some(name)) = (next.parent(), next.file_name()) else {
            break;
        };
        let Ok(parent) = parent.canonicalize() else {
            break;
        };
        let link = parent.join(name);
        let target = link.read_link();
        links.push(link);
        match target {
            Ok(target) => next = parent.join(target),
            Err(_) => break,
        }
    }
    links
}

/// Returns a path both as spelled and with all links resolved.
pub(super) fn as_spelled_and_resolved(path: PathBuf) -> [PathBuf; 2] {
    [remove_dots(&path), resolve_existing_part(path)]
}

/// Returns a path to an open directory that does not depend on the directory's name.
pub(super) fn path_by_descriptor(directory: &File, real_path: &Path) -> PathBuf {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        if path.is_dir() {
            return path;
        }
    }
    let _ = directory;
    real_path.to_owned()
}

/// Removes `.` and `..` from a path by its spelling alone.
pub(super) fn remove_dots(path: &Path) -> PathBuf {
    let mut without_dots = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                without_dots.pop();
            }
            part => without_dots.push(part),
        }
    }
    without_dots
}

/// Returns the real path of the existing part of a path, followed by the missing part.
pub(super) fn resolve_existing_part(path: PathBuf) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path.as_path();
    loop {
        if let Ok(real) = existing.canonicalize() {
            return missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                existing = parent;
            }
            _ => return path.clone(),
        }
    }
}

/// Real paths of many paths, with one request to the system for each name.
#[derive(Debug, Default)]
pub(super) struct RealPaths(HashMap<PathBuf, (PathBuf, bool)>);

impl RealPaths {
    /// Returns the real path of an absolute path, whether it exists or not.
    pub(super) fn resolve(&mut self, path: &Path) -> PathBuf {
        self.look_up(path).0
    }

    /// Returns the real path, and whether it may exist.
    fn look_up(&mut self, path: &Path) -> (PathBuf, bool) {
        if let Some(known) = self.0.get(path) {
            return known.clone();
        }
        let found = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                let (parent, may_exist) = self.look_up(parent);
                let path = parent.join(name);
                match path.symlink_metadata() {
                    _ if !may_exist => (path, false),
                    Ok(metadata) if metadata.is_symlink() => (link_target(&path), true),
                    Ok(_) => (path, true),
                    Err(_) => (path, false),
                }
            }
            _ => (path.to_owned(), true),
        };
        self.0.insert(path.to_owned(), found.clone());
        found
    }
}

/// Returns the real path of a link's target, even if the target is missing.
fn link_target(link: &Path) -> PathBuf {
    let spelled = link.read_link().map(|target| match link.parent() {
        Some(parent) => parent.join(target),
        None => target,
    });
    link.canonicalize()
        .or_else(|_| spelled.map(|target| resolve_existing_part(remove_dots(&target))))
        .unwrap_or_else(|_| link.to_owned())
}

/// Splits a path into its deepest existing directory and the missing names below it.
pub(super) fn split_missing(path: &Path) -> (PathBuf, Vec<OsString>) {
    let (mut existing, mut missing) = (path, Vec::new());
    while let (Err(_), Some(parent), Some(name)) = (
        existing.symlink_metadata(),
        existing.parent(),
        existing.file_name(),
    ) {
        missing.insert(0, name.to_owned());
        existing = parent;
    }
    (existing.to_owned(), missing)
}

/// Creates directories, each in the one before, and opens the last one.
///
/// It follows no link, so that a link placed meanwhile does not make it create directories
/// elsewhere.
#[cfg(unix)]
pub(super) fn create_directories(
    existing: File,
    _real_path: &Path,
    missing: &[OsString],
) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let mut directory = existing;
    for name in missing {
        match mkdirat(&directory, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        directory = openat(&directory, name, flags, Mode::empty())?.into();
    }
    Ok(directory)
}

#[cfg(not(unix))]
pub(super) fn create_directories(
    existing: File,
    real_path: &Path,
    missing: &[OsString],
) -> io::Result<File> {
    if missing.is_empty() {
        return Ok(existing);
    }
    let path: PathBuf = real_path.join(missing.iter().collect::<PathBuf>());
    std::fs::create_dir_all(&path)?;
    File::open(path)
}
