//! The protected paths of both kinds, with the files in them that have other paths too.

use std::path::{Path, PathBuf};

use super::linked_files::LinkedFiles;
use super::protected_paths::{PathTables, ProtectedPaths};
use super::{credential_table, startup_table};

/// The paths of credentials.
const CREDENTIALS: PathTables = PathTables {
    home: credential_table::HOME,
    anywhere: &[],
    system: credential_table::SYSTEM,
    variables: credential_table::VARIABLES,
};
/// The paths of files that run by themselves.
const STARTUP: PathTables = PathTables {
    home: startup_table::HOME,
    anywhere: startup_table::ANYWHERE,
    system: startup_table::SYSTEM,
    variables: startup_table::VARIABLES,
};

/// File systems of the kernel. They hold no files that could be linked.
const KERNEL: [&str; 2] = ["/proc", "/sys"];
/// The program that uses paths which the tables do not have.
const THIS_SERVER: &str = "this server";

/// The protected paths of one kind, and the files in them that have other paths too.
#[derive(Debug)]
pub(super) struct ProtectedFiles {
    pub(super) paths: ProtectedPaths,
    pub(super) linked: LinkedFiles,
}

impl ProtectedFiles {
    /// Finds the credentials in these home directories, in `secrets` and in this program's own
    /// directories. The last are not searched for links, since they may be large.
    pub(super) fn of_credentials(
        homes: &[PathBuf],
        secrets: &[PathBuf],
        own_directories: &[PathBuf],
    ) -> Self {
        let mut protected = ProtectedPaths::new(&CREDENTIALS, homes);
        let mut searched: Vec<PathBuf> = system_paths(&CREDENTIALS)
            .filter(|path| !KERNEL.contains(path))
            .map(PathBuf::from)
            .collect();
        searched.extend(protected.existing.iter().chain(secrets).cloned());
        for path in secrets.iter().chain(own_directories) {
            protected.insert(path.clone(), THIS_SERVER);
        }
        let linked = LinkedFiles::of(&searched);
        Self {
            paths: protected,
            linked,
        }
    }

    /// Finds the files that run by themselves in these home directories.
    pub(super) fn of_startup(homes: &[PathBuf]) -> Self {
        let protected = ProtectedPaths::new(&STARTUP, homes);
        // The directories of the system are protected as a whole, and large.
        let is_system = |path: &Path| system_paths(&STARTUP).any(|system| path.starts_with(system));
        let existing = protected.existing.iter();
        let searched: Vec<PathBuf> = existing.filter(|path| !is_system(path)).cloned().collect();
        let linked = LinkedFiles::of(&searched);
        Self {
            paths: protected,
            linked,
        }
    }

    /// Returns the protected paths that a path is or lies in, and the path itself if a link in a
    /// protected path leads to it.
    pub(super) fn containing<'a>(&self, path: &'a Path) -> Vec<(&'a Path, &'static str)> {
        let mut found = self.paths.containing(path);
        if self.linked.targets.contains(path) {
            found.push((path, "a link leads to it"));
        }
        found
    }
}

/// The protected paths of the system.
fn system_paths(tables: &PathTables) -> impl Iterator<Item = &'static str> {
    let rows = tables.system.iter();
    rows.flat_map(|(_, paths)| paths.iter().copied())
}
