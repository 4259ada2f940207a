//! Walks and removes directory trees of any depth with a constant number of open files.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Removes `name` in `parent`, whether file or directory. A missing name is not an error, also if
/// another process removes the same tree meanwhile. A directory without permissions for its owner
/// first gets them.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut parents = vec![(name.to_owned(), identity(parent)?)];
    let Some(mut current) = open_writable(parent, name)? else {
        return Ok(());
    };
    // The directory below `current` that was listed, and gone when it was opened.
    let mut gone: Option<CString> = None;
    loop {
        if let Some(child) = unlink_files(&current)? {
            let here = identity(current.as_fd())?;
            match open_writable(current.as_fd(), &child)? {
                Some(below) => {
                    parents.push((child, here));
                    current = below;
                    gone = None;
                }
                // A damaged file system may list it again each time.
                None if gone.as_ref() == Some(&child) => return Err(Errno::NOENT.into()),
                None => gone = Some(child),
            }
            continue;
        }
        gone = None;
        let Some((name, above)) = parents.pop() else {
            return Ok(());
        };
        if parents.is_empty() {
            return remove_directory(parent, &name);
        }
        let up = fs::openat(&current, c"..", DIRECTORY, Mode::empty())?;
        // Another process may have moved the directory; the removal must not leave the tree.
        if identity(up.as_fd())? != above {
            return Err(Errno::STALE.into());
        }
        remove_directory(up.as_fd(), &name)?;
        current = up;
    }
}

