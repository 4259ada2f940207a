//! Parses manifests, indexes and configurations of images (OCI image-spec 1.1; Docker's image
//! manifest version 2, schema 2).

mod image_config;
mod nullable;
mod platform;

use std::collections::BTreeMap;

use contree_error_codes::ErrorCode;
use serde::Deserialize;

pub use self::image_config::{ImageConfig, SAVED_DIRECTORY_LABEL, parse_config};
use self::nullable::null_as_default;
pub use self::platform::{Platform, this_platform};
use self::platform::{standard_architecture, variant_rank};
use super::Digest;

/// The largest manifest, index or configuration, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// The media type of an OCI manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The most layers that an image may have.
pub const MAX_LAYERS: usize = 127;

/// The media types of manifests for the `Accept` header.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A reference to content by its digest.
#[derive(Clone, Debug, Deserialize)]
pub struct Descriptor {
    /// The media type of the content.
    #[serde(rename = "mediaType", default, deserialize_with = "null_as_default")]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// Other locations of the content.
    #[serde(default, deserialize_with = "null_as_default")]
    pub urls: Vec<String>,
    /// The platform of the image, if the content is an image's manifest.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Notes of the image's author.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

/// The content of a reference: an image or an index.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Image(Manifest),
    /// Images of several platforms.
    Index(Index),
}

/// Images of several platforms.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// The images' manifests.
    pub manifests: Vec<Descriptor>,
}

/// One image: its configuration and its layers, the bottom first.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers, the bottom first.
    pub layers: Vec<Descriptor>,
}

/// A part of an image that has a digest of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePart {
    /// The manifest for this machine, which an index lists.
    Manifest,
    /// The configuration.
    Configuration,
    /// A layer.
    Layer,
}

impl std::fmt::Display for ImagePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Configuration => "configuration",
            Self::Layer => "layer",
        })
    }
}

/// The reason why an image cannot be used, as a sentence about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest or index is not valid JSON, or lacks a required field.
    #[error("its manifest is not valid: {0}")]
    Manifest(#[source] serde_json::Error),
    /// The configuration is not valid JSON, or lacks a required field.
    #[error("its configuration is not valid: {0}")]
    Configuration(#[source] serde_json::Error),
    /// The manifest has Docker's oldest format.
    #[error(
        "its manifest has Docker's schema 1, which registries abandoned in 2017: push the image again with a current tool"
    )]
    Schema1,
    /// The document is neither an image nor an index.
    #[error("it is not an image: its manifest has neither layers nor manifests, or both")]
    NeitherImageNorIndex,
    /// The configuration belongs to an artifact that is not an image.
    #[error("it is not an image, but an artifact of type `{0}`")]
    OtherArtifact(String),
    /// The configuration is too large.
    #[error("its configuration is larger than {MAX_DOCUMENT_BYTES} bytes")]
    LargeConfiguration,
    /// The image has too many layers.
    #[error("it has {0} layers, and at most {MAX_LAYERS} are supported")]
    TooManyLayers(usize),
    /// A layer is stored outside the registry.
    #[error(
        "its layer {digest} may not be distributed and is not in the registry (type `{kind}`); such layers belong to Windows images"
    )]
    ForeignLayer {
        /// The layer's digest.
        digest: Digest,
        /// Its media type.
        kind: String,
    },
    /// The media type of a layer is not supported.
    #[error("its layer {digest} is of type `{kind}`, which is not supported")]
    UnknownLayer {
        /// The layer's digest.
        digest: Digest,
        /// Its media type.
        kind: String,
    },
    /// The registry lacks a part of the image.
    #[error(
        "the image is incomplete in the registry, which does not have its {part} {digest}: push the image again"
    )]
    MissingPart {
        /// The kind of the part.
        part: ImagePart,
        /// The digest of the part.
        digest: Digest,
    },
    /// The index has no image for this machine.
    #[error("it has no image for this machine ({here}); it has images for {others}")]
    NoPlatform {
        /// The platform of this machine.
        here: Box<Platform>,
        /// The platforms of its images, separated by commas.
        others: String,
    },
    /// The image is for another kind of machine.
    #[error("it is an image for {platform}, but this machine is {here}")]
    OtherPlatform {
        /// The image's platform.
        platform: Box<Platform>,
        /// The platform of this machine.
        here: Box<Platform>,
    },
}

impl ManifestError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Manifest(_)
            | Self::Configuration(_)
            | Self::Schema1
            | Self::NeitherImageNorIndex
            | Self::OtherArtifact(_)
            | Self::LargeConfiguration
            | Self::TooManyLayers(_)
            | Self::ForeignLayer { .. }
            | Self::UnknownLayer { .. } => ErrorCode::ImageUnusable,
            Self::MissingPart { .. } => ErrorCode::ImageIncomplete,
            Self::NoPlatform { .. } | Self::OtherPlatform { .. } => ErrorCode::OtherPlatform,
        }
    }
}

