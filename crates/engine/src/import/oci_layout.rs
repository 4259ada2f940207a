//! Images in a directory of this machine (OCI image-spec, image-layout.md).

use std::path::{Path, PathBuf};

use super::local_file::{self, FileError};
use super::plan::{Content, Plan, PlanError};
use contree_registry::Digest;
use contree_registry::manifest::{self, Descriptor, Document, Index, ManifestError};

/// Names an image in an index.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Most indexes in one another.
const NESTING: usize = 3;

/// Why a layout gives no image.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    /// It has no index.
    #[error("{} is no OCI layout: {source}", directory.display())]
    NoIndex {
        directory: PathBuf,
        source: FileError,
    },
    /// A blob cannot be read.
    #[error(transparent)]
    Blob(#[from] FileError),
    /// A blob is not what its name says.
    #[error("its blob {0} holds something else")]
    WrongBlob(Digest),
    /// A manifest or configuration is not as it should be.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No image has this name.
    #[error("it has no image `{name}`; {names}")]
    NoImage { name: String, names: String },
    /// Nothing tells which of its images is meant.
    #[error("it has several images, or none: say which, as in oci-layout:DIR:NAME; {names}")]
    Ambiguous { names: String },
    /// There are too many indexes in one another.
    #[error("its indexes lead to indexes, and to no image")]
    Nested,
    /// The image's parts do not fit each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The plan of the image that `name` names; without one, of the only image.
pub(super) fn plan(directory: &Path, name: Option<&str>) -> Result<Plan, LayoutError> {
    let index =
        local_file::read(&directory.join("index.json")).map_err(|source| LayoutError::NoIndex {
            directory: directory.to_owned(),
            source,
        })?;
    let mut document = manifest::read(&index).map_err(LayoutError::Manifest)?;
    if let (Document::Index(index), Some(name)) = (&document, name) {
        document = Document::Index(named(index, name)?);
    }
    for _ in 0..=NESTING {
        match document {
            Document::Index(index) => {
                let chosen = the_one(&index)?;
                document =
                    manifest::read(&blob(directory, chosen)?).map_err(LayoutError::Manifest)?;
            }
            Document::Image(image) => {
                let config = manifest::config(&blob(directory, &image.config)?)
                    .map_err(LayoutError::Manifest)?;
                let contents = image
                    .layers
                    .iter()
                    .map(|layer| Content::File {
                        path: place(directory, &layer.digest),
                        offset: 0,
                        length: layer.size,
                        digest: Some(layer.digest.clone()),
                    })
                    .collect();
                return Ok(Plan::of(&image.config.digest, config, contents)?);
            }
        }
    }
    Err(LayoutError::Nested)
}

fn named(index: &Index, name: &str) -> Result<Index, LayoutError> {
    let found: Vec<Descriptor> = index
        .manifests
        .iter()
        .filter(|entry| {
            entry
                .annotations
                .get(NAME)
                .is_some_and(|given| given == name)
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

/// The only image of an index, or the one for this machine.
fn the_one(index: &Index) -> Result<&Descriptor, LayoutError> {
    if let [only] = index.manifests.as_slice() {
        return Ok(only);
    }
    if index.manifests.iter().all(|entry| entry.platform.is_none()) {
        return Err(LayoutError::Ambiguous {
            names: names(index),
        });
    }
    manifest::choose(index).map_err(LayoutError::Manifest)
}

fn names(index: &Index) -> String {
    let names: Vec<&str> = index
        .manifests
        .iter()
        .filter_map(|entry| entry.annotations.get(NAME).map(String::as_str))
        .take(20)
        .collect();
    if names.is_empty() {
        "its images have no names".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    }
}

fn blob(directory: &Path, of: &Descriptor) -> Result<Vec<u8>, LayoutError> {
    let bytes = local_file::read(&place(directory, &of.digest))?;
    if Digest::of(&bytes) != of.digest {
        return Err(LayoutError::WrongBlob(of.digest.clone()));
    }
    Ok(bytes)
}

fn place(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join("blobs/sha256").join(digest.hex())
}
