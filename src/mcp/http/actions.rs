//! Actions of a person on the web page: cancel an operation, and set or remove a tag.
//!
//! Only `POST` with a body of the type `application/json` acts. No form has this type, and a script
//! of another origin must first ask for permission, which this server never gives. The checks of
//! host, origin and token come before that.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::activity::ActivityMonitor;
use super::answers::{RouteAnswer, answer, identifier, refused};
use crate::types;

/// Maximum number of bytes of a request.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// The routes that change something.
pub(super) fn router() -> Router<ActivityMonitor> {
    Router::new()
        .route("/operations/{id}/cancel", post(cancel))
        .route("/images/{id}/tag", post(tag))
        .route("/images/{id}/untag", post(untag))
        .route_layer(from_fn(check_type))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// A tag, with or without a leading `tag:`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagBody {
    tag: String,
}

/// Refuses requests whose body is not announced as JSON.
async fn check_type(request: Request, next: Next) -> Response {
    let media_type = request.headers().get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next());
    if essence.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json")) {
        return next.run(request).await;
    }
    refused(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "send the request as `Content-Type: application/json`",
    )
}

#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn tag_of(body: &[u8]) -> Result<String, Response> {
    let body: TagBody = serde_json::from_slice(body).map_err(|_| {
        refused(
            StatusCode::BAD_REQUEST,
            "the body needs a tag: {\"tag\": \"NAME\"}",
        )
    })?;
    let tag = body.tag.trim();
    let tag = tag.strip_prefix("tag:").unwrap_or(tag);
    if tag.is_empty() {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "the tag is empty; give it a name",
        ));
    }
    Ok(tag.to_owned())
}

/// Refuses an action whose tool this server does not offer, such as with `--read-only`.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn offered(activity: &ActivityMonitor, tool: &str) -> Result<(), Response> {
    match activity.offers(tool) {
        true => Ok(()),
        false => Err(refused(
            StatusCode::FORBIDDEN,
            format!("this server was started without the tool `{tool}`"),
        )),
    }
}

/// Reads the image and the tag of an action on tags, if this server offers that.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn image_and_tag(
    activity: &ActivityMonitor,
    image: &str,
    body: &[u8],
) -> Result<(Uuid, String), Response> {
    offered(activity, "set_tag")?;
    Ok((identifier(image, "image")?, tag_of(body)?))
}

async fn cancel(
    State(activity): State<ActivityMonitor>,
    Path(operation): Path<String>,
) -> RouteAnswer {
    offered(&activity, "cancel_operation")?;
    let operation = identifier(&operation, "operation")?;
    let done = async {
        let cancelled = activity.client().await?.cancel(operation).await?;
        Ok(json!({"cancelled": cancelled}))
    };
    let done = done.await;
    tracing::info!("the page asked to cancel operation {operation}");
    Ok(answer(&activity, done))
}

async fn tag(
    State(activity): State<ActivityMonitor>,
    Path(image): Path<String>,
    body: Bytes,
) -> RouteAnswer {
    let (image, tag) = image_and_tag(&activity, &image, &body)?;
    let done = async {
        let client = activity.client().await?;
        let body = types::ImageTagRequest { tag: tag.clone() };
        let request = client.update_image_tag().image_uuid(image).body(body);
        request.send().await?;
        Ok(json!({"tag": tag}))
    };
    let done = done.await;
    activity.note_change();
    Ok(answer(&activity, done))
}

async fn untag(
    State(activity): State<ActivityMonitor>,
    Path(image): Path<String>,
    body: Bytes,
) -> RouteAnswer {
    let (image, tag) = image_and_tag(&activity, &image, &body)?;
    let done = async {
        let client = activity.client().await?;
        let request = client.delete_image_tag().image_uuid(image).tag(&tag);
        request.send().await?;
        Ok(json!({"tag": tag}))
    };
    let done = done.await;
    activity.note_change();
    Ok(answer(&activity, done))
}
