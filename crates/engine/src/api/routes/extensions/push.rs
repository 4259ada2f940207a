//! The route that pushes an image.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use uuid::Uuid;

use crate::api::extract::{ClientName, Json, Path};
use crate::api::types::{PushRequest, PushResponse};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::lookup;
use crate::push;

/// An answer with status, location and body.
type CreatedResponse = (StatusCode, [(HeaderName, String); 1], Answer<PushResponse>);

/// `POST /x/images/{imageUUID}/push`: checks the request, records the operation and starts it.
pub(in crate::api::routes) async fn push(
    State(engine): State<Arc<Engine>>,
    Path(image): Path<Uuid>,
    ClientName(client): ClientName,
    Json(request): Json<PushRequest>,
) -> Result<CreatedResponse, ApiError> {
    lookup::find(&engine, image).await?;
    let runtime = tokio::runtime::Handle::current();
    // The operation starts on the blocking thread. A client that goes away ends this handler, but
    // must not end the operation.
    let operation =
        blocking(move || push::begin(&engine, image, request, client.as_deref(), &runtime)).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/operations/{operation}"))],
        Answer(PushResponse { uuid: operation }),
    ))
}
