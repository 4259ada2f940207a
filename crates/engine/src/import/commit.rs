//! Commits the layers of an import as an image, in one transaction.

use std::collections::BTreeMap;

use chrono::Utc;
use rusqlite::Connection;
use uuid::Uuid;

use super::plan::ImageDocument;
use super::prepared::{PreparedImage, PreparedLayer, UnpackedSize};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::DEFAULT_PATH;
use crate::layer_note::{self, LayerNote, NotedImage, NotedLayer, NotedTag};
use crate::rows::operations::{self, OperationEnding, Status};
use crate::rows::{images, imports, layers, pushes};
use contree_registry::manifest::media_type;
use contree_sqlite::DatabaseError;

/// The error of an import whose shared layers were removed before the commit. Held layers are not
/// pruned, so this needs a lost layer.
const LOST_LAYERS: &str =
    "layers that the image shares with others were lost during the import; import it again";

/// Makes the image, moves the tag to it, and ends the operation.
pub(super) fn commit(
    engine: &Engine,
    operation: Uuid,
    prepared: &PreparedImage,
    tag: Option<&str>,
    ending: &OperationEnding,
) -> Result<OperationEnding, ApiError> {
    let mut notes = Vec::new();
    let committed = engine.rows.write(|t| {
        let image = match prepared {
            PreparedImage::Existing { image, .. } => {
                images::by_uuid(t, *image)?.filter(|image| !image.lost)
            }
            PreparedImage::New {
                key,
                env,
                cwd,
                document,
                source,
                layers,
                ..
            } => match imports::find(t, key)? {
                // Another engine has made the image first.
                Some(image) => images::by_uuid(t, image)?,
                None => {
                    let image = make_image(t, operation, key, (env, cwd), layers, &mut notes)?;
                    if let Some(image) = &image {
                        record_document(t, key, image, document.as_ref(), source, layers)?;
                    }
                    image
                }
            },
        };
        // From here on, the image itself keeps its layers from being pruned.
        if let Some(held) = prepared.held() {
            layers::remove(t, held)?;
        }
        let Some(image) = image else {
            return Ok(None);
        };
        if let Some(tag) = tag {
            images::set_tag(t, tag, image.uuid)?;
            let tag = NotedTag::now(tag, image.uuid, false);
            notes.push((image.layer, LayerNote::Tag(tag)));
        }
        let bytes = layers::chain(t, image.layer)?
            .iter()
            .map(|layer| layer.bytes)
            .sum();
        let ending = OperationEnding {
            status: Status::Success,
            error: None,
            code: None,
            result_image: Some(image.uuid),
            outcome: None,
            image_size: Some(bytes),
            ended_at: ending.ended_at,
        };
        operations::end(t, operation, &ending)?;
        Ok(Some(ending))
    })?;
    for (layer, note) in notes {
        layer_note::add(engine, layer, &note);
    }
    engine.committed.notify_one();
    committed.ok_or_else(|| ApiError::internal(LOST_LAYERS))
}

/// Records the manifest of an image and the archives of its layers, which a push then finds or
/// mounts.
fn record_document(
    t: &Connection,
    key: &str,
    image: &images::Image,
    document: Option<&ImageDocument>,
    source: &Option<String>,
    prepared: &[PreparedLayer],
) -> Result<(), DatabaseError> {
    let layers = layers::ancestors(t, image.layer)?;
    for (layer, prepared) in layers.iter().rev().zip(prepared) {
        let Some(archive) = &prepared.archive else {
            continue;
        };
        let archive = pushes::LayerArchive {
            digest: archive.digest.to_string(),
            size: archive.size,
            media_type: archive.media_type.clone(),
            diff_id: archive.diff_id.to_string(),
            chain: prepared.chain.to_string(),
            source: source.clone(),
        };
        pushes::add_archive(t, *layer, &archive)?;
    }
    if let Some(document) = document {
        let imported = pushes::ImportedManifest {
            layer: image.layer,
            media_type: media_type(&document.manifest),
            manifest: document.manifest.clone(),
            config: document.config.clone(),
        };
        pushes::add_manifest(t, key, &imported)?;
    }
    Ok(())
}

/// Makes an image of these layers, the bottom first. A layer that another import has completed
/// meanwhile replaces this import's copy. Returns `None` if a shared layer is gone. Adds to `notes`
/// what the layers say about themselves.
fn make_image(
    t: &Connection,
    operation: Uuid,
    key: &str,
    (env, cwd): (&BTreeMap<String, String>, &str),
    prepared: &[PreparedLayer],
    notes: &mut Vec<(u64, LayerNote)>,
) -> Result<Option<images::Image>, DatabaseError> {
    let mut top = None;
    for layer in prepared {
        let chain = layer.chain.to_string();
        let existing = layers::by_chain(t, &chain)?;
        top = match (existing, layer.unpacked) {
            (Some(id), _) => Some(id),
            (None, Some(UnpackedSize { bytes, .. })) => {
                layers::mark_imported_ready(t, layer.id, top, bytes, &chain)?;
                let noted = NotedLayer {
                    parent: top,
                    bytes,
                    chain: Some(chain),
                    stands_for: None,
                    files: None,
                };
                notes.push((layer.id, LayerNote::Layer(noted)));
                Some(layer.id)
            }
            (None, None) => return Ok(None),
        };
    }
    let Some(layer) = top else {
        return Ok(None);
    };
    let mut env = env.clone();
    env.entry("PATH".to_owned())
        .or_insert_with(|| DEFAULT_PATH.to_owned());
    let image = images::Image {
        uuid: Uuid::new_v4(),
        layer,
        env,
        cwd: cwd.to_owned(),
        operation: Some(operation),
        lost: false,
        created_at: Utc::now(),
    };
    images::insert(t, &image)?;
    imports::record(t, key, image.uuid)?;
    let noted = NotedImage {
        import_key: Some(key.to_owned()),
        ..NotedImage::of(&image)
    };
    notes.push((layer, LayerNote::Image(noted)));
    Ok(Some(image))
}
