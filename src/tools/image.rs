//! Resolves images that arguments name.

use uuid::Uuid;

use super::ToolError;
use crate::{Client, ImageRef};

/// Returns the UUID of an image that is given by UUID or as `tag:NAME`.
pub(super) async fn resolve(client: &Client, image: &str) -> Result<Uuid, ToolError> {
    let image: ImageRef = image.parse()?;
    if let ImageRef::Uuid(uuid) = image {
        return Ok(uuid);
    }
    let found = client.resolve(&image).await?;
    found.uuid.ok_or_else(|| {
        ToolError::unusable_answer(format!("the backend returned no UUID for `{image}`"))
    })
}
