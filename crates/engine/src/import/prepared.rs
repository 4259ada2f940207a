//! What an import has got, before it becomes an image.

use std::collections::BTreeMap;

use contree_registry::Digest;
use uuid::Uuid;

/// What is ready to become an image.
pub(super) enum PreparedImage {
    /// It is one already, and the layer that holds it.
    Known { image: Uuid, held: u64 },
    /// Layers, the bottom first.
    New {
        key: String,
        env: BTreeMap<String, String>,
        layers: Vec<PreparedLayer>,
        /// The layer that holds those that other images have as well.
        held: Option<u64>,
    },
}

impl PreparedImage {
    /// The layer that holds what the import counts on.
    pub(super) fn held(&self) -> Option<u64> {
        match self {
            Self::Known { held, .. } => Some(*held),
            Self::New { held, .. } => *held,
        }
    }
}

/// A layer of an image that is being made.
#[derive(Clone, Debug)]
pub(super) struct PreparedLayer {
    pub(super) id: u64,
    pub(super) chain: Digest,
    /// Disk space, if it was unpacked by this import.
    pub(super) made: Option<u64>,
}
