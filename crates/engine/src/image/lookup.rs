//! Finds the image that a request names.

use std::sync::Arc;

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::host;
use crate::rows::images::{self, Image};

/// Finds an image by its UUID. Answers 404 if it does not exist or was lost.
pub(crate) async fn find(engine: &Arc<Engine>, uuid: Uuid) -> Result<Image, ApiError> {
    host::ensure(engine).await?;
    match engine.read(move |c| images::by_uuid(c, uuid)).await? {
        Some(image) if image.lost => Err(lost(uuid)),
        Some(image) => Ok(image),
        None => Err(ApiError::missing(
            ErrorCode::ImageNotFound,
            format!("there is no image {uuid}"),
        )),
    }
}

fn lost(uuid: Uuid) -> ApiError {
    ApiError::missing(
        ErrorCode::ImageNotFound,
        format!(
            "the image {uuid} was lost when the machine went down before its files were on disk"
        ),
    )
}

/// Finds the image that has a tag. Answers 404 if there is none or it was lost.
pub(crate) async fn find_tag(engine: &Arc<Engine>, tag: String) -> Result<Image, ApiError> {
    host::ensure(engine).await?;
    let wanted = tag.clone();
    match engine.read(move |c| images::by_tag(c, &wanted)).await? {
        Some(image) if image.lost => Err(lost(image.uuid)),
        Some(image) => Ok(image),
        None => Err(ApiError::missing(
            ErrorCode::ImageNotFound,
            format!("no image has the tag `{tag}`"),
        )),
    }
}
