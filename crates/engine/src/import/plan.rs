//! Plans an import: the layers of the image, and where their archives are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use contree_registry::Digest;
use contree_registry::manifest::{Descriptor, ImageConfig, Platform, this_platform};
use contree_registry::push::layer::LayerCompression;

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
    /// The saved working directory of an image that was pushed from here or from another engine.
    pub(super) saved_directory: Option<String>,
    /// The manifest and the configuration, as they are in a registry or layout.
    pub(super) document: Option<ImageDocument>,
    pub(super) platform: Platform,
    /// The layers, the bottom first.
    pub(super) layers: Vec<LayerPlan>,
    /// The size of the file that holds all layers, if there is one. It may be compressed as a
    /// whole.
    pub(super) source_bytes: Option<u64>,
}

/// The manifest and the configuration of an image, byte for byte.
#[derive(Clone, Debug)]
pub(super) struct ImageDocument {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
}

/// The archive of a layer where the image is imported from.
#[derive(Clone, Debug)]
pub(super) struct StoredArchive {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media_type: String,
    /// The digest of the decompressed archive.
    pub(super) diff_id: Digest,
}

impl StoredArchive {
    /// Sets the media type of an archive that states none, since a push has to state one.
    pub(super) fn with_detected(mut self, compression: Option<LayerCompression>) -> Self {
        if let (true, Some(compression)) = (self.media_type.is_empty(), compression) {
            self.media_type = compression.media_type().to_owned();
        }
        self
    }
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
    /// The archive as it is stored, if it has a digest of its own.
    pub(super) archive: Option<StoredArchive>,
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
                    archive: None,
                }
            })
            .collect();
        Ok(Self {
            key: Some(key.to_string()),
            env: config.env,
            saved_directory: config.saved_directory,
            document: None,
            platform: config.platform,
            layers,
            source_bytes: None,
        })
    }

    /// Adds the manifest and the configuration, and the archives that the manifest lists.
    pub(super) fn with_document(mut self, document: ImageDocument, layers: &[Descriptor]) -> Self {
        for (layer, descriptor) in self.layers.iter_mut().zip(layers) {
            layer.archive = layer.diff_id.clone().map(|diff_id| StoredArchive {
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                media_type: descriptor.media_type.clone(),
                diff_id,
            });
        }
        self.document = Some(document);
        self
    }

    /// Plans the import of a root filesystem archive as a single layer.
    pub(super) fn from_rootfs(location: ArchiveLocation) -> Self {
        Self {
            key: None,
            env: BTreeMap::new(),
            saved_directory: None,
            document: None,
            platform: this_platform(),
            layers: vec![LayerPlan {
                diff_id: None,
                chain_id: None,
                location,
                archive: None,
            }],
            source_bytes: None,
        }
    }
}

/// Computes the ChainID of a layer.
pub(crate) fn chain_id(below: Option<&Digest>, diff: &Digest) -> Digest {
    match below {
        None => diff.clone(),
        Some(below) => Digest::of(format!("{below} {diff}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_without_a_media_type_gets_that_of_its_compression() {
        let archive = |media_type: &str| StoredArchive {
            digest: Digest::of(b"packed"),
            size: 6,
            media_type: media_type.to_owned(),
            diff_id: Digest::of(b"unpacked"),
        };
        for (stated, compression, media_type) in [
            (
                "",
                Some(LayerCompression::Zstd),
                "application/vnd.oci.image.layer.v1.tar+zstd",
            ),
            (
                "",
                Some(LayerCompression::None),
                "application/vnd.oci.image.layer.v1.tar",
            ),
            ("", None, ""),
            ("stated", Some(LayerCompression::Gzip), "stated"),
        ] {
            let detected = archive(stated).with_detected(compression);
            assert_eq!(detected.media_type, media_type);
        }
    }
}
