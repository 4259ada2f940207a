//! The plan of the new root, collected before anything is written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One path of the new root.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Directory {
        mode: u32,
    },
    File(HostFile),
    Text(Vec<u8>),
    Symlink {
        target: OsString,
    },
    /// A hard link to another file of the plan.
    HardLink {
        path: PathBuf,
    },
}

/// A file of the host, with data to recognize it later.
#[derive(Debug, Clone)]
pub(super) struct HostFile {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) links: u64,
    pub(super) bytes: u64,
    pub(super) executable: bool,
    pub(super) modified: Option<SystemTime>,
}

impl HostFile {
    pub(super) fn of(metadata: &Metadata) -> HostFile {
        HostFile {
            device: metadata.dev(),
            inode: metadata.ino(),
            links: metadata.nlink(),
            bytes: metadata.len(),
            executable: metadata.mode() & 0o111 != 0,
            modified: metadata.modified().ok(),
        }
    }

    pub(super) fn is_same_file(&self, other: &HostFile) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The new root, by absolute path. Parents sort before their children.
#[derive(Debug, Default)]
pub(super) struct Plan {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Plan {
    /// Adds a path and its parents. An existing node stays, because it came from the same host.
    ///
    /// Nothing is added below a link, so that writing the plan never follows one.
    pub(super) fn add(&mut self, path: &Path, node: Node) {
        let known = path
            .ancestors()
            .skip(1)
            .find_map(|parent| self.nodes.get(parent));
        if known.is_some_and(|parent| !matches!(parent, Node::Directory { .. })) {
            return;
        }
        for parent in path.ancestors().skip(1) {
            self.nodes
                .entry(parent.to_owned())
                .or_insert(Node::Directory { mode: 0o755 });
        }
        self.nodes.entry(path.to_owned()).or_insert(node);
    }

    pub(super) fn extend(&mut self, nodes: impl IntoIterator<Item = (PathBuf, Node)>) {
        for (path, node) in nodes {
            self.add(&path, node);
        }
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.nodes.contains_key(path)
    }

    /// The bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |node: &Node| match node {
            Node::File(file) => file.bytes,
            Node::Text(text) => text.len() as u64,
            Node::Directory { .. } | Node::Symlink { .. } | Node::HardLink { .. } => 0,
        };
        self.nodes.values().map(bytes).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_path(), node))
    }
}