/// Removes an empty directory, unless it is gone.
fn remove_directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Unlinks files until it meets a directory, and returns that directory's name.
fn unlink_files(directory: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_dot(name) {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            return Ok(Some(name.to_owned()));
        }
        match fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => return Ok(Some(name.to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Opens a directory to remove its content, and gives its owner all permissions. `None` if it is
/// gone.
fn open_writable(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let mut opened = fs::openat(parent, name, DIRECTORY, Mode::empty());
    if matches!(opened, Err(Errno::ACCESS)) {
        // It is not a symlink: the open above would have failed with ELOOP or ENOTDIR.
        opened = fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())
            .and_then(|()| fs::openat(parent, name, DIRECTORY, Mode::empty()));
    }
    let directory = match opened {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    if fs::fstat(&directory)?.st_mode & 0o700 != 0o700 {
        // A process that overrides permissions does not need this. If the process is not the owner,
        // this fails, and the unlink reports that.
        let _ = fs::fchmod(&directory, Mode::RWXU);
    }
    Ok(Some(directory))
}

/// The device and inode of an open file.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

pub(crate) fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Calls `visit` for everything below `root`, but not for `root` itself. Parents come before
/// children, and no symlink is followed. `visit` gets the path from `root` without a leading slash.
/// The walk stops at the first `Some` and returns it.
///
/// Fails with ESTALE if a directory is moved during the walk: its parent may be outside `root`.
pub(crate) fn walk<T>(
    root: BorrowedFd<'_>,
    mut visit: impl FnMut(BorrowedFd<'_>, &CStr, &[u8], &Stat) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    struct WalkLevel {
        identity: (u64, u64),
        pending: Vec<CString>,
        path_length: usize,
    }
    let mut path: Vec<u8> = Vec::new();
    let mut current = fs::openat(root, c".", DIRECTORY, Mode::empty())?;
    let mut levels: Vec<WalkLevel> = Vec::new();
    loop {
        let mut pending = Vec::new();
        for entry in Dir::read_from(&current)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            let stat = fs::statat(&current, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let length = path.len();
            push_name(&mut path, name);
            let answer = visit(current.as_fd(), name, &path, &stat)?;
            path.truncate(length);
            if answer.is_some() {
                return Ok(answer);
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                pending.push(name.to_owned());
            }
        }
        levels.push(WalkLevel {
            identity: identity(current.as_fd())?,
            pending,
            path_length: path.len(),
        });
        loop {
            let Some(level) = levels.last_mut() else {
                return Ok(None);
            };
            path.truncate(level.path_length);
            if let Some(child) = level.pending.pop() {
                current = fs::openat(&current, &child, DIRECTORY, Mode::empty())?;
                push_name(&mut path, &child);
                break;
            }
            levels.pop();
            let Some(above) = levels.last() else {
                return Ok(None);
            };
            let up = fs::openat(&current, c"..", DIRECTORY, Mode::empty())?;
            if identity(up.as_fd())? != above.identity {
                return Err(Errno::STALE.into());
            }
            current = up;
        }
    }
}

/// The disk space and inodes of a directory's content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DiskUse {
    pub bytes: u64,
    pub inodes: u64,
    /// The number of names that are not directories.
    pub names: u64,
}

/// Measures a directory's content. A file with several names counts once.
pub(crate) fn disk_use(root: &OwnedFd) -> io::Result<DiskUse> {
    Ok(disk_use_while(root, || true)?.unwrap_or_default())
}

/// Measures a directory's content, and calls `proceed` at every entry. If that returns false, the
/// result is `None`.
pub(crate) fn disk_use_while(
    root: &OwnedFd,
    mut proceed: impl FnMut() -> bool,
) -> io::Result<Option<DiskUse>> {
    let blocks = |stat: &Stat| u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
    let mut found = DiskUse::default();
    let mut linked = HashSet::new();
    let stopped = walk(root.as_fd(), |_, _, _, stat| {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        found.names += u64::from(!is_directory);
        if is_directory || stat.st_nlink <= 1 || linked.insert(stat.st_ino) {
            found.bytes += blocks(stat);
            found.inodes += 1;
        }
        Ok((!proceed()).then_some(()))
    })?;
    Ok(stopped.is_none().then_some(found))
}

fn push_name(path: &mut Vec<u8>, name: &CStr) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::error::errno;
    use std::os::unix::fs::PermissionsExt;

    fn open(path: &std::path::Path) -> OwnedFd {
        fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn a_tree_deeper_than_descriptors_and_paths_is_removed_and_walked() {
        let directory = tempfile::tempdir().unwrap();
        let top = open(directory.path());
        let mut current = open(directory.path());
        for _ in 0..1500 {
            fs::mkdirat(&current, c"deeper", Mode::RWXU).unwrap();
            fs::openat(&current, c"file", OFlags::CREATE, Mode::RUSR).unwrap();
            current = fs::openat(&current, c"deeper", DIRECTORY, Mode::empty()).unwrap();
        }
        let mut count = 0;
        let mut longest = 0;
        walk(top.as_fd(), |_, _, path, _| {
            count += 1;
            longest = longest.max(path.len());
            Ok(None::<()>)
        })
        .unwrap();
        assert_eq!((count, longest), (3000, 1500 * 7 - 1));
        remove(top.as_fd(), c"deeper").unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn processes_that_remove_the_same_tree_do_not_make_each_other_fail() {
        let directory = tempfile::tempdir().unwrap();
        let top = open(directory.path());
        for _ in 0..20 {
            for a in 0..10 {
                for b in 0..10 {
                    let path = directory.path().join(format!("tree/{a}/{b}/c"));
                    std::fs::create_dir_all(&path).unwrap();
                    std::fs::write(path.join("file"), "x").unwrap();
                }
            }
            std::thread::scope(|scope| {
                let removers: Vec<_> = (0..3)
                    .map(|_| scope.spawn(|| remove(top.as_fd(), c"tree")))
                    .collect();
                for remover in removers {
                    remover.join().unwrap().unwrap();
                }
            });
            assert!(!directory.path().join("tree").exists());
        }
    }

    #[test]
    fn directories_without_permissions_are_removed_and_symlinks_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir_all(path.join("a/b/c")).unwrap();
        std::fs::create_dir(path.join("kept")).unwrap();
        std::fs::write(path.join("kept/file"), "x").unwrap();
        std::os::unix::fs::symlink("../kept", path.join("a/link")).unwrap();
        for name in ["a/b/c", "a/b", "a"] {
            let closed = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(path.join(name), closed).unwrap();
        }
        remove(open(path).as_fd(), c"a").unwrap();
        remove(open(path).as_fd(), c"missing").unwrap();
        assert!(!path.join("a").exists());
        assert!(path.join("kept/file").exists());
    }

    #[test]
    fn inodes_and_blocks_are_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("a")).unwrap();
        std::fs::write(path.join("a/file"), vec![1; 100_000]).unwrap();
        for name in ["one", "two"] {
            std::fs::hard_link(path.join("a/file"), path.join(name)).unwrap();
        }
        let found = disk_use(&open(path)).unwrap();
        assert_eq!((found.inodes, found.names), (2, 3));
        assert!((100_000..200_000).contains(&found.bytes), "{found:?}");
        let mut entries = 0;
        let stopped = disk_use_while(&open(path), || {
            entries += 1;
            entries < 2
        });
        assert_eq!(stopped.unwrap(), None);
    }

    #[test]
    fn a_walk_does_not_follow_a_moved_directory_outside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir_all(path.join("walked/a/b")).unwrap();
        std::fs::create_dir_all(path.join("outside/secret")).unwrap();
        let mut seen = Vec::new();
        let result = walk(open(&path.join("walked")).as_fd(), |_, name, _, _| {
            seen.push(name.to_owned());
            // Overlayfs moves a directory so when a process removes it.
            if name == c"b" {
                std::fs::rename(path.join("walked/a"), path.join("outside/a")).unwrap();
            }
            Ok(None::<()>)
        });
        assert_eq!(errno(&result.unwrap_err()), Errno::STALE);
        assert_eq!(seen, [c"a".to_owned(), c"b".to_owned()]);
    }

    #[test]
    fn a_walk_stops_at_the_first_result() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("a/b/c")).unwrap();
        let found = walk(open(directory.path()).as_fd(), |_, _, path, _| {
            Ok((path == b"a/b").then_some("found"))
        });
        assert_eq!(found.unwrap(), Some("found"));
    }
}
