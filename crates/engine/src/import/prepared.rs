//! The result of preparing an import, before its commit.

use std::collections::BTreeMap;

use contree_registry::Digest;
use uuid::Uuid;

use super::plan::{ImageDocument, StoredArchive};

/// An image that is ready to be committed.
pub(super) enum PreparedImage {
    /// An image that exists already, and the reserved layer that holds it.
    Existing { image: Uuid, held: u64 },
    /// The layers of a new image, the bottom first.
    New {
        key: String,
        env: BTreeMap<String, String>,
        /// The saved working directory. Empty if there is none.
        cwd: String,
        document: Option<ImageDocument>,
        /// The registry's repository or the layout that has the archives of the layers.
        source: Option<String>,
        layers: Vec<PreparedLayer>,
        /// The reserved layer that holds the layers shared with other images.
        held: Option<u64>,
    },
}

impl PreparedImage {
    /// The reserved layer that keeps shared layers from being pruned.
    pub(super) fn held(&self) -> Option<u64> {
        match self {
            Self::Existing { held, .. } => Some(*held),
            Self::New { held, .. } => *held,
        }
    }
}

/// The size of what an import has unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnpackedSize {
    /// Bytes on disk.
    pub(super) bytes: u64,
    /// Members of the archive and the directories that it implies.
    pub(super) entries: u64,
}

/// A layer of an image that is being imported.
#[derive(Clone, Debug)]
pub(super) struct PreparedLayer {
    pub(super) id: u64,
    pub(super) chain: Digest,
    pub(super) archive: Option<StoredArchive>,
    /// The size of the layer, if this import unpacked it.
    pub(super) unpacked: Option<UnpackedSize>,
}
