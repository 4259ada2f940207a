//! Turning layers into an image: all of it in one transaction.

use std::collections::BTreeMap;

use chrono::Utc;
use rusqlite::Connection;
use uuid::Uuid;

use super::prepared::{PreparedImage, PreparedLayer};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::DEFAULT_PATH;
use crate::rows::operations::{self, OperationEnding, Status};
use crate::rows::{images, imports, layers};
use contree_sqlite::DbError;

/// Why an import cannot be kept after all. What it found is held, so that this takes more than pruning.
const GONE: &str =
    "layers that the image shares with others were lost in the meantime; import it again";

/// Makes the image, points the tag to it, and ends the operation.
pub(super) fn commit(
    engine: &Engine,
    operation: Uuid,
    prepared: &PreparedImage,
    tag: Option<&str>,
) -> Result<OperationEnding, ApiError> {
    let done = engine.rows.write(|t| {
        let image = match prepared {
            PreparedImage::Known { image, .. } => {
                images::by_uuid(t, *image)?.filter(|image| !image.lost)
            }
            PreparedImage::New {
                key, env, layers, ..
            } => match imports::find(t, key)? {
                // Another engine was quicker.
                Some(image) => images::by_uuid(t, image)?,
                None => make(t, operation, key, env, layers)?,
            },
        };
        // From here on the image itself holds what it is made of.
        if let Some(held) = prepared.held() {
            layers::remove(t, held)?;
        }
        let Some(image) = image else {
            return Ok(None);
        };
        if let Some(tag) = tag {
            images::set_tag(t, tag, image.uuid)?;
        }
        let bytes = layers::chain(t, image.layer)?
            .iter()
            .map(|layer| layer.bytes)
            .sum();
        let ending = OperationEnding {
            status: Status::Success,
            error: None,
            result_image: Some(image.uuid),
            outcome: None,
            image_size: Some(bytes),
        };
        operations::end(t, operation, &ending)?;
        Ok(Some(ending))
    })?;
    engine.committed.notify_one();
    done.ok_or_else(|| ApiError::internal(GONE))
}

/// Makes the image of these layers, the bottom first. Those that another import has made in the meantime take the place of our own.
/// `None` if one that was shared is gone.
fn make(
    t: &Connection,
    operation: Uuid,
    key: &str,
    env: &BTreeMap<String, String>,
    pieces: &[PreparedLayer],
) -> Result<Option<images::Image>, DbError> {
    let mut top = None;
    for piece in pieces {
        let chain = piece.chain.to_string();
        let there = layers::by_chain(t, &chain)?;
        top = match (there, piece.made) {
            (Some(id), _) => Some(id),
            (None, Some(bytes)) => {
                layers::mark_imported_ready(t, piece.id, top, bytes, &chain)?;
                Some(piece.id)
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
        cwd: String::new(),
        operation: Some(operation),
        lost: false,
        created_at: Utc::now(),
    };
    images::insert(t, &image)?;
    imports::record(t, key, image.uuid)?;
    Ok(Some(image))
}
