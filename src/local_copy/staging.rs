//! A directory for files that have no final name yet.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::local_tree::LocalTree;

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
}

impl Staging {
    /// Makes a directory in `parent`, which is a real path.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
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
                    });
                }
            }
        }
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
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Whether a name is that of a staging directory.
pub(super) fn is_staging(name: &[u8]) -> bool {
    let random = name.strip_prefix(PREFIX.as_bytes());
    random.is_some_and(|random| random.len() == 32 && random.iter().all(u8::is_ascii_hexdigit))
}

/// Removes the staging directories of killed processes: those of this user that nobody locks.
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
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