/// Parses a manifest or an index.
///
/// # Errors
/// Returns the reason why the document cannot be used.
pub fn parse(bytes: &[u8]) -> Result<Document, ManifestError> {
    #[derive(Deserialize)]
    struct DocumentFields {
        #[serde(rename = "schemaVersion", default)]
        schema: u32,
        manifests: Option<serde_json::Value>,
        layers: Option<serde_json::Value>,
    }
    let invalid = ManifestError::Manifest;
    let fields: DocumentFields = serde_json::from_slice(bytes).map_err(invalid)?;
    if fields.schema == 1 {
        return Err(ManifestError::Schema1);
    }
    match (fields.manifests, fields.layers) {
        (Some(_), None) => Ok(Document::Index(
            serde_json::from_slice(bytes).map_err(invalid)?,
        )),
        (None, Some(_)) => {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(invalid)?;
            check(&manifest)?;
            Ok(Document::Image(manifest))
        }
        _ => Err(ManifestError::NeitherImageNorIndex),
    }
}

fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    // Some registries and tools give the configuration a general type, such as
    // application/octet-stream. Then its content decides. Artifacts have types of their own.
    let kind = manifest.config.media_type.as_str();
    let is_image = kind.contains("container.image") || kind.contains("oci.image.config");
    if kind.starts_with("application/vnd.") && !is_image {
        return Err(ManifestError::OtherArtifact(kind.to_owned()));
    }
    if manifest.config.size > MAX_DOCUMENT_BYTES as u64 {
        return Err(ManifestError::LargeConfiguration);
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(ManifestError::TooManyLayers(manifest.layers.len()));
    }
    manifest.layers.iter().try_for_each(check_layer)
}

fn check_layer(layer: &Descriptor) -> Result<(), ManifestError> {
    let kind = layer.media_type.as_str();
    if kind.contains("foreign") || kind.contains("nondistributable") {
        return Err(ManifestError::ForeignLayer {
            digest: layer.digest.clone(),
            kind: kind.to_owned(),
        });
    }
    let known = kind.is_empty()
        || ["", "+gzip", "+zstd"]
            .iter()
            .any(|end| kind == format!("application/vnd.oci.image.layer.v1.tar{end}"))
        || ["", ".gzip", ".zstd"]
            .iter()
            .any(|end| kind == format!("application/vnd.docker.image.rootfs.diff.tar{end}"));
    if known {
        return Ok(());
    }
    Err(ManifestError::UnknownLayer {
        digest: layer.digest.clone(),
        kind: kind.to_owned(),
    })
}

/// The media type that a manifest states, or the type of an OCI manifest if it states no type.
pub fn media_type(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct StatedMediaType {
        #[serde(rename = "mediaType", default)]
        media_type: Option<String>,
    }
    serde_json::from_slice::<StatedMediaType>(bytes)
        .ok()
        .and_then(|stated| stated.media_type)
        .filter(|stated| !stated.is_empty())
        .unwrap_or_else(|| MANIFEST_TYPE.to_owned())
}

