//! The route that deletes an image.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use crate::api::extract::{Path, Query};
use crate::api::types::{DeleteImageQuery, DeletedImage};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::host;
use crate::upkeep::{DeleteError, delete_image};

/// `DELETE /x/images/{imageUUID}`.
pub(in crate::api::routes) async fn delete(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<DeleteImageQuery>,
) -> Result<Answer<DeletedImage>, ApiError> {
    host::ensure(&engine).await?;
    let force = query.force.0;
    let deleted = blocking(move || Ok(delete_image(&engine, uuid, force)?)).await?;
    Ok(Answer(DeletedImage {
        uuid,
        tags: deleted.tags,
        layers: deleted.layers,
        bytes: deleted.bytes,
    }))
}

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        let code = match error {
            DeleteError::Missing(_) => {
                return Self::missing(ErrorCode::ImageNotFound, error.to_string());
            }
            DeleteError::Host(_) => ErrorCode::HostImageProtected,
            DeleteError::Running(_) | DeleteError::Needed { .. } => ErrorCode::ImageInUse,
            DeleteError::Storage(error) => return error.into(),
        };
        Self::new(StatusCode::CONFLICT, code, error.to_string())
    }
}
