//! Protected paths: those that tools may not access, with everything below them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use contree_paths::expand_home;

use super::homes::{is_home_by_location, user_directories};
use super::real_paths::{RealPaths, as_spelled_and_resolved};

/// Programs, each with the paths of its files.
pub(super) type Table = &'static [(&'static str, &'static [&'static str])];

/// The tables of one kind of protected path.
pub(super) struct PathTables {
    /// Below each home directory.
    pub(super) home: Table,
    /// In any directory, each with one or two names.
    pub(super) anywhere: Table,
    /// Absolute paths.
    pub(super) system: Table,
    /// Variables with paths, and names below these paths. An empty name is the path itself.
    pub(super) variables: &'static [(&'static str, &'static [&'static str])],
}

/// Protected paths of one kind, each with the program that uses it.
///
/// Upper and lower case of ASCII letters count as equal, since some file systems do not tell them
/// apart.
#[derive(Debug, Default)]
pub(super) struct ProtectedPaths {
    absolute: HashMap<PathBuf, &'static str>,
    homes: HashSet<PathBuf>,
    in_homes: HashMap<PathBuf, &'static str>,
    anywhere: HashMap<PathBuf, &'static str>,
    /// Existing protected paths, which may hold links to other files.
    pub(super) existing: Vec<PathBuf>,
}

impl ProtectedPaths {
    /// Creates the paths of some tables for these home directories, the user's own first.
    pub(super) fn new(tables: &PathTables, homes: &[PathBuf]) -> Self {
        let mut protected = Self {
            in_homes: relative(tables.home),
            anywhere: relative(tables.anywhere),
            ..Self::default()
        };
        for (program, paths) in tables.system {
            for path in *paths {
                protected.insert(PathBuf::from(path), program);
            }
        }
        for (variable, names) in tables.variables {
            for path in paths_of(variable, names) {
                protected.existing.push(path.clone());
                protected.insert(path, variable);
            }
        }
        if let Some(home) = homes.first() {
            protected.add_user_directories(tables.home, home);
        }
        let mut known = RealPaths::default();
        for home in homes {
            protected.add_home(tables.home, home, &mut known);
        }
        protected
    }

    /// Adds a path, as spelled and with all links resolved.
    pub(super) fn insert(&mut self, path: PathBuf, used_by: &'static str) {
        if !path.is_absolute() || path.parent().is_none() {
            return;
        }
        for path in as_spelled_and_resolved(path) {
            self.absolute.entry(folded(&path)).or_insert(used_by);
        }
    }

    /// Adds the paths in directories that variables such as `XDG_CONFIG_HOME` move.
    fn add_user_directories(&mut self, table: Table, home: &Path) {
        for (below_home, directory) in user_directories(home) {
            for (program, paths) in table {
                for path in *paths {
                    if let Ok(rest) = Path::new(path).strip_prefix(below_home) {
                        self.existing.push(directory.join(rest));
                        self.insert(directory.join(rest), program);
                    }
                }
            }
        }
    }

    /// Adds a home directory, with the real paths of those in it that lead through links.
    fn add_home(&mut self, table: Table, home: &Path, known: &mut RealPaths) {
        let real_home = known.resolve(home);
        self.homes.insert(folded(home));
        self.homes.insert(folded(&real_home));
        // Most of the paths do not exist, and most users of a system have none.
        let Ok(entries) = std::fs::read_dir(home) else {
            return;
        };
        let names: HashSet<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        for (program, paths) in table {
            for path in *paths {
                let first = Path::new(path).iter().next();
                if !first.is_some_and(|first| names.contains(first)) {
                    continue;
                }
                let real = known.resolve(&home.join(path));
                if real != real_home.join(path) {
                    self.absolute.entry(folded(&real)).or_insert(program);
                }
                if real.exists() {
                    self.existing.push(home.join(path));
                }
            }
        }
    }

    /// Returns the protected paths that a path is or lies in, the innermost first, each with its
    /// program.
    pub(super) fn containing<'a>(&self, path: &'a Path) -> Vec<(&'a Path, &'static str)> {
        let folded_path = folded(path);
        let homes: Vec<&Path> = folded_path
            .ancestors()
            .filter(|ancestor| self.homes.contains(*ancestor) || is_home_by_location(ancestor))
            .collect();
        let pairs = path.ancestors().zip(folded_path.ancestors());
        pairs
            .filter_map(|(ancestor, folded)| Some((ancestor, self.used_by(folded, &homes)?)))
            .collect()
    }

    /// Returns the program that uses a folded path, if the path itself is protected.
    fn used_by(&self, folded: &Path, homes: &[&Path]) -> Option<&'static str> {
        let in_home = |home: &&Path| self.in_homes.get(folded.strip_prefix(home).ok()?);
        let named = self
            .absolute
            .get(folded)
            .or_else(|| homes.iter().find_map(in_home));
        named.or_else(|| self.find_anywhere(folded)).copied()
    }

    /// Finds the last name, or the last two, of a folded path.
    fn find_anywhere(&self, folded: &Path) -> Option<&&'static str> {
        let name = folded.file_name()?;
        self.anywhere.get(Path::new(name)).or_else(|| {
            let parent = folded.parent()?.file_name()?;
            self.anywhere.get(&Path::new(parent).join(name))
        })
    }
}

/// The paths of a table by themselves, folded.
fn relative(table: Table) -> HashMap<PathBuf, &'static str> {
    let rows = table.iter();
    rows.flat_map(|(program, paths)| {
        let paths = paths.iter();
        paths.map(|path| (folded(Path::new(path)), *program))
    })
    .collect()
}

/// The absolute paths in a variable, which may hold several, or these names below each of them.
fn paths_of(variable: &str, names: &[&str]) -> Vec<PathBuf> {
    let value = std::env::var_os(variable).unwrap_or_default();
    // Some programs expand `~` in their variables.
    let paths: Vec<PathBuf> = std::env::split_paths(&value)
        .filter_map(|path| expand_home(path, std::env::home_dir).ok())
        .filter(|path| path.is_absolute())
        .collect();
    let below = |path: &PathBuf| -> Vec<PathBuf> {
        let names = names.iter().map(|name| match *name {
            "" => path.clone(),
            name => path.join(name),
        });
        names.collect()
    };
    paths.iter().flat_map(below).collect()
}

/// Returns a path with its ASCII letters in lower case.
fn folded(path: &Path) -> PathBuf {
    path.as_os_str().to_ascii_lowercase().into()
}
