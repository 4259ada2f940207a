//! How a file changed.

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
}

impl NodeKind {
    /// The name of the type in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
        }
    }
}

/// A file as it counts in a comparison, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The type.
    pub kind: NodeKind,
    /// The permission bits, with set-user-id, set-group-id and sticky bit.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size of a regular file in bytes, else 0.
    pub size: u64,
    /// The target of a symbolic link.
    pub target: Option<Vec<u8>>,
}

/// How a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The path is new.
    Added,
    /// The path is gone.
    Removed,
    /// The content or the target of a link changed.
    Modified,
    /// The type changed.
    Type,
    /// The mode changed, and perhaps the owner.
    Mode,
    /// The owner or the group changed.
    Owner,
    /// The path is new and has the content of a removed file.
    Renamed,
}

impl ChangeKind {
    /// The name of the kind in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Modified => "modified",
            Self::Type => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Renamed => "renamed",
        }
    }
}

/// A file that differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path from the root of the comparison, without a leading slash. It is empty for the root
    /// itself.
    pub path: Vec<u8>,
    /// How it changed.
    pub kind: ChangeKind,
    /// The file before. `None` if it was added.
    pub before: Option<Node>,
    /// The file now. `None` if it was removed.
    pub after: Option<Node>,
    /// The path that a renamed file had.
    pub from: Option<Vec<u8>>,
}

impl Change {
    /// The file now or, if it is gone, the one before.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// Compares a file before and after. `same_content` compares two regular files of equal size.
///
/// # Errors
/// Those of `same_content`.
pub fn compare<E>(
    path: &[u8],
    before: Option<Node>,
    after: Option<Node>,
    same_content: impl FnOnce() -> Result<bool, E>,
) -> Result<Option<Change>, E> {
    let kind = match (&before, &after) {
        (None, None) => return Ok(None),
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(before), Some(after)) => {
            let is_file = after.kind == NodeKind::File;
            if before.kind != after.kind {
                ChangeKind::Type
            } else if before.target != after.target
                || (is_file && (before.size != after.size || !same_content()?))
            {
                ChangeKind::Modified
            } else if mode(before) != mode(after) {
                ChangeKind::Mode
            } else if (before.uid, before.gid) != (after.uid, after.gid) {
                ChangeKind::Owner
            } else {
                return Ok(None);
            }
        }
    };
    Ok(Some(Change {
        path: path.to_vec(),
        kind,
        before,
        after,
        from: None,
    }))
}

/// The mode for a comparison. A symbolic link has none.
fn mode(node: &Node) -> u32 {
    if node.kind == NodeKind::Symlink {
        0
    } else {
        node.mode
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn node(kind: NodeKind) -> Node {
        Node {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 3,
            target: None,
        }
    }

    fn kind(before: &Node, after: &Node, same: bool) -> Option<ChangeKind> {
        let change = compare(b"a", Some(before.clone()), Some(after.clone()), || {
            Ok::<_, Infallible>(same)
        });
        change.unwrap().map(|change| change.kind)
    }

    #[test]
    fn the_weightiest_difference_names_the_change() {
        let file = node(NodeKind::File);
        let executable = Node {
            mode: 0o755,
            uid: 7,
            ..file.clone()
        };
        let owned = Node {
            uid: 7,
            ..file.clone()
        };
        let longer = Node {
            size: 4,
            mode: 0o755,
            ..file.clone()
        };
        assert_eq!(kind(&file, &file, true), None);
        assert_eq!(kind(&file, &file, false), Some(ChangeKind::Modified));
        assert_eq!(kind(&file, &longer, true), Some(ChangeKind::Modified));
        assert_eq!(kind(&file, &executable, true), Some(ChangeKind::Mode));
        assert_eq!(kind(&file, &owned, true), Some(ChangeKind::Owner));
        assert_eq!(
            kind(&file, &node(NodeKind::Fifo), true),
            Some(ChangeKind::Type)
        );
    }

    #[test]
    fn links_differ_by_target_and_owner_alone() {
        let link = Node {
            target: Some(b"x".to_vec()),
            ..node(NodeKind::Symlink)
        };
        let other_mode = Node {
            mode: 0o777,
            ..link.clone()
        };
        let other_target = Node {
            target: Some(b"y".to_vec()),
            ..link.clone()
        };
        assert_eq!(kind(&link, &other_mode, false), None);
        assert_eq!(
            kind(&link, &other_target, false),
            Some(ChangeKind::Modified)
        );
    }
}
