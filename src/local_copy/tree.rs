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
        match (self.kind, &self.target) {
            (NodeKind::File, _) => format!("a file of {}", bytes(self.size)),
            (NodeKind::Symlink, Some(target)) => {
                format!("a link to {}", String::from_utf8_lossy(target))
            }
            (kind, _) => format!("a {}", kind.as_str()),
        }
    }

    /// Says in words how this version, which is here, differs from that of the image.
    pub(super) fn difference_from(&self, theirs: &Self) -> String {
        let mut parts = Vec::new();
        let are_files = self.kind == NodeKind::File && theirs.kind == NodeKind::File;
        if are_files && self.size == theirs.size {
            if !self.has_content_of(theirs) {
                parts.push(format!("both have {}, and differ", bytes(self.size)));
            }
        } else if !self.has_content_of(theirs) {
            let (ours, theirs) = (self.describe(), theirs.describe());
            parts.push(format!("{ours} here, and {theirs} in the image"));
        }
        if let (Some(ours), Some(theirs)) = (self.mode, theirs.mode)
            && ours != theirs
        {
            parts.push(format!(
                "mode {ours:04o} here, and {theirs:04o} in the image"
            ));
        }
        parts.join("; ")
    }
}

fn bytes(count: u64) -> String {
    match count {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: u8, size: u64, mode: u32) -> Entry {
        Entry {
            kind: NodeKind::File,
            mode: Some(mode),
            size,
            digest: Some([content; 32]),
            target: None,
        }
    }

    #[test]
    fn a_difference_is_said_in_words() {
        let ours = file(1, 5, 0o644);
        for (theirs, expected) in [
            (
                file(2, 7, 0o644),
                "a file of 5 bytes here, and a file of 7 bytes in the image",
            ),
            (file(2, 5, 0o644), "both have 5 bytes, and differ"),
            (file(1, 5, 0o755), "mode 0644 here, and 0755 in the image"),
            (
                file(2, 1, 0o755),
                "a file of 5 bytes here, and a file of 1 byte in the image; mode 0644 here, and 0755 in the image",
            ),
            (
                Entry::directory(None),
                "a file of 5 bytes here, and a directory in the image",
            ),
        ] {
            assert_eq!(ours.difference_from(&theirs), expected);
        }
    }
}
