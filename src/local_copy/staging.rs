//! A directory for files that have no final name yet.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::local_tree::LocalTree;
use super::unfinished::Unfinished;

/// The beginning of the names of such directories. Those of killed processes are found by it.
const PREFIX: &str = ".contree-part-";

/// A directory for files that have no final name yet. It is locked while it is in use, and removed
/// at the end.
///
/// A killed process leaves its directory. The next use of the same parent removes it.
pub(super) struct Staging {
    path: PathBuf,
    tree: LocalTree,
    _lock: File,
    /// The directory around it. It is closed again after the staging directory is removed.
    _around: Option<OpenedUp>,
    /// The last field, since the others are dropped before it.
    _unfinished: Unfinished,
}

/// A directory that its owner may change until this is dropped.
struct OpenedUp {
    tree: LocalTree,
    /// The permissions from before, if they changed.
    mode: Option<u32>,
}

impl Staging {
    /// Makes a directory in `parent`, which is a real path.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        let unfinished = Unfinished::new();
        loop {
            let path = parent.join(format!("{PREFIX}{}", Uuid::new_v4().simple()));
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            let lock = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            // A file system without locks has no other process that could lock it either.
            let _ = lock.lock();
            // Another process may have taken it for an abandoned one before it was locked.
            match LocalTree::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                tree => {
                    remove_abandoned(parent, lock.metadata()?.uid());
                    return Ok(Self {
                        tree: tree?,
                        path,
                        _lock: lock,
                        _around: None,
                        _unfinished: unfinished,
                    });
                }
            }
        }
    }

    /// Makes a directory in `destination`, which is a real path. Until the end, the owner of the
    /// destination may change its entries.
    pub(super) fn create_in(destination: &Path) -> io::Result<Self> {
        let tree = LocalTree::open(destination)?;
        let mode = tree.open_up(b"")?;
        let around = OpenedUp { tree, mode };
        let mut staging = Self::create(destination)?;
        staging._around = Some(around);
        Ok(staging)
    }

    pub(super) fn tree(&self) -> &LocalTree {
        &self.tree
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The next use of the parent tries it again.
        let _ = remove(&self.path);
    }
}

impl Drop for OpenedUp {
    fn drop(&mut self) {
        if let Some(mode) = self.mode {
            let _ = self.tree.set_mode(b"", mode);
        }
    }
}

/// Removes a staging directory. Copied directories in it may be closed to their owner.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            LocalTree::open(path)?.open_up_all()?;
            fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

/// Whether a name is that of a staging directory.
pub(super) fn is_staging(name: &[u8]) -> bool {
    let random = name.strip_prefix(PREFIX.as_bytes());
    random.is_some_and(|random| random.len() == 32 && random.iter().all(u8::is_ascii_hexdigit))
}

/// Removes the staging directories of killed processes: those of this user that no process locks.
fn remove_abandoned(parent: &Path, user: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !is_staging(entry.file_name().as_encoded_bytes()) {
            continue;
        }
        let path = entry.path();
        let is_own = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == user);
        let is_free = || File::open(&path).is_ok_and(|opened| opened.try_lock().is_ok());
        if is_own && is_free() {
            let _ = remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::ordinary_user::as_ordinary_user;
    use super::*;

    #[test]
    fn closed_directories_do_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().canonicalize().unwrap();
        let abandoned = parent.join(format!("{PREFIX}{}", "a".repeat(32)));
        let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
        as_ordinary_user(|| {
            let fill = |path: &Path| {
                fs::create_dir_all(path.join("content/d/e")).unwrap();
                fs::write(path.join("content/d/e/file"), "").unwrap();
                set(&path.join("content/d/e"), 0o000).unwrap();
                set(&path.join("content/d"), 0o555).unwrap();
            };
            fill(&abandoned);
            set(&parent, 0o555).unwrap();
            let staging = Staging::create_in(&parent).unwrap();
            assert!(!abandoned.exists());
            fill(staging.path());
            drop(staging);
            assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
            let mode = fs::metadata(&parent).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o555);
            set(&parent, 0o755).unwrap();
        });
    }

    #[test]
    fn only_the_directories_of_killed_processes_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let in_use = Staging::create(parent.path()).unwrap();
        let abandoned = parent.path().join(format!("{PREFIX}{}", "a".repeat(32)));
        let similar = parent.path().join(format!("{PREFIX}notes"));
        for directory in [&abandoned, &similar] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("file"), "").unwrap();
        }
        let other = Staging::create(parent.path()).unwrap();
        assert!(!abandoned.exists());
        assert!(similar.exists() && in_use.path().exists() && other.path().exists());
        drop((in_use, other));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
