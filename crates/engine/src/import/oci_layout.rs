//! Reads images from a local OCI layout directory (OCI image-spec, image-layout.md).

use std::path::{Path, PathBuf};

use super::local_file::{self, FileError};
use super::plan::{ArchiveLocation, ImageDocument, ImportPlan, PlanError};
use contree_registry::Digest;
use contree_registry::manifest::{self, Descriptor, Document, Index, ManifestError};

/// The annotation that names an image in an index.
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// The most levels of nested indexes.
const MAX_NESTING: usize = 3;

/// The reason why a layout cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    /// It has no index.
    #[error("{} is not an OCI layout: {source}", directory.display())]
    NoIndex {
        directory: PathBuf,
        source: FileError,
    },
    /// The index or a blob cannot be read.
    #[error(transparent)]
    Blob(#[from] FileError),
    /// A blob does not have the digest in its name.
    #[error("the content of its blob {0} does not match this digest")]
    WrongBlob(Digest),
    /// A manifest or configuration is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No image in it has this name.
    #[error("it has no image `{name}`; {names}")]
    NoImage { name: String, names: String },
    /// It does not have exactly one image, and the request names none.
    #[error("it does not have exactly one image: name one, as in oci-layout:DIR:NAME; {names}")]
    Ambiguous { names: String },
    /// It has no image at all.
    #[error("it has no images")]
    Empty,
    /// Its indexes are nested too deeply.
    #[error("its indexes are nested more than {MAX_NESTING} levels deep")]
    Nested,
    /// The manifest and the configuration of the image do not match.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Makes the plan of the image with this name, or of the only image if there is no name.
pub(super) fn plan(directory: &Path, name: Option<&str>) -> Result<ImportPlan, LayoutError> {
    let index = local_file::read(&directory.join("index.json")).map_err(|source| {
        if !source.is_missing() {
            return LayoutError::Blob(source);
        }
        LayoutError::NoIndex {
            directory: directory.to_owned(),
            source,
        }
    })?;
    let mut document = manifest::parse(&index).map_err(LayoutError::Manifest)?;
    if let (Document::Index(index), Some(name)) = (&document, name) {
        document = Document::Index(entries_named(index, name)?);
    }
    let mut bytes = index;
    for _ in 0..=MAX_NESTING {
        match document {
            Document::Index(index) => {
                let chosen = choose_image(&index)?;
                bytes = read_blob(directory, chosen)?;
                document = manifest::parse(&bytes).map_err(LayoutError::Manifest)?;
            }
            Document::Image(image) => {
                let config_bytes = read_blob(directory, &image.config)?;
                let config =
                    manifest::parse_config(&config_bytes).map_err(LayoutError::Manifest)?;
                let locations = image
                    .layers
                    .iter()
                    .map(|layer| ArchiveLocation::File {
                        path: blob_path(directory, &layer.digest),
                        offset: 0,
                        length: layer.size,
                        digest: Some(layer.digest.clone()),
                    })
                    .collect();
                let plan = ImportPlan::from_config(&image.config.digest, config, locations)?;
                let document = ImageDocument {
                    manifest: bytes,
                    config: config_bytes,
                };
                return Ok(plan.with_document(document, &image.layers));
            }
        }
    }
    Err(LayoutError::Nested)
}

/// The entries of an index with this name or digest.
fn entries_named(index: &Index, name: &str) -> Result<Index, LayoutError> {
    let found: Vec<Descriptor> = index
        .manifests
        .iter()
        .filter(|entry| {
            entry
                .annotations
                .get(NAME_ANNOTATION)
                .is_some_and(|value| value == name)
                || entry.digest.to_string() == name
        })
        .cloned()
        .collect();
    if found.is_empty() {
        return Err(LayoutError::NoImage {
            name: name.to_owned(),
            names: names(index),
        });
    }
    Ok(Index { manifests: found })
}

/// Chooses the only image of an index, or the one for this machine.
fn choose_image(index: &Index) -> Result<&Descriptor, LayoutError> {
    match index.manifests.as_slice() {
        [] => return Err(LayoutError::Empty),
        [only] => return Ok(only),
        _ => {}
    }
    if index.manifests.iter().all(|entry| entry.platform.is_none()) {
        return Err(LayoutError::Ambiguous {
            names: names(index),
        });
    }
    manifest::choose_manifest(index).map_err(LayoutError::Manifest)
}

fn names(index: &Index) -> String {
    let names: Vec<&str> = index
        .manifests
        .iter()
        .filter_map(|entry| entry.annotations.get(NAME_ANNOTATION).map(String::as_str))
        .take(20)
        .collect();
    if names.is_empty() {
        "its images have no names".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    }
}

fn read_blob(directory: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
    let bytes = local_file::read(&blob_path(directory, &descriptor.digest))?;
    if Digest::of(&bytes) != descriptor.digest {
        return Err(LayoutError::WrongBlob(descriptor.digest.clone()));
    }
    Ok(bytes)
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join("blobs/sha256").join(digest.hex())
}
