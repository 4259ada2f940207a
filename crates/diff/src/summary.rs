//! A change as answers describe it.

use crate::change::{Change, Node, NodeKind};

/// A change as answers describe it. Fields that do not apply are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The absolute path. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// How it changed.
    pub change: &'static str,
    /// The type of the file now, or before its removal.
    pub kind: &'static str,
    /// The type of the file before, if it differs.
    pub kind_before: Option<&'static str>,
    /// The path that a renamed file had.
    pub from: Option<String>,
    /// The size of a regular file before, in bytes.
    pub size_before: Option<u64>,
    /// The size of a regular file now, in bytes.
    pub size_after: Option<u64>,
    /// The permission bits before, in octal, if they differ.
    pub mode_before: Option<String>,
    /// The permission bits now, in octal, if they differ.
    pub mode_after: Option<String>,
    /// Owner and group before, if they differ.
    pub owner_before: Option<String>,
    /// Owner and group now, if they differ.
    pub owner_after: Option<String>,
}

impl Summary {
    /// Describes a change. `root` is the absolute path of the root of the comparison.
    #[must_use]
    pub fn of(root: &str, change: &Change) -> Option<Self> {
        let node = change.node()?;
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let both = before.zip(after);
        let modes = both.filter(|(before, after)| {
            let is_link = |node: &Node| node.kind == NodeKind::Symlink;
            !is_link(before) && !is_link(after) && before.mode != after.mode
        });
        let owner = |node: &Node| format!("{}:{}", node.uid, node.gid);
        let owners = both.filter(|(before, after)| owner(before) != owner(after));
        let mode = |node: &Node| format!("{:04o}", node.mode);
        let size = |node: &Node| (node.kind == NodeKind::File).then_some(node.size);
        Some(Self {
            path: absolute(root, &change.path),
            change: change.kind.as_str(),
            kind: node.kind.as_str(),
            kind_before: both
                .filter(|(before, after)| before.kind != after.kind)
                .map(|(before, _)| before.kind.as_str()),
            from: change.from.as_deref().map(|from| absolute(root, from)),
            size_before: before.and_then(size),
            size_after: after.and_then(size),
            mode_before: modes.map(|(before, _)| mode(before)),
            mode_after: modes.map(|(_, after)| mode(after)),
            owner_before: owners.map(|(before, _)| owner(before)),
            owner_after: owners.map(|(_, after)| owner(after)),
        })
    }
}

/// The absolute path of a file below the root of a comparison.
fn absolute(root: &str, path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    match (root, path.as_ref()) {
        (root, "") => root.to_owned(),
        ("/", path) => format!("/{path}"),
        (root, path) => format!("{root}/{path}"),
    }
}
