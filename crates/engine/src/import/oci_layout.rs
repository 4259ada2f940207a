//! Images in a directory of this machine (OCI image-spec, image-layout.md).

use std::path::Path;

use super::local_file;
use super::plan::{Content, Plan};
use contree_registry::Digest;
use contree_registry::manifest::{self, Descriptor, Document, Index};

/// Names an image in an index.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Most indexes in one another.
const NESTING: usize = 3;

/// The plan of the image that `name` names; without one, of the only image.
pub(super) fn plan(directory: &Path, name: Option<&str>) -> Result<Plan, String> {
    let index = local_file::read(&directory.join("index.json"))
        .map_err(|why| format!("{} is no OCI layout: {why}", directory.display()))?;
    let mut document = manifest::read(&index)?;
    if let (Document::Index(index), Some(name)) = (&document, name) {
        document = Document::Index(named(index, name)?);
    }
    for _ in 0..=NESTING {
        match document {
            Document::Index(index) => {
                let chosen = the_one(&index)?;
                document = manifest::read(&blob(directory, chosen)?)?;
            }
            Document::Image(image) => {
                let config = manifest::config(&blob(directory, &image.config)?)?;
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
                return Plan::of(&image.config.digest, config, contents);
            }
        }
    }
    Err("its indexes lead to indexes, and to no image".to_owned())
}

fn named(index: &Index, name: &str) -> Result<Index, String> {
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
        return Err(format!("it has no image `{name}`; {}", names(index)));
    }
    Ok(Index { manifests: found })
}

/// The only image of an index, or the one for this machine.
fn the_one(index: &Index) -> Result<&Descriptor, String> {
    if let [only] = index.manifests.as_slice() {
        return Ok(only);
    }
    if index.manifests.iter().all(|entry| entry.platform.is_none()) {
        return Err(format!(
            "it has several images, or none: say which, as in oci-layout:DIR:NAME; {}",
            names(index)
        ));
    }
    manifest::choose(index)
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

fn blob(directory: &Path, of: &Descriptor) -> Result<Vec<u8>, String> {
    let bytes = local_file::read(&place(directory, &of.digest))?;
    if Digest::of(&bytes) != of.digest {
        return Err(format!("its blob {} holds something else", of.digest));
    }
    Ok(bytes)
}

fn place(directory: &Path, digest: &Digest) -> std::path::PathBuf {
    directory.join("blobs/sha256").join(digest.hex())
}
