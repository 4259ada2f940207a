//! The files of a tree, as the three sides of a comparison have them.

use std::collections::BTreeMap;
use std::io;

use contree_diff::{Digest, NodeKind};

use crate::client::ArchiveIndex;

/// The permission bits that are compared and written. Set-id bits stay out of local files.
pub(super) const MODE_BITS: u32 = 0o777;

/// A file, a link or a directory of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: NodeKind,
    /// The permission bits. `None` for a link, and if they are not known.
    pub(super) mode: Option<u32>,
    pub(super) size: u64,
    /// The digest of a file's content.
    pub(super) digest: Option<Digest>,
    /// The target of a link.
    pub(super) target: Option<Vec<u8>>,
}

/// Entries by their path below the root, which has the empty path.
pub(super) type Tree = BTreeMap<Vec<u8>, Entry>;

impl Entry {
    pub(super) fn directory(mode: Option<u32>) -> Self {
        Self {
            kind: NodeKind::Directory,
            mode,
            size: 0,
            digest: None,
            target: None,
        }
    }

    /// Whether type and content are equal. The content of a directory are its entries.
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.digest == other.digest && self.target == other.target
    }

    /// Whether the permissions are equal, or one of them is not known.
    pub(super) fn has_mode_of(&self, other: &Self) -> bool {
        self.mode
            .zip(other.mode)
            .is_none_or(|(mine, others)| mine == others)
    }

    /// Whether nothing differs.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.has_content_of(other) && self.has_mode_of(other)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Describes the version for people.
    pub(super) fn describe(&self) -> String {
        let mode = self.mode.map(|mode| format!(", mode {mode:04o}"));
        let mode = mode.unwrap_or_default();
        match (self.kind, &self.digest, &self.target) {
            (NodeKind::File, Some(digest), _) => {
                let digest: String = digest[..6].iter().map(|b| format!("{b:02x}")).collect();
                format!("a file of {} bytes, sha256 {digest}…{mode}", self.size)
            }
            (NodeKind::Symlink, _, Some(target)) => {
                format!("a link to {}", String::from_utf8_lossy(target))
            }
            (NodeKind::Directory, ..) => format!("a directory{mode}"),
            (kind, ..) => format!("a {}{mode}", kind.as_str()),
        }
    }
}

/// Reads the tree of an archive. May block.
pub(super) fn tree_of(mut index: ArchiveIndex) -> io::Result<Tree> {
    let records = index.sorted()?.map(|record| {
        let record = record?;
        let node = record.node;
        let mode = (node.kind != NodeKind::Symlink).then_some(node.mode & MODE_BITS);
        let entry = Entry {
            kind: node.kind,
            mode,
            size: node.size,
            digest: record.digest,
            target: node.target,
        };
        Ok((record.path, entry))
    });
    records.collect()
}
