//! Joins removed and added files of equal content.

use std::collections::{HashMap, HashSet};

use crate::change::{Change, ChangeKind, NodeKind};

/// A side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The base.
    Before,
    /// The tree with the changes.
    After,
}

/// Sorts changes by path, and turns pairs of a removed and an added file of equal content into
/// renames.
///
/// `digest` is called for files whose size occurs on both sides. Empty files and files of other
/// types are never renamed. Of several candidates, one with the same name in another directory is
/// taken, else the first path.
///
/// # Errors
/// Those of `digest`.
pub fn pair_renames<D: Eq + std::hash::Hash, E>(
    changes: &mut Vec<Change>,
    mut digest: impl FnMut(Side, &[u8]) -> Result<D, E>,
) -> Result<(), E> {
    changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let removed = files(changes, ChangeKind::Removed);
    let added = files(changes, ChangeKind::Added);
    let sizes = |files: &[(usize, u64)]| files.iter().map(|(_, size)| *size).collect();
    let (removed_sizes, added_sizes): (HashSet<u64>, HashSet<u64>) =
        (sizes(&removed), sizes(&added));
    let mut sources: HashMap<D, Vec<usize>> = HashMap::new();
    for (at, size) in removed {
        if added_sizes.contains(&size) {
            let digest = digest(Side::Before, &changes[at].path)?;
            sources.entry(digest).or_default().push(at);
        }
    }
    let mut gone = HashSet::new();
    for (at, size) in added {
        if !removed_sizes.contains(&size) {
            continue;
        }
        let digest = digest(Side::After, &changes[at].path)?;
        let Some(candidates) = sources.get_mut(&digest) else {
            continue;
        };
        let name = |at: usize| {
            let path: &[u8] = &changes[at].path;
            path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec)
        };
        let same_name = candidates.iter().position(|from| name(*from) == name(at));
        if candidates.is_empty() {
            continue;
        }
        let from = candidates.remove(same_name.unwrap_or(0));
        let (before, path) = (changes[from].before.clone(), changes[from].path.clone());
        changes[at].kind = ChangeKind::Renamed;
        changes[at].before = before;
        changes[at].from = Some(path);
        gone.insert(from);
    }
    let mut at = 0;
    changes.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
    Ok(())
}

/// The regular files with content among the changes of one kind: their indices and sizes.
fn files(changes: &[Change], kind: ChangeKind) -> Vec<(usize, u64)> {
    let of_kind = |change: &&Change| change.kind == kind;
    let file = |at: usize, change: &Change| {
        let node = change.node()?;
        (node.kind == NodeKind::File && node.size > 0).then_some((at, node.size))
    };
    let numbered = changes.iter().enumerate();
    numbered
        .filter(|(_, change)| of_kind(change))
        .filter_map(|(at, change)| file(at, change))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::change::{Node, compare};

    fn change(path: &str, removed: bool, size: u64) -> Change {
        let node = Node {
            kind: NodeKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            target: None,
        };
        let (before, after) = if removed {
            (Some(node), None)
        } else {
            (None, Some(node))
        };
        let change = compare(path.as_bytes(), before, after, || Ok::<_, Infallible>(true));
        change.unwrap().unwrap()
    }

    fn paired(mut changes: Vec<Change>) -> Vec<(String, &'static str, Option<String>)> {
        // All files of one size have the same content.
        let sizes: HashMap<Vec<u8>, u64> = changes
            .iter()
            .map(|change| (change.path.clone(), change.node().unwrap().size))
            .collect();
        pair_renames(&mut changes, |_, path| Ok::<_, Infallible>(sizes[path])).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let describe = |change: &Change| {
            let from = change.from.as_deref().map(text);
            (text(&change.path), change.kind.as_str(), from)
        };
        changes.iter().map(describe).collect()
    }

    #[test]
    fn a_file_with_the_content_of_a_removed_one_is_renamed_once() {
        let changes = vec![
            change("new/a", false, 5),
            change("old/a", true, 5),
            change("copy", false, 5),
            change("other", true, 6),
        ];
        assert_eq!(
            paired(changes),
            [
                ("copy".to_owned(), "renamed", Some("old/a".to_owned())),
                ("new/a".to_owned(), "added", None),
                ("other".to_owned(), "removed", None),
            ]
        );
    }

    #[test]
    fn the_same_name_precedes_the_first_path() {
        let changes = vec![
            change("b/one", false, 5),
            change("a/zero", true, 5),
            change("c/one", true, 5),
        ];
        assert_eq!(
            paired(changes),
            [
                ("a/zero".to_owned(), "removed", None),
                ("b/one".to_owned(), "renamed", Some("c/one".to_owned())),
            ]
        );
    }

    #[test]
    fn empty_files_are_not_renamed() {
        let changes = vec![change("a", true, 0), change("b", false, 0)];
        assert_eq!(
            paired(changes),
            [
                ("a".to_owned(), "removed", None),
                ("b".to_owned(), "added", None)
            ]
        );
    }
}
