//! Routes for listing and tagging images.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use crate::api::extract::{Json, Path, Query, limit, offset, time};
use crate::api::request::check_tag;
use crate::api::types::{
    self, DeleteImageTagQuery, ImageListResponse, ImageTagRequest, ListImagesQuery,
};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::host;
use crate::image::lookup;
use crate::layer_note::{self, LayerNote, NotedTag};
use crate::operation::events::timestamp;
use crate::rows::images::{self, Image, ImageFilter};

/// An image as answers show it.
pub(super) fn to_answer(image: &Image, tag: Option<&str>) -> types::Image {
    types::Image {
        uuid: Some(image.uuid),
        tag: tag.map(str::to_owned),
        created_at: Some(timestamp(image.created_at)),
        operation_uuid: image.operation,
    }
}

/// `GET /images`.
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<ListImagesQuery>,
) -> Result<Answer<ImageListResponse>, ApiError> {
    if query
        .tag
        .as_deref()
        .is_some_and(|tag| tag.ends_with([':', '/', '.']))
    {
        return Err(ApiError::bad(
            "`tag` is a prefix and cannot end in `:`, `/` or `.`; remove the last character",
        ));
    }
    let filter = ImageFilter {
        limit: limit(query.limit)?,
        offset: offset(query.offset)?,
        tagged: query.tagged.unwrap_or_default().0,
        tag_prefix: query.tag.filter(|tag| !tag.is_empty()),
        uuid: query.uuid,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
    };
    host::ensure(&engine).await?;
    let entries = engine.read(move |c| images::list(c, &filter)).await?;
    let images = entries
        .iter()
        .map(|entry| to_answer(&entry.image, entry.tag.as_deref()))
        .collect();
    Ok(Answer(ImageListResponse {
        images: Some(images),
    }))
}

/// `PATCH /images/{imageUUID}/tag`.
pub(super) async fn set_tag(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Json(body): Json<ImageTagRequest>,
) -> Result<Answer<types::Image>, ApiError> {
    check_tag(&body.tag)?;
    let image = lookup::find(&engine, uuid).await?;
    let tag = body.tag.clone();
    engine
        .write(move |t| images::set_tag(t, &tag, uuid))
        .await?;
    note_tag(&engine, image.layer, NotedTag::now(&body.tag, uuid, false)).await?;
    Ok(Answer(to_answer(&image, Some(&body.tag))))
}

/// Notes in an image's layer that a tag was set or removed.
async fn note_tag(engine: &Arc<Engine>, layer: u64, tag: NotedTag) -> Result<(), ApiError> {
    let engine = Arc::clone(engine);
    blocking(move || {
        layer_note::add(&engine, layer, &LayerNote::Tag(tag));
        Ok(())
    })
    .await
}

/// `DELETE /images/{imageUUID}/tag`.
pub(super) async fn remove_tag(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<DeleteImageTagQuery>,
) -> Result<StatusCode, ApiError> {
    let image = lookup::find(&engine, uuid).await?;
    let tag = query.tag.filter(|tag| !tag.is_empty());
    let requested = tag.clone();
    let removed = engine
        .write(move |t| images::remove_tags(t, uuid, tag.as_deref()))
        .await?;
    for tag in &removed {
        note_tag(&engine, image.layer, NotedTag::now(tag, uuid, true)).await?;
    }
    match requested {
        Some(tag) if removed.is_empty() => Err(ApiError::missing(
            ErrorCode::ImageNotFound,
            format!("the image {uuid} does not have the tag `{tag}`"),
        )),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
