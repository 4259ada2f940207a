//! What an import has to do: which layers make up the image, and where they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use contree_registry::Digest;
use contree_registry::manifest::{Config, Descriptor, Platform, this_platform};

/// Why the parts of an image do not make one.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// Manifest and configuration disagree.
    #[error("its manifest has {manifest} layers, and its configuration tells of {configuration}")]
    LayerCount {
        manifest: usize,
        configuration: usize,
    },
    /// There is nothing to unpack.
    #[error("it has no layers")]
    NoLayers,
}

/// An image to be made.
pub(super) struct Plan {
    /// What the image is known by when it is imported again.
    pub(super) key: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) platform: Platform,
    /// The bottom first.
    pub(super) layers: Vec<LayerPlan>,
}

/// One layer of it.
#[derive(Clone, Debug)]
pub(super) struct LayerPlan {
    /// The digest of the unpacked archive, if it is known before.
    pub(super) diff: Option<Digest>,
    /// The layer and all below it (OCI image-spec, config.md, "Layer ChainID").
    pub(super) chain: Option<Digest>,
    pub(super) content: Content,
}

/// Where a layer's archive is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// In the registry.
    Remote(Descriptor),
    /// A part of a file of this machine.
    File {
        path: PathBuf,
        offset: u64,
        length: u64,
        /// Of that part, to be checked while it is read.
        digest: Option<Digest>,
    },
}

impl Content {
    /// Bytes of the archive as it is packed.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Remote(descriptor) => descriptor.size,
            Self::File { length, .. } => *length,
        }
    }
}

impl Plan {
    /// The plan of an image with this configuration, whose digest is `key`.
    ///
    /// # Errors
    /// If the configuration tells of another number of layers.
    pub(super) fn of(
        key: &Digest,
        config: Config,
        contents: Vec<Content>,
    ) -> Result<Self, PlanError> {
        if config.diff_ids.len() != contents.len() {
            return Err(PlanError::LayerCount {
                manifest: contents.len(),
                configuration: config.diff_ids.len(),
            });
        }
        if contents.is_empty() {
            return Err(PlanError::NoLayers);
        }
        let mut chain: Option<Digest> = None;
        let layers = config
            .diff_ids
            .into_iter()
            .zip(contents)
            .map(|(diff, content)| {
                let here = chain_id(chain.as_ref(), &diff);
                chain = Some(here.clone());
                LayerPlan {
                    diff: Some(diff),
                    chain: Some(here),
                    content,
                }
            })
            .collect();
        Ok(Self {
            key: Some(key.to_string()),
            env: config.env,
            platform: config.platform,
            layers,
        })
    }

    /// The plan of an archive of files.
    pub(super) fn of_files(content: Content) -> Self {
        Self {
            key: None,
            env: BTreeMap::new(),
            platform: this_platform(),
            layers: vec![LayerPlan {
                diff: None,
                chain: None,
                content,
            }],
        }
    }
}

/// Names a layer with all that is below it.
pub(super) fn chain_id(below: Option<&Digest>, diff: &Digest) -> Digest {
    match below {
        None => diff.clone(),
        Some(below) => Digest::finish(Sha256::new_with_prefix(format!("{below} {diff}"))),
    }
}
