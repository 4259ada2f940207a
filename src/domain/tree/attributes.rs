//! Other owners and permissions for the entries of a directory.

use std::collections::BTreeSet;

use super::{PlacedPath, Tree, TreeFile, paths_of};

impl Tree {
    /// The same entries with this user and group.
    pub(crate) fn with_owner(self, uid: u32, gid: u32) -> Self {
        Self {
            owner: Some((uid, gid)),
            ..self
        }
    }

    /// The same entries with these permissions of all files. Directories keep theirs.
    pub(crate) fn with_file_mode(self, mode: u32) -> Self {
        let files = self.files.iter().map(|file| TreeFile {
            mode,
            ..file.clone()
        });
        Self {
            files: files.collect(),
            ..self
        }
    }

    /// The paths of the directories that are not sent on their own, since their files imply them.
    pub(crate) fn implied_directories(&self) -> BTreeSet<&str> {
        let placed: Vec<PlacedPath<'_>> = paths_of(&self.files, &self.others).collect();
        let mut found = BTreeSet::new();
        for entry in &placed {
            let ends = entry.path.match_indices('/').map(|(at, _)| at);
            found.extend(ends.map(|at| &entry.path[..at]));
        }
        for directory in placed.iter().filter(|entry| entry.is_directory) {
            found.remove(directory.path);
        }
        found
    }
}
