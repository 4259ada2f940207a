//! The protected places of both kinds, with the files in them that have other paths too.

use std::path::{Path, PathBuf};

use super::linked_files::LinkedFiles;
use super::places::{PlaceTables, Places};
use super::{credential_table, startup_table};

/// The places of credentials.
const CREDENTIALS: PlaceTables = PlaceTables {
    home: credential_table::HOME,
    anywhere: &[],
    system: credential_table::SYSTEM,
    variables: credential_table::VARIABLES,
};
/// The places of files that run by themselves.
const STARTUP: PlaceTables = PlaceTables {
    home: startup_table::HOME,
    anywhere: startup_table::ANYWHERE,
    system: startup_table::SYSTEM,
    variables: startup_table::VARIABLES,
};

/// File systems of the kernel. They hold no files that could be linked.
const KERNEL: [&str; 2] = ["/proc", "/sys"];
/// The program that uses places which the tables do not have.
const THIS_SERVER: &str = "this server";

/// Places of one kind, and files in them that have other paths too.
#[derive(Debug)]
pub(super) struct ProtectedPlaces {
    pub(super) places: Places,
    pub(super) linked: LinkedFiles,
}

impl ProtectedPlaces {
    /// Finds the credentials in these home directories, in `secrets` and in this program's own
    /// directories. The last are not searched for links, since they may be large.
    pub(super) fn of_credentials(
        homes: &[PathBuf],
        secrets: &[PathBuf],
        own_directories: &[PathBuf],
    ) -> Self {
        let mut places = Places::new(&CREDENTIALS, homes);
        let mut searched: Vec<PathBuf> = paths(&CREDENTIALS)
            .filter(|path| !KERNEL.contains(path))
            .map(PathBuf::from)
            .collect();
        searched.extend(places.existing.iter().chain(secrets).cloned());
        for path in secrets.iter().chain(own_directories) {
            places.insert(path.clone(), THIS_SERVER);
        }
        let linked = LinkedFiles::of(&searched);
        Self { places, linked }
    }

    /// Finds the files that run by themselves in these home directories.
    pub(super) fn of_startup(homes: &[PathBuf]) -> Self {
        let places = Places::new(&STARTUP, homes);
        // The directories of the system are protected as a whole, and large.
        let is_system = |path: &Path| paths(&STARTUP).any(|system| path.starts_with(system));
        let existing = places.existing.iter();
        let searched: Vec<PathBuf> = existing.filter(|path| !is_system(path)).cloned().collect();
        let linked = LinkedFiles::of(&searched);
        Self { places, linked }
    }

    /// Returns the places that a path is or lies in, and the path itself if a link in a place leads
    /// to it.
    pub(super) fn containing<'a>(&self, path: &'a Path) -> Vec<(&'a Path, &'static str)> {
        let mut found = self.places.containing(path);
        if self.linked.targets.contains(path) {
            found.push((path, "a link leads to it"));
        }
        found
    }
}

/// The places of the system.
fn paths(tables: &PlaceTables) -> impl Iterator<Item = &'static str> {
    let rows = tables.system.iter();
    rows.flat_map(|(_, paths)| paths.iter().copied())
}