/// Chooses the manifest of an index that is for this machine.
///
/// # Errors
/// Returns [`ManifestError::NoPlatform`] with the available platforms if no image is for this
/// machine.
pub fn choose_manifest(index: &Index) -> Result<&Descriptor, ManifestError> {
    let here = this_platform();
    let images: Vec<&Descriptor> = index
        .manifests
        .iter()
        // Attestations are entries of an index as well, with the platform `unknown`.
        .filter(|entry| entry.platform.as_ref().is_none_or(|p| p.os != "unknown"))
        .collect();
    if let [only] = images.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let rank = |entry: &Descriptor| {
        let platform = entry.platform.as_ref()?;
        let architecture = standard_architecture(&platform.architecture);
        if (platform.os.as_str(), architecture) != ("linux", here.architecture.as_str()) {
            return None;
        }
        variant_rank(&here, platform.variant.as_deref())
    };
    let best = images
        .iter()
        .filter_map(|entry| rank(entry).map(|rank| (rank, *entry)))
        .min_by_key(|(rank, _)| *rank);
    if let Some((_, entry)) = best {
        return Ok(entry);
    }
    let mut others: Vec<String> = images
        .iter()
        .map(|entry| {
            entry
                .platform
                .as_ref()
                .map_or_else(|| "an unnamed platform".into(), ToString::to_string)
        })
        .collect();
    others.sort();
    others.dedup();
    others.truncate(20);
    Err(ManifestError::NoPlatform {
        here: Box::new(here),
        others: if others.is_empty() {
            "no platform".to_owned()
        } else {
            others.join(", ")
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(platform: serde_json::Value) -> serde_json::Value {
        json!({"digest": Digest::of(platform.to_string().as_bytes()), "size": 1, "platform": platform})
    }

    fn index(platforms: &[serde_json::Value]) -> Index {
        let manifests: Vec<_> = platforms.iter().cloned().map(descriptor).collect();
        match parse(
            json!({"schemaVersion": 2, "manifests": manifests})
                .to_string()
                .as_bytes(),
        ) {
            Ok(Document::Index(index)) => index,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn this_machines_image_is_chosen() {
        let here = this_platform().architecture;
        let matching = json!({"os": "linux", "architecture": here});
        let unknown = json!({"os": "unknown", "architecture": "unknown"});
        let windows = json!({"os": "windows", "architecture": here});
        let other = json!({"os": "linux", "architecture": "strange"});
        let all = index(&[
            windows.clone(),
            other.clone(),
            unknown.clone(),
            matching.clone(),
        ]);
        assert_eq!(
            choose_manifest(&all).unwrap().digest,
            all.manifests[3].digest
        );
        let error = choose_manifest(&index(&[windows, other, unknown]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("linux/strange, windows/") && !error.contains("unknown"),
            "{error}"
        );
        if here == "amd64" {
            let variants = index(&[
                json!({"os": "linux", "architecture": "amd64", "variant": "v3"}),
                json!({"os": "linux", "architecture": "amd64", "variant": "v1"}),
            ]);
            assert_eq!(
                choose_manifest(&variants).unwrap().digest,
                variants.manifests[1].digest
            );
        }
        let unnamed = index(&[json!(null)]);
        assert!(choose_manifest(&unnamed).is_ok());
    }

    #[test]
    fn errors_say_why_a_document_is_not_an_image() {
        let digest = Digest::of(b"");
        let layer = |kind: &str| json!({"mediaType": kind, "digest": digest, "size": 1});
        let manifest = |kind: &str, layers: Vec<serde_json::Value>| json!({"schemaVersion": 2, "config": {"mediaType": kind, "digest": digest, "size": 1}, "layers": layers});
        let oci = "application/vnd.oci.image.config.v1+json";
        for (document, word) in [
            (json!({"schemaVersion": 1}), "schema 1"),
            (json!({"schemaVersion": 2}), "not an image"),
            (json!([1]), "not valid"),
            (
                manifest("application/vnd.cncf.helm.config.v1+json", vec![]),
                "helm",
            ),
            (
                manifest(
                    oci,
                    vec![layer(
                        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                    )],
                ),
                "Windows",
            ),
            (
                manifest(
                    oci,
                    vec![layer(
                        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                    )],
                ),
                "encrypted",
            ),
            (manifest(oci, vec![layer(""); 128]), "128 layers"),
        ] {
            let error = parse(document.to_string().as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{error}");
        }
        let bad = json!({"schemaVersion": 2, "layers": [], "config": {"digest": "sha256:../../x", "size": 1}});
        assert!(parse(bad.to_string().as_bytes()).is_err());
    }

    #[test]
    fn documents_of_unusual_tools_are_read() {
        let digest = Digest::of(b"");
        for kind in [
            json!("application/octet-stream"),
            json!("application/json"),
            json!("text/html"),
            json!(""),
            json!(null),
        ] {
            let manifest = json!({
                "schemaVersion": 2, "annotations": null,
                "config": {"mediaType": kind, "digest": digest, "size": 1, "annotations": null},
                "layers": [{
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 1,
                    "urls": ["https://mirror.example/layer"],
                }, {"mediaType": null, "digest": digest, "size": 1, "urls": null, "annotations": null}],
            });
            let parsed = parse(manifest.to_string().as_bytes());
            assert!(
                matches!(parsed, Ok(Document::Image(_))),
                "{kind}: {parsed:?}"
            );
        }
        let kernels_name = std::env::consts::ARCH;
        let all = index(&[
            json!({"os": "linux", "architecture": "strange", "variant": null}),
            json!({"os": "linux", "architecture": kernels_name, "variant": null}),
        ]);
        assert_eq!(
            choose_manifest(&all).unwrap().digest,
            all.manifests[1].digest
        );
        let config = json!({"architecture": kernels_name, "os": null, "rootfs": {"diff_ids": []}, "config": null});
        assert!(parse_config(config.to_string().as_bytes()).is_ok());
    }
}
