//! Listing and tagging images.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::extract::{Flag, Json, Path, Query, limit, moment, offset};
use crate::api::request::check_tag;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::host;
use crate::image::lookup;
use crate::operation::events::timestamp;
use crate::rows::images::{self, Filter, Image};

#[derive(Deserialize)]
pub(super) struct ListQuery {
    limit: Option<u32>,
    offset: Option<u64>,
    tagged: Option<Flag>,
    tag: Option<String>,
    uuid: Option<Uuid>,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct TagBody {
    tag: String,
}

#[derive(Deserialize)]
pub(super) struct TagQuery {
    tag: Option<String>,
}

/// An image as the API shows it.
pub(super) fn shown(image: &Image, tag: Option<&str>) -> Value {
    json!({
        "uuid": image.uuid,
        "tag": tag,
        "created_at": timestamp(image.created_at),
        "operation_uuid": image.operation,
    })
}

/// `GET /images`.
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<Value>, ApiError> {
    if query
        .tag
        .as_deref()
        .is_some_and(|tag| tag.ends_with([':', '/', '.']))
    {
        return Err(ApiError::bad(
            "`tag` is a prefix and cannot end in `:`, `/` or `.`; leave that off",
        ));
    }
    let filter = Filter {
        limit: limit(query.limit)?,
        offset: offset(query.offset)?,
        tagged: query.tagged.unwrap_or_default().0,
        tag_prefix: query.tag.filter(|tag| !tag.is_empty()),
        uuid: query.uuid,
        since: moment("since", query.since.as_deref())?,
        until: moment("until", query.until.as_deref())?,
    };
    host::ensure(&engine).await?;
    let listed = engine.read(move |c| images::list(c, &filter)).await?;
    let images: Vec<Value> = listed
        .iter()
        .map(|row| shown(&row.image, row.tag.as_deref()))
        .collect();
    Ok(Answer(json!({"images": images})))
}

/// `PATCH /images/{imageUUID}/tag`.
pub(super) async fn set_tag(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Json(body): Json<TagBody>,
) -> Result<Answer<Value>, ApiError> {
    check_tag(&body.tag).map_err(ApiError::bad)?;
    let image = lookup::find(&engine, uuid).await?;
    let tag = body.tag.clone();
    engine
        .write(move |t| images::set_tag(t, &tag, uuid))
        .await?;
    Ok(Answer(shown(&image, Some(&body.tag))))
}

/// `DELETE /images/{imageUUID}/tag`.
pub(super) async fn remove_tag(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<TagQuery>,
) -> Result<StatusCode, ApiError> {
    lookup::find(&engine, uuid).await?;
    let tag = query.tag.filter(|tag| !tag.is_empty());
    let named = tag.clone();
    let removed = engine
        .write(move |t| images::remove_tags(t, uuid, tag.as_deref()))
        .await?;
    match named {
        Some(tag) if removed == 0 => Err(ApiError::missing(format!(
            "the image {uuid} does not have the tag `{tag}`"
        ))),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
