//! Paths that an earlier sending of a directory placed and a newer one removes.

use std::collections::BTreeSet;
use std::path::Path;

/// A path that a sending places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedPath<'a> {
    pub(crate) path: &'a str,
    pub(crate) is_directory: bool,
}

/// Returns the paths in a sandbox that the sending `before` placed, and that are to be removed
/// before those of `after` are placed. Both have this destination. Without a destination, the paths
/// are relative.
///
/// A path that still exists below `source` stays, since it was only left out. May block.
pub(crate) fn removals<'a>(
    before: impl IntoIterator<Item = PlacedPath<'a>>,
    after: impl IntoIterator<Item = PlacedPath<'a>>,
    destination: &str,
    source: &Path,
) -> Vec<String> {
    let kept: BTreeSet<&str> = after.into_iter().map(|file| file.path).collect();
    let kept_directories: BTreeSet<&str> = kept
        .iter()
        .flat_map(|path| directories_of(path, destination))
        .collect();
    let exists = |path: &str| {
        let below = path[destination.len()..].trim_start_matches('/');
        source.join(below).symlink_metadata().is_ok()
    };
    let mut gone = BTreeSet::new();
    for file in before {
        let path = file.path;
        if !path.starts_with(destination) || kept.contains(path) {
            continue;
        }
        // A file or link must make room for a directory of the same name.
        let makes_room = kept_directories.contains(path);
        if (makes_room && !file.is_directory) || (!makes_room && !exists(path)) {
            gone.insert(path.to_owned());
        }
        for directory in directories_of(path, destination) {
            let is_kept = kept.contains(directory) || kept_directories.contains(directory);
            if !is_kept && !exists(directory) {
                gone.insert(directory.to_owned());
            }
        }
    }
    gone.into_iter().collect()
}

/// Returns the directories between a path and the destination, without either.
fn directories_of<'a>(path: &'a str, destination: &str) -> impl Iterator<Item = &'a str> {
    let root = destination.len();
    let ends = path.char_indices().filter(|(_, found)| *found == '/');
    let ends = ends.map(|(at, _)| at).filter(move |at| *at > root);
    ends.map(|at| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> PlacedPath<'_> {
        PlacedPath {
            path,
            is_directory: false,
        }
    }

    fn directory(path: &str) -> PlacedPath<'_> {
        PlacedPath {
            path,
            is_directory: true,
        }
    }

    #[test]
    fn what_is_gone_here_is_removed_and_what_was_only_left_out_stays() {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir(source.path().join("left")).unwrap();
        std::fs::write(source.path().join("left/out"), "").unwrap();
        let before = [
            file("/app/kept"),
            file("/app/gone"),
            file("/app/d/e/gone"),
            file("/app/left/out"),
            directory("/app/empty"),
            file("/app/file"),
            directory("/app/directory"),
        ];
        let after = [
            file("/app/kept"),
            file("/app/file/inside"),
            file("/app/directory"),
        ];
        let gone = removals(before, after, "/app", source.path());
        assert_eq!(
            gone,
            [
                "/app/d",
                "/app/d/e",
                "/app/d/e/gone",
                "/app/empty",
                "/app/file",
                "/app/gone"
            ]
        );
        let at_root = removals([file("/a/b")], [], "", source.path());
        assert_eq!(at_root, ["/a", "/a/b"]);
        let relative = removals([file("a/b"), file("left/out")], [], "", source.path());
        assert_eq!(relative, ["a", "a/b"]);
        assert!(removals(before, before, "/app", source.path()).is_empty());
    }
}
