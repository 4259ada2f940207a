//! The route for the history of an image.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use contree_sandbox::LayerId;
use uuid::Uuid;

use crate::api::extract::{Path, Query, limit, offset};
use crate::api::types::{GetImageLogQuery, ImageLog, ImageLogEntry};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::lookup;
use crate::layer_note::{LayerNote, noted_images};
use crate::operation::events::timestamp;
use crate::rows::log::{self, LoggedImage};

/// `GET /x/images/{imageUUID}/log`.
pub(in crate::api::routes) async fn log(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<GetImageLogQuery>,
) -> Result<Answer<ImageLog>, ApiError> {
    let (limit, offset) = (limit(query.limit)? as usize, offset(query.offset)?);
    let image = lookup::find(&engine, uuid).await?;
    let children = query.children.0;
    let page = engine
        .read(move |c| {
            if children {
                log::children(c, &image, limit, offset)
            } else {
                log::ancestors(c, uuid, limit, offset)
            }
        })
        .await?;
    let next = page.more.then(|| offset + page.images.len() as u64);
    let note = note(&page.images, page.more || children);
    let images = blocking(move || {
        let to_entry = |logged| to_entry(&engine, logged);
        Ok(page.images.into_iter().map(to_entry).collect())
    })
    .await?;
    Ok(Answer(ImageLog { images, next, note }))
}

fn to_entry(engine: &Engine, logged: LoggedImage) -> ImageLogEntry {
    let created_at = log::created_at(&logged).map(timestamp);
    let operation = logged.operation.as_ref();
    let kind = match operation {
        Some(operation) => Some(operation.kind.clone()),
        None if logged.is_import => Some("image_import".to_owned()),
        None if logged.is_host => Some("host".to_owned()),
        None => logged.parent.map(|_| "instance".to_owned()),
    };
    let command = match operation {
        Some(operation) => operation.requested(),
        None => noted_command(engine, &logged),
    };
    let state = operation
        .and_then(|operation| operation.outcome.as_ref())
        .and_then(|outcome| outcome.state.as_ref());
    let duration = operation.and_then(|operation| {
        let time = operation
            .ended_at?
            .signed_duration_since(operation.created_at);
        Some(time.num_milliseconds().max(0) as f64 / 1000.0)
    });
    let maker = logged.image.as_ref().and_then(|image| image.operation);
    ImageLogEntry {
        uuid: logged.uuid,
        parent_uuid: logged.parent,
        operation_uuid: operation.map(|operation| operation.uuid).or(maker),
        kind,
        command,
        created_at,
        duration,
        exit_code: state.and_then(|state| state.exit_code),
        tags: logged.tags,
        client: logged.client,
        changed_files: logged.files,
        changed_bytes: logged.bytes,
        children: logged.children,
        removed: logged.image.is_none(),
    }
}

/// The command that a layer's own note has, for an image whose operation is no longer recorded.
fn noted_command(engine: &Engine, logged: &LoggedImage) -> Option<String> {
    let image = logged.image.as_ref()?;
    let text = engine
        .store
        .layer_description(LayerId(image.layer))
        .ok()??;
    let notes = LayerNote::parse(&text);
    noted_images(&notes)
        .find(|noted| noted.uuid == image.uuid)?
        .command
        .clone()
}

/// A sentence about records that are missing in a part of a history. `more` is true if another part
/// follows.
fn note(images: &[LoggedImage], more: bool) -> Option<String> {
    let last = images.last()?;
    let is_base = last.is_host || last.is_import;
    if !more && !is_base && last.parent.is_none() {
        return Some(format!(
            "the history before image {} is unknown, since its records were removed",
            last.uuid
        ));
    }
    let without = |logged: &&LoggedImage| logged.operation.is_none() && !logged.is_host;
    match images.iter().filter(without).count() {
        0 => None,
        count => Some(format!(
            "the operations of {count} of these images are no longer recorded; their parents follow from the layers"
        )),
    }
}
