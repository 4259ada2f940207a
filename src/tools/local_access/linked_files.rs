//! Files in protected paths that can also be reached by other paths.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::real_paths::device_and_inode;

/// Maximum number of entries of a protected path that are searched for links and hard links, and
/// the maximum depth.
const MAX_ENTRIES: usize = 1_000;
const MAX_DEPTH: usize = 3;

/// Files that can also be reached by other paths.
#[derive(Debug, Default)]
pub(super) struct LinkedFiles {
    /// Targets of symbolic links within the protected paths.
    pub(super) targets: BTreeSet<PathBuf>,
    /// Device and inode of the files in the protected paths, which may have hard links elsewhere.
    pub(super) files: BTreeSet<(u64, u64)>,
}

impl LinkedFiles {
    /// Searches protected paths. A path that does not exist has no files.
    pub(super) fn of(protected: &[PathBuf]) -> Self {
        let mut inside = Self::default();
        for root in protected {
            let mut left = MAX_ENTRIES;
            let mut pending = vec![(root.clone(), 0)];
            while let Some((path, depth)) = pending.pop() {
                let Ok(metadata) = path.symlink_metadata() else {
                    continue;
                };
                if metadata.is_dir() && depth < MAX_DEPTH {
                    let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                    let before = pending.len();
                    pending.extend(entries.take(left).map(|entry| (entry.path(), depth + 1)));
                    left -= pending.len() - before;
                } else {
                    inside.add(&path, &metadata);
                }
            }
        }
        inside
    }

    fn add(&mut self, path: &Path, metadata: &Metadata) {
        if !metadata.is_symlink() {
            self.files.extend(device_and_inode(metadata));
            return;
        }
        let target = path.canonicalize();
        let target = target.and_then(|target| Ok((target.metadata()?, target)));
        // A link to a directory may lead to anything, such as all of the user's work, so only files
        // are protected.
        if let Ok((metadata, target)) = target
            && metadata.is_file()
        {
            self.files.extend(device_and_inode(&metadata));
            self.targets.insert(target);
        }
    }
}

/// Reports whether a path holds credentials that no table can list: the environment of a process,
/// wherever procfs is mounted, or a Kerberos ticket.
pub(super) fn is_volatile_credential(path: &Path) -> bool {
    let mut parts = path.iter().rev().map(|name| name.to_str());
    let (name, parent) = (parts.next().flatten(), parts.next().flatten());
    let (Some(name), Some(parent)) = (name, parent) else {
        return false;
    };
    let is_environment = name == "environ" && parent.bytes().all(|byte| byte.is_ascii_digit());
    is_environment || (parent == "tmp" && name.starts_with("krb5cc_"))
}
