//! Plans an import: the layers of the image, and where their archives are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use contree_registry::Digest;
use contree_registry::manifest::{Descriptor, ImageConfig, Platform, this_platform};

/// The reason why a manifest and a configuration do not describe one image.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// They have different numbers of layers.
    #[error("its manifest has {manifest} layers, but its configuration lists {configuration}")]
    LayerCount {
        manifest: usize,
        configuration: usize,
    },
    /// The image has no layers.
    #[error("it has no layers")]
    NoLayers,
}

/// The plan for importing an image.
pub(super) struct ImportPlan {
    /// The digest of the image's configuration, by which a later import recognises the image.
    /// `None` for a root filesystem archive, which has no configuration.
    pub(super) key: Option<String>,
    /// The environment variables of the image.
    pub(super) env: BTreeMap<String, String>,
    pub(super) platform: Platform,
    /// The layers, the bottom first.
    pub(super) layers: Vec<LayerPlan>,
    /// The size of the file that holds all layers, if there is one. It may be compressed as a
    /// whole.
    pub(super) source_bytes: Option<u64>,
}

/// The plan for importing one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerPlan {
    /// The digest of the decompressed archive, if it is known before decompression.
    pub(super) diff_id: Option<Digest>,
    /// The ChainID of the layer, which covers it and all layers below it (OCI image-spec,
    /// config.md, "Layer ChainID").
    pub(super) chain_id: Option<Digest>,
    pub(super) location: ArchiveLocation,
}

/// The location of a layer's archive.
#[derive(Clone, Debug)]
pub(super) enum ArchiveLocation {
    /// In the registry.
    Remote(Descriptor),
    /// A part of a local file.
    File {
        path: PathBuf,
        offset: u64,
        length: u64,
        /// The digest of that part, to be checked while it is read.
        digest: Option<Digest>,
    },
}

impl ArchiveLocation {
    /// The size of the archive in bytes, before decompression.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Remote(descriptor) => descriptor.size,
            Self::File { length, .. } => *length,
        }
    }
}

impl ImportPlan {
    /// Plans an image with this configuration, whose digest is `key`.
    ///
    /// # Errors
    /// Fails if the configuration and `locations` differ in their number of layers, or have none.
    pub(super) fn from_config(
        key: &Digest,
        config: ImageConfig,
        locations: Vec<ArchiveLocation>,
    ) -> Result<Self, PlanError> {
        if config.diff_ids.len() != locations.len() {
            return Err(PlanError::LayerCount {
                manifest: locations.len(),
                configuration: config.diff_ids.len(),
            });
        }
        if locations.is_empty() {
            return Err(PlanError::NoLayers);
        }
        let mut chain: Option<Digest> = None;
        let layers = config
            .diff_ids
            .into_iter()
            .zip(locations)
            .map(|(diff, location)| {
                let layer_chain = chain_id(chain.as_ref(), &diff);
                chain = Some(layer_chain.clone());
                LayerPlan {
                    diff_id: Some(diff),
                    chain_id: Some(layer_chain),
                    location,
                }
            })
            .collect();
        Ok(Self {
            key: Some(key.to_string()),
            env: config.env,
            platform: config.platform,
            layers,
            source_bytes: None,
        })
    }

    /// Plans the import of a root filesystem archive as a single layer.
    pub(super) fn from_rootfs(location: ArchiveLocation) -> Self {
        Self {
            key: None,
            env: BTreeMap::new(),
            platform: this_platform(),
            layers: vec![LayerPlan {
                diff_id: None,
                chain_id: None,
                location,
            }],
            source_bytes: None,
        }
    }
}

/// Computes the ChainID of a layer.
pub(super) fn chain_id(below: Option<&Digest>, diff: &Digest) -> Digest {
    match below {
        None => diff.clone(),
        Some(below) => Digest::of(format!("{below} {diff}").as_bytes()),
    }
}
