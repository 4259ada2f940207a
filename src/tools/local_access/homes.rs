//! Home directories of all users, and the directories in them that variables move.

use std::path::{Path, PathBuf};

/// Directories that hold home directories alone, in lower case. They serve users whom
/// `/etc/passwd` does not list, such as those of a directory service.
const HOLDERS: [&str; 4] = ["/home", "/users", "/var/home", "/export/home"];

/// Directories of a home that a variable moves.
const MOVED: [(&str, &str); 4] = [
    (".config", "XDG_CONFIG_HOME"),
    (".local/share", "XDG_DATA_HOME"),
    (".local/state", "XDG_STATE_HOME"),
    (".cache", "XDG_CACHE_HOME"),
];

/// Returns the home directories of all users of this machine, the user's own first.
pub(super) fn homes() -> Vec<PathBuf> {
    let users = std::fs::read("/etc/passwd").unwrap_or_default();
    let of_users = String::from_utf8_lossy(&users).into_owned();
    let of_users = of_users
        .lines()
        .filter_map(|line| line.split(':').nth(5))
        .map(PathBuf::from);
    let own = std::env::home_dir();
    let roots = ["/root", "/var/root"].map(PathBuf::from);
    let mut homes: Vec<PathBuf> = Vec::new();
    for home in own.into_iter().chain(roots).chain(of_users) {
        if home.is_absolute() && !homes.contains(&home) {
            homes.push(home);
        }
    }
    homes
}

/// Reports whether a path, in lower case, is a home directory by its location.
pub(super) fn is_home_by_location(path: &Path) -> bool {
    let holder = path.parent().and_then(Path::to_str);
    holder.is_some_and(|holder| HOLDERS.contains(&holder))
}

/// Returns the moved directories of the user's own home: the path below home, and the directory
/// that a variable names instead.
pub(super) fn user_directories(home: &Path) -> Vec<(&'static str, PathBuf)> {
    MOVED
        .iter()
        .filter_map(|(below_home, variable)| {
            let directory = PathBuf::from(std::env::var_os(variable)?);
            let is_moved = directory.is_absolute() && directory != home.join(below_home);
            is_moved.then_some((*below_home, directory))
        })
        .collect()
}
