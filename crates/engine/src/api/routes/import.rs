//! The route for importing images.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};

use crate::api::extract::{ClientName, Json};
use crate::api::types::{ImageImportRequest, ImageImportResponse};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::import;

/// An answer with status, location and body.
type CreatedResponse = (
    StatusCode,
    [(HeaderName, String); 1],
    Answer<ImageImportResponse>,
);

/// `POST /images/import`: checks the request, records the operation and starts it.
pub(super) async fn import(
    State(engine): State<Arc<Engine>>,
    ClientName(client): ClientName,
    Json(request): Json<ImageImportRequest>,
) -> Result<CreatedResponse, ApiError> {
    let runtime = tokio::runtime::Handle::current();
    // On that thread, because a client that goes away ends this handler, but must not end the
    // operation.
    let operation =
        blocking(move || import::begin(&engine, request, client.as_deref(), &runtime)).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/operations/{operation}"))],
        Answer(ImageImportResponse { uuid: operation }),
    ))
}
