//! Importing images.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};

use crate::api::extract::Json;
use crate::api::types::{ImageImportRequest, ImageImportResponse};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::import;

type Created = (
    StatusCode,
    [(HeaderName, String); 1],
    Answer<ImageImportResponse>,
);

/// `POST /images/import`: checks everything that can be checked, records the operation, and starts it.
pub(super) async fn import(
    State(engine): State<Arc<Engine>>,
    Json(request): Json<ImageImportRequest>,
) -> Result<Created, ApiError> {
    let runtime = tokio::runtime::Handle::current();
    // There, since a client that goes away ends this handler, but not what was accepted.
    let operation = blocking(move || import::begin(&engine, request, &runtime)).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/operations/{operation}"))],
        Answer(ImageImportResponse { uuid: operation }),
    ))
}
